package import BenchReport

/// Results as text for a terminal.
package enum LoadTable {
  /// All figures of a case: median, and the least and the most of several runs.
  package static func text(_ one: Case) -> String {
    var lines = ["\n\(one.name) (\(one.subject)), \(one.runs.count) \(one.runs.count == 1 ? "run" : "runs")"]
    let titles = Metric.allCases.map(\.title.count).max() ?? 0
    for metric in Metric.allCases {
      guard let spread = one.spread(metric) else { continue }
      let isPlain = spread.count == 1 || spread.least == spread.most
      let range = isPlain ? "" : "   \(metric.text(spread.least)) to \(metric.text(spread.most))"
      lines.append("  " + padded(metric.title, titles) + "  " + right(metric.text(spread.median), 12) + range)
    }
    for (lane, points) in one.middleRun?.latencyByLane.sorted(by: { $0.key < $1.key }) ?? [] {
      guard let tail = points.last(where: { $0.share <= 0.99 }) else { continue }
      lines.append("  " + padded("ack latency, 99 %, lane \(lane)", titles) + "  " + right(Metric.p99.text(tail.ms), 12))
    }
    for note in Set(one.runs.flatMap(\.notes)).sorted() { lines.append("  note: \(note)") }
    return lines.joined(separator: "\n")
  }

  /// One line a case: what a sweep shows.
  package static func overview(_ cases: [Case]) -> String {
    let metrics: [(Metric, String)] = [
      (.fixesPerSecond, "acked/s"), (.cpuPerMillion, "CPU s/M"), (.p50, "p50 ms"), (.p99, "p99 ms"), (.p999, "p99.9 ms"),
      (.wireUp, "B up"), (.generatorBusy, "gen. %"), (.lagP99, "lag p99 ms"),
    ]
    let width = max(24, cases.map(\.name.count).max() ?? 0)
    var lines = [padded("", width) + metrics.map { right($0.1, 12) }.joined()]
    for one in cases {
      let cells = metrics.map { metric, _ in
        right(one.spread(metric).map { Metric.number(metric.unit == "%" ? $0.median * 100 : $0.median) } ?? "-", 12)
      }
      lines.append(padded(one.name, width) + cells.joined() + (one.runs.contains(where: \.isLate) ? "  late" : ""))
    }
    return lines.joined(separator: "\n")
  }

  /// What a run brought, in a few words.
  package static func line(_ run: Run) -> String {
    let shown: [Metric] = [.fixesPerSecond, .cpuPerMillion, .p50, .p99, .idleUser, .idleKernel]
    let parts = shown.compactMap { metric in run.figures[metric].map { "\(metric.rawValue) \(metric.text($0))" } }
    return (parts + (run.isLate ? ["late"] : [])).joined(separator: ", ")
  }

  private static func padded(_ text: String, _ width: Int) -> String {
    text + String(repeating: " ", count: max(0, width - text.count))
  }

  private static func right(_ text: String, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - text.count)) + text
  }
}
