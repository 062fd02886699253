import GateCore
import Testing
import WireVectors

@Suite struct ReplayWindowTests {
  @Test func firstNumbers() {
    var window = ReplayWindow()
    #expect(window.verdict(for: 0) == .newest && window.next == 0)
    window.mark(0)
    #expect(window.verdict(for: 0) == .replayed && window.verdict(for: 1) == .newest)
    window.mark(5)
    #expect(window.verdict(for: 3) == .late && window.next == 6)
    window.mark(3)
    #expect(window.verdict(for: 3) == .replayed && window.verdict(for: 4) == .late && window.next == 6)
  }

  @Test(arguments: [0, 1, 63, 64, 65, 127, 128, 1 << 20, ReplayWindow.numberMax] as [UInt64])
  func allBelowWasSeen(next: UInt64) {
    var window = ReplayWindow(allBelow: next)
    #expect(window.verdict(for: next) == .newest)
    for back in 1...ReplayWindow.width where back <= next { #expect(window.verdict(for: next - back) == .replayed) }
    if next >= 200 { #expect(window.verdict(for: next - 200) == .tooOld) }
    window.mark(min(next + 3, ReplayWindow.numberMax))
    if next + 3 <= ReplayWindow.numberMax { #expect(window.verdict(for: next + 1) == .late) }
    if next > 0 { #expect(window.verdict(for: next - 1) == .replayed) }
  }

  @Test(arguments: [63, 64, 127, 128, 1 << 20, ReplayWindow.numberMax - 64] as [UInt64])
  func aJumpForgetsWhatIsBehind(start: UInt64) {
    var window = ReplayWindow()
    for number in 0..<10 as Range<UInt64> { window.mark(number) }
    window.mark(start)
    #expect(window.verdict(for: start) == .replayed)
    for back in 1...ReplayWindow.width - 1 where back <= start {
      let seen = start - back < 10
      #expect(window.verdict(for: start - back) == (seen ? .replayed : .late))
    }
    if start >= 256 { #expect(window.verdict(for: start - 128) == .tooOld) }
    window.mark(0)
    #expect(window.next == start + 1)
  }

  @Test func theHighestNumber() {
    var window = ReplayWindow()
    window.mark(ReplayWindow.numberMax)
    #expect(window.verdict(for: ReplayWindow.numberMax) == .replayed)
    #expect(window.verdict(for: ReplayWindow.numberMax - 1) == .late)
  }

  /// Against a set of all numbers ever marked.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func agreesWithASet(seed: UInt64) {
    var random = Seeded(seed: seed)
    var window = ReplayWindow()
    var seen: Set<UInt64> = []
    var newest: UInt64 = 0
    for _ in 0..<3_000 {
      let number =
        random.chance(5) ? newest + UInt64(random.below(300)) : UInt64(max(0, Int(newest) + random.below(150) - 140))
      switch window.verdict(for: number) {
      case .newest: #expect(seen.allSatisfy { $0 < number })
      case .late: #expect(!seen.contains(number) && number < newest)
      case .replayed: #expect(seen.contains(number))
      case .tooOld: #expect(newest - number >= ReplayWindow.width)
      }
      guard random.chance(70) else { continue }
      let before = window
      let verdict = window.verdict(for: number)
      window.mark(number)
      if verdict == .newest || verdict == .late { seen.insert(number) } else { #expect(window == before) }
      newest = max(newest, verdict == .newest ? number : 0)
      #expect(window.next == newest + 1)
    }
  }

  @Test func size() { #expect(MemoryLayout<ReplayWindow>.size == 24) }
}
