import GateCore

/// The distance between batches of a device that was told that it is over its rate. Until it is told, there is none.
///
/// The first refusal's retry-after is about the time that a batch is worth; each batch that is taken makes the distance a
/// little shorter, each further refusal longer. A window alone would not do: with 6,000 fixes in flight and 1,000 a second
/// granted, nearly all would be sent in vain.
struct SendPacing: Equatable, Sendable {
  private var intervalNs: UInt64?
  private var nextAt = Instant(ns: 0)

  /// Below this nobody waits, and the gateway's rate is no concern any more.
  private static let intervalMinNs: UInt64 = 500_000
  private static let intervalMaxNs: UInt64 = 60_000_000_000

  /// When the next batch may go; `nil` if it may go now.
  func waits(at now: Instant) -> Instant? { intervalNs != nil && nextAt > now ? nextAt : nil }

  mutating func sent(at now: Instant) {
    if let intervalNs { nextAt = now.advanced(byNs: intervalNs) }
  }

  /// A batch was taken.
  mutating func taken() {
    guard let intervalNs else { return }
    let shorter = intervalNs - intervalNs / 16
    self.intervalNs = shorter < SendPacing.intervalMinNs ? nil : shorter
  }

  /// - Parameter isFirst: of a pause; the refusals of the other frames that were in flight say nothing new.
  mutating func limited(isFirst: Bool, retryAfterNs: UInt64) {
    guard isFirst else { return }
    let wanted = intervalNs.map { $0 + $0 / 4 } ?? retryAfterNs
    intervalNs = min(max(wanted, retryAfterNs, SendPacing.intervalMinNs), SendPacing.intervalMaxNs)
  }
}
