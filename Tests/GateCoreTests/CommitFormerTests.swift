import GateCore
import Testing

@Suite struct CommitFormerTests {
  private let ms: UInt64 = 1_000_000

  @Test func aLoneRecordIsCommittedAtOnce() {
    var former = CommitFormer(intervalNs: 2 * ms, bytesMax: 1_000)
    #expect(former.due(bytes: 0, at: Instant(ns: 5)) == nil)
    #expect(former.due(bytes: 100, at: Instant(ns: 5)) == Instant(ns: 5))
    former.began(at: Instant(ns: 5))
    let later = Instant(ns: 5 + 2 * ms)
    #expect(former.due(bytes: 100, at: later) == later)
  }

  @Test func underLoadCommitsKeepTheirDistance() {
    var former = CommitFormer(intervalNs: 2 * ms, bytesMax: 1_000)
    former.began(at: Instant(ns: 10))
    #expect(former.due(bytes: 100, at: Instant(ns: 20)) == Instant(ns: 10 + 2 * ms))
    #expect(former.due(bytes: 1_000, at: Instant(ns: 20)) == Instant(ns: 20))
  }
}
