import Foundation

package enum Seeds {
  /// FIXGATE_SEED: one seed to run instead of the usual ones.
  package static var fromEnvironment: UInt64? {
    ProcessInfo.processInfo.environment["FIXGATE_SEED"].flatMap { UInt64($0) }
  }
}

extension Tally {
  package static func += (sum: inout Tally, one: Tally) {
    sum.recorded += one.recorded
    sum.acked += one.acked
    sum.rows += one.rows
    sum.starts += one.starts
    sum.failedStarts += one.failedStarts
    sum.crashes += one.crashes
    sum.torn += one.torn
    sum.duplicates += one.duplicates
    sum.refused += one.refused
    sum.renumbered += one.renumbered
    sum.moves += one.moves
    sum.datagramHandshakes += one.datagramHandshakes
    sum.resumed += one.resumed
    sum.sessionsKept += one.sessionsKept
    sum.filesRefused += one.filesRefused
    sum.lateAcks += one.lateAcks
    sum.cutsUnsynced += one.cutsUnsynced
    sum.crashesInHandshake += one.crashesInHandshake
  }
}
