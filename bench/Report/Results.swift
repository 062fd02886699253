import Foundation

/// What a bench run leaves behind: a JSON file with everything that a reader needs to judge and to repeat it.
package struct Results: Codable, Equatable {
  package var version = 1
  package var command: String
  /// ISO 8601, UTC.
  package var date: String
  /// Of the code that was measured; with `-dirty` where files differed from it.
  package var commit: String
  package var machine: Machine
  package var cases: [Case]
  /// Of `micro`; `nil` where it was another command.
  package var stages: [StageResult]?

  package init(
    command: String, date: String, commit: String, machine: Machine, cases: [Case], stages: [StageResult]? = nil
  ) {
    (self.command, self.date, self.commit, self.machine) = (command, date, commit, machine)
    (self.cases, self.stages) = (cases, stages)
  }

  /// - Throws: `.unreadable` when the file is not there or not such results.
  package init(file: String) throws(ReportError) {
    guard let data = FileManager.default.contents(atPath: file) else { throw .unreadable(file, "there is no such file") }
    do { self = try JSONDecoder().decode(Results.self, from: data) } catch {
      throw .unreadable(file, "it is not what '--json' of fixgate-bench writes")
    }
  }

  package func write(to file: String) throws {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys, .withoutEscapingSlashes]
    try encoder.encode(self).write(to: URL(filePath: file))
  }
}

package struct Machine: Codable, Equatable {
  package var cpu: String
  package var cpus: Int
  package var memoryBytes: Int
  package var kernel: String
  /// Type of the file system that the journal was on.
  package var fileSystem: String
  package var swift: String
  package var tls: String
  /// Load average of the last minute as the run began: what else the machine did.
  package var loadAverage: Double

  package init(
    cpu: String, cpus: Int, memoryBytes: Int, kernel: String, fileSystem: String, swift: String, tls: String,
    loadAverage: Double
  ) {
    (self.cpu, self.cpus, self.memoryBytes, self.kernel) = (cpu, cpus, memoryBytes, kernel)
    (self.fileSystem, self.swift, self.tls, self.loadAverage) = (fileSystem, swift, tls, loadAverage)
  }
}

/// What was asked for, under a name that is the same in every file of the same work.
package struct Case: Codable, Equatable {
  package enum Kind: String, Codable {
    /// Closed loop: as much as goes.
    case saturation
    /// Open loop at a given rate.
    case offered
    /// Connected and silent.
    case idle
  }

  package struct Parameters: Codable, Equatable {
    package var transport = "tls"
    package var devices = 200
    /// Fixes in a message.
    package var batch = 1
    /// Fixes a second that are due, of all devices; `nil` in the closed loop.
    package var offered: Double?
    /// Messages that a device keeps unanswered in the closed loop.
    package var inFlight = 1
    /// Share of devices that send in the live, the backlog and the panic lane.
    package var lanes = [1.0, 0, 0]
    package var reconnectsPerSecond = 0.0
    package var storm = 0
    package var fullHandshakes = false
    package var workers = 1
    package var warmUpS = 2.0
    package var seconds = 8.0
    package var track = "made-up courier"
    package init() {}
  }

  package var name: String
  /// `fixgate`, or the peer's name and version.
  package var subject: String
  package var kind: Kind
  package var parameters: Parameters
  package var runs: [Run]

  package init(name: String, subject: String, kind: Kind, parameters: Parameters, runs: [Run]) {
    (self.name, self.subject, self.kind, self.parameters, self.runs) = (name, subject, kind, parameters, runs)
  }

  /// - Returns: the figure over the runs; `nil` where no run has it.
  package func spread(_ metric: Metric) -> Spread? { Spread(runs.compactMap { $0.figures[metric] }) }

  /// The run in the middle by CPU time, or by latency where none was measured.
  package var middleRun: Run? {
    let metric: Metric = spread(.cpuPerMillion) == nil ? .p50 : .cpuPerMillion
    let sorted = runs.sorted { $0.figures[metric, default: 0] < $1.figures[metric, default: 0] }
    return sorted.isEmpty ? nil : sorted[sorted.count / 2]
  }
}

package struct Run: Codable, Equatable {
  /// A point of the latency distribution.
  package struct Quantile: Codable, Equatable {
    /// Of the messages that took no longer, 0...1.
    package var share: Double
    package var ms: Double
    package init(share: Double, ms: Double) { (self.share, self.ms) = (share, ms) }
  }

  package var figures: [Metric: Double]
  package var latency: [Quantile]
  /// By lane name, where there is more than one.
  package var latencyByLane: [String: [Quantile]]
  /// The generator was behind its schedule: latencies are partly its own.
  package var isLate: Bool
  package var notes: [String]

  package init(
    figures: [Metric: Double] = [:], latency: [Quantile] = [], latencyByLane: [String: [Quantile]] = [:],
    isLate: Bool = false, notes: [String] = []
  ) {
    (self.figures, self.latency, self.latencyByLane) = (figures, latency, latencyByLane)
    (self.isLate, self.notes) = (isLate, notes)
  }
}

/// A figure over several runs.
package struct Spread: Equatable {
  package let least: Double
  package let median: Double
  package let most: Double
  package let count: Int

  /// - Returns: `nil` for no values.
  package init?(_ values: [Double]) {
    guard !values.isEmpty else { return nil }
    let sorted = values.sorted()
    let middle = sorted.count / 2
    median = sorted.count % 2 == 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2
    (least, most, count) = (sorted[0], sorted[sorted.count - 1], sorted.count)
  }
}

package enum ReportError: Error, Equatable, CustomStringConvertible {
  case unreadable(String, String)
  case nothingInCommon

  package var description: String {
    switch self {
    case .unreadable(let file, let why): "cannot read \(file): \(why)"
    case .nothingInCommon: "the two files have no case in common: compare runs of the same command"
    }
  }
}
