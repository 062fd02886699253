/// Decides when the records gathered so far are written and synced, so that syncs follow the load.
///
/// Nothing was committed for `intervalNs`: the first record is committed at once, and a lone fix is acked within one sync.
/// Otherwise records gather until `intervalNs` after the last commit began, or until `bytesMax` are there: under load one
/// sync serves all that came within an interval, however fast the disk is.
package struct CommitFormer: Sendable {
  package let intervalNs: UInt64
  package let bytesMax: Int
  private var lastStart: Instant?

  package init(intervalNs: UInt64, bytesMax: Int) {
    self.intervalNs = intervalNs
    self.bytesMax = bytesMax
  }

  /// When records gathered up to `now` are due.
  /// - Returns: `nil` if there is nothing to commit.
  package func due(bytes: Int, at now: Instant) -> Instant? {
    if bytes == 0 { return nil }
    guard bytes < bytesMax, let lastStart else { return now }
    return max(now, lastStart.advanced(byNs: intervalNs))
  }

  package mutating func began(at now: Instant) { lastStart = now }
}
