/// One stream of a device: the sequences it has used.
///
/// `received` includes what the commit in hand has taken; `durable` is what acks speak of. They differ only between a take
/// and the end of its commit: a commit that fails puts `received` back.
package struct StreamState: Equatable, Sendable {
  package let stream: UInt32
  package var received = SequenceRanges()
  package var durable = SequenceRanges()

  package init(stream: UInt32) { self.stream = stream }
}

/// Where a device was last seen, whatever the order in which its fixes come.
///
/// Held fixes do not count, nor those that are known to lie elsewhere. One that is a little ahead of the gateway's clock
/// counts as of its receipt, so that a clock ahead does not stop the marker.
package struct LatestPosition: Equatable, Sendable, BitwiseCopyable, Codable {
  package var fixTimeMs: Int64
  package var receiveTimeMs: Int64
  package var latitudeE7: Int32
  package var longitudeE7: Int32
  package var sequence: UInt64
  /// Who carried the device there; 0 = nobody.
  package var subject: UInt32

  package init(
    fixTimeMs: Int64, receiveTimeMs: Int64, latitudeE7: Int32, longitudeE7: Int32, sequence: UInt64 = 0, subject: UInt32 = 0
  ) {
    self.fixTimeMs = fixTimeMs
    self.receiveTimeMs = receiveTimeMs
    self.latitudeE7 = latitudeE7
    self.longitudeE7 = longitudeE7
    self.sequence = sequence
    self.subject = subject
  }

  /// The position of a record of the track; `nil` if it has none that counts.
  package init?(_ record: Record) {
    guard record.kind == .fix, record.fix.present.contains([.position, .time]),
      LatestPosition.counts(code: record.code, latitudeE7: record.fix.latitudeE7, longitudeE7: record.fix.longitudeE7)
    else { return nil }
    self.init(
      fixTimeMs: record.fix.fixTimeMs, receiveTimeMs: record.receiveTimeMs,
      latitudeE7: record.fix.latitudeE7, longitudeE7: record.fix.longitudeE7, sequence: record.fix.sequence,
      subject: record.subject)
  }

  /// As above, of an encoded record.
  package init?(_ bytes: Span<UInt8>, at: Int) {
    let present = FixFields(rawValue: bytes.load32(at: at + 56))
    let latitudeE7 = Int32(bitPattern: bytes.load32(at: at + 48))
    let longitudeE7 = Int32(bitPattern: bytes.load32(at: at + 52))
    guard bytes[at + 4] == RecordKind.fix.rawValue, present.contains([.position, .time]),
      LatestPosition.counts(code: bytes.load16(at: at + 6), latitudeE7: latitudeE7, longitudeE7: longitudeE7)
    else { return nil }
    self.init(
      fixTimeMs: Int64(bitPattern: bytes.load64(at: at + 40)), receiveTimeMs: Int64(bitPattern: bytes.load64(at: at + 32)),
      latitudeE7: latitudeE7, longitudeE7: longitudeE7, sequence: bytes.load64(at: at + 24),
      subject: bytes.load32(at: at + Record.subjectOffset))
  }

  private static func counts(code: UInt16, latitudeE7: Int32, longitudeE7: Int32) -> Bool {
    code != Verdict.teleport.rawValue && code != Verdict.rolloverSuspected.rawValue && (latitudeE7 != 0 || longitudeE7 != 0)
  }

  package func isNewer(than other: LatestPosition) -> Bool {
    (min(fixTimeMs, receiveTimeMs), sequence) > (min(other.fixTimeMs, other.receiveTimeMs), other.sequence)
  }
}

/// All that must be exact per device, by dense device index. Owned by the sequencer.
package struct DeviceTable: Equatable, Sendable {
  private var streams: [[StreamState]] = []
  private var latest: [LatestPosition?] = []
  private var travels: [Travel] = []

  package init() {}

  package var count: Int { streams.count }

  package mutating func reserve(through device: Int) {
    while streams.count <= device {
      streams.append([])
      latest.append(nil)
      travels.append(Travel())
    }
  }

  package func streamCount(of device: Int) -> Int { device < streams.count ? streams[device].count : 0 }

  package func index(of stream: UInt32, of device: Int) -> Int? {
    guard device < streams.count else { return nil }
    return streams[device].firstIndex { $0.stream == stream }
  }

  /// - Returns: the stream's index, or `nil` if the device has used as many as it may.
  package mutating func open(_ stream: UInt32, of device: Int) -> Int? {
    reserve(through: device)
    if let known = index(of: stream, of: device) { return known }
    guard streams[device].count < Limits.streamsPerDeviceMax else { return nil }
    streams[device].append(StreamState(stream: stream))
    return streams[device].count - 1
  }

  package subscript(device: Int, stream: Int) -> StreamState {
    get { streams[device][stream] }
    _modify { yield &streams[device][stream] }
  }

  package func latestPosition(of device: Int) -> LatestPosition? {
    device < latest.count ? latest[device] : nil
  }

  package mutating func moveLatest(of device: Int, to position: LatestPosition) {
    reserve(through: device)
    if let known = latest[device], !position.isNewer(than: known) { return }
    latest[device] = position
  }

  /// Forgets where the device was; what was received stays known.
  package mutating func forgetPlaces(of device: Int) {
    guard device < streams.count else { return }
    latest[device] = nil
    travels[device] = Travel()
  }

  /// The device's journey, for the judge. Like `received` it runs ahead of what is durable during a commit.
  /// - Parameter device: an index that was reserved.
  package subscript(travelOf device: Int) -> Travel {
    get { travels[device] }
    _modify { yield &travels[device] }
  }

  /// Marks a journal record as durable: recovery, from the checkpoint's LSN on.
  package mutating func replay(_ record: Record) {
    let device = Int(record.device)
    guard let stream = open(record.stream, of: device), record.fix.sequence >= 1,
      record.fix.sequence <= Limits.sequenceMax
    else { return }
    if record.kind == .gap {
      let count = UInt64(bitPattern: record.fix.fixTimeMs)
      guard count >= 1, count <= Limits.sequenceMax - record.fix.sequence + 1 else { return }
      _ = streams[device][stream].received.insert(
        .init(first: record.fix.sequence, last: record.fix.sequence + count - 1))
    } else {
      if streams[device][stream].received.insert(record.fix.sequence) == .new {
        travels[device].replay(record)
      }
      if let position = LatestPosition(record) { moveLatest(of: device, to: position) }
    }
    streams[device][stream].durable = streams[device][stream].received
  }
}
