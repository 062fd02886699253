import ArgumentParser
import BenchHarness
import BenchPath
import GateCore

/// `path`: what a fix costs between socket and disk, without I/O in this process and then in the real gateway.
struct PathCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "path",
    abstract: "Count allocations, locks, system calls and bytes a fix, and time it, in process and in the real gateway.")

  @Option(help: "Connections to the gateway, each with one message on its way.")
  var connections = 50

  @Option(help: "Fixes to measure a run, after a tenth as many that are not.")
  var fixes: UInt64 = 100_000

  @Option(help: "The gateway's workers.")
  var workers = 1

  @Option(help: "Runs of which the middle one is told, where time is measured.")
  var runs = 3

  @Option(help: "Fixes in a message; may be repeated.")
  var batch = [1, 10, 60]

  @Option(help: "Folder on the disk to use.")
  var folder = "."

  @Flag(help: "Only in process.")
  var inProcess = false

  func run() throws {
    PathCommand.printInProcess(fixes: 30_000, rounds: 11)
    if inProcess { return }
    let seen = try Bite.run(in: folder)
    print("the hook sees: \(seen.worker["malloc_ours", default: 0]) allocations, \(seen.worker["lock_ours", default: 0]) locks of ours")
    let track = PathCommand.track(60_000)
    for batch in batch {
      let scenario = Scenario(
        connections: connections, batch: batch, warmUp: max(fixes / 10, UInt64(connections * batch * 4)), fixes: fixes,
        workers: workers)
      let counted = try scenario.count(in: folder, track: track)
      var timed: [Scenario.Timed] = []
      for _ in 0..<runs { timed.append(try scenario.time(in: folder, track: track)) }
      timed.sort { $0.totalCPUNs < $1.totalCPUNs }
      PathCommand.show(scenario, counted)
      PathCommand.show(timed)
    }
  }

  static func track(_ count: Int) -> [Fix] { FixModel.fixes(.courier(seed: 1, points: count)) }

  @discardableResult
  static func printInProcess(fixes: Int, rounds: Int) -> [InProcess.Result] {
    print("in process: ns a fix (least, median of \(rounds)), then a fix's bytes; allocations and locks of \(fixes) fixes")
    let track = track(fixes)
    return InProcess.Shape.allCases.map { shape in
      let result = InProcess.run(shape, fixes: track, rounds: rounds)
      print(
        "\(shape.name): intake \(ns(result.intakeNs)), sequencer \(ns(result.sequencerNs)); frame \(number(result.frameBytes, 5)), record \(number(result.recordBytes, 5)), ack \(number(result.ackBytes, 4)); allocations \(result.allocations), locks \(result.locks); hash \(String(result.hash.value, radix: 16))"
      )
      return result
    }
  }

  private static func ns(_ pair: (least: Double, median: Double)) -> String {
    "\(number(pair.least, 5)) \(number(pair.median, 5))"
  }

  private static let shown = [
    "malloc_ours", "malloc_tls", "malloc_sqlite", "lock_ours", "lock_tls", "lock_sqlite", "bytes_read", "bytes_sent",
    "bytes_written",
  ]

  private static func show(_ scenario: Scenario, _ counted: Scenario.Counted) {
    let fixes = Double(counted.fixes)
    print(
      "\n\(scenario.connections) connections, \(scenario.batch) fixes a message, \(scenario.workers) workers: \(counted.fixes) fixes, \(counted.messages) messages, \(counted.commits) commits; a fix, and calls a message:"
    )
    for (name, counts) in [("worker", counted.worker), ("sequencer", counted.sequencer), ("sink", counted.sink)] {
      let rows = shown.compactMap { counter in
        counts[counter].flatMap { $0 > 0 ? "\(counter) \(number(Double($0) / fixes, 4))" : nil }
      }
      let calls = Scenario.Counted.calls(counts).map {
        "\($0.name) \(number(Double($0.count) / Double(counted.messages), 4))"
      }
      let (allocations, locks) = (counts["malloc_ours", default: 0], counts["lock_ours", default: 0])
      print("  \(name): \(rows.joined(separator: ", ")) | \(calls.joined(separator: ", ")) | ours in all: \(allocations) allocations, \(locks) locks")
    }
  }

  private static func show(_ timed: [Scenario.Timed]) {
    let middle = timed[timed.count / 2]
    let perMillion = { (ns: UInt64) in number(Double(ns) / 1e9 * 1e6 / Double(middle.fixes), 5) }
    let threads = middle.cpuNs.filter { $0.value > 1_000_000 }.sorted { $0.value > $1.value }
    let spread = timed.map { number(Double($0.totalCPUNs) / 1e3 / Double($0.fixes), 5) }
    print(
      "  CPU s a million acked fixes: \(perMillion(middle.totalCPUNs)) (runs: \(spread.joined(separator: " "))); \(Int(Double(middle.fixes) / middle.seconds)) fixes/s, \(middle.fixes / max(1, middle.commits)) fixes a commit; the sink stored \(middle.stored) of \(middle.fixes) meanwhile"
    )
    print("  by thread: " + threads.map { "\($0.key) \(perMillion($0.value))" }.joined(separator: ", "))
  }
}
