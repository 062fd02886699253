/// What `micro` found about one stage and others that do the same work.
package struct StageResult: Codable, Equatable {
  package struct Entry: Codable, Equatable {
    package var name: String
    /// Of an item, one figure a round, as they came.
    package var ns: [Double]
    /// Of an item; `nil` where this machine does not count them.
    package var instructions: Double?
    /// Of an item; `nil` where they were not counted.
    package var allocations: Double?

    package init(name: String, ns: [Double], instructions: Double?, allocations: Double?) {
      (self.name, self.ns, self.instructions, self.allocations) = (name, ns, instructions, allocations)
    }

    package var spread: Spread? { Spread(ns) }
  }

  /// What the gateway's own way must reach, by the medians of one run.
  package enum Target: Codable, Equatable {
    /// So many times as fast as another entry, at least.
    case speed(of: String, least: Double)
    /// So many ns an item, at most.
    case ns(most: Double)
  }

  package struct Verdict: Equatable {
    package var isReached: Bool
    /// Figure and target, such as "0.93x of C (target 0.9x)".
    package var text: String
  }

  package var name: String
  /// What the figures are for one of.
  package var item: String
  /// Bytes that the stage writes an item; `nil` where it writes none.
  package var bytesWritten: Double?
  /// The gateway's own way first.
  package var entries: [Entry]
  package var targets: [Target]

  package init(name: String, item: String, bytesWritten: Double?, entries: [Entry], targets: [Target]) {
    (self.name, self.item, self.bytesWritten) = (name, item, bytesWritten)
    (self.entries, self.targets) = (entries, targets)
  }

  /// - Returns: how many times as fast as entry `index` the gateway's own way is.
  package func speed(of index: Int) -> Double? {
    guard entries.indices.contains(index), let own = entries.first?.spread, let other = entries[index].spread else { return nil }
    return other.median / own.median
  }

  /// One a target. A rival that is not there is not reached.
  package var verdicts: [Verdict] {
    targets.map { target in
      switch target {
      case .speed(let rival, let least):
        guard let index = entries.firstIndex(where: { $0.name == rival }), let speed = speed(of: index) else {
          return Verdict(isReached: false, text: "\(rival) was not measured")
        }
        return Verdict(
          isReached: speed >= least,
          text: "\(Metric.number(speed))x the speed of \(rival) (target \(Metric.number(least))x)")
      case .ns(let most):
        let own = entries.first?.spread?.median ?? .infinity
        return Verdict(isReached: own <= most, text: "\(Metric.number(own)) ns (target \(Metric.number(most)) ns)")
      }
    }
  }
}
