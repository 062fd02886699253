package import GateCore
package import GateStore

/// All that happens between a worker's message and the answer to it, as a value: messages in, replies out, the journal
/// written in between. Time comes in as arguments; there is no thread and no lock. `Sequencer` is the thread around
/// it, and the simulator is the other interpreter.
///
/// One turn: `take` while `hasRoom`, `turn`, deliver `replies`, `clearReplies`, `prepareAhead`.
package struct CommitLoop: ~Copyable {
  package private(set) var core: SequencerCore
  package private(set) var journal: JournalFile
  package private(set) var commits: UInt64 = 0
  package private(set) var commitFailures: UInt64 = 0
  /// Why nothing is taken; `nil` while the journal can be written.
  package private(set) var problem: String?

  private let settings: Sequencer.Settings
  private let log: Log
  private var former: CommitFormer
  private let recovered: UInt64
  private var nextProbe: Instant
  private var nextChore: Instant
  private var nextCheckpoint: Instant
  /// The next segment's file could not be written; the next chores try again, and say so.
  private var spareFailed = false
  /// How long the oldest record has waited for a sink that must have it.
  private var waitingMs: Int64 = 0

  private static let retryAfterMs: UInt32 = 1_000
  private static let probeNs: UInt64 = 500_000_000
  private static let choreNs: UInt64 = 1_000_000_000
  /// What is written of the next segment's file at a time: little, since acks wait for it.
  private static let spareBytes = 64 << 10

  /// - Parameters:
  ///   - devices: as recovered from checkpoint and journal.
  ///   - recovered: fixes in the journal that the first sink has not stored.
  ///   - cipher: seals what is written; `nil` = records are written as they are.
  package init(
    settings: Sequencer.Settings, workers: Int, journal: consuming JournalFile, devices: DeviceTable,
    recovered: UInt64, cipher: (any SubjectCipher)? = nil, random: any RandomNumberGenerator & Sendable, at now: Instant,
    log: @escaping Log
  ) {
    self.settings = settings
    self.log = log
    self.recovered = recovered
    let capacity = 2 * Limits.messageBytesMax
    core = SequencerCore(
      devices: devices, workers: workers, batchCapacity: capacity, judge: Judge(settings.rules), cipher: cipher,
      random: random)
    former = CommitFormer(intervalNs: settings.commitIntervalNs, bytesMax: capacity - Limits.messageBytesMax)
    nextProbe = now
    nextChore = now
    nextCheckpoint = now.advanced(byNs: settings.checkpointIntervalNs)
    self.journal = journal
  }

  /// Whether a message of any size can be taken before the next commit.
  package var hasRoom: Bool { core.hasRoom }
  /// LSN below which everything in the journal is durable.
  package var durableLSN: UInt64 { journal.endLSN }
  /// For the caller to deliver, then `clearReplies`.
  package var replies: [(worker: Int, reply: SequencerReply)] { core.replies }
  package mutating func clearReplies() { core.clearReplies() }

  package mutating func take(_ bytes: Span<UInt8>, from worker: Int, receiveTimeMs: Int64) {
    core.take(bytes, from: worker, receiveTimeMs: receiveTimeMs)
  }

  /// Records wait for their commit, and what comes until then goes with them.
  package var isGathering: Bool { problem == nil && bytesToCommit > 0 && core.hasRoom }

  /// When `turn` or `chores` has something to do even if no message comes.
  package func deadline(at now: Instant) -> Instant {
    var deadline = min(former.due(bytes: bytesToCommit, at: now) ?? nextChore, nextChore)
    if problem != nil { deadline = min(deadline, nextProbe) }
    return deadline
  }

  /// A frame of duplicates has no bytes, and is acked too.
  private var bytesToCommit: Int { core.hasWaiters ? max(core.batchBytes, 1) : core.batchBytes }

  /// Commits if it is time to.
  /// - Parameter stopping: commit at once what there is.
  /// - Returns: whether there was a commit, failed or not: its replies wait.
  package mutating func turn(at now: Instant, stopping: Bool) -> Bool {
    if problem != nil, now >= nextProbe { probe(at: now) }
    guard let due = former.due(bytes: core.hasRoom ? bytesToCommit : former.bytesMax, at: now), due <= now || stopping
    else { return false }
    commit(at: now)
    return true
  }

  private mutating func commit(at now: Instant) {
    guard core.batchBytes > 0 else {
      core.commitSucceeded()
      return
    }
    former.began(at: now)
    core.sealBatch()
    do throws(JournalError) {
      try CommitLoop.write(core, to: &journal)
    } catch {
      // The segment is abandoned; the records are still in memory and get one more chance, in a new one.
      do throws(JournalError) {
        try CommitLoop.write(core, to: &journal)
        log(.warning, "a write to the journal failed and succeeded in a new segment: \(error)")
      } catch {
        commitFailures += 1
        fail(error, at: now)
        core.commitFailed(retryAfterMs: CommitLoop.retryAfterMs)
        return
      }
    }
    commits += 1
    core.commitSucceeded()
  }

  /// Goes on with the next segment's file where it is behind. Call it when the answers are out.
  package mutating func prepareAhead() {
    guard problem == nil, !spareFailed else { return }
    do throws(JournalError) {
      while journal.isSpareBehind { _ = try journal.prepareSpare(CommitLoop.spareBytes) }
    } catch {
      spareFailed = true
    }
  }

  private static func write(_ core: borrowing SequencerCore, to journal: inout JournalFile) throws(JournalError) {
    let payload = core.payload
    try journal.commit(payload.span.extracting(..<core.payloadBytes), count: core.batchRecords)
  }

  private mutating func fail(_ error: JournalError, at now: Instant) {
    if problem == nil { log(.error, "nothing is taken: \(error)") }
    problem = "\(error)"
    core.storageRetryAfterMs = CommitLoop.retryAfterMs
    nextProbe = now.advanced(byNs: CommitLoop.probeNs)
  }

  private mutating func probe(at now: Instant) {
    nextProbe = now.advanced(byNs: CommitLoop.probeNs)
    guard bound == nil else { return }
    do throws(JournalError) {
      try journal.probe()
      problem = nil
      core.storageRetryAfterMs = nil
      log(.notice, "the journal can be written again: fixes are taken")
    } catch {
      problem = "\(error)"
    }
  }

  /// Fixes of backlog that a device may have unacked: fewer as the journal fills.
  package var backlogWindow: Int {
    BacklogWindow.fixes(full: settings.backlogWindow, used: journal.bytesOnDisk, limit: settings.journalBytesMax)
  }

  // MARK: - Now and then

  package func isChoreDue(at now: Instant) -> Bool { now >= nextChore }

  /// Trims and prepares the journal. Call it when `isChoreDue`.
  ///
  /// - Parameters:
  ///   - hold: what the sinks still need of it.
  ///   - checkpointLSN: everything below is in the checkpoint on disk.
  /// - Returns: a checkpoint to write, with its LSN.
  package mutating func chores(
    at now: Instant, hold: JournalHold, checkpointLSN: UInt64
  ) -> (lsn: UInt64, bytes: [UInt8])? {
    nextChore = now.advanced(byNs: CommitLoop.choreNs)
    waitingMs = hold.waitingMs
    var checkpoint: (lsn: UInt64, bytes: [UInt8])?
    if now >= nextCheckpoint {
      nextCheckpoint = now.advanced(byNs: settings.checkpointIntervalNs)
      checkpoint = makeCheckpoint(beyond: checkpointLSN)
    }
    spareFailed = false
    do throws(JournalError) {
      try journal.trim(below: min(hold.allLSN, checkpointLSN))
      try giveUpOptional(hold, checkpointLSN)
      if core.batchBytes == 0, problem == nil { _ = try journal.prepareSpare() }
    } catch {
      log(.warning, "journal: \(error)")
    }
    if let bound, problem == nil {
      fail(.full(.write, errno: 0), at: now)
      problem = bound
      log(.error, "nothing is taken: \(bound)")
    }
    return checkpoint
  }

  /// At its bounds the journal goes on without the sinks that are optional, and only then.
  private mutating func giveUpOptional(_ hold: JournalHold, _ checkpointLSN: UInt64) throws(JournalError) {
    let isOld = hold.optionalWaitingMs > settings.journalAgeMaxMs
    guard isOld || journal.bytesOnDisk > settings.journalBytesMax else { return }
    let before = journal.firstLSN
    try journal.trim(below: min(hold.requiredLSN, checkpointLSN))
    guard journal.firstLSN > before else { return }
    log(.error, "the journal is at its bound and went on without an optional sink, which never gets \(journal.firstLSN - before) records")
  }

  /// Why nothing may be taken although the disk is well.
  private var bound: String? {
    if journal.bytesOnDisk > settings.journalBytesMax {
      return "the journal has reached journal.bytes_max: a sink is behind, see 'fixgate status'; raise it or mend the sink"
    }
    if waitingMs > settings.journalAgeMaxMs {
      return "a record has waited for a sink longer than journal.days_max, see 'fixgate status'; raise it or mend the sink"
    }
    return nil
  }

  /// The dedupe marks as of the journal's end; `nil` while a commit is in hand, or if the disk has them already. One that
  /// could not be written is made again: the journal is not trimmed before.
  /// - Parameter onDisk: LSN of the checkpoint on disk.
  package func makeCheckpoint(beyond onDisk: UInt64) -> (lsn: UInt64, bytes: [UInt8])? {
    guard core.batchBytes == 0, journal.endLSN > onDisk else { return nil }
    return (journal.endLSN, Checkpoint(lsn: journal.endLSN, devices: core.devices).encoded())
  }

  /// Between two commits: goes on with the keys in force from now on, in a new segment, so that those before can be given up;
  /// and forgets where these devices were.
  ///
  /// Without the new segment nothing can be said: what a failed commit has left behind the last durable record, sealed under
  /// older keys, may be whole, and the next start would take it in.
  /// - Returns: a checkpoint to write, with the LSN below which everything is sealed under older keys.
  /// - Throws: no new segment could be begun. Try again.
  package mutating func forget(_ devices: [UInt32]) throws(JournalError) -> (lsn: UInt64, bytes: [UInt8]) {
    core.forget(devices)
    try journal.roll()
    return (journal.endLSN, Checkpoint(lsn: journal.endLSN, devices: core.devices).encoded())
  }

  /// - Parameters:
  ///   - received: fixes that the workers have published. Read it before `sinks`.
  ///   - sinks: the first is what the equation is about.
  package func snapshot(received: UInt64, sinks: [SinkReport]) -> Snapshot {
    let sink = sinks.first?.progress ?? SinkProgress()
    var snapshot = Snapshot()
    let counts = core.counts
    snapshot.received = received
    snapshot.recovered = recovered + sink.recovered
    snapshot.stored = sink.stored
    snapshot.duplicate = counts.duplicate + sink.alreadyStored
    snapshot.held = sink.held
    snapshot.refused = counts.refused + sink.refused
    snapshot.setAside = sink.setAside
    snapshot.pending = snapshot.received - counts.taken + UInt64(core.batchFixes)
    snapshot.queued = recovered + counts.journaled + sink.recovered - sink.consumed
    snapshot.refusedByStage = counts
    snapshot.verdicts = core.verdicts
    snapshot.journalFirstLSN = journal.firstLSN
    snapshot.journalEndLSN = journal.endLSN
    snapshot.journalBytes = journal.bytesOnDisk
    snapshot.commits = commits
    snapshot.commitFailures = commitFailures
    snapshot.storageProblem = problem
    snapshot.sinks = sinks
    for i in snapshot.sinks.indices {
      snapshot.sinks[i].lagBytes = journal.bytes(from: snapshot.sinks[i].progress.cursor)
    }
    return snapshot
  }
}
