#if PostgreSQL
import ArgumentParser
import BenchLoad
import BenchReport
import BenchSinks
import BenchStages
import Foundation

/// `sinks`: sinks that are servers, against real ones that it starts.
struct SinksCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "sinks", abstract: "How fast PostgreSQL is fed, beside C; with --sick: whether ingest notices a sick sink.")

  @Flag(help: "Ingest beside a second sink that is healthy, stopped, slow and dead, in turn.")
  var sick = false

  @Option(help: "Fixes a round; with --sick, fixes a second of the load that has time.")
  var fixes: Int?

  @Option(help: "Devices that they come from.")
  var devices: Int?

  @Option(help: "Rows in a transaction.")
  var batchRows = 20_000

  @Option(help: "Seconds that each load is measured, with --sick.")
  var seconds = 6.0

  @Option(help: "Rounds; the medians are compared.")
  var rounds = 5

  @Option(help: "Folder on the disk to use. The user of the server, postgres, must be able to enter it.")
  var folder = "/tmp"

  @Option(help: "Write the results as JSON into this file.")
  var json: String?

  func validate() throws {
    guard rounds >= 1, batchRows >= 1, seconds > 0, fixes ?? 1 >= 1, devices ?? 1 >= 1 else {
      throw ValidationError("There is one of everything at least.")
    }
  }

  func run() throws {
    let loadAverage = LoadMachine.loadAverage
    let cluster = try TemporaryCluster(in: folder)
    guard sick else {
      let stage = try PostgresStage.make(cluster, fixes: fixes ?? 200_000, devices: devices ?? 1_000, batchRows: batchRows)
      let result = try stage.run(rounds: rounds)
      print(Micro.text(result))
      if let json { try Results(stages: [result], folder: folder, loadAverage: loadAverage).write(to: json) }
      return
    }
    try cluster.makeTables()
    var parameters = Case.Parameters()
    parameters.transport = "tls"
    parameters.devices = devices ?? 200
    parameters.batch = 1
    parameters.inFlight = 1
    parameters.offered = Double(fixes ?? 5_000)
    parameters.seconds = seconds
    parameters.warmUpS = 2
    parameters.workers = 1
    let outcomes = try SickSinks(cluster, parameters, in: folder) { print($0) }.run(rounds: rounds)
    print("\n" + SickSinks.table(outcomes))
    guard let json else { return }
    try Results(cases: outcomes.flatMap { [$0.most, $0.offered] }, folder: folder, loadAverage: loadAverage).write(to: json)
  }
}
#endif
