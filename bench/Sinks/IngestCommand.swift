import ArgumentParser
import BenchFleet
import BenchLoad
import BenchReport
import Foundation
import GatePostgres

/// Whether ingest notices how its second sink fares: the same saturating load, in turn, with PostgreSQL taking all, paused, slow
/// (its table is locked nine tenths of the time) and dead (nobody listens). The embedded store is the first sink in each.
struct IngestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "ingest", abstract: "Rate and p99 of acks with a sink healthy, stopped, slow and dead, in turn.")

  enum State: String, CaseIterable { case healthy, stopped, slow, dead }

  @OptionGroup var options: ServerOptions
  @Option(help: "Devices.") var devices = 200
  @Option(help: "Fixes in a message.") var batch = 10
  @Option(help: "Seconds that are measured.") var seconds = 6.0
  @Option(help: "Rounds; the medians are compared.") var rounds = 3
  @Option(help: "Folder on the disk to use.") var folder = "."

  func run() throws {
    let connection = try options.connect()
    let fixes = try LoadBench.fixes(track: nil)
    let password = NSTemporaryDirectory() + "fixgate-bench-password"
    try Data((options.password ?? "").utf8).write(to: URL(filePath: password))
    defer { try? FileManager.default.removeItem(atPath: password) }
    var enrolments: [State: Enrolment] = [:]
    for state in State.allCases {
      enrolments[state] = try Enrolment(devices: devices, sinks: ("  - sqlite\n" + sink(state, password), ["sqlite", "warehouse"]))
    }
    var parameters = Case.Parameters()
    parameters.devices = devices
    parameters.batch = batch
    parameters.inFlight = 1
    parameters.seconds = seconds
    parameters.warmUpS = 2
    parameters.workers = 1
    var rates: [State: [Double]] = [:]
    var latencies: [State: [Double]] = [:]
    for round in 1...rounds {
      for state in State.allCases {
        guard let enrolment = enrolments[state] else { continue }
        try connection.run("TRUNCATE fixgate.fix, fixgate.latest, fixgate.cursor")
        let cores = Cores.split
        try Cores.pin(to: cores.server)
        let lock = state == .slow ? try TableLock(options.server) : nil
        let server = try FixgateServer(enrolment, in: folder, transport: .tls, workers: 1, fixes: fixes)
        let run = try LoadRun(parameters, kind: .saturation, seed: UInt64(round)).perform(on: server, cores: cores)
        lock?.end()
        rates[state, default: []].append(run.figures[.fixesPerSecond] ?? 0)
        latencies[state, default: []].append(run.figures[.p99] ?? 0)
        print("round \(round), \(state.rawValue): \(Int(run.figures[.fixesPerSecond] ?? 0)) fixes/s, p99 \(run.figures[.p99] ?? 0) ms")
      }
    }
    print("sink      fixes/s   to healthy   p99 ms   to healthy")
    let base = (IngestCommand.median(rates[.healthy]), IngestCommand.median(latencies[.healthy]))
    for state in State.allCases {
      let (rate, latency) = (IngestCommand.median(rates[state]), IngestCommand.median(latencies[state]))
      print(
        state.rawValue.padding(toLength: 9, withPad: " ", startingAt: 0),
        String(format: "%8.0f  %8.2f  %10.2f  %8.2f", rate, rate / base.0, latency, latency / base.1))
    }
  }

  private static func median(_ values: [Double]?) -> Double {
    let sorted = (values ?? []).sorted()
    return sorted.isEmpty ? 0 : sorted[sorted.count / 2]
  }

  private func sink(_ state: State, _ password: String) -> String {
    var keys = [
      "type: postgresql", "name: warehouse", "host: \(options.host)", "port: \(state == .dead ? 1 : options.port)",
      "database: \(options.database)", "user: \(options.user)", "password_file: \(password)", "sslmode: disable",
    ]
    if state == .stopped { keys.append("paused: true") }
    return keys.enumerated().map { ($0 == 0 ? "  - " : "    ") + $1 }.joined(separator: "\n") + "\n"
  }
}

/// Holds a lock on table `fix` nine tenths of the time, until it ends.
private final class TableLock: @unchecked Sendable {
  private let stop = DispatchSemaphore(value: 0)
  private let ended = DispatchSemaphore(value: 0)

  init(_ server: PostgresServer) throws {
    let connection = Box(try PostgresConnection.open(server))
    Thread.detachNewThread { [stop, ended] in
      repeat {
        _ = try? connection.value.run("BEGIN; LOCK TABLE fixgate.fix IN EXCLUSIVE MODE")
        Thread.sleep(forTimeInterval: 0.9)
        _ = try? connection.value.run("COMMIT")
      } while stop.wait(timeout: .now() + 0.1) == .timedOut
      ended.signal()
    }
  }

  func end() {
    stop.signal()
    ended.wait()
  }

  private final class Box: @unchecked Sendable {
    let value: PostgresConnection
    init(_ value: consuming PostgresConnection) { self.value = value }
  }
}
