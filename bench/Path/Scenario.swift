import Foundation
package import GateCore
import Gateway

/// One run of devices against a gateway of its own.
package struct Scenario {
  package var connections: Int
  /// Fixes in a message.
  package var batch: Int
  /// Fixes acked before anything is counted: handshakes, first growth of buffers.
  package var warmUp: UInt64
  package var fixes: UInt64
  package var workers = 1

  package init(connections: Int, batch: Int, warmUp: UInt64, fixes: UInt64, workers: Int = 1) {
    self.connections = connections
    self.batch = batch
    self.warmUp = warmUp
    self.fixes = fixes
    self.workers = workers
  }

  /// Counts between two moments of the steady state, by thread.
  package struct Counted {
    package var fixes: UInt64
    package var messages: UInt64
    package var commits: UInt64
    package var worker: [String: UInt64]
    package var sequencer: [String: UInt64]
    package var sink: [String: UInt64]

    /// System calls among the counts, the most frequent first.
    package static func calls(_ counts: [String: UInt64]) -> [(name: String, count: UInt64)] {
      counts.filter { $0.value > 0 && !$0.key.hasPrefix("bytes_") && !$0.key.contains("malloc") && !$0.key.contains("free") }
        .filter { !$0.key.hasPrefix("lock_") }
        .map { ($0.key, $0.value) }.sorted { $0.1 > $1.1 }
    }
  }

  /// What it cost, without the hook.
  package struct Timed {
    package var fixes: UInt64
    package var seconds: Double
    package var commits: UInt64
    /// Fixes that the sink stored meanwhile: it may lag, and then its time is for fewer of them.
    package var stored: UInt64
    /// CPU time by thread, in ns.
    package var cpuNs: [String: UInt64]
    package var totalCPUNs: UInt64 { cpuNs.values.reduce(0, +) }
  }

  package func count(in folder: String, track: [Fix]) throws -> Counted {
    let gateway = try GatewayProcess(in: folder, devices: connections, workers: workers, counting: true)
    var fleet = try Fleet(gateway: gateway, batch: batch, fixes: track)
    try fleet.run(fixes: warmUp)
    let commits = try gateway.status().journal.commits
    let (acked, messages) = (fleet.acked, fleet.messages)
    let before = try gateway.counters()
    try fleet.run(fixes: fixes)
    let after = try gateway.counters()
    let counted = Counted(
      fixes: fleet.acked - acked, messages: fleet.messages - messages,
      commits: try gateway.status().journal.commits - commits, worker: after.since(before, threads: "fixgate-worker"),
      sequencer: after.since(before, threads: "fixgate-seq"), sink: after.since(before, threads: "fixgate-sink"))
    try finish(&fleet, gateway)
    return counted
  }

  package func time(in folder: String, track: [Fix]) throws -> Timed {
    let gateway = try GatewayProcess(in: folder, devices: connections, workers: workers, counting: false)
    var fleet = try Fleet(gateway: gateway, batch: batch, fixes: track)
    try fleet.run(fixes: warmUp)
    let status = try gateway.status()
    let before = ProcessThreads.cpuNs(of: gateway.id)
    let acked = fleet.acked
    let start = ContinuousClock.now
    try fleet.run(fixes: fixes)
    let elapsed = ContinuousClock.now - start
    var cpuNs = ProcessThreads.cpuNs(of: gateway.id)
    for (name, ns) in before { cpuNs[name, default: ns] -= ns }
    let end = try gateway.status()
    let timed = Timed(
      fixes: fleet.acked - acked,
      seconds: Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18,
      commits: end.journal.commits - status.journal.commits, stored: end.fixes.stored - status.fixes.stored, cpuNs: cpuNs)
    try finish(&fleet, gateway)
    return timed
  }

  /// Holds the gateway's own counts against what was acked.
  private func finish(_ fleet: inout Fleet, _ gateway: GatewayProcess) throws {
    try fleet.settle()
    let status = try gateway.status()
    guard status.fixes.isBalanced, status.fixes.received == fleet.acked, status.fixes.duplicate == 0 else {
      throw PathError.unbalanced
    }
    try gateway.stop()
  }
}
