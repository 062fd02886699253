package import ArgumentParser

/// `compare`: what moved beyond noise.
package struct CompareCommand: ParsableCommand {
  package static let configuration = CommandConfiguration(
    commandName: "compare", abstract: "Tell what moved between two results beyond the noise of their own runs.",
    discussion: """
      A figure has moved when the runs of both files do not overlap and the medians differ by 2 % at least. With fewer than
      three runs on a side nothing is said but that it looks different. Interleave runs of two builds to see small changes.
      """)

  @Argument(help: "Results before, as written by --json.")
  var before: String

  @Argument(help: "Results after.")
  var after: String

  @Flag(help: "Also what did not move.")
  var all = false

  package init() {}

  package func run() throws {
    let (old, new) = (try Results(file: before), try Results(file: after))
    let comparison = try Comparison(old, new)
    if old.machine.cpu != new.machine.cpu || old.machine.kernel != new.machine.kernel {
      print("note: these are two machines; what differs may be theirs")
    }
    var name = ""
    for row in comparison.rows where all || row.outcome != .same {
      if row.name != name {
        name = row.name
        print("\n\(name)")
      }
      print(CompareCommand.line(row))
    }
    for (names, side) in [(comparison.onlyBefore, before), (comparison.onlyAfter, after)] where !names.isEmpty {
      print("\nonly in \(side): \(names.joined(separator: "; "))")
    }
    let counts = [Comparison.Outcome.better, .worse, .moved, .unsure, .same].map { outcome in
      "\(comparison.rows.count { $0.outcome == outcome }) \(outcome.rawValue)"
    }
    print("\n" + counts.joined(separator: ", "))
  }

  private static func line(_ row: Comparison.Row) -> String {
    let change = row.change.isFinite ? "\(row.change > 0 ? "+" : "")\(Metric.number(row.change * 100)) %" : "from 0"
    return
      "  \(row.outcome.rawValue.uppercased()): \(row.metric.title.trimmed), \(text(row.before, row.metric)) -> \(text(row.after, row.metric)), \(change)"
  }

  private static func text(_ spread: Spread, _ metric: Metric) -> String {
    guard spread.least != spread.most else { return metric.text(spread.median) }
    return "\(metric.text(spread.median)) (\(metric.text(spread.least)) to \(metric.text(spread.most)))"
  }
}

extension String {
  var trimmed: String { String(drop { $0 == " " }) }
}
