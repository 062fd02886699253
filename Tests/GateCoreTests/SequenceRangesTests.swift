import GateCore
import Testing

@Suite struct SequenceRangesTests {
  /// Against a plain set, in a small space so that ranges touch and merge all the time.
  @Test(arguments: Array(UInt64(1)...40))
  func agreesWithASet(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var ranges = SequenceRanges()
    var model = Set<UInt64>()
    let space: UInt64 = seed % 2 == 0 ? 40 : 400
    for _ in 0..<600 {
      switch UInt64.random(in: 0..<10, using: &random) {
      case 0..<7:
        let sequence = UInt64.random(in: 1...space, using: &random)
        check(ranges.insert(sequence), [sequence], &model)
      case 7, 8:
        let first = UInt64.random(in: 1...space, using: &random)
        let last = min(space, first + UInt64.random(in: 0...8, using: &random))
        check(ranges.insert(.init(first: first, last: last)), Array(first...last), &model)
      default:
        if UInt64.random(in: 0..<30, using: &random) == 0 {
          let low = UInt64.random(in: 1...space, using: &random)
          ranges.close(below: low)
          for sequence in 1..<max(low, 2) where sequence < low { model.insert(sequence) }
        }
      }
      #expect(members(ranges, to: space) == model, "seed \(seed)")
      #expect(SequenceRanges(through: ranges.through, above: ranges.above) == ranges)
      let limit = UInt64.random(in: 1...space + 1, using: &random)
      let missing = ranges.holes(below: limit).flatMap { Array($0.first...$0.last) }
      #expect(missing == (1..<max(limit, 1)).filter { !model.contains($0) })
    }
  }

  private func check(_ insertion: SequenceRanges.Insertion, _ added: [UInt64], _ model: inout Set<UInt64>) {
    switch insertion {
    case .new:
      #expect(!Set(added).isSubset(of: model))
      model.formUnion(added)
    case .duplicate: #expect(Set(added).isSubset(of: model))
    case .tooManyRanges: break
    }
  }

  private func members(_ ranges: SequenceRanges, to space: UInt64) -> Set<UInt64> {
    Set((1...space).filter { ranges.contains($0) })
  }

  @Test func holdsNoMoreRangesThanTheBound() {
    var ranges = SequenceRanges()
    for i in 0..<UInt64(Limits.rangesPerStreamMax) { #expect(ranges.insert(10 + 2 * i) == .new) }
    #expect(ranges.insert(5) == .tooManyRanges)
    #expect(!ranges.contains(5))
    #expect(ranges.insert(11) == .new)  // joins two
    #expect(ranges.insert(5) == .new)
    #expect(ranges.insert(1) == .new)  // the mark needs no range
  }

  @Test func reachesTheHighestSequence() {
    var ranges = SequenceRanges()
    #expect(ranges.insert(Limits.sequenceMax) == .new)
    #expect(ranges.insert(Limits.sequenceMax) == .duplicate)
    #expect(ranges.highest == Limits.sequenceMax)
    ranges.close(below: Limits.sequenceMax)
    #expect(ranges.through == Limits.sequenceMax)
  }

  @Test func refusesPartsThatBreakTheInvariant() {
    #expect(SequenceRanges(through: 5, above: [.init(first: 6, last: 7)]) == nil)
    #expect(SequenceRanges(through: 5, above: [.init(first: 8, last: 7)]) == nil)
    #expect(SequenceRanges(through: 5, above: [.init(first: 9, last: 9), .init(first: 10, last: 10)]) == nil)
    #expect(SequenceRanges(through: Limits.sequenceMax + 1, above: []) == nil)
  }
}
