/// What a server has acked before it has synced it: how far the journal was with each ack, until the server's next sync is
/// certain to have passed.
package struct SyncTrail: Sendable {
  package struct Mark: Equatable, Sendable {
    /// All of the journal below was acked with it.
    package var lsn: UInt64
    /// Its place at the server.
    package var sequence: UInt64
    package var ackedAt: Instant

    package init(lsn: UInt64, sequence: UInt64, ackedAt: Instant) {
      self.lsn = lsn
      self.sequence = sequence
      self.ackedAt = ackedAt
    }
  }

  private static let marksMax = 1_024
  /// Marks that are closer to each other than this part of the interval are one, the newer.
  private static let part: UInt64 = 256

  private let intervalNs: UInt64
  /// Oldest first.
  private var marks: [Mark] = []

  /// - Parameter intervalNs: the server syncs at least so often.
  package init(intervalNs: UInt64) { self.intervalNs = intervalNs }

  package private(set) var newest: Mark?

  /// Marks come in order.
  package mutating func append(_ mark: Mark) {
    newest = mark
    let isClose =
      marks.count > 1 && marks[marks.count - 1].ackedAt.since(marks[marks.count - 2].ackedAt) < intervalNs / SyncTrail.part
    if isClose || marks.count == SyncTrail.marksMax { marks.removeLast() }
    marks.append(mark)
  }

  /// The newest mark that is synced by now, if the server has not lost it; `nil` if there is none that was not settled before.
  package func settled(at now: Instant) -> Mark? { marks.last { now.since($0.ackedAt) >= intervalNs } }

  /// The mark and all before it are done with.
  package mutating func settle(_ mark: Mark) { marks.removeAll { $0.lsn <= mark.lsn } }
}
