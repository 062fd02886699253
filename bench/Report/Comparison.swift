/// What differs between two results beyond the noise that their own runs show.
package struct Comparison {
  package enum Outcome: String {
    case better, worse
    /// It moved; neither way is better.
    case moved
    case same
    /// Too few runs to tell.
    case unsure
  }

  package struct Row {
    package var name: String
    package var metric: Metric
    package var before: Spread
    package var after: Spread
    package var outcome: Outcome
    /// Of the medians, as a share of `before`; infinite when that is 0.
    package var change: Double
  }

  /// With fewer runs on a side the ranges say nothing: three runs each that do not overlap happen by chance once in ten
  /// times, four in 35, five in 126.
  package static let runsMin = 3
  /// Less than this is not worth telling, however little the runs differ.
  package static let changeMin = 0.02

  package let rows: [Row]
  /// Names of cases that only one side has.
  package let onlyBefore: [String]
  package let onlyAfter: [String]

  /// - Throws: `.nothingInCommon`.
  package init(_ before: Results, _ after: Results) throws(ReportError) {
    var rows: [Row] = []
    let (old, new) = (before.parts, after.parts)
    for part in old {
      guard let other = new.first(where: { $0.name == part.name }) else { continue }
      for metric in Metric.allCases {
        guard let a = part.spread(metric), let b = other.spread(metric) else { continue }
        let (outcome, change) = Comparison.judge(a, b, metric.better)
        rows.append(Row(name: part.name, metric: metric, before: a, after: b, outcome: outcome, change: change))
      }
    }
    guard !rows.isEmpty else { throw .nothingInCommon }
    self.rows = rows
    let (names, others) = (old.map(\.name), new.map(\.name))
    onlyBefore = names.filter { !others.contains($0) }
    onlyAfter = others.filter { !names.contains($0) }
  }

  /// A figure has moved when the runs of both sides do not overlap and the medians differ by `changeMin` at least.
  package static func judge(_ before: Spread, _ after: Spread, _ better: Metric.Better) -> (Outcome, change: Double) {
    let difference = after.median - before.median
    let change = difference == 0 ? 0 : before.median == 0 ? .infinity : difference / before.median.magnitude
    guard change.magnitude >= changeMin else { return (.same, change) }
    guard min(before.count, after.count) >= runsMin else { return (.unsure, change) }
    guard after.least > before.most || after.most < before.least else { return (.same, change) }
    switch better {
    case .neither: return (.moved, change)
    case .lower: return (difference < 0 ? .better : .worse, change)
    case .higher: return (difference > 0 ? .better : .worse, change)
    }
  }
}

/// What can be compared, under a name.
private struct Part {
  let name: String
  let spread: (Metric) -> Spread?
}

extension Results {
  fileprivate var parts: [Part] {
    let cases = cases.map { one in Part(name: one.name) { one.spread($0) } }
    let entries = (stages ?? []).flatMap { stage in
      stage.entries.map { entry in Part(name: "\(stage.name): \(entry.name)") { entry.spread($0) } }
    }
    return cases + entries
  }
}

extension StageResult.Entry {
  fileprivate func spread(_ metric: Metric) -> Spread? {
    switch metric {
    case .stageNs: spread
    case .stageInstructions: instructions.flatMap { Spread([$0]) }
    case .stageAllocations: allocations.flatMap { Spread([$0]) }
    default: nil
    }
  }
}
