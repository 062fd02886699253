#if PostgreSQL
import BenchFleet
import BenchLoad
package import BenchReport
import GatePostgres

/// How ingest fares beside a second sink that is well, and beside one that is not: the same loads, in turn. The embedded store
/// is the first sink of each.
package struct SickSinks {
  package enum State: String, CaseIterable, Sendable {
    /// There is no second sink.
    case none
    case healthy
    /// It has stopped in the middle and answers nothing (SIGSTOP).
    case stopped
    /// Each transaction takes two seconds more.
    case slow
    /// Nobody listens.
    case dead

    fileprivate var isSick: Bool { self != .none && self != .healthy }
  }

  /// A state's runs under both loads.
  package struct Outcome {
    package let state: State
    /// As fast as it goes, and at a rate that leaves it time.
    package var most: Case
    package var offered: Case

    fileprivate var rate: Double { most.spread(.fixesPerSecond)?.median ?? 0 }
    fileprivate var p99: Double { offered.spread(.p99)?.median ?? .infinity }
  }

  /// How much worse a sick sink may make it.
  private static let worse = 0.15

  private let cluster: TemporaryCluster
  private let parameters: Case.Parameters
  private let folder: String
  private let tell: (String) -> Void

  /// - Parameter parameters: `offered` is the rate of the open loop.
  package init(
    _ cluster: TemporaryCluster, _ parameters: Case.Parameters, in folder: String, tell: @escaping (String) -> Void
  ) {
    (self.cluster, self.parameters, self.folder, self.tell) = (cluster, parameters, folder, tell)
  }

  package func run(rounds: Int) throws -> [Outcome] {
    let fixes = try LoadBench.fixes(track: nil)
    var bench = LoadBench(folder: folder, fixes: fixes, tell: tell)
    var saturated = parameters
    saturated.offered = nil
    var outcomes = State.allCases.map { state in
      Outcome(
        state: state,
        most: Case(name: "saturation, sink: \(state.rawValue)", subject: "fixgate", kind: .saturation, parameters: saturated, runs: []),
        offered: Case(name: "offered, sink: \(state.rawValue)", subject: "fixgate", kind: .offered, parameters: parameters, runs: []))
    }
    for round in 1...rounds {
      for (index, outcome) in outcomes.enumerated() {
        for kind in [Case.Kind.saturation, .offered] {
          let one = kind == .saturation ? outcome.most : outcome.offered
          try make(outcome.state)
          let run = try bench.perform(LoadBench.Work(one.name, kind, one.parameters), seed: UInt64(round)) { enrolment in
            try FixgateServer(
              enrolment, in: folder, transport: .tls, workers: parameters.workers, fixes: fixes,
              beside: outcome.state == .none ? nil : ("warehouse", cluster.sink))
          }
          try cure(outcome.state)
          tell("round \(round) of \(rounds), \(one.name): \(LoadTable.line(run))")
          if kind == .saturation { outcomes[index].most.runs.append(run) } else { outcomes[index].offered.runs.append(run) }
        }
      }
    }
    return outcomes
  }

  // MARK: The server's states

  private func make(_ state: State) throws {
    try cluster.connect().run(
      """
      TRUNCATE fixgate.fix, fixgate.latest, fixgate.cursor, fixgate.quarantine, fixgate.refused, fixgate.gap; CHECKPOINT
      """)
    switch state {
    case .none, .healthy: break
    case .stopped: cluster.freeze()
    case .slow:
      try cluster.connect().run(
        """
        CREATE FUNCTION fixgate.drag() RETURNS trigger LANGUAGE plpgsql AS 'BEGIN PERFORM pg_sleep(2); RETURN NULL; END';
        CREATE TRIGGER drag AFTER INSERT ON fixgate.fix FOR EACH STATEMENT EXECUTE FUNCTION fixgate.drag()
        """)
    case .dead: cluster.kill9()
    }
  }

  private func cure(_ state: State) throws {
    switch state {
    case .none, .healthy: break
    case .stopped: cluster.wake()
    case .slow: try cluster.connect().run("DROP FUNCTION fixgate.drag CASCADE")
    case .dead: try cluster.start()
    }
  }

  // MARK: What became of it

  package static func table(_ outcomes: [Outcome]) -> String {
    guard let healthy = outcomes.first(where: { $0.state == .healthy }) else { return "" }
    var lines = [
      "| second sink | acked fixes/s | to healthy | ack p99 ms at \(Metric.number(healthy.offered.parameters.offered ?? 0))/s | to healthy | |",
      "|---|---|---|---|---|---|",
    ]
    for outcome in outcomes {
      let rate = outcome.rate / healthy.rate
      let latency = outcome.p99 / healthy.p99
      let isGood = rate >= 1 - worse && latency <= 1 + worse
      let verdict = outcome.state.isSick ? isGood ? "reached" : "MISSED" : ""
      lines.append(
        "| \(outcome.state.rawValue) | \(range(outcome.most, .fixesPerSecond)) | \(Metric.number(rate))x | "
          + "\(range(outcome.offered, .p99)) | \(Metric.number(latency))x | \(verdict) |")
    }
    return lines.joined(separator: "\n")
  }

  private static func range(_ one: Case, _ metric: Metric) -> String {
    guard let spread = one.spread(metric) else { return "-" }
    return "\(Metric.number(spread.median)) (\(Metric.number(spread.least)) to \(Metric.number(spread.most)))"
  }
}
#endif
