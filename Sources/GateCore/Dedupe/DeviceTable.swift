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

/// Where a device was last seen, by the fix's own time. Held fixes do not count, so one from the future never becomes it.
package struct LatestPosition: Equatable, Sendable, BitwiseCopyable {
  package var fixTimeMs: Int64
  package var receiveTimeMs: Int64
  package var latitudeE7: Int32
  package var longitudeE7: Int32

  package init(fixTimeMs: Int64, receiveTimeMs: Int64, latitudeE7: Int32, longitudeE7: Int32) {
    self.fixTimeMs = fixTimeMs
    self.receiveTimeMs = receiveTimeMs
    self.latitudeE7 = latitudeE7
    self.longitudeE7 = longitudeE7
  }

  /// The position of a record of the track; `nil` if it has none.
  package init?(_ record: Record) {
    guard record.kind == .fix, record.fix.present.contains([.position, .time]) else { return nil }
    self.init(
      fixTimeMs: record.fix.fixTimeMs, receiveTimeMs: record.receiveTimeMs,
      latitudeE7: record.fix.latitudeE7, longitudeE7: record.fix.longitudeE7)
  }
}

/// All that must be exact per device, by dense device index. Owned by the sequencer.
package struct DeviceTable: Equatable, Sendable {
  private var streams: [[StreamState]] = []
  private var latest: [LatestPosition?] = []

  package init() {}

  package var count: Int { streams.count }

  package mutating func reserve(through device: Int) {
    while streams.count <= device {
      streams.append([])
      latest.append(nil)
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
    if let known = latest[device], known.fixTimeMs > position.fixTimeMs { return }
    latest[device] = position
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
      _ = streams[device][stream].received.insert(record.fix.sequence)
      if let position = LatestPosition(record) { moveLatest(of: device, to: position) }
    }
    streams[device][stream].durable = streams[device][stream].received
  }
}
