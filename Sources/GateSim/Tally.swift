/// How much of what a world has seen, so that a seed's reach can be told.
package struct Tally: Equatable, Sendable {
  package var recorded = 0
  package var acked = 0
  package var rows = 0
  package var starts = 0
  package var failedStarts = 0
  package var crashes = 0
  package var torn = 0
  package var duplicates: UInt64 = 0
  package var refused: UInt64 = 0
  package var renumbered = 0
  /// Over UDP: changes of address that the gateway took, handshakes that were done.
  package var moves = 0
  package var datagramHandshakes = 0
  /// Sessions over UDP that went on in another run of the gateway; those that had to; old session files that were refused.
  package var resumed = 0
  package var sessionsKept = 0
  package var filesRefused = 0
  /// Moments over UDP that are easy to miss: acks that came after their stream was another's, power cuts before the sync of a
  /// slot, and crashes in the turn that ended a handshake.
  package var lateAcks = 0
  package var cutsUnsynced = 0
  package var crashesInHandshake = 0
  /// Erasures, and fixes that were refused for the sake of one or because nobody was on duty.
  package var erasuresAsked = 0
  package var erasuresDone = 0
  package var refusedErased = 0
  package var refusedOffDuty = 0

  package init() {}
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
    sum.erasuresAsked += one.erasuresAsked
    sum.erasuresDone += one.erasuresDone
    sum.refusedErased += one.refusedErased
    sum.refusedOffDuty += one.refusedOffDuty
  }
}
