package import Foundation
import GateCore
import GateNet
import Synchronization

/// What `fixgate status` tells. Field names are stable: scripts rely on them.
package struct Status: Codable, Equatable, Sendable {
  /// `received + recovered = stored + duplicate + held + refused + queued + pending + set_aside`, in fixes.
  package struct Fixes: Codable, Equatable, Sendable {
    package var received: UInt64
    package var recovered: UInt64
    package var stored: UInt64
    package var duplicate: UInt64
    package var held: UInt64
    package var refused: UInt64
    package var queued: UInt64
    package var pending: UInt64
    package var set_aside: UInt64

    package var isBalanced: Bool {
      received + recovered == stored + duplicate + held + refused + queued + pending + set_aside
    }
  }

  package struct Journal: Codable, Equatable, Sendable {
    package var first_lsn: UInt64
    package var end_lsn: UInt64
    package var bytes: Int
    package var commits: UInt64
    package var commit_failures: UInt64
    package var problem: String?
  }

  package struct Store: Codable, Equatable, Sendable {
    package var cursor: UInt64
    package var durable_cursor: UInt64
    package var lag_records: UInt64
    package var failures: UInt64
    package var problem: String?
  }

  /// One of `sinks`, in the order of the configuration; `store` is the first in short.
  package struct Sink: Codable, Equatable, Sendable {
    package enum State: String, Codable, Sendable {
      case running, paused
      /// It has not answered since the gateway began or the sink was added.
      case opening
      /// The last attempt failed: see `problem`.
      case failing
    }

    package var name: String
    package var type: String
    package var optional: Bool
    package var state: State
    package var cursor: UInt64
    package var durable_cursor: UInt64
    package var lag_records: UInt64
    /// About what the journal holds for it.
    package var lag_bytes: Int
    /// How long the oldest record that it lacks has waited.
    package var lag_s: Double
    /// Of this run, in records but `gaps`.
    package var stored: UInt64
    package var already_stored: UInt64
    package var held: UInt64
    package var refused: UInt64
    package var set_aside: UInt64
    package var gaps: UInt64
    package var failures: UInt64
    package var problem: String?

    init(_ report: SinkReport, journalEndLSN: UInt64, wallMs: Int64) {
      let progress = report.progress
      name = report.settings.name
      type = report.settings.type.rawValue
      optional = report.settings.isOptional
      state =
        report.settings.isPaused ? .paused : progress.problem != nil ? .failing : progress.isOpen ? .running : .opening
      cursor = progress.cursor
      durable_cursor = progress.durableCursor
      lag_records = journalEndLSN - min(journalEndLSN, progress.cursor)
      lag_bytes = report.lagBytes
      lag_s = lag_records == 0 ? 0 : Double(max(wallMs - (progress.waitingSinceMs ?? wallMs), 0)) / 1_000
      stored = progress.stored
      already_stored = progress.alreadyStored
      held = progress.held
      refused = progress.refused
      set_aside = progress.setAside
      gaps = progress.gaps
      failures = progress.failures
      problem = progress.problem
    }
  }

  /// Over UDP; the counts of `Network` hold both transports, but connections, handshakes and sessions only TCP's.
  package struct Datagrams: Codable, Equatable, Sendable {
    /// Live ones; a session may be any device's until hello.
    package var sessions = 0
    /// Devices that have one.
    package var devices = 0
    package var received = 0
    /// Records opened.
    package var records = 0
    package var forged = 0
    package var replayed = 0
    /// No records, or of no session.
    package var unknown = 0
    package var cookies = 0
    package var handshakes = 0
    package var handshakes_under_way = 0
    package var handshakes_failed = 0
    /// Not begun, because of a limit; see `closed` for which.
    package var handshakes_refused = 0
    /// Gave way to newer ones.
    package var handshakes_evicted = 0
    /// Hellos that came when `dtls.sessions_max` was reached.
    package var sessions_refused = 0
    package var address_changes = 0
    /// Sessions taken over from earlier runs.
    package var restored = 0
    /// Times that the session file could not be written; these sessions may end with the process.
    package var not_kept = 0
    /// Lost by the system for want of room: raise net.core.rmem_max, or add cores.
    package var kernel_drops = 0
    /// Longer than any datagram of a device.
    package var too_long = 0
    /// No route, or no room.
    package var unsent = 0

    static func += (total: inout Datagrams, more: Datagrams) {
      for path: WritableKeyPath<Datagrams, Int> in [
        \.sessions, \.devices, \.received, \.records, \.forged, \.replayed, \.unknown, \.cookies, \.handshakes,
        \.handshakes_under_way, \.handshakes_failed, \.handshakes_refused, \.handshakes_evicted, \.sessions_refused,
        \.address_changes, \.restored, \.not_kept, \.kernel_drops, \.too_long, \.unsent,
      ] { total[keyPath: path] += more[keyPath: path] }
    }
  }

  package struct Network: Codable, Equatable, Sendable {
    package var accepted: UInt64 = 0
    package var connections: Int = 0
    package var sessions: Int = 0
    package var handshakes: UInt64 = 0
    package var resumptions: UInt64 = 0
    /// Connections whose early data was taken, replays included, and whose was not.
    package var early_data: UInt64 = 0
    package var early_data_rejected: UInt64 = 0
    package var handshakes_waiting: Int = 0
    package var handshakes_under_way: Int = 0
    /// ClientHellos, frames cut off and answers not read.
    package var buffered_bytes: Int = 0
    /// Fields of frames that this gateway does not know.
    package var unknown_fields: UInt64 = 0
    package var frames: UInt64 = 0
    package var bytes_in: UInt64 = 0
    package var bytes_out: UInt64 = 0
    /// Connections that ended early, by reason.
    package var closed: [String: UInt64] = [:]
  }

  package var version: String
  package var uptime_s: Double
  package var balanced: Bool
  package var fixes: Fixes
  /// Fixes refused, by stage.
  package var refused_by: [String: UInt64]
  /// Fixes made durable with another verdict than accepted, by its name.
  package var verdicts: [String: UInt64]
  /// Frames and sessions refused, by code.
  package var refusals: [String: UInt64]
  /// Fields and attributes that the tenants' policies do not take, by tenant.
  package var fields_dropped: [String: UInt64] = [:]
  package var journal: Journal
  package var store: Store
  package var sinks: [Sink]
  package var network: Network
  package var datagrams: Datagrams
  /// Enrolled, revoked ones included.
  package var devices: Int

  init(_ snapshot: Snapshot, devices: Int, workers: [WorkerLink], uptimeS: Double, refusalName: (UInt16) -> String) {
    version = fixgateVersion
    uptime_s = uptimeS
    balanced = snapshot.isBalanced
    fixes = Fixes(
      received: snapshot.received, recovered: snapshot.recovered, stored: snapshot.stored,
      duplicate: snapshot.duplicate, held: snapshot.held, refused: snapshot.refused, queued: snapshot.queued,
      pending: snapshot.pending, set_aside: snapshot.setAside)
    refused_by = [
      "limiter": snapshot.refusedByStage.limited, "stream": snapshot.refusedByStage.refusedStream,
      "gaps": snapshot.refusedByStage.refusedGaps, "storage": snapshot.refusedByStage.refusedStorage,
      "verdict": snapshot.sinks.first?.progress.refused ?? 0,
    ]
    verdicts = [:]
    for (code, count) in snapshot.verdicts {
      verdicts[Verdict(rawValue: code).map { "\($0)" } ?? "\(code)"] = count
    }
    journal = Journal(
      first_lsn: snapshot.journalFirstLSN, end_lsn: snapshot.journalEndLSN, bytes: snapshot.journalBytes,
      commits: snapshot.commits, commit_failures: snapshot.commitFailures, problem: snapshot.storageProblem)
    let wallMs = SystemClock.wallMs()
    sinks = snapshot.sinks.map { Sink($0, journalEndLSN: snapshot.journalEndLSN, wallMs: wallMs) }
    let first = sinks.first
    store = Store(
      cursor: first?.cursor ?? 0, durable_cursor: first?.durable_cursor ?? 0, lag_records: first?.lag_records ?? 0,
      failures: first?.failures ?? 0, problem: first?.problem)
    self.devices = devices
    refusals = [:]
    network = Network()
    datagrams = Datagrams()
    for worker in workers {
      let counters = worker.counters
      datagrams += counters.datagrams.withLock { $0 }
      network.accepted += counters.accepted.load(ordering: .relaxed)
      network.connections += counters.connections.load(ordering: .relaxed)
      network.sessions += counters.sessions.load(ordering: .relaxed)
      network.handshakes += counters.handshakes.load(ordering: .relaxed)
      network.resumptions += counters.resumptions.load(ordering: .relaxed)
      network.early_data += counters.earlyData.load(ordering: .relaxed)
      network.early_data_rejected += counters.earlyDataRejected.load(ordering: .relaxed)
      network.handshakes_waiting += counters.handshakesWaiting.load(ordering: .relaxed)
      network.handshakes_under_way += counters.handshakesUnderWay.load(ordering: .relaxed)
      network.buffered_bytes += counters.bufferedBytes.load(ordering: .relaxed)
      network.unknown_fields += counters.unknownFields.load(ordering: .relaxed)
      network.frames += counters.frames.load(ordering: .relaxed)
      network.bytes_in += counters.bytesIn.load(ordering: .relaxed)
      network.bytes_out += counters.bytesOut.load(ordering: .relaxed)
      for (reason, count) in counters.closed.withLock({ $0 }) { network.closed[reason, default: 0] += count }
      for (code, count) in counters.refusals.withLock({ $0 }) { refusals[refusalName(code), default: 0] += count }
    }
  }

  package var json: Data {
    get throws {
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      return try encoder.encode(self)
    }
  }
}

package let fixgateVersion = "0.1.0"
