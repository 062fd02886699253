import GateCore
package import GateNet
import Synchronization

/// How far a sink has got in this run. Written by the sink's thread after each transaction, read by the sequencer and for status.
package struct SinkProgress: Equatable, Sendable {
  /// All below is counted here; the next record to store.
  package var cursor: UInt64 = 0
  /// As `cursor`, but synced: the journal may be trimmed below. 0 until the sink has said.
  package var durableCursor: UInt64 = 0
  /// Fixes read from the journal, whatever became of them.
  package var consumed: UInt64 = 0
  /// Of them, read once more: the sink had lost them, or never had them.
  package var recovered: UInt64 = 0
  package var stored: UInt64 = 0
  /// Rows that were there already.
  package var alreadyStored: UInt64 = 0
  package var held: UInt64 = 0
  package var refused: UInt64 = 0
  package var setAside: UInt64 = 0
  package var gaps: UInt64 = 0
  package var failures: UInt64 = 0
  /// Why the last attempt failed; `nil` when it did not.
  package var problem: String?
  /// Whether the sink has answered since its thread began.
  package var isOpen = false
  /// When the gateway received the oldest record that the sink is known to lack; `nil` while it lacks none.
  package var waitingSinceMs: Int64?

  package init(cursor: UInt64 = 0) { self.cursor = cursor }
}

/// A sink as it stands in a snapshot.
package struct SinkReport: Equatable, Sendable {
  package var settings: SinkSettings
  package var progress: SinkProgress
  /// About what the journal holds for it.
  package var lagBytes = 0

  package init(settings: SinkSettings, progress: SinkProgress) {
    self.settings = settings
    self.progress = progress
  }
}

/// What the sinks still need of the journal. A sink that has not answered yet may need all.
package struct JournalHold: Equatable, Sendable {
  /// Everything below is durably in each sink,
  package var allLSN = UInt64.max
  /// and in each that is not optional.
  package var requiredLSN = UInt64.max
  /// How long the oldest record has waited for one that is not optional, and for one that is.
  package var waitingMs: Int64 = 0
  package var optionalWaitingMs: Int64 = 0

  /// Everything below is in all sinks.
  package init(lsn: UInt64) {
    allLSN = lsn
    requiredLSN = lsn
  }

  package init(_ sinks: [SinkReport], wallMs: Int64) {
    for sink in sinks {
      let waitingMs = sink.progress.waitingSinceMs.map { max(wallMs - $0, 0) } ?? 0
      allLSN = min(allLSN, sink.progress.durableCursor)
      if sink.settings.isOptional {
        optionalWaitingMs = max(optionalWaitingMs, waitingMs)
      } else {
        requiredLSN = min(requiredLSN, sink.progress.durableCursor)
        self.waitingMs = max(self.waitingMs, waitingMs)
      }
    }
  }
}

/// What joins a sink's thread to the sequencer and to the control plane.
package final class SinkLink: Sendable {
  package let settings: SinkSettings
  package let sleeper: Sleeper
  private let current: Mutex<SinkProgress>
  /// When to give up, in ns of the clock; 0 = never, it is not stopping.
  private let stopNs = Atomic<UInt64>(0)

  package init(_ settings: SinkSettings, progress: SinkProgress) throws(NetError) {
    self.settings = settings
    current = Mutex(progress)
    sleeper = try Sleeper()
  }

  package var progress: SinkProgress { current.withLock { $0 } }
  package var report: SinkReport { SinkReport(settings: settings, progress: progress) }

  func publish(_ progress: SinkProgress) { current.withLock { $0 = progress } }
  func change(_ body: (inout SinkProgress) -> Void) { current.withLock { body(&$0) } }

  /// Store what is durable and end; by `deadline` at the latest.
  func stop(by deadline: Instant) {
    stopNs.store(max(deadline.ns, 1), ordering: .releasing)
    sleeper.wake()
  }

  var isStopping: Bool { stopNs.load(ordering: .acquiring) > 0 }
  /// Whether there is no more time to finish anything.
  package var isOver: Bool {
    let ns = stopNs.load(ordering: .acquiring)
    return ns > 0 && SystemClock.now().ns >= ns
  }
}
