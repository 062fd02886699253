package import GateCore
package import GateMemory
package import GateNet
package import GateStore
import Synchronization

/// The thread that makes fixes durable: it feeds `SequencerCore` from the workers' rings, commits its batches to the journal,
/// and hands the answers back. It alone writes the journal.
package final class Sequencer {
  package struct Settings: Sendable {
    package var commitIntervalNs: UInt64
    package var checkpointIntervalNs: UInt64
    package var journalBytesMax: Int
    package var backlogWindow: Int

    package init(_ configuration: Configuration) {
      commitIntervalNs = UInt64(configuration.journal.commitIntervalUs) * 1_000
      checkpointIntervalNs = UInt64(configuration.journal.checkpointIntervalS) * 1_000_000_000
      journalBytesMax = configuration.journal.bytesMax
      backlogWindow = configuration.limits.backlogWindow
    }
  }

  private let settings: Settings
  private let link: SequencerLink
  private let workers: [WorkerLink]
  private let limiters: LimiterTable
  private let log: Log
  private var core: SequencerCore
  private var former: CommitFormer
  private var journal: JournalFile
  private let recovered: UInt64
  private var commits: UInt64 = 0
  private var commitFailures: UInt64 = 0
  private var problem: String?
  private var nextProbe: Instant
  private var nextChore: Instant
  private var nextCheckpoint: Instant
  private var checkpointed: UInt64

  private static let retryAfterMs: UInt32 = 1_000
  private static let probeNs: UInt64 = 500_000_000
  private static let choreNs: UInt64 = 1_000_000_000

  /// - Parameters:
  ///   - devices: as recovered from checkpoint and journal.
  ///   - recovered: fixes in the journal that the first sink has not stored.
  package init(
    settings: Settings, link: SequencerLink, workers: [WorkerLink], limiters: LimiterTable,
    journal: consuming JournalFile, devices: DeviceTable, recovered: UInt64, checkpointLSN: UInt64, log: @escaping Log
  ) {
    self.settings = settings
    self.link = link
    self.workers = workers
    self.limiters = limiters
    self.log = log
    self.recovered = recovered
    let capacity = 2 * Limits.messageBytesMax
    core = SequencerCore(
      devices: devices, workers: workers.count, batchCapacity: capacity, random: SystemRandomNumberGenerator())
    former = CommitFormer(intervalNs: settings.commitIntervalNs, bytesMax: capacity - Limits.messageBytesMax)
    let now = SystemClock.now()
    nextProbe = now
    nextChore = now
    nextCheckpoint = now.advanced(byNs: settings.checkpointIntervalNs)
    checkpointed = checkpointLSN
    link.durableLSN.store(journal.endLSN, ordering: .releasing)
    link.checkpointLSN.store(checkpointLSN, ordering: .releasing)
    self.journal = journal
  }

  /// Runs until stopped; then everything taken is durable and a checkpoint of it is on its way.
  package func run() throws(NetError) {
    while true {
      let stopping = link.isStopping
      let taken = takeMessages()
      let now = SystemClock.now()
      if problem != nil, now >= nextProbe { probe(at: now) }
      let bytes = core.hasWaiters ? max(core.batchBytes, 1) : core.batchBytes
      if let due = former.due(bytes: core.hasRoom ? bytes : former.bytesMax, at: now), due <= now || stopping {
        commit(at: now)
        deliver()
        continue
      }
      deliver()
      for answer in link.takeSnapshotRequests() { answer(snapshot()) }
      if now >= nextChore { chores(at: now) }
      if taken { continue }
      if stopping {
        writeCheckpoint()
        return
      }
      try sleep(from: now)
    }
  }

  private func sleep(from now: Instant) throws(NetError) {
    let bytes = core.hasWaiters ? max(core.batchBytes, 1) : core.batchBytes
    var deadline = former.due(bytes: bytes, at: now) ?? nextChore
    if problem != nil { deadline = min(deadline, nextProbe) }
    link.sleeper.prepare()
    if link.isQuiet, workers.allSatisfy({ $0.toSequencer.isEmpty }) {
      try link.sleeper.sleep(until: min(deadline, nextChore))
    }
    link.sleeper.awake()
  }

  /// Takes what waits in the rings, one message a ring in turn, while there is room.
  /// - Returns: whether there was any.
  private func takeMessages() -> Bool {
    let wallMs = SystemClock.wallMs()
    var any = false
    var more = true
    while more, core.hasRoom {
      more = false
      for (index, worker) in workers.enumerated() where core.hasRoom {
        if worker.toSequencer.pop({ core.take($0, from: index, receiveTimeMs: wallMs) }) { more = true }
      }
      if more { any = true }
    }
    return any
  }

  private func commit(at now: Instant) {
    guard core.batchBytes > 0 else {
      core.commitSucceeded()
      return
    }
    former.began(at: now)
    do throws(JournalError) {
      try Sequencer.write(core, to: &journal)
    } catch {
      // The segment is abandoned; the records are still in memory and get one more chance, in a new one.
      do throws(JournalError) {
        try Sequencer.write(core, to: &journal)
        log(.warning, "a write to the journal failed and succeeded in a new segment: \(error)")
      } catch {
        commitFailures += 1
        fail(error, at: now)
        core.commitFailed(retryAfterMs: Sequencer.retryAfterMs)
        return
      }
    }
    commits += 1
    core.commitSucceeded()
    link.durableLSN.store(journal.endLSN, ordering: .releasing)
    link.sinkSleeper.wake()
  }

  private static func write(_ core: borrowing SequencerCore, to journal: inout JournalFile) throws(JournalError) {
    let batch = core.batch
    try journal.commit(batch.span.extracting(..<core.batchBytes), count: core.batchRecords)
  }

  private func fail(_ error: JournalError, at now: Instant) {
    if problem == nil { log(.error, "nothing is taken: \(error)") }
    problem = "\(error)"
    core.storageRetryAfterMs = Sequencer.retryAfterMs
    nextProbe = now.advanced(byNs: Sequencer.probeNs)
  }

  private func probe(at now: Instant) {
    nextProbe = now.advanced(byNs: Sequencer.probeNs)
    guard journal.bytesOnDisk <= settings.journalBytesMax else { return }
    do throws(JournalError) {
      try journal.probe()
      problem = nil
      core.storageRetryAfterMs = nil
      log(.notice, "the journal can be written again: fixes are taken")
    } catch {
      problem = "\(error)"
    }
  }

  /// Gives every answer to its worker and wakes those that wait for one, or for room in their ring.
  private func deliver() {
    for (worker, reply) in core.replies {
      precondition(workers[worker].toWorker.hasRoom(for: reply.encodedBytes), "a worker has more unanswered than it may")
      workers[worker].toWorker.push(atMost: reply.encodedBytes) { out in
        reply.write(into: &out)
        return reply.encodedBytes
      }
    }
    for refund in core.refunds {
      limiters.refund(device: refund.device, lane: Int(refund.lane), units: refund.count)
    }
    core.clearReplies()
    for worker in workers { worker.sleeper.wake() }
  }

  // MARK: - Now and then

  private func chores(at now: Instant) {
    nextChore = now.advanced(byNs: Sequencer.choreNs)
    if now >= nextCheckpoint {
      nextCheckpoint = now.advanced(byNs: settings.checkpointIntervalNs)
      writeCheckpoint()
    }
    let durable = link.sink.withLock { $0.durableCursor }
    do throws(JournalError) {
      try journal.trim(below: min(durable, link.checkpointLSN.load(ordering: .acquiring)))
      if core.batchBytes == 0, problem == nil { _ = try journal.prepareSpare() }
    } catch {
      log(.warning, "journal: \(error)")
    }
    let window = BacklogWindow.fixes(
      full: settings.backlogWindow, used: journal.bytesOnDisk, limit: settings.journalBytesMax)
    link.backlogWindow.store(UInt32(clamping: window), ordering: .relaxed)
    if journal.bytesOnDisk > settings.journalBytesMax, problem == nil {
      fail(.full(.write, errno: 0), at: now)
      problem = "the journal has reached journal.bytes_max: the store is behind"
      log(.error, "nothing is taken: \(problem ?? ""); raise it or mend the store")
    }
  }

  /// Hands the dedupe marks as of the journal's end to the thread that writes them. Only between two commits.
  private func writeCheckpoint() {
    guard core.batchBytes == 0, journal.endLSN > checkpointed else { return }
    checkpointed = journal.endLSN
    let bytes = Checkpoint(lsn: journal.endLSN, devices: core.devices).encoded()
    link.checkpoint.withLock { $0 = (checkpointed, bytes) }
    link.checkpointSleeper.wake()
  }

  private func snapshot() -> Snapshot {
    var snapshot = Snapshot()
    let counts = core.counts
    // What is published and not taken lies in the rings; a ring's counter moves with its messages.
    for worker in workers { snapshot.received += worker.toSequencer.itemsPublished }
    let sink = link.sink.withLock { $0 }
    snapshot.recovered = recovered
    snapshot.stored = sink.stored
    snapshot.duplicate = counts.duplicate + sink.alreadyStored
    snapshot.held = sink.held
    snapshot.refused = counts.refused + sink.refused
    snapshot.setAside = sink.setAside
    snapshot.pending = snapshot.received - counts.taken + UInt64(core.batchFixes)
    snapshot.queued = recovered + counts.journaled - sink.consumed
    snapshot.refusedByStage = counts
    snapshot.verdicts = core.verdicts
    snapshot.journalFirstLSN = journal.firstLSN
    snapshot.journalEndLSN = journal.endLSN
    snapshot.journalBytes = journal.bytesOnDisk
    snapshot.commits = commits
    snapshot.commitFailures = commitFailures
    snapshot.storageProblem = problem
    snapshot.sink = sink
    snapshot.devices = core.devices.count
    return snapshot
  }
}
