/// What the sequencer must know after a restart, as bytes: the device table as of one journal position.
///
/// Layout, little endian: `"FGCP"`, u32 version, u64 lsn, u32 devices, u32 places; the places (`PlaceEntry`); then the marks of
/// each device: u16 streams; a stream: u32 number, u64 through, u16 ranges, each u64 first, u64 last. Only durable ranges are
/// kept. The file that carries these bytes guards them with a checksum of its own.
///
/// Where devices were is sealed on the way to the disk, so that an old copy of the file dies with the keys; the marks are not.
package struct Checkpoint: Sendable {
  package static let version: UInt32 = 3
  static let headerBytes = 24

  /// Every record below is in the table.
  package var lsn: UInt64
  package var devices: DeviceTable
  /// Read from a file in which it could be read by anybody where devices were.
  package private(set) var wasReadable = false

  package init(lsn: UInt64, devices: DeviceTable) {
    self.lsn = lsn
    self.devices = devices
  }
}

package enum CheckpointError: Error, Equatable, Sendable {
  /// Not a checkpoint, or damaged at `offset`. The gateway starts from the journal's beginning instead, if that is there.
  case malformed(offset: Int)
  /// Written by a newer gateway. Run that version.
  case newerVersion(UInt32)
}

extension Checkpoint {
  /// As bytes in which places can be read, for `sealed`.
  package func encoded() -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(Checkpoint.headerBytes + devices.count * 160)
    out += Array("FGCP".utf8)
    out.put(Checkpoint.version)
    out.put(lsn)
    out.put(UInt32(devices.count))
    out.put(UInt32(0))
    var places: UInt32 = 0
    for device in 0..<devices.count {
      for entry in PlaceEntry.entries(of: device, in: devices) {
        entry.append(to: &out)
        places += 1
      }
    }
    var room = out.mutableSpan
    room.store(places, at: Checkpoint.headerBytes - 4)
    for device in 0..<devices.count {
      let streams = devices.streamCount(of: device)
      out.put(UInt16(streams))
      for i in 0..<streams {
        let state = devices[device, i]
        out.put(state.stream)
        out.put(state.durable.through)
        out.put(UInt16(state.durable.above.count))
        for range in state.durable.above {
          out.put(range.first)
          out.put(range.last)
        }
      }
    }
    return out
  }

  /// Seals the places in an encoded checkpoint, each under the key of whoever was there. What belongs to one who has no key any
  /// more is left out.
  /// - Parameter nonce: of the first place; drawn anew for each checkpoint.
  package static func sealed(
    _ encoded: [UInt8], with cipher: any SubjectCipher, nonce: SealedRun.Nonce
  ) -> [UInt8] {
    var nonce = nonce
    var out = Array(encoded[..<headerBytes])
    let count = encoded.span.load32(at: headerBytes - 4)
    out.reserveCapacity(encoded.count + Int(count) * SealedRun.tagBytes)
    var at = headerBytes
    var places: UInt32 = 0
    for _ in 0..<count {
      let end = at + Int(encoded.span.load32(at: at))
      if PlaceEntry.seal(encoded[at..<end], with: cipher, nonce: nonce, into: &out) { places += 1 }
      nonce.advance()
      at = end
    }
    out.append(contentsOf: encoded[at...])
    var room = out.mutableSpan
    room.store(places, at: headerBytes - 4)
    return out
  }

  /// - Parameter cipher: opens the places; those that it does not open are forgotten. So are those of a version that does not
  ///   say whose they are. `nil` = only what was never sealed is known.
  package init(decoding bytes: [UInt8], with cipher: (any SubjectCipher)? = nil) throws(CheckpointError) {
    var reader = CheckpointReader(bytes)
    guard bytes.starts(with: Array("FGCP".utf8)) else { throw .malformed(offset: 0) }
    reader.at = 4
    let version = try reader.take(UInt32.self)
    guard version <= Checkpoint.version else { throw .newerVersion(version) }
    guard version >= 1 else { throw .malformed(offset: 4) }
    let lsn = try reader.take(UInt64.self)
    let count = Int(try reader.take(UInt32.self))
    let places = try reader.take(UInt32.self)
    // Each has two bytes of marks at least: no number that the file could not hold makes a table.
    guard count <= bytes.count / 2 else { throw .malformed(offset: 16) }
    var devices = DeviceTable()
    var wasReadable = false
    if version >= 3 {
      for _ in 0..<places {
        if try PlaceEntry.read(&reader, with: cipher, devices: count, into: &devices) { wasReadable = true }
      }
    }
    for device in 0..<count {
      devices.reserve(through: device)
      if version < 3, try reader.takeReadablePlaces(of: device, version: version, into: &devices) {
        wasReadable = true
        if cipher != nil { devices.forgetPlaces(of: device) }
      }
      for _ in 0..<Int(try reader.take(UInt16.self)) {
        let stream = try reader.take(UInt32.self)
        let through = try reader.take(UInt64.self)
        var above: [SequenceRanges.Range] = []
        for _ in 0..<Int(try reader.take(UInt16.self)) {
          let first = try reader.take(UInt64.self)
          above.append(.init(first: first, last: try reader.take(UInt64.self)))
        }
        guard let ranges = SequenceRanges(through: through, above: above),
          let index = devices.open(stream, of: device)
        else { throw .malformed(offset: reader.at) }
        devices[device, index].received = ranges
        devices[device, index].durable = ranges
      }
    }
    guard reader.at == bytes.count else { throw .malformed(offset: reader.at) }
    self.init(lsn: lsn, devices: devices)
    self.wasReadable = wasReadable
  }
}

/// Takes values off a checkpoint's front.
struct CheckpointReader {
  let bytes: [UInt8]
  var at = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  mutating func take<T: FixedWidthInteger & UnsignedInteger>(_: T.Type) throws(CheckpointError) -> T {
    let count = T.bitWidth / 8
    guard bytes.count - at >= count else { throw .malformed(offset: at) }
    var value: T = 0
    for i in 0..<count { value |= T(truncatingIfNeeded: bytes[at + i]) << T(8 * i) }
    at += count
    return value
  }

  private mutating func signed64() throws(CheckpointError) -> Int64 { Int64(bitPattern: try take(UInt64.self)) }
  private mutating func signed32() throws(CheckpointError) -> Int32 { Int32(bitPattern: try take(UInt32.self)) }

  mutating func latest(hasSequence: Bool = true) throws(CheckpointError) -> LatestPosition {
    let fixTimeMs = try signed64()
    let receiveTimeMs = try signed64()
    let latitudeE7 = try signed32()
    let longitudeE7 = try signed32()
    return LatestPosition(
      fixTimeMs: fixTimeMs, receiveTimeMs: receiveTimeMs, latitudeE7: latitudeE7, longitudeE7: longitudeE7,
      sequence: hasSequence ? try take(UInt64.self) : 0)
  }

  mutating func leg(of subject: UInt32, isBacklog: Bool) throws(CheckpointError) -> Leg {
    var leg = Leg(subject: subject)
    leg.repeats = try take(UInt32.self)
    leg.anchor = try sighting(isBacklog)
    leg.outlier = try sighting(isBacklog)
    return leg
  }

  private mutating func sighting(_ isBacklog: Bool) throws(CheckpointError) -> Sighting? {
    guard try take(UInt8.self) == 1 else { return nil }
    let fixTimeMs = try signed64()
    let latitudeE7 = try signed32()
    let longitudeE7 = try signed32()
    return Sighting(
      fixTimeMs: fixTimeMs, latitudeE7: latitudeE7, longitudeE7: longitudeE7, accuracyDm: try take(UInt32.self),
      isBacklog: isBacklog)
  }

  /// Versions 1 and 2 had the places among the marks: u8 has latest (then the position, in version 2 with its sequence); in
  /// version 2 live leg and backlog leg.
  /// - Returns: whether there were any.
  mutating func takeReadablePlaces(
    of device: Int, version: UInt32, into devices: inout DeviceTable
  ) throws(CheckpointError) -> Bool {
    var any = false
    if try take(UInt8.self) == 1 {
      devices.moveLatest(of: device, to: try latest(hasSequence: version >= 2))
      any = true
    }
    guard version >= 2 else { return any }
    let live = try leg(of: 0, isBacklog: false)
    let backlog = try leg(of: 0, isBacklog: true)
    devices[travelOf: device] = Travel(live: live, backlog: backlog)
    return any || devices[travelOf: device] != Travel()
  }
}

extension [UInt8] {
  mutating func put<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
    for i in 0..<T.bitWidth / 8 { append(UInt8(truncatingIfNeeded: value >> (8 * T(i)))) }
  }
}
