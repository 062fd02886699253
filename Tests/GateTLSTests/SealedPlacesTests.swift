import GateCore
import GateTLS
import Testing

/// Two devices: the first was with subject 1 live, and with subject 2 in its backlog; nobody carried the second.
private func table() -> DeviceTable {
  var devices = DeviceTable()
  for device in 0..<2 {
    let stream = devices.open(7, of: device)!
    _ = devices[device, stream].received.insert(.init(first: 1, last: 9))
    devices[device, stream].durable = devices[device, stream].received
  }
  devices.moveLatest(
    of: 0,
    to: LatestPosition(
      fixTimeMs: 5, receiveTimeMs: 6, latitudeE7: 0x1111_2222, longitudeE7: 0x3333_4444, sequence: 9, subject: 1))
  devices[travelOf: 0].live = Leg(subject: 1)
  devices[travelOf: 0].live.anchor = place(0x1111_2222, 0x3333_4444)
  devices[travelOf: 0].live.outlier = place(0x1111_2223, 0x3333_4445)
  devices[travelOf: 0].backlog = Leg(subject: 2)
  devices[travelOf: 0].backlog.anchor = place(0x5555_6666, 0x7777_8888)
  devices[travelOf: 0].backlog.repeats = 3
  devices[travelOf: 1].live.anchor = place(0x2121_3232, 0x4343_5454)
  return devices
}

private func place(_ latitudeE7: Int32, _ longitudeE7: Int32) -> Sighting {
  Sighting(fixTimeMs: 5, latitudeE7: latitudeE7, longitudeE7: longitudeE7, accuracyDm: 4, isBacklog: latitudeE7 == 0x5555_6666)
}

private let positions: [[UInt8]] = [
  [0x22, 0x22, 0x11, 0x11, 0x44, 0x44, 0x33, 0x33], [0x23, 0x22, 0x11, 0x11], [0x66, 0x66, 0x55, 0x55],
  [0x32, 0x32, 0x21, 0x21],
]

private func holder(without lost: KeyOwner? = nil) -> SubjectKeyHolder {
  let owners: [KeyOwner] = [.subject(1), .subject(2), .device(0), .device(1)]
  return SubjectKeyHolder(
    SubjectKeyRing(
      owners.enumerated().filter { $1 != lost }.map { index, owner in
        .init(
          number: UInt64(index + 1), owner: owner, isRetired: false,
          key: [UInt8](repeating: UInt8(index + 7), count: SubjectKeyRing.keyBytes))
      }, erased: lost.map { [$0: [.min ... .max]] } ?? [:], highest: 4))
}

private func sealed(_ cipher: RingCipher) -> [UInt8] {
  Checkpoint.sealed(Checkpoint(lsn: 42, devices: table()).encoded(), with: cipher, nonce: .init(high: 1, low: .max))
}

@Suite struct SealedPlacesTests {
  @Test func placesOpenAsTheyWereAndCannotBeRead() throws {
    let cipher = try RingCipher(holder())
    let readable = Checkpoint(lsn: 42, devices: table()).encoded()
    let bytes = sealed(cipher)
    for position in positions {
      #expect(readable.contains(position) && !bytes.contains(position))
    }
    let back = try Checkpoint(decoding: bytes, with: cipher)
    #expect(back.lsn == 42 && back.devices == table() && !back.wasReadable)
    #expect(try Checkpoint(decoding: readable, with: cipher).wasReadable)
  }

  /// What lies under a shredded key is forgotten, on the way to the disk as on the way back; marks and all others stay.
  @Test(arguments: [true, false]) func aShreddedKeyTakesItsPlacesAlone(beforeWriting: Bool) throws {
    let shredded = try RingCipher(holder(without: .subject(1)))
    let bytes = sealed(beforeWriting ? shredded : try RingCipher(holder()))
    let back = try Checkpoint(decoding: bytes, with: shredded).devices
    #expect(back.latestPosition(of: 0) == nil && back[travelOf: 0].live == Leg())
    #expect(back[travelOf: 0].backlog == table()[travelOf: 0].backlog && back[travelOf: 1] == table()[travelOf: 1])
    #expect(back[0, 0] == table()[0, 0] && back[1, 0] == table()[1, 0])
  }

  @Test func withoutKeysTheMarksAreThere() throws {
    let back = try Checkpoint(decoding: sealed(RingCipher(holder()))).devices
    #expect(back.latestPosition(of: 0) == nil && back[travelOf: 0] == Travel() && back[travelOf: 1] == Travel())
    #expect(back[0, 0] == table()[0, 0] && back[1, 0] == table()[1, 0])
  }

  /// A changed byte of a place forgets that place or names the file damaged: it never makes another place.
  @Test func aChangedPlaceIsNone() throws {
    let cipher = try RingCipher(holder())
    let bytes = sealed(cipher)
    let whole = table()
    for at in 24..<bytes.count - 2 * 20 {
      var changed = bytes
      changed[at] ^= 1
      guard let back = try? Checkpoint(decoding: changed, with: cipher).devices else { continue }
      for device in 0..<2 {
        let latest = back.latestPosition(of: device)
        #expect(latest == nil || latest == whole.latestPosition(of: device), "byte \(at)")
        #expect([Leg(), whole[travelOf: device].live].contains(back[travelOf: device].live), "byte \(at)")
        #expect([Leg(), whole[travelOf: device].backlog].contains(back[travelOf: device].backlog), "byte \(at)")
      }
    }
    for length in 0..<bytes.count {
      #expect(throws: CheckpointError.self) { try Checkpoint(decoding: Array(bytes.prefix(length)), with: cipher) }
    }
  }

  /// Version 2 did not say whose a place was, so nobody's key fits: with keys it is forgotten.
  @Test func placesOfAnOlderVersionAreForgottenWhereThereAreKeys() throws {
    var bytes: [UInt8] = Array("FGCP".utf8) + [2, 0, 0, 0]
    bytes += [42, 0, 0, 0, 0, 0, 0, 0] + [1, 0, 0, 0] + [0, 0, 0, 0]
    bytes += [1] + [5, 0, 0, 0, 0, 0, 0, 0] + [6, 0, 0, 0, 0, 0, 0, 0] + [7, 0, 0, 0] + [8, 0, 0, 0] + [9, 0, 0, 0, 0, 0, 0, 0]
    let anchor: [UInt8] = [1] + [5, 0, 0, 0, 0, 0, 0, 0] + [7, 0, 0, 0] + [8, 0, 0, 0] + [4, 0, 0, 0]
    bytes += [2, 0, 0, 0] + anchor + [0] + [0, 0, 0, 0] + [0] + [0]
    bytes += [1, 0] + [77, 0, 0, 0] + [3, 0, 0, 0, 0, 0, 0, 0] + [0, 0]
    let old = try Checkpoint(decoding: bytes)
    #expect(old.wasReadable && old.devices.latestPosition(of: 0)?.latitudeE7 == 7)
    #expect(old.devices[travelOf: 0].live.anchor?.latitudeE7 == 7 && old.devices[travelOf: 0].live.repeats == 2)
    let back = try Checkpoint(decoding: bytes, with: RingCipher(holder()))
    #expect(back.wasReadable && back.devices.latestPosition(of: 0) == nil && back.devices[travelOf: 0] == Travel())
    #expect(back.devices[0, 0].durable.through == 3)
  }
}
