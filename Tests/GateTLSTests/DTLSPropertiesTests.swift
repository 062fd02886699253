import DTLSProperties
import Testing
import WireVectors

/// The fuzzers' properties under random steps; their corpora are replayed by GatewayTests.
@Suite struct DTLSPropertiesTests {
  private func input(_ seed: UInt64) -> [UInt8] {
    var random = Seeded(seed: seed)
    return (0..<4 * random.below(24)).map { _ in
      // Zeros are frequent: a step that changes nothing is a good datagram, a slot as it was.
      random.chance(30) ? 0 : UInt8(random.below(256))
    }
  }

  @Test(arguments: 1...100 as ClosedRange<UInt64>) func datagrams(seed: UInt64) { DatagramProperties.check(input(seed)) }
  @Test(arguments: 1...300 as ClosedRange<UInt64>) func slots(seed: UInt64) { SlotProperties.check(input(seed)) }
}
