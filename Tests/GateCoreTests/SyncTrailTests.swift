import GateCore
import Testing

@Suite struct SyncTrailTests {
  private func mark(_ lsn: UInt64, at seconds: UInt64) -> SyncTrail.Mark {
    SyncTrail.Mark(lsn: lsn, sequence: lsn * 2, ackedAt: Instant(ns: seconds * 1_000_000_000))
  }

  private func settled(_ trail: SyncTrail, at seconds: UInt64) -> UInt64? {
    trail.settled(at: Instant(ns: seconds * 1_000_000_000))?.lsn
  }

  @Test func whatWasAckedLongEnoughAgoIsSettled() {
    var trail = SyncTrail(intervalNs: 120_000_000_000)
    #expect(trail.newest == nil && settled(trail, at: 1_000) == nil)
    for (lsn, second) in [(10, 0), (20, 5), (30, 100)] as [(UInt64, UInt64)] { trail.append(mark(lsn, at: second)) }
    #expect(trail.newest?.lsn == 30)
    #expect(settled(trail, at: 119) == nil)
    #expect(settled(trail, at: 120) == 10)
    #expect(settled(trail, at: 219) == 20)
    trail.settle(mark(20, at: 5))
    #expect(settled(trail, at: 219) == nil && settled(trail, at: 220) == 30 && trail.newest?.lsn == 30)
    trail.settle(mark(30, at: 100))
    // Nothing more to settle; the newest is still the one that the next follows.
    #expect(settled(trail, at: 9_999) == nil && trail.newest?.lsn == 30)
  }

  @Test func anIntervalOfNothingSettlesAtOnce() {
    var trail = SyncTrail(intervalNs: 0)
    trail.append(mark(7, at: 3))
    #expect(settled(trail, at: 3) == 7)
  }

  /// Marks close to each other are one, and their number is bounded however long nothing settles; the newest is known.
  @Test func itIsBounded() {
    var trail = SyncTrail(intervalNs: 1_000_000_000_000)
    for lsn in 1...5_000 as ClosedRange<UInt64> { trail.append(mark(lsn, at: lsn)) }
    #expect(trail.newest?.lsn == 5_000)
    #expect(settled(trail, at: 1_001) == 1)
    // One in four seconds, and the one in the last place is as new as it says.
    #expect(settled(trail, at: 2_000) == 997)
    #expect(settled(trail, at: 5_999) == 4_089 && settled(trail, at: 6_000) == 5_000)
  }
}
