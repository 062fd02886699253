package import ArgumentParser
import BenchFleet
package import BenchReport
import Foundation

/// What `load` and `sweep` have in common.
package struct LoadOptions: ParsableArguments {
  @Option(help: "How devices connect: tls, or dtls over UDP.")
  package var transport = "tls"

  @Option(help: "Devices, each with a connection of its own.")
  package var devices = 200

  @Option(help: "Messages that a device keeps unanswered in the closed loop.")
  package var inFlight = 1

  @Option(help: "Seconds that are measured.")
  package var seconds = 8.0

  @Option(help: "Seconds of the same load before.")
  package var warmUp = 2.0

  @Option(help: "Runs of every case, in turn.")
  package var runs = 3

  @Option(help: "The gateway's workers.")
  package var workers = 1

  @Option(help: "Recorded track: lat,lng,datetime,uid as CSV, .gz or plain. Without it: a made-up courier.")
  package var track: String?

  @Option(help: "Folder on the disk to use.")
  package var folder = "."

  @Option(help: "Write the results as JSON into this file.")
  package var json: String?

  package init() {}

  package func validate() throws {
    guard devices >= 1, inFlight >= 1, runs >= 1, seconds > 0, warmUp >= 0 else {
      throw ValidationError("Devices, runs and messages in flight are 1 at least, and a run takes some time.")
    }
    guard Transport(rawValue: transport) != nil else { throw ValidationError("--transport is tls or dtls.") }
    if let json, !FileManager.default.isWritableFile(atPath: URL(filePath: json).deletingLastPathComponent().path) {
      throw ValidationError("\(json) cannot be written: is there such a folder?")
    }
  }

  package var parameters: Case.Parameters {
    var parameters = Case.Parameters()
    parameters.transport = transport
    parameters.devices = devices
    parameters.inFlight = inFlight
    parameters.seconds = seconds
    parameters.warmUpS = warmUp
    parameters.workers = workers
    if let track { parameters.track = URL(filePath: track).lastPathComponent }
    return parameters
  }
}

/// `load`: a fleet against a real gateway, over real sockets.
package struct LoadCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "load",
    abstract: "Let a fleet of devices loose on a real gateway: rate, CPU, latency, bytes, memory.",
    discussion: """
      Without --rate devices send as fast as they are answered (closed loop: the most that goes). With --rate each message
      has a moment when it is due, and latency counts from there, also when the gateway or the generator is late (open
      loop, no coordinated omission).
      """)

  @OptionGroup var options: LoadOptions

  @Option(help: "Fixes in a message; may be repeated.")
  var batch = [1]

  @Option(help: "Fixes a second of all devices together; may be repeated. Without it: closed loop.")
  var rate: [Double] = []

  @Option(help: "Share of devices that send live, backlog and panic fixes, such as 8:1:1.")
  var lanes = "1:0:0"

  @Option(help: "Devices a second that lose their connection and make a new one.")
  var churn = 0.0

  @Option(help: "Devices that lose their connection at once, in the middle of a run.")
  var storm = 0

  @Flag(help: "Reconnect by full handshakes, not by tickets.")
  var fullHandshakes = false

  @Flag(help: "Connect, send one message each and be silent: memory of an idle connection.")
  var idle = false

  @Flag(inversion: .prefixedNo, help: "Count system calls and allocations too, in runs of their own.")
  var counts = true

  package init() {}

  package func validate() throws {
    _ = try shares()
    guard batch.allSatisfy({ (1...1_000).contains($0) }) else { throw ValidationError("A message holds 1 to 1,000 fixes.") }
    guard rate.allSatisfy({ $0 > 0 }) else { throw ValidationError("A rate is above 0.") }
    guard storm >= 0, churn >= 0 else { throw ValidationError("Connections cannot be lost less than never.") }
  }

  package func run() throws {
    let loadAverage = LoadMachine.loadAverage
    var bench = LoadBench(folder: options.folder, fixes: try LoadBench.fixes(track: options.track)) { print($0) }
    var cases = try bench.run(try works(), runs: options.runs)
    if counts, !idle { try bench.count(&cases) }
    for one in cases { print(LoadTable.text(one)) }
    let results = Results(cases: cases, folder: options.folder, loadAverage: loadAverage)
    if let json = options.json { try results.write(to: json) }
  }

  private func works() throws -> [LoadBench.Work] {
    var base = options.parameters
    base.lanes = try shares()
    base.reconnectsPerSecond = churn
    base.storm = storm
    base.fullHandshakes = fullHandshakes
    if idle { return [LoadBench.Work("idle, \(options.transport), \(options.devices) devices", .idle, base)] }
    return batch.flatMap { batch in
      var parameters = base
      parameters.batch = batch
      let name = "\(options.transport), \(options.devices) devices, \(batch) \(batch == 1 ? "fix" : "fixes") a message"
      if rate.isEmpty { return [LoadBench.Work("saturation, " + name, .saturation, parameters)] }
      return rate.map { rate in
        parameters.offered = rate
        return LoadBench.Work("\(Metric.number(rate)) fixes/s, " + name, .offered, parameters)
      }
    }
  }

  private func shares() throws -> [Double] {
    let parts = lanes.split(separator: ":", omittingEmptySubsequences: false).map { Double($0) ?? -1 }
    guard parts.count == 3, parts.allSatisfy({ $0 >= 0 }), parts.contains(where: { $0 > 0 }) else {
      throw ValidationError("--lanes takes three shares, live:backlog:panic, such as 8:1:1.")
    }
    return parts
  }
}
