import BenchFleet
import BenchReport

/// A tiny load whose counts are held against bounds that the machine's speed does not move.
package enum LoadSmoke {
  /// Connections are lost and made anew meanwhile; `LoadRun` itself fails unless every acked fix is in the gateway once.
  /// - Throws: `.outOfBounds`.
  package static func run(transport: String, in folder: String) throws {
    var parameters = Case.Parameters()
    parameters.transport = transport
    parameters.devices = 20
    parameters.batch = 10
    parameters.offered = 5_000
    parameters.reconnectsPerSecond = 20
    parameters.storm = 10
    (parameters.warmUpS, parameters.seconds) = (0.2, 1)
    var bench = LoadBench(folder: folder, fixes: try LoadBench.fixes(track: nil)) { _ in }
    let run = try bench.run([LoadBench.Work("smoke", .offered, parameters)], runs: 1)[0].runs[0]
    let isTLS = transport == "tls"
    // TCP 1, TLS 1, the fixes beside Finished 1; over UDP cookie 1, handshake 2, fixes 1.
    try equal(run, .roundTrips, isTLS ? 3 : 4)
    try equal(run, .unanswered, 0)
    try equal(run, .refused, 0)
    // A tenth of: a message, its ack, and over TCP the ack's ack; and what 30 reconnections take.
    try most(run, .packets, isTLS ? 0.9 : 0.5)
    try most(run, .wireUp, isTLS ? 75 : 45)
    try most(run, .wireDown, isTLS ? 75 : 25)
    // A connection that is lost before its ticket has come is made anew by a full handshake.
    guard (run.figures[isTLS ? .resumedShare : .moves] ?? 0) >= 0.5 else {
      throw LoadError.outOfBounds("devices that lose their connection do not come back cheaply")
    }
  }

  private static func equal(_ run: Run, _ metric: Metric, _ value: Double) throws(LoadError) {
    let found = run.figures[metric]
    guard found == value else { throw .outOfBounds("\(metric.title): \(found.map(Metric.number) ?? "none"), must be \(Metric.number(value))") }
  }

  private static func most(_ run: Run, _ metric: Metric, _ bound: Double) throws(LoadError) {
    guard let value = run.figures[metric], value <= bound else {
      throw .outOfBounds("\(metric.title): \(run.figures[metric].map(Metric.number) ?? "none"), at most \(Metric.number(bound))")
    }
  }
}

package enum LoadError: Error, Equatable {
  /// A count is not what it must be.
  case outOfBounds(String)
}
