import ArgumentParser
import BenchHarness
import BenchLoad
import BenchPath
import BenchReport
import BenchStages
import Foundation

/// `micro`: every stage by itself.
struct Micro: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Time each stage alone beside rivals on the same bytes, and hold it against its targets.",
    discussion: """
      Contestants of a stage take turns, round after round. Figures are medians; CPU time of the thread, but wall time for
      the journal, the lone ack and the ring between two threads. A stage fails when contestants find different results.
      """)

  @Option(help: "Only stages whose group is this; may be repeated. Groups: \(Micro.groups.joined(separator: ", ")).")
  var stage: [String] = []

  @Option(help: "Rounds; the medians are printed.")
  var rounds = 15

  @Option(help: "Folder on the disk to use.")
  var folder = "."

  @Option(help: "Write the results as JSON into this file.")
  var json: String?

  private static let loneAck = "ack"
  private static let groups = Stage.plans.map(\.name) + [loneAck]

  func validate() throws {
    guard rounds >= 1 else { throw ValidationError("There is one round at least.") }
    for name in stage where !Micro.groups.contains(name) {
      throw ValidationError("There is no stage '\(name)'; there are: \(Micro.groups.joined(separator: ", ")).")
    }
  }

  func run() throws {
    guard Contest.counterBites() else { throw SmokeFailure.counterDoesNotBite }
    if InstructionCounter().count == nil { print("instructions: absent, this machine does not count them") }
    let loadAverage = LoadMachine.loadAverage
    var results: [StageResult] = []
    for plan in Stage.plans where stage.isEmpty || stage.contains(plan.name) {
      for stage in try plan.make(Stage.Setting(folder: folder)) {
        results.append(try stage.run(rounds: rounds))
        print(Micro.text(results[results.count - 1]))
      }
    }
    if stage.isEmpty || stage.contains(Micro.loneAck) {
      results.append(try Micro.ack(turns: 20 * rounds, folder))
      print(Micro.text(results[results.count - 1]))
    }
    let verdicts = results.flatMap(\.verdicts)
    print("targets: \(verdicts.count { $0.isReached }) of \(verdicts.count) reached")
    if let json { try Results(stages: results, folder: folder, loadAverage: loadAverage).write(to: json) }
  }

  private static func ack(turns: Int, _ folder: String) throws -> StageResult {
    let times = try LoneAck.run(turns: turns, in: folder, track: PathCommand.track(1_000))
    return StageResult(
      name: "a lone fix through an idle gateway", item: "ack", bytesWritten: nil,
      entries: [
        StageResult.Entry(name: "fixgate", ns: times.ackNs.map { Double($0) }, instructions: nil, allocations: nil),
        StageResult.Entry(name: "one fdatasync", ns: times.syncNs.map { Double($0) }, instructions: nil, allocations: nil),
      ], targets: [.speed(of: "one fdatasync", least: 0.5)])
  }

  static func text(_ result: StageResult) -> String {
    var lines = ["\n\(result.name)" + (result.bytesWritten.map { ", \(Metric.number($0)) bytes written" } ?? "")]
    for (i, entry) in result.entries.enumerated() {
      guard let spread = entry.spread else { continue }
      var line = "  " + pad(entry.name, 28) + number(spread.median, 12) + " ns"
      line += " (\(Metric.number(spread.least)) to \(Metric.number(spread.most)))"
      if let speed = result.speed(of: i), i > 0 { line += ", fixgate is \(Metric.number(speed))x as fast" }
      if let instructions = entry.instructions { line += ", \(Metric.number(instructions)) instructions" }
      if let allocations = entry.allocations, allocations > 0 { line += ", \(Metric.number(allocations)) allocations" }
      lines.append(line)
    }
    lines += result.verdicts.map { "  \($0.isReached ? "reached" : "MISSED"): \($0.text)" }
    return lines.joined(separator: "\n")
  }
}
