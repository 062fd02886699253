package import BenchFleet
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
    let gateway = try GatewayProcess(Enrolment(devices: connections), in: folder, workers: workers, counting: true)
    var fleet = try fleet(for: gateway, track)
    try fleet.run(fixes: Int(warmUp))
    let commits = try gateway.status().journal.commits
    let (acked, messages) = (fleet.ackedFixes, fleet.recordedMessages)
    let before = try gateway.counters()
    try fleet.run(fixes: Int(fixes))
    let after = try gateway.counters()
    let (ackedEnd, messagesEnd) = (fleet.ackedFixes, fleet.recordedMessages)
    let status = try finish(&fleet, gateway)
    let counted = Counted(
      fixes: UInt64(ackedEnd - acked), messages: UInt64(messagesEnd - messages), commits: status.journal.commits - commits,
      worker: after.since(before, threads: "fixgate-worker"), sequencer: after.since(before, threads: "fixgate-seq"),
      sink: after.since(before, threads: "fixgate-sink"))
    return counted
  }

  /// - Parameters:
  ///   - enrolment: of as many devices as there are connections; `nil` = a fresh one.
  ///   - settings: over the configuration, by their names in the environment.
  ///   - untilStored: goes on until the store has all, so that a sink that lags costs as much as one that does not.
  package func time(
    in folder: String, track: [Fix], of enrolment: Enrolment? = nil, settings: [String: String] = [:],
    untilStored: Bool = false
  ) throws -> Timed {
    let gateway = try GatewayProcess(
      enrolment ?? Enrolment(devices: connections), in: folder, workers: workers, settings: settings)
    var fleet = try fleet(for: gateway, track)
    try fleet.run(fixes: Int(warmUp))
    let status = try gateway.status()
    let before = ProcessProbe.cpuNs(of: gateway.id)
    let acked = fleet.ackedFixes
    let start = ContinuousClock.now
    try fleet.run(fixes: Int(fixes))
    let elapsed = ContinuousClock.now - start
    while untilStored, case let fixes = try gateway.status().fixes, fixes.queued + fixes.pending > 0 {
      Thread.sleep(forTimeInterval: 0.05)
    }
    var cpuNs = ProcessProbe.cpuNs(of: gateway.id)
    for (name, ns) in before { cpuNs[name, default: ns] -= ns }
    let end = try gateway.status()
    let timed = Timed(
      fixes: UInt64(fleet.ackedFixes - acked),
      seconds: Double(elapsed.components.seconds) + Double(elapsed.components.attoseconds) / 1e18,
      commits: end.journal.commits - status.journal.commits, stored: end.fixes.stored - status.fixes.stored, cpuNs: cpuNs)
    _ = try finish(&fleet, gateway)
    return timed
  }

  /// All connected, each with a first message acked.
  private func fleet(for gateway: GatewayProcess, _ track: [Fix]) throws -> Fleet {
    let devices = Device.fixgate(gateway.enrolment, lanes: [1, 0, 0], fixes: track, batch: batch, messagesInFlight: 1)
    var fleet = try Fleet(devices, batch: batch, connect: try gateway.connector())
    _ = try fleet.open(connections)
    return fleet
  }

  /// Holds the gateway's own counts against what was acked, and ends it. They are told a moment after the event, so they are
  /// looked at when all is quiet.
  private func finish(_ fleet: inout Fleet, _ gateway: GatewayProcess) throws -> Status {
    let isSettled = try fleet.settle(within: 20_000_000_000)
    let status = try gateway.status()
    guard isSettled, status.fixes.isBalanced, status.fixes.received == fleet.ackedFixes, status.fixes.duplicate == 0 else {
      throw PathError.unbalanced
    }
    try gateway.stop()
    return status
  }
}
