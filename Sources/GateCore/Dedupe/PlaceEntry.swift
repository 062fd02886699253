/// Where a device was while one subject carried it, as a checkpoint keeps it: readable, or sealed under the subject's key
/// (the device's where nobody carried it; AES-256-GCM).
///
/// Layout, little endian:
/// ```
///  0 u32 length of the entry    8 u64 number of the key, 0 = readable    28 u32 subject
///  4 u32 device                16 12 bytes nonce                         32 the places; sealed, a tag (16 bytes) behind them
/// ```
/// The places: u8 which (1 latest, 2 live leg, 4 backlog leg), then those. Latest: i64 fix time, i64 receive time, i32
/// latitude, i32 longitude, u64 sequence. A leg: u32 repeats, then anchor and outlier: u8 present, and if so i64 fix time, i32
/// latitude, i32 longitude, u32 accuracy.
struct PlaceEntry {
  private static let headerBytes = 32

  private var device: Int
  private var subject: UInt32
  private var latest: LatestPosition?
  private var live: Leg?
  private var backlog: Leg?

  private struct Which: OptionSet {
    let rawValue: UInt8
    static let latest = Which(rawValue: 1)
    static let live = Which(rawValue: 2)
    static let backlog = Which(rawValue: 4)
  }

  /// Of one device: most were with one subject all along.
  static func entries(of device: Int, in devices: DeviceTable) -> [PlaceEntry] {
    let latest = devices.latestPosition(of: device)
    let travel = devices[travelOf: device]
    let live = travel.live.isBlank ? nil : travel.live
    let backlog = travel.backlog.isBlank ? nil : travel.backlog
    var subjects: [UInt32] = []
    for subject in [latest?.subject, live?.subject, backlog?.subject] {
      if let subject, !subjects.contains(subject) { subjects.append(subject) }
    }
    return subjects.map { subject in
      PlaceEntry(
        device: device, subject: subject, latest: latest?.subject == subject ? latest : nil,
        live: live?.subject == subject ? live : nil, backlog: backlog?.subject == subject ? backlog : nil)
    }
  }

  /// As bytes that can be read.
  func append(to out: inout [UInt8]) {
    let start = out.count
    out.put(UInt32(0))
    out.put(UInt32(device))
    out.put(UInt64(0))
    out.append(contentsOf: repeatElement(0, count: 12))
    out.put(subject)
    var which: Which = []
    if latest != nil { which.insert(.latest) }
    if live != nil { which.insert(.live) }
    if backlog != nil { which.insert(.backlog) }
    out.put(which.rawValue)
    if let latest {
      out.put(UInt64(bitPattern: latest.fixTimeMs))
      out.put(UInt64(bitPattern: latest.receiveTimeMs))
      out.put(UInt32(bitPattern: latest.latitudeE7))
      out.put(UInt32(bitPattern: latest.longitudeE7))
      out.put(latest.sequence)
    }
    for leg in [live, backlog] {
      guard let leg else { continue }
      out.put(leg.repeats)
      for sighting in [leg.anchor, leg.outlier] {
        out.put(UInt8(sighting == nil ? 0 : 1))
        guard let sighting else { continue }
        out.put(UInt64(bitPattern: sighting.fixTimeMs))
        out.put(UInt32(bitPattern: sighting.latitudeE7))
        out.put(UInt32(bitPattern: sighting.longitudeE7))
        out.put(sighting.accuracyDm)
      }
    }
    let bytes = out.count - start
    var room = out.mutableSpan
    room.store(UInt32(bytes), at: start)
  }

  /// Appends a readable entry sealed.
  /// - Returns: false if its owner has no key: then nothing was appended.
  static func seal(
    _ entry: ArraySlice<UInt8>, with cipher: any SubjectCipher, nonce: SealedRun.Nonce, into out: inout [UInt8]
  ) -> Bool {
    let start = out.count
    out.append(contentsOf: entry)
    guard let key = cipher.key(of: owner(out.span, entryAt: start)) else {
      out.removeLast(entry.count)
      return false
    }
    let text = start + headerBytes..<out.count
    out.append(contentsOf: repeatElement(0, count: SealedRun.tagBytes))
    let bytes = out.count - start
    var room = out.mutableSpan
    room.store(UInt32(bytes), at: start)
    room.store(key, at: start + 8)
    room.store(nonce.high, at: start + 16)
    room.store(nonce.low, at: start + 24)
    cipher.seal(under: key, nonce: nonce, clear: start..<text.lowerBound, text: text, in: &room)
    return true
  }

  private static func owner(_ bytes: Span<UInt8>, entryAt at: Int) -> KeyOwner {
    KeyOwner(subject: bytes.load32(at: at + 28), device: bytes.load32(at: at + 4))
  }

  /// Takes an entry off the reader's front and puts what it says into the table.
  /// - Parameter count: number of devices.
  /// - Returns: whether anybody could read it.
  static func read(
    _ reader: inout CheckpointReader, with cipher: (any SubjectCipher)?, devices count: Int, into devices: inout DeviceTable
  ) throws(CheckpointError) -> Bool {
    let start = reader.at
    let length = Int(try reader.take(UInt32.self))
    guard length > headerBytes, length <= reader.bytes.count - start else { throw .malformed(offset: start) }
    var entry = Array(reader.bytes[start..<start + length])
    reader.at = start + length
    let (device, key) = (Int(entry.span.load32(at: 4)), entry.span.load64(at: 8))
    guard device < count else { throw .malformed(offset: start) }
    if key != 0 {
      let text = headerBytes..<length - SealedRun.tagBytes
      guard text.lowerBound <= text.upperBound else { throw .malformed(offset: start) }
      guard let cipher else { return false }
      let nonce = SealedRun.Nonce(entry.span, at: 16)
      var room = entry.mutableSpan
      // The place is no loss beside the marks: without its key, or with one that does not fit, the rest is read all the same.
      guard cipher.open(under: key, nonce: nonce, clear: 0..<headerBytes, text: text, in: &room) == .opened else { return false }
      entry.removeLast(SealedRun.tagBytes)
    }
    let subject = entry.span.load32(at: 28)
    var places = CheckpointReader(entry)
    places.at = headerBytes
    let which = Which(rawValue: try places.take(UInt8.self))
    devices.reserve(through: device)
    if which.contains(.latest) {
      var latest = try places.latest()
      latest.subject = subject
      devices.moveLatest(of: device, to: latest)
    }
    if which.contains(.live) { devices[travelOf: device].live = try places.leg(of: subject, isBacklog: false) }
    if which.contains(.backlog) { devices[travelOf: device].backlog = try places.leg(of: subject, isBacklog: true) }
    guard places.at == entry.count else { throw .malformed(offset: start + places.at) }
    return key == 0
  }
}

extension Leg {
  /// Nothing was seen.
  fileprivate var isBlank: Bool { anchor == nil && outlier == nil && repeats == 0 }
}
