/// Stages as a table: contestants below each other, the gateway's own way first, and what became of the targets.
struct StageTable {
  private let stages: [StageResult]

  init(_ stages: [StageResult]) { self.stages = stages }

  var html: String {
    guard !stages.isEmpty else { return "" }
    let verdicts = stages.flatMap(\.verdicts)
    let instructions = stages.contains { $0.entries.contains { $0.instructions != nil } }
    return """
      <h3>Stages by themselves</h3>
      <p>\(verdicts.count { $0.isReached }) of \(verdicts.count) targets reached.\(instructions ? "" : " This machine does not count instructions.")</p>
      <div class="scroll"><table>
      <thead><tr><th>stage</th><th>by</th><th>time</th><th>fixgate's speed</th><th>instructions</th><th>allocations</th><th>bytes written</th><th>target</th></tr></thead>
      <tbody>\(stages.map(StageTable.rows).joined(separator: "\n"))</tbody>
      </table></div>

      """
  }

  private static func rows(_ stage: StageResult) -> String {
    let verdicts = stage.verdicts.map { verdict in
      verdict.isReached ? escaped("reached: " + verdict.text) : "<em>\(escaped("missed: " + verdict.text))</em>"
    }.joined(separator: "<br>")
    return stage.entries.enumerated().map { i, entry in
      let first = i == 0
      let speed = first ? nil : stage.speed(of: i).map { Metric.number($0) + "x" }
      let cells: [String?] = [
        escaped(entry.name),
        entry.spread.map {
          "\(Metric.number($0.median)) ns<small>\(Metric.number($0.least)) to \(Metric.number($0.most))</small>"
        },
        speed, entry.instructions.map(Metric.number), entry.allocations.map(Metric.number),
        first ? stage.bytesWritten.map(Metric.number) : nil, first ? verdicts : nil,
      ]
      let heading = first ? "\(escaped(stage.name)), a \(escaped(stage.item))" : ""
      return "<tr><th>\(heading)</th>\(cells.map { "<td>\($0 ?? "")</td>" }.joined())</tr>"
    }.joined(separator: "\n")
  }
}
