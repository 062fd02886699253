import BenchReport
import Testing

@Suite struct ComparisonTests {
  private func judge(_ before: [Double], _ after: [Double], _ better: Metric.Better = .lower) -> Comparison.Outcome {
    Comparison.judge(Spread(before)!, Spread(after)!, better).0
  }

  @Test func rangesThatOverlapAreNoise() {
    #expect(judge([10, 12, 14], [13, 15, 17]) == .same)
    #expect(judge([10, 12, 14], [14, 15, 17]) == .same)
  }

  @Test func rangesApartAreAMove() {
    #expect(judge([10, 11, 12], [13, 14, 15]) == .worse)
    #expect(judge([10, 11, 12], [7, 8, 9]) == .better)
    #expect(judge([10, 11, 12], [7, 8, 9], .higher) == .worse)
    #expect(judge([10, 11, 12], [13, 14, 15], .higher) == .better)
    #expect(judge([10, 11, 12], [13, 14, 15], .neither) == .moved)
  }

  @Test func aMoveThatIsTooSmallIsNone() {
    #expect(judge([100, 100, 100], [101, 101, 101]) == .same)
    #expect(judge([100, 100, 100], [102, 102, 102]) == .worse)
    #expect(judge([0, 0, 0], [0, 0, 0]) == .same)
    #expect(judge([0, 0, 0], [1, 1, 1]) == .worse)
  }

  @Test func twoRunsAreTooFewToTell() {
    #expect(judge([10, 10], [20, 20]) == .unsure)
    #expect(judge([10, 10, 10], [20]) == .unsure)
    #expect(judge([10], [10]) == .same)
  }

  @Test func casesAreMatchedByName() throws {
    let machine = Machine(
      cpu: "", cpus: 2, memoryBytes: 0, kernel: "", fileSystem: "", swift: "", tls: "", loadAverage: 0)
    func results(_ name: String, _ values: [Double]) -> Results {
      let runs = values.map { Run(figures: [.cpuPerMillion: $0]) }
      return Results(
        command: "", date: "", commit: "", machine: machine,
        cases: [Case(name: name, subject: "fixgate", kind: .saturation, parameters: Case.Parameters(), runs: runs)])
    }
    let comparison = try Comparison(results("a", [14, 15, 16]), results("a", [10, 11, 12]))
    #expect(comparison.rows.map(\.outcome) == [.better])
    #expect(abs(comparison.rows[0].change + 4.0 / 15) < 1e-9)
    #expect(throws: ReportError.nothingInCommon) { try Comparison(results("a", [1]), results("b", [1])) }
  }

  @Test func spreadsHaveTheMiddle() {
    #expect(Spread([]) == nil)
    #expect(Spread([3, 1, 2])!.median == 2)
    #expect(Spread([4, 1, 2, 3])!.median == 2.5)
    #expect(Spread([4, 1, 2, 3])!.least == 1 && Spread([4, 1, 2, 3])!.most == 4)
  }

  @Test func aGeneratorIsLateBeyondAMillisecondAndATenthOfTheLatency() {
    #expect(!Lateness.isLate(lagP99Ms: 0.9, latencyP99Ms: 1))
    #expect(Lateness.isLate(lagP99Ms: 1.1, latencyP99Ms: 5))
    #expect(!Lateness.isLate(lagP99Ms: 1.1, latencyP99Ms: 20))
  }
}

@Suite struct KneeTests {
  private func load(_ offered: Double, acked: Double, p99: Double) -> Case {
    var parameters = Case.Parameters()
    parameters.offered = offered
    return Case(
      name: "\(offered)", subject: "fixgate", kind: .offered, parameters: parameters,
      runs: [Run(figures: [.fixesPerSecond: acked, .p99: p99])])
  }

  @Test func itIsTheLastLoadThatWasKeptUpWith() {
    let loads = [load(3_000, acked: 2_500, p99: 4), load(1_000, acked: 1_000, p99: 2), load(2_000, acked: 1_990, p99: 3)]
    #expect(Knee.find(loads) == 2_000)
  }

  @Test func slowIsNotKeptUp() {
    #expect(Knee.find([load(1_000, acked: 1_000, p99: 2), load(2_000, acked: 2_000, p99: 21)]) == 1_000)
  }

  @Test func aLaterLoadThatHappensToFitDoesNotCount() {
    let loads = [load(1, acked: 1, p99: 1), load(2, acked: 1, p99: 1), load(3, acked: 3, p99: 1)]
    #expect(Knee.find(loads) == 1)
  }

  @Test func withoutLoadsThereIsNone() {
    #expect(Knee.find([]) == nil)
    #expect(Knee.find([load(1_000, acked: 500, p99: 2)]) == nil)
  }
}
