package import BenchHarness
package import BenchReport

/// One stage of a fix's path by itself, beside others that do the same work on the same bytes.
package struct Stage {
  package var name: String
  /// What its figures are for one of.
  package var item: String
  /// Items that one run of an entry works on.
  package var items: Int
  /// The gateway's own way first.
  package var entries: [Contest.Entry]
  /// Bytes that the stage writes an item, from the sizes at hand; `nil` where it writes none.
  package var bytesWritten: Double?
  package var targets: [StageResult.Target] = []
  package var clock = Contest.Clock.cpu

  package init(
    _ name: String, item: String, items: Int, bytesWritten: Double? = nil, targets: [StageResult.Target] = [],
    clock: Contest.Clock = .cpu, _ entries: [Contest.Entry]
  ) {
    (self.name, self.item, self.items, self.bytesWritten) = (name, item, items, bytesWritten)
    (self.targets, self.clock, self.entries) = (targets, clock, entries)
  }

  /// Runs all entries in turn.
  /// - Throws: `.differ` when two entries that say what they found say different things.
  package func run(rounds: Int) throws(StageError) -> StageResult {
    let results = Contest.run(entries, rounds: rounds, clock: clock)
    let found = entries.compactMap { $0.outcome?() }
    guard found.allSatisfy({ $0 == found[0] }) else { throw .differ(name) }
    return StageResult(
      name: name, item: item, bytesWritten: bytesWritten,
      entries: results.map { result in
        StageResult.Entry(
          name: result.name, ns: result.ns.map { $0 / Double(items) },
          instructions: result.instructions.map { Double($0) / Double(items) },
          allocations: Double(result.allocations) / Double(items))
      }, targets: targets)
  }

  /// A stage that is made when its turn comes, and then let go: some need much memory, or a disk.
  package struct Plan: Sendable {
    package let name: String
    package let make: @Sendable (Setting) throws -> [Stage]
  }

  /// What stages are made with.
  package struct Setting {
    /// On the disk that is measured.
    package var folder: String
    /// Divides the work: 1, or more where only counts matter.
    package var shrink: Int
    package init(folder: String, shrink: Int = 1) { (self.folder, self.shrink) = (folder, shrink) }
  }

  package static let plans: [Plan] = [
    Plan(name: "frame", make: FrameStages.make), Plan(name: "decode", make: DecodeStages.make),
    Plan(name: "limiter", make: LimiterStage.make), Plan(name: "normaliser", make: NormaliserStage.make),
    Plan(name: "dedupe", make: DedupeStage.make), Plan(name: "record", make: RecordStages.make),
    Plan(name: "ring", make: RingStages.make), Plan(name: "tls", make: TLSStages.make),
    Plan(name: "dtls", make: DTLSStages.make), Plan(name: "journal", make: JournalStages.make),
    Plan(name: "sink", make: SinkStage.make),
  ]
}

package enum StageError: Error, Equatable, CustomStringConvertible {
  /// Two ways to do the work came to different results: nothing of it counts.
  case differ(String)
  /// What the stage needs could not be made.
  case notMade(String)

  package var description: String {
    switch self {
    case .differ(let stage): "\(stage): the contestants came to different results"
    case .notMade(let stage): "\(stage): it could not be set up"
    }
  }
}
