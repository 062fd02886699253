/// When a generator's own lateness spoils what it measured.
package enum Lateness {
  /// Share of its CPU above which its rate may be its own limit.
  package static let busyMax = 0.95
  /// Milliseconds behind the schedule that never matter.
  package static let lagMinMs = 1.0
  /// Share of the latency that may be the generator's.
  package static let shareMax = 0.1

  package static func isLate(lagP99Ms: Double, latencyP99Ms: Double) -> Bool {
    lagP99Ms > max(lagMinMs, shareMax * latencyP99Ms)
  }
}
