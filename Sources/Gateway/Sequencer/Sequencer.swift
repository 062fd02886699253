package import GateCore
package import GateMemory
package import GateNet
package import GateStore
import Synchronization

/// The thread that makes fixes durable: it feeds `CommitLoop` from the workers' rings and hands the answers back. It alone
/// writes the journal.
package final class Sequencer {
  package struct Settings: Sendable {
    package var commitIntervalNs: UInt64
    package var checkpointIntervalNs: UInt64
    package var journalBytesMax: Int
    package var journalAgeMaxMs: Int64
    package var rules: NormalisingRules
    package var backlogWindow: Int

    package init(_ configuration: Configuration) {
      commitIntervalNs = UInt64(configuration.journal.commitIntervalUs) * 1_000
      checkpointIntervalNs = UInt64(configuration.journal.checkpointIntervalS) * 1_000_000_000
      journalBytesMax = configuration.journal.bytesMax
      journalAgeMaxMs = Int64(configuration.journal.daysMax) * 86_400_000
      rules = configuration.normalising
      backlogWindow = configuration.limits.backlogWindow
    }
  }

  private let link: SequencerLink
  private let workers: [WorkerLink]
  private let limiters: LimiterTable
  private var loop: CommitLoop
  /// Workers that were given an answer since they were last woken.
  private var answered: [Bool]
  /// Checkpoints handed to the thread that writes them.
  private var checkpoints: UInt64 = 0

  /// - Parameters:
  ///   - devices: as recovered from checkpoint and journal.
  ///   - recovered: fixes in the journal that the first sink has not stored.
  package init(
    settings: Settings, link: SequencerLink, workers: [WorkerLink], limiters: LimiterTable,
    journal: consuming JournalFile, devices: DeviceTable, recovered: UInt64, checkpointLSN: UInt64,
    cipher: (any SubjectCipher)?, log: @escaping Log
  ) {
    self.link = link
    self.workers = workers
    answered = [Bool](repeating: false, count: workers.count)
    self.limiters = limiters
    link.durableLSN.store(journal.endLSN, ordering: .releasing)
    link.checkpointLSN.store(checkpointLSN, ordering: .releasing)
    link.journalFirstLSN.store(journal.firstLSN, ordering: .releasing)
    loop = CommitLoop(
      settings: settings, workers: workers.count, journal: journal, devices: devices, recovered: recovered, cipher: cipher,
      random: SystemRandomNumberGenerator(), at: SystemClock.now(), log: log)
  }

  /// Runs until stopped; then everything taken is durable and a checkpoint of it is on its way.
  package func run() throws(NetError) {
    while true {
      let stopping = link.isStopping
      let taken = takeMessages()
      let now = SystemClock.now()
      let committed = loop.turn(at: now, stopping: stopping)
      if committed { publish() }
      deliver()
      loop.prepareAhead()
      if committed { continue }
      for request in link.takeRequests() {
        switch request {
        case .snapshot(let answer): answer(snapshot())
        case .marks(let device, let answer): answer(loop.core.marks(of: Int(device)))
        case .places(let devices, let answer): answer(devices.map { loop.core.devices.latestPosition(of: Int($0)) })
        case .forget(let devices, let answer): forget(devices, answer)
        }
      }
      if loop.isChoreDue(at: now) {
        let hold = JournalHold(link.sinks.withLock { $0 }.map(\.report), wallMs: SystemClock.wallMs())
        let marks = link.checkpointLSN.load(ordering: .acquiring)
        if let checkpoint = loop.chores(at: now, hold: hold, checkpointLSN: marks) { hand(checkpoint) }
        link.backlogWindow.store(UInt32(clamping: loop.backlogWindow), ordering: .relaxed)
        link.journalFirstLSN.store(loop.journal.firstLSN, ordering: .releasing)
      }
      if taken { continue }
      if stopping {
        if let checkpoint = loop.makeCheckpoint(beyond: link.checkpointLSN.load(ordering: .acquiring)) { hand(checkpoint) }
        return
      }
      try sleep(from: now)
    }
  }

  private func sleep(from now: Instant) throws(NetError) {
    let deadline = loop.deadline(at: now)
    // While records gather nobody needs to wake it for more: at a light load that halves the wake-ups of all threads.
    let dozing = loop.isGathering
    if dozing { link.commitDueNs.store(deadline.ns, ordering: .relaxed) }
    link.sleeper.prepare(dozing: dozing)
    if link.isQuiet, dozing || workers.allSatisfy({ $0.toSequencer.isEmpty }) {
      try link.sleeper.sleep(until: deadline)
    }
    link.sleeper.awake()
    if dozing { link.commitDueNs.store(0, ordering: .relaxed) }
  }

  /// Takes what waits in the rings, one message a ring in turn, while there is room.
  /// - Returns: whether there was any.
  private func takeMessages() -> Bool {
    let wallMs = SystemClock.wallMs()
    var any = false
    var more = true
    while more, loop.hasRoom {
      more = false
      for (index, worker) in workers.enumerated() where loop.hasRoom {
        if worker.toSequencer.pop({ loop.take($0, from: index, receiveTimeMs: wallMs) }) { more = true }
      }
      if more { any = true }
    }
    return any
  }

  private func publish() {
    link.durableLSN.store(loop.durableLSN, ordering: .releasing)
    link.wakeSinks()
  }

  /// Gives every answer to its worker and wakes those that got one. A worker whose ring was full has answers to come.
  private func deliver() {
    for i in loop.core.replies.indices {
      let worker = loop.core.replies[i].worker
      answered[worker] = true
      let ring = workers[worker].toWorker
      let bytes = loop.core.replies[i].reply.encodedBytes
      precondition(ring.hasRoom(for: bytes), "a worker has more unanswered than it may")
      ring.push(atMost: bytes) { out in
        loop.core.replies[i].reply.write(into: &out)
        return bytes
      }
    }
    for refund in loop.core.refunds {
      limiters.refund(device: refund.device, lane: Int(refund.lane), units: refund.count)
    }
    for charge in loop.core.charges {
      _ = limiters.charge(
        device: charge.device, tenant: charge.tenant, lane: Int(charge.lane), units: charge.count, at: SystemClock.now())
    }
    loop.clearReplies()
    for i in workers.indices where answered[i] {
      answered[i] = false
      workers[i].sleeper.wake()
    }
  }

  /// Hands a checkpoint to the thread that writes it.
  private func hand(_ checkpoint: (lsn: UInt64, bytes: [UInt8])) {
    checkpoints += 1
    link.checkpoint.withLock { $0 = (checkpoint.lsn, checkpoint.bytes, checkpoints) }
    link.checkpointSleeper.wake()
  }

  /// Goes on with the keys in force, in a new segment, and knows no places of these devices any more.
  private func forget(_ devices: [UInt32], _ answer: (Result<SequencerRequest.Forgotten, JournalError>) -> Void) {
    if loop.turn(at: SystemClock.now(), stopping: true) {
      publish()
      deliver()
    }
    do throws(JournalError) {
      let checkpoint = try loop.forget(devices)
      hand(checkpoint)
      answer(.success(SequencerRequest.Forgotten(lsn: checkpoint.lsn, checkpoint: checkpoints)))
    } catch {
      answer(.failure(error))
    }
  }

  private func snapshot() -> Snapshot {
    // What is published and not taken lies in the rings; a ring's counter moves with its messages.
    var received: UInt64 = 0
    for worker in workers { received += worker.toSequencer.itemsPublished }
    return loop.snapshot(received: received, sinks: link.sinks.withLock { $0 }.map(\.report))
  }
}
