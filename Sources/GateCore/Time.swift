/// A point on the gateway's monotonic clock, in nanoseconds. The core never asks what time it is: callers hand it in.
@usableFromInline package struct Instant: Comparable, Hashable, Sendable, BitwiseCopyable {
  @usableFromInline package var ns: UInt64
  @inlinable package init(ns: UInt64) { self.ns = ns }
  /// Later than all others.
  package static let never = Instant(ns: .max)
  @inlinable package static func < (a: Instant, b: Instant) -> Bool { a.ns < b.ns }
  /// Nanoseconds from `earlier` to this instant; 0 if it is not earlier.
  @inlinable package func since(_ earlier: Instant) -> UInt64 { ns > earlier.ns ? ns - earlier.ns : 0 }
  @inlinable package func advanced(byNs delta: UInt64) -> Instant { Instant(ns: ns &+ delta) }
}
