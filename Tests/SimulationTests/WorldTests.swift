import GateSim
import Testing

/// The whole pipeline under faults. A failure names its seed: FIXGATE_SEED=... repeats it, here and with `fixgate-sim`,
/// which also tells what happened.
@Suite struct WorldTests {
  /// 600 worlds, in parts that may run side by side; `fixgate-sim` runs millions.
  @Test(arguments: 0..<12 as Range<UInt64>) func everyPromiseHolds(part: UInt64) {
    let seeds = Seeds.fromEnvironment.map { $0..<$0 + 1 } ?? part * 50 + 1..<part * 50 + 51
    if Seeds.fromEnvironment != nil, part > 0 { return }
    for seed in seeds {
      let outcome = World(seed: seed).run()
      #expect(outcome.violation == nil, "repeat with FIXGATE_SEED=\(seed)")
    }
  }

  @Test(arguments: [1, 2, 3, 6, 7, 16, 43, 48, 199, 978, 1506] as [UInt64]) func seedDecidesEverything(seed: UInt64) {
    #expect(World(seed: seed).run() == World(seed: seed).run())
  }

  /// Seeds that found something.
  @Test(arguments: [21, 211, 584, 803, 1999, 2064, 2387, 25060, 1_075_625, 2_002_075, 2_006_793, 2_028_252] as [UInt64]) func staysMended(seed: UInt64) {
    #expect(World(seed: seed).run().violation == nil, "repeat with FIXGATE_SEED=\(seed)")
  }

  /// The worlds are not so harsh, or so tame, that nothing is left to check.
  @Test func worldsSeeAllOfIt() {
    var sum = Tally()
    for seed in 10_000..<10_080 as Range<UInt64> { sum += World(seed: seed).run().tally }
    #expect(sum.acked > 1_000 && sum.crashes > 20 && sum.duplicates > 100)
    #expect(sum.refused > 100 && sum.renumbered > 5 && sum.failedStarts > 10)
    #expect(sum.datagramHandshakes > 20 && sum.moves > 0)
    #expect(sum.resumed > 10 && sum.sessionsKept > 5)
    #expect(sum.cutsUnsynced > 0 && sum.crashesInHandshake > 0)
    #expect(sum.erasuresDone > 5 && sum.refusedErased > 20 && sum.refusedOffDuty > 50)
  }
}
