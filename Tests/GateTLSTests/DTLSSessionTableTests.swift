import GateCore
import Testing
import WireVectors

@testable import GateTLS

@Suite struct DTLSSessionTableTests {
  private func live(_ id: UInt64) throws -> LiveSession {
    let key = [UInt8](repeating: UInt8(truncatingIfNeeded: id), count: DTLSSuite.pskAES128CCM8.keyBlockBytes)
    return LiveSession(
      try DTLSSession(suite: .pskAES128CCM8, role: .server, keyBlock: key.span, readConnectionID: ConnectionID(gateway: id)),
      id: id, address: nil, heardS: 0, fileSlot: LiveSession.noSlot)
  }

  /// What a session takes in the table; its keys are 48 bytes more with malloc's own.
  @Test func aSessionIsSmall() {
    #expect(MemoryLayout<LiveSession>.stride <= 160)
  }

  /// Against a dictionary: few numbers, so that chains are long and cut everywhere.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func sameAsADictionary(seed: UInt64) throws {
    var random = Seeded(seed: seed)
    var table = DTLSSessionTable(capacity: 24)
    var expected: [UInt64: Int] = [:]
    for _ in 0..<2_000 {
      // Homes in the last eight entries and the first, so that chains go round the end.
      let id = UInt64(24 + random.below(12)) | UInt64(random.below(4)) << 32
      if let place = expected[id], random.chance(60) {
        table.remove(at: place)
        expected[id] = nil
      } else {
        let place = table.insert(try live(id))
        #expect((place == nil) == (expected[id] != nil || expected.count == 24))
        if let place {
          #expect(place < 24 && !expected.values.contains(place))
          expected[id] = place
        }
      }
      #expect(table.count == expected.count)
      for home in 24..<36 as Range<UInt64> {
        for high in 0..<4 as Range<UInt64> {
          let id = home | high << 32
          #expect(table.place(of: id) == expected[id])
        }
      }
      for (id, place) in expected { #expect(table[place].id == id) }
    }
    var seen: Set<Int> = []
    table.forEach { seen.insert($0) }
    #expect(seen == Set(expected.values))
  }
}
