package import GateCore
import GateProto
package import GateStore

/// What is missing of a device, and why, as far as known. Field names are stable: scripts rely on them.
package struct GapLedger: Codable, Equatable, Sendable {
  package enum State: String, Codable, Sendable {
    /// May still come: see `reason`.
    case missing
    /// The device has given them up, or no longer holds them.
    case closed
    case held
    case refused
    /// Held, and then dropped by an operator.
    case dropped
  }

  package struct Entry: Codable, Equatable, Sendable {
    package var stream: UInt32
    package var first: UInt64
    package var count: UInt64
    package var state: State
    /// `not_sent`, `limited`; a reason of `GapReason`, `no_longer_held` where the device gave none; or a verdict's name.
    package var reason: String
    /// When this became known, ms since 1970-01-01 UTC by the gateway's clock.
    package var since_ms: Int64?

    package init(stream: UInt32, first: UInt64, count: UInt64, state: State, reason: String, since_ms: Int64?) {
      self.stream = stream
      self.first = first
      self.count = count
      self.state = state
      self.reason = reason
      self.since_ms = since_ms
    }
  }

  package struct Stream: Codable, Equatable, Sendable {
    package var stream: UInt32
    /// Every sequence up to here is settled.
    package var through: UInt64
    /// Fixes that the device has recorded, as far as it has told.
    package var recorded: UInt64
    /// Rows in the track.
    package var stored: UInt64
    /// May still come.
    package var missing: UInt64

    package init(stream: UInt32, through: UInt64, recorded: UInt64, stored: UInt64, missing: UInt64) {
      self.stream = stream
      self.through = through
      self.recorded = recorded
      self.stored = stored
      self.missing = missing
    }
  }

  /// What the gateway knows now; otherwise as of its last checkpoint, since none runs.
  package var live: Bool
  package var streams: [Stream]
  /// By stream and first sequence.
  package var gaps: [Entry]

  /// - Parameter marks: of the gateway or its checkpoint.
  /// - Parameter stored: rows by stream.
  package init(live: Bool, marks: [StreamMarks], settled: [SettledRun], stored: [UInt32: UInt64]) {
    self.live = live
    streams = []
    gaps = []
    for stream in marks {
      var missing: UInt64 = 0
      for hole in stream.holes {
        missing += hole.run.count
        gaps += GapLedger.split(hole.run, of: stream)
      }
      streams.append(
        Stream(
          stream: stream.stream, through: stream.through, recorded: max(stream.highest, (stream.next ?? 1) - 1),
          stored: stored[stream.stream] ?? 0, missing: missing))
    }
    for run in settled where run.stored < run.count { gaps.append(GapLedger.entry(run)) }
    gaps.sort { ($0.stream, $0.first) < ($1.stream, $1.first) }
  }

  /// A hole of which the limiter has refused a part is up to three: before it, the part, behind it.
  private static func split(_ hole: StreamMarks.Run, of stream: StreamMarks) -> [Entry] {
    func entry(_ first: UInt64, _ end: UInt64, _ reason: String, _ since: Int64?) -> Entry? {
      guard first < end else { return nil }
      return Entry(
        stream: stream.stream, first: first, count: end - first, state: .missing, reason: reason, since_ms: since)
    }
    let end = hole.first + hole.count
    guard let limited = stream.limited, limited.first < end, limited.last >= hole.first else {
      return [entry(hole.first, end, "not_sent", nil)].compactMap { $0 }
    }
    let from = max(limited.first, hole.first)
    let to = min(limited.last + 1, end)
    return [
      entry(hole.first, from, "not_sent", nil), entry(from, to, "limited", stream.limitedMs),
      entry(to, end, "not_sent", nil),
    ].compactMap { $0 }
  }

  private static func entry(_ run: SettledRun) -> Entry {
    let state: State
    let reason: String
    switch run.reason {
    case .gap(let code):
      state = .closed
      switch GapReason(rawValue: code) {
      case .overwritten: reason = "overwritten"
      case .neverRecorded: reason = "never_recorded"
      case .deviceOff: reason = "device_off"
      case .noPosition: reason = "no_position"
      case .noPermission: reason = "no_permission"
      case .sentElsewhere: reason = "sent_elsewhere"
      case .unspecified, nil: reason = "no_longer_held"
      }
    case .held(let code):
      state = .held
      reason = Verdict(rawValue: code).map { "\($0)" } ?? "\(code)"
    case .refused(let code):
      let verdict = Verdict(rawValue: code)
      state = verdict?.outcome == .held ? .dropped : .refused
      reason = verdict.map { "\($0)" } ?? "\(code)"
    }
    return Entry(
      stream: run.stream, first: run.first, count: run.count - run.stored, state: state, reason: reason,
      since_ms: run.receiveTimeMs)
  }
}
