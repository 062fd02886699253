package import GateCore
package import GateNet
package import GateStore
package import Synchronization

/// A question to the sequencer.
package enum SequencerRequest: Sendable {
  case snapshot(@Sendable (Snapshot) -> Void)
  /// - Parameter device: dense index.
  case marks(device: UInt32, @Sendable ([StreamMarks]) -> Void)
  /// Where devices were last seen, in the same order. By dense index, as above.
  case places([UInt32], @Sendable ([LatestPosition?]) -> Void)
  /// Go on with the keys in force, and forget where these devices were.
  case forget([UInt32], @Sendable (Result<Forgotten, JournalError>) -> Void)

  package struct Forgotten: Sendable {
    /// Records below it are sealed under older keys.
    package var lsn: UInt64
    /// Number of the first checkpoint that does not know those places.
    package var checkpoint: UInt64
  }
}

/// What the sequencer publishes, and what it is told, across threads.
package final class SequencerLink: Sendable {
  package let sleeper: Sleeper
  /// LSN below which everything in the journal is durable.
  package let durableLSN = Atomic<UInt64>(0)
  /// When the records that gather now are committed, in ns of `SystemClock`; 0 while none gather.
  package let commitDueNs = Atomic<UInt64>(0)
  /// LSN below which everything is in the dedupe checkpoint on disk.
  package let checkpointLSN = Atomic<UInt64>(0)
  /// Fixes of backlog that a device may have unacked; shrinks as the journal fills.
  package let backlogWindow: Atomic<UInt32>
  /// In the order of the configuration; the first is the one that the equation speaks of.
  package let sinks = Mutex<[SinkLink]>([])
  package let checkpointSleeper: Sleeper
  /// LSN of the oldest record in the journal.
  package let journalFirstLSN = Atomic<UInt64>(0)
  /// Number of the last checkpoint that was written.
  package let checkpointNumber = Atomic<UInt64>(0)
  /// A checkpoint to write: its LSN, bytes and number.
  let checkpoint = Mutex<(lsn: UInt64, bytes: [UInt8], number: UInt64)?>(nil)
  private let requests = Mutex<[SequencerRequest]>([])
  private let hasRequests = Atomic(false)
  private let stopping = Atomic(false)
  private let checkpointStopping = Atomic(false)

  package init(backlogWindow: Int) throws(NetError) {
    self.backlogWindow = Atomic(UInt32(clamping: backlogWindow))
    sleeper = try Sleeper()
    checkpointSleeper = try Sleeper()
  }

  /// Asks for the state of one moment; the answer is called on the sequencer's thread.
  package func request(_ request: SequencerRequest) {
    requests.withLock { $0.append(request) }
    hasRequests.store(true, ordering: .releasing)
    sleeper.wake(pressing: true)
  }

  func takeRequests() -> [SequencerRequest] {
    guard hasRequests.exchange(false, ordering: .acquiring) else { return [] }
    return requests.withLock {
      let taken = $0
      $0 = []
      return taken
    }
  }

  /// The workers have ended: commit what is there, write a checkpoint, end.
  package func stop() {
    stopping.store(true, ordering: .releasing)
    sleeper.wake(pressing: true)
  }

  var isStopping: Bool { stopping.load(ordering: .acquiring) }

  /// The sequencer has ended: write the checkpoint that waits, end.
  package func stopCheckpoints() {
    checkpointStopping.store(true, ordering: .releasing)
    checkpointSleeper.wake()
  }

  var isCheckpointStopping: Bool { checkpointStopping.load(ordering: .acquiring) }

  /// More is durable.
  func wakeSinks() { sinks.withLock { for sink in $0 { sink.sleeper.wake() } } }

  var isQuiet: Bool { !hasRequests.load(ordering: .acquiring) && !isStopping }
}

/// Counts of one moment, in fixes of decoded frames, against the first sink. Of them holds
/// `received + recovered = stored + duplicate + held + refused + queued + pending + set_aside`.
package struct Snapshot: Equatable, Sendable {
  package var received: UInt64 = 0
  /// In the journal and not yet in the store when this run began.
  package var recovered: UInt64 = 0
  package var stored: UInt64 = 0
  package var duplicate: UInt64 = 0
  package var held: UInt64 = 0
  package var refused: UInt64 = 0
  /// Durable in the journal, not yet in the store.
  package var queued: UInt64 = 0
  /// Taken and not yet durable.
  package var pending: UInt64 = 0
  package var setAside: UInt64 = 0

  package var refusedByStage = SequencerCore.Counts()
  /// Fixes made durable, by verdict code.
  package var verdicts: [UInt16: UInt64] = [:]
  package var journalFirstLSN: UInt64 = 0
  package var journalEndLSN: UInt64 = 0
  package var journalBytes: Int = 0
  package var commits: UInt64 = 0
  package var commitFailures: UInt64 = 0
  package var storageProblem: String?
  /// In the order of the configuration.
  package var sinks: [SinkReport] = []

  package var isBalanced: Bool {
    received + recovered == stored + duplicate + held + refused + queued + pending + setAside
  }
}
