import GateCore
import Testing

@Suite struct CheckpointTests {
  private func table() -> DeviceTable {
    var devices = DeviceTable()
    for device in 0..<5 where device != 2 {
      for stream in 0..<UInt32(device + 1) {
        let index = devices.open(stream * 77, of: device)!
        _ = devices[device, index].received.insert(.init(first: 1, last: UInt64(device + 1)))
        _ = devices[device, index].received.insert(UInt64(50 + device))
        devices[device, index].durable = devices[device, index].received
      }
      devices.moveLatest(
        of: device, to: LatestPosition(fixTimeMs: -5, receiveTimeMs: 6, latitudeE7: -7, longitudeE7: 8, sequence: 9))
      if device > 0 {
        let place = Sighting(fixTimeMs: -1, latitudeE7: -2, longitudeE7: 3, accuracyDm: 4)
        devices[travelOf: device].live.anchor = place
        devices[travelOf: device].live.repeats = 5
        devices[travelOf: device].live.outlier = device > 1 ? place : nil
      }
    }
    return devices
  }

  @Test func comesBackAsItWas() throws {
    let bytes = Checkpoint(lsn: 42, devices: table()).encoded()
    let back = try Checkpoint(decoding: bytes)
    #expect(back.lsn == 42 && back.devices == table())
  }

  @Test func everyCutIsRefused() {
    let bytes = Checkpoint(lsn: 42, devices: table()).encoded()
    for length in 0..<bytes.count {
      #expect(throws: CheckpointError.self) { try Checkpoint(decoding: Array(bytes.prefix(length))) }
    }
    #expect(throws: CheckpointError.malformed(offset: bytes.count)) { try Checkpoint(decoding: bytes + [0]) }
  }

  /// As version 1 wrote it: one device with a latest position and one stream.
  @Test func anOlderVersionIsRead() throws {
    var bytes: [UInt8] = Array("FGCP".utf8) + [1, 0, 0, 0]
    bytes += [42, 0, 0, 0, 0, 0, 0, 0] + [1, 0, 0, 0] + [0, 0, 0, 0]
    bytes += [1] + [5, 0, 0, 0, 0, 0, 0, 0] + [6, 0, 0, 0, 0, 0, 0, 0] + [7, 0, 0, 0] + [8, 0, 0, 0]
    bytes += [1, 0] + [77, 0, 0, 0] + [3, 0, 0, 0, 0, 0, 0, 0] + [0, 0]
    let back = try Checkpoint(decoding: bytes)
    #expect(back.lsn == 42 && back.devices[0, 0].durable.through == 3)
    #expect(
      back.devices.latestPosition(of: 0)
        == LatestPosition(fixTimeMs: 5, receiveTimeMs: 6, latitudeE7: 7, longitudeE7: 8))
  }

  @Test func aNewerVersionIsNamed() {
    var bytes = Checkpoint(lsn: 1, devices: DeviceTable()).encoded()
    bytes[4] = 9
    #expect(throws: CheckpointError.newerVersion(9)) { try Checkpoint(decoding: bytes) }
  }
}
