import GateCore
import Testing

@Suite struct BacklogWindowTests {
  @Test(arguments: [
    (0, 6_000), (500, 6_000), (501, 3_000), (600, 1_500), (800, 375), (999, 93), (1_000, 93), (5_000, 93),
  ])
  func shrinksAsTheJournalFills(used: Int, fixes: Int) {
    #expect(BacklogWindow.fixes(full: 6_000, used: used, limit: 1_000) == fixes)
  }

  @Test func staysABatch() {
    #expect(BacklogWindow.fixes(full: 100, used: 1_000, limit: 1_000) == BacklogWindow.fixesMin)
    #expect(BacklogWindow.fixes(full: 20, used: 1_000, limit: 1_000) == 20)
  }
}
