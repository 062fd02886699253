/// The generic cell rate algorithm (ITU-T I.371): a rate limiter whose whole state is one 64-bit word.
///
/// The word is the theoretical arrival time: the instant, in ns of the caller's clock, at which everything charged so far
/// would have been spread evenly. It may run ahead of the clock by the burst. A word of 0 is a full allowance.
@usableFromInline package struct GCRA: Equatable, Sendable {
  /// Time that one unit costs, in ns.
  @usableFromInline package let intervalNs: UInt64
  /// How far the word may run ahead of the clock, in ns.
  @usableFromInline package let burstNs: UInt64

  /// - Parameters:
  ///   - perSecond: units a second, 1 to 10^9.
  ///   - burst: units that may come at once after a rest, at least 1. Larger charges are never granted.
  package init(perSecond: UInt64, burst: UInt64) {
    precondition(perSecond >= 1 && perSecond <= 1_000_000_000 && burst >= 1 && burst <= 1_000_000_000)
    intervalNs = 1_000_000_000 / perSecond
    burstNs = intervalNs * burst
  }

  @usableFromInline package enum Decision: Equatable, Sendable {
    /// Granted; the word to store.
    case granted(word: UInt64)
    /// Not granted, the word stays. `retryAfterNs`: when the same charge fits, if nothing else is charged until then;
    /// `nil` if it is larger than the burst and never will.
    case limited(retryAfterNs: UInt64?)
  }

  /// Charges `units` against `word` at `now`. Pure: the caller stores the new word.
  @inlinable @inline(__always)
  package func charge(_ word: UInt64, units: UInt64, at now: Instant) -> Decision {
    let start = max(word, now.ns)
    let (cost, overflow) = intervalNs.multipliedReportingOverflow(by: units)
    if overflow || cost > burstNs { return .limited(retryAfterNs: nil) }
    let next = start &+ cost
    let ahead = next &- now.ns
    if ahead <= burstNs { return .granted(word: next) }
    return .limited(retryAfterNs: ahead &- burstNs)
  }

  /// Takes back a charge of `units`.
  package func refund(_ word: UInt64, units: UInt64) -> UInt64 {
    let (cost, overflow) = intervalNs.multipliedReportingOverflow(by: units)
    return overflow || cost > word ? 0 : word - cost
  }
}
