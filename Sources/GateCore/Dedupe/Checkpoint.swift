/// What the sequencer must know after a restart, as bytes: the device table as of one journal position.
///
/// Layout, little endian: `"FGCP"`, u32 version, u64 lsn, u32 devices, u32 zero; a device: u8 has latest (then i64 fix time,
/// i64 receive time, i32 latitude, i32 longitude, u64 sequence), live leg, backlog leg, u16 streams; a leg: u32 repeats, then
/// anchor and outlier: u8 present, and if so i64 fix time, i32 latitude, i32 longitude, u32 accuracy; a stream: u32 number, u64 through, u16 ranges, each u64 first,
/// u64 last. Only durable ranges are kept. The file that carries these bytes guards them with a checksum of its own.
package struct Checkpoint: Sendable {
  package static let version: UInt32 = 2

  /// Every record below is in the table.
  package var lsn: UInt64
  package var devices: DeviceTable

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
  package func encoded() -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(32 + devices.count * 48)
    func put<T: FixedWidthInteger & UnsignedInteger>(_ value: T) {
      for i in 0..<T.bitWidth / 8 { out.append(UInt8(truncatingIfNeeded: value >> (8 * T(i)))) }
    }
    out += Array("FGCP".utf8)
    put(Checkpoint.version)
    put(lsn)
    put(UInt32(devices.count))
    put(UInt32(0))
    for device in 0..<devices.count {
      if let latest = devices.latestPosition(of: device) {
        put(UInt8(1))
        put(UInt64(bitPattern: latest.fixTimeMs))
        put(UInt64(bitPattern: latest.receiveTimeMs))
        put(UInt32(bitPattern: latest.latitudeE7))
        put(UInt32(bitPattern: latest.longitudeE7))
        put(latest.sequence)
      } else {
        put(UInt8(0))
      }
      for leg in [devices[travelOf: device].live, devices[travelOf: device].backlog] {
        put(leg.repeats)
        for sighting in [leg.anchor, leg.outlier] {
          put(UInt8(sighting == nil ? 0 : 1))
          guard let sighting else { continue }
          put(UInt64(bitPattern: sighting.fixTimeMs))
          put(UInt32(bitPattern: sighting.latitudeE7))
          put(UInt32(bitPattern: sighting.longitudeE7))
          put(sighting.accuracyDm)
        }
      }
      let streams = devices.streamCount(of: device)
      put(UInt16(streams))
      for i in 0..<streams {
        let state = devices[device, i]
        put(state.stream)
        put(state.durable.through)
        put(UInt16(state.durable.above.count))
        for range in state.durable.above {
          put(range.first)
          put(range.last)
        }
      }
    }
    return out
  }

  package init(decoding bytes: [UInt8]) throws(CheckpointError) {
    var at = 0
    func take(_ count: Int) throws(CheckpointError) -> UInt64 {
      guard bytes.count - at >= count else { throw .malformed(offset: at) }
      var value: UInt64 = 0
      for i in 0..<count { value |= UInt64(bytes[at + i]) << UInt64(8 * i) }
      at += count
      return value
    }
    guard bytes.starts(with: Array("FGCP".utf8)) else { throw .malformed(offset: 0) }
    at = 4
    let version = UInt32(try take(4))
    guard version <= Checkpoint.version else { throw .newerVersion(version) }
    guard version >= 1 else { throw .malformed(offset: 4) }
    func sighting(_ isBacklog: Bool) throws(CheckpointError) -> Sighting? {
      guard try take(1) == 1 else { return nil }
      let fixTimeMs = Int64(bitPattern: try take(8))
      let latitudeE7 = Int32(bitPattern: UInt32(try take(4)))
      let longitudeE7 = Int32(bitPattern: UInt32(try take(4)))
      return Sighting(
        fixTimeMs: fixTimeMs, latitudeE7: latitudeE7, longitudeE7: longitudeE7, accuracyDm: UInt32(try take(4)),
        isBacklog: isBacklog)
    }
    func leg(_ isBacklog: Bool) throws(CheckpointError) -> Leg {
      var leg = Leg()
      leg.repeats = UInt32(try take(4))
      leg.anchor = try sighting(isBacklog)
      leg.outlier = try sighting(isBacklog)
      return leg
    }
    let lsn = try take(8)
    let count = Int(try take(4))
    _ = try take(4)
    var devices = DeviceTable()
    for device in 0..<count {
      devices.reserve(through: device)
      if try take(1) == 1 {
        let fixTimeMs = Int64(bitPattern: try take(8))
        let receiveTimeMs = Int64(bitPattern: try take(8))
        let latitudeE7 = Int32(bitPattern: UInt32(try take(4)))
        let longitudeE7 = Int32(bitPattern: UInt32(try take(4)))
        devices.moveLatest(
          of: device,
          to: LatestPosition(
            fixTimeMs: fixTimeMs, receiveTimeMs: receiveTimeMs, latitudeE7: latitudeE7, longitudeE7: longitudeE7,
            sequence: version >= 2 ? try take(8) : 0))
      }
      if version >= 2 {
        devices[travelOf: device].live = try leg(false)
        devices[travelOf: device].backlog = try leg(true)
      }
      for _ in 0..<Int(try take(2)) {
        let stream = UInt32(try take(4))
        let through = try take(8)
        var above: [SequenceRanges.Range] = []
        for _ in 0..<Int(try take(2)) {
          let first = try take(8)
          above.append(.init(first: first, last: try take(8)))
        }
        guard let ranges = SequenceRanges(through: through, above: above),
          let index = devices.open(stream, of: device)
        else { throw .malformed(offset: at) }
        devices[device, index].received = ranges
        devices[device, index].durable = ranges
      }
    }
    guard at == bytes.count else { throw .malformed(offset: at) }
    self.init(lsn: lsn, devices: devices)
  }
}
