import GateCore
import GateTLS
import Testing

/// Keys are found by number and by owner, however many numbers are missing.
@Suite struct SubjectKeyRingTests {
  /// Each number that is drawn has a key whose bytes tell it.
  private static func ring(_ numbers: [UInt64]) -> SubjectKeyRing {
    SubjectKeyRing(
      numbers.map { number in
        .init(
          number: number, owner: .device(UInt32(number)), isRetired: false,
          key: (0..<SubjectKeyRing.keyBytes).map { UInt8(truncatingIfNeeded: number >> (8 * UInt64($0 % 8))) })
      }, highest: numbers.max() ?? 0)
  }

  private static func copied(_ number: UInt64, of ring: SubjectKeyRing) -> UInt64? {
    var bytes = [UInt8](repeating: 0, count: SubjectKeyRing.keyBytes)
    var room = bytes.mutableSpan
    return ring.copy(number, to: &room, at: 0) ? bytes.span.load64(at: 0) : nil
  }

  @Test(arguments: [
    [1, 2, 3, 4, 5], [7], [], [3, 4, 9, 10, 11, 30], [2, 4, 6, 8, 10, 12, 14, 16], [1, 1_000, 1_001, 5_000], [5, 3, 9, 1],
  ] as [[UInt64]])
  func everyKeyIsFoundAndNoOther(_ numbers: [UInt64]) {
    let ring = SubjectKeyRingTests.ring(numbers)
    for number in 0...5_002 as ClosedRange<UInt64> {
      #expect(SubjectKeyRingTests.copied(number, of: ring) == (numbers.contains(number) ? number : nil))
      #expect(ring.key(of: .device(UInt32(number))) == (numbers.contains(number) ? number : nil))
    }
    #expect(SubjectKeyRingTests.copied(.max, of: ring) == nil)
  }

  @Test func theLastKeyThatIsNotRetiredIsInForce() {
    let key = [UInt8](repeating: 1, count: SubjectKeyRing.keyBytes)
    let ring = SubjectKeyRing(
      [
        .init(number: 1, owner: .subject(3), isRetired: true, key: key),
        .init(number: 2, owner: .subject(3), isRetired: false, key: key),
        .init(number: 3, owner: .subject(4), isRetired: true, key: key),
        .init(number: 5, owner: .device(3), isRetired: false, key: key),
      ], highest: 5)
    #expect(ring.key(of: .subject(3)) == 2)
    #expect(ring.key(of: .subject(4)) == nil)
    #expect(ring.key(of: .device(3)) == 5)
    #expect(ring.key(of: .device(4)) == nil && ring.key(of: .subject(0)) == nil)
  }
}
