import GateDevice
import Testing

@Suite struct RangeSet64Tests {
  /// Against an ordinary set, by seed.
  @Test(arguments: 1...30 as ClosedRange<UInt64>)
  func sameAsASet(seed: UInt64) {
    var state = seed
    func random(_ below: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % below
    }
    var ranges = RangeSet64()
    var oracle: Set<UInt64> = []
    for _ in 0..<200 {
      let low = random(60)
      let range = low...low + random(6)
      if random(2) == 0 {
        ranges.insert(range)
        oracle.formUnion(range)
      } else {
        ranges.remove(range)
        oracle.subtract(range)
      }
      #expect(ranges.count == UInt64(oracle.count))
      for value in 0..<70 as Range<UInt64> {
        #expect(ranges.contains(value) == oracle.contains(value))
      }
      for (a, b) in zip(ranges.ranges, ranges.ranges.dropFirst()) { #expect(a.upperBound + 1 < b.lowerBound) }
    }
  }

  @Test func reachesBothEnds() {
    var ranges = RangeSet64()
    ranges.insert(UInt64.max - 1...UInt64.max)
    ranges.insert(0...0)
    ranges.insert(1...1)
    ranges.insert(5...UInt64.max)
    #expect(ranges.ranges == [0...1, 5...UInt64.max])
    ranges.remove(7...UInt64.max)
    #expect(ranges.range(atOrAfter: 2) == 5...6)
    #expect(ranges.range(atOrAfter: 7) == nil)
    ranges.remove(0...6)
    #expect(ranges.isEmpty)
  }
}
