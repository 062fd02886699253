package import ArgumentParser
import BenchReport

/// `sweep`: everything that the report shows.
package struct SweepCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "sweep",
    abstract: "Load a gateway from light to past the knee, in several batch sizes, and with idle connections.",
    discussion: """
      A closed loop finds what goes at most; open loops then offer shares of that. 'fixgate-bench report' makes a page of it.
      """)

  @OptionGroup var options: LoadOptions

  @Option(help: "Fixes in a message of the saturation cases; the first is also that of the offered loads. May be repeated.")
  var batch = [1, 10, 60]

  @Option(help: "Offered load as a share of the closed loop's rate; may be repeated.")
  var share = [0.05, 0.1, 0.2, 0.4, 0.6, 0.75, 0.9, 1.05, 1.2]

  @Option(help: "Devices of further saturation cases with the first batch: what a fix costs in fleets of several sizes. May be repeated.")
  var fleet: [Int] = []

  @Option(help: "Idle connections; may be repeated.")
  var idle = [1_000, 2_000, 5_000, 10_000]

  package init() {}

  package func validate() throws {
    guard !batch.isEmpty, batch.allSatisfy({ (1...1_000).contains($0) }) else {
      throw ValidationError("A message holds 1 to 1,000 fixes.")
    }
    guard share.allSatisfy({ $0 > 0 }), (idle + fleet).allSatisfy({ $0 > 1 }) else { throw ValidationError("Loads are above 0.") }
  }

  package func run() throws {
    let loadAverage = LoadMachine.loadAverage
    var bench = LoadBench(folder: options.folder, fixes: try LoadBench.fixes(track: options.track)) { print($0) }
    var cases = try bench.run(saturation, runs: options.runs)
    try bench.count(&cases)
    guard let most = cases[0].spread(.fixesPerSecond)?.median else { return }
    cases += try bench.run(offered(most: most) + fleets + connected, runs: options.runs)
    print("\n" + LoadTable.overview(cases))
    for one in cases where one.kind != .offered { print(LoadTable.text(one)) }
    let results = Results(cases: cases, folder: options.folder, loadAverage: loadAverage)
    if let knee = Knee.find(results.cases) { print("\nknee: \(Metric.number(knee)) fixes/s") }
    if let json = options.json { try results.write(to: json) }
  }

  private var saturation: [LoadBench.Work] { batch.map { saturated(devices: options.devices, batch: $0) } }
  private var fleets: [LoadBench.Work] { fleet.map { saturated(devices: $0, batch: batch[0]) } }

  private func saturated(devices: Int, batch: Int) -> LoadBench.Work {
    var parameters = options.parameters
    parameters.devices = devices
    parameters.batch = batch
    return LoadBench.Work("saturation, \(devices) devices, batch \(batch)", .saturation, parameters)
  }

  private func offered(most: Double) -> [LoadBench.Work] {
    share.map { share in
      var parameters = options.parameters
      parameters.batch = batch[0]
      parameters.offered = (most * share / 10).rounded() * 10
      return LoadBench.Work("offered, \(Int((share * 100).rounded())) % of saturation", .offered, parameters)
    }
  }

  private var connected: [LoadBench.Work] {
    idle.map { devices in
      var parameters = options.parameters
      parameters.devices = devices
      return LoadBench.Work("idle, \(devices) devices", .idle, parameters)
    }
  }
}
