package import GateCore
package import GateMemory
package import GateNet
package import Synchronization

package enum LogLevel: Sendable { case debug, info, notice, warning, error }

/// Where the threads' messages go. No coordinate, identifier or secret is ever in one.
package typealias Log = @Sendable (LogLevel, String) -> Void

/// A thread that may sleep, and how others wake it without a system call while it does not.
package final class Sleeper: Sendable {
  private static let isAwake: UInt8 = 0
  /// It wakes by itself soon enough for most.
  private static let dozes: UInt8 = 1
  private static let sleeps: UInt8 = 2

  package let event: EventFD
  private let state = Atomic(Sleeper.isAwake)

  package init() throws(NetError) { event = try EventFD() }

  /// Says that the thread is about to sleep. It must look at its work once more between this and the wait.
  /// - Parameter dozing: only what presses wakes it before its time.
  package func prepare(dozing: Bool = false) {
    state.store(dozing ? Sleeper.dozes : Sleeper.sleeps, ordering: .sequentiallyConsistent)
  }

  package func awake() {
    state.store(Sleeper.isAwake, ordering: .relaxed)
  }

  /// Wakes the thread if it sleeps, and if it dozes when it is `pressing`. Call after the work is visible.
  package func wake(pressing: Bool = false) {
    atomicMemoryFence(ordering: .sequentiallyConsistent)
    let now = state.load(ordering: .relaxed)
    guard now == Sleeper.sleeps || pressing && now == Sleeper.dozes else { return }
    if state.exchange(Sleeper.isAwake, ordering: .relaxed) != Sleeper.isAwake { event.signal() }
  }

  /// Waits until woken or until `deadline`.
  package func sleep(until deadline: Instant) throws(NetError) {
    do throws(NetError) {
      try event.descriptor.wait(readable: true, writable: false, until: deadline)
      event.clear()
    } catch .timedOut {
    }
    awake()
  }
}

/// The registry in force: an immutable snapshot that is swapped as a whole.
package final class RegistryHolder: Sendable {
  private let current: Mutex<RegistrySnapshot>
  private let swaps = Atomic<UInt64>(0)

  package init(_ snapshot: RegistrySnapshot) { current = Mutex(snapshot) }

  /// Changes with every swap; cheap to look at.
  package var version: UInt64 { swaps.load(ordering: .acquiring) }
  package var snapshot: RegistrySnapshot { current.withLock { $0 } }

  package func swap(_ snapshot: RegistrySnapshot) {
    current.withLock { $0 = snapshot }
    swaps.wrappingAdd(1, ordering: .releasing)
  }
}

/// Counts that only a worker knows, for status. Written by one thread, read by any.
package final class WorkerCounters: Sendable {
  package let accepted = Atomic<UInt64>(0)
  package let connections = Atomic<Int>(0)
  package let sessions = Atomic<Int>(0)
  package let handshakes = Atomic<UInt64>(0)
  package let resumptions = Atomic<UInt64>(0)
  /// Connections whose early data was taken, and whose was not.
  package let earlyData = Atomic<UInt64>(0)
  package let earlyDataRejected = Atomic<UInt64>(0)
  package let handshakesWaiting = Atomic<Int>(0)
  package let handshakesUnderWay = Atomic<Int>(0)
  package let bufferedBytes = Atomic<Int>(0)
  package let frames = Atomic<UInt64>(0)
  /// Fields of frames that this gateway does not know: from newer devices, or noise.
  package let unknownFields = Atomic<UInt64>(0)
  package let bytesIn = Atomic<UInt64>(0)
  package let bytesOut = Atomic<UInt64>(0)
  package let datagrams = Mutex(Status.Datagrams())
  /// By `RefusalCode`.
  package let refusals = Mutex<[UInt16: UInt64]>([:])
  /// By reason, before any session: not TLS, handshake failed, timed out, too many connections.
  package let closed = Mutex<[String: UInt64]>([:])

  package init() {}

  func refuse(_ code: UInt16) { refusals.withLock { $0[code, default: 0] += 1 } }
  func close(_ reason: String) { closed.withLock { $0[reason, default: 0] += 1 } }
}

package enum WorkerCommand: Sendable {
  /// The registry was swapped: close what is revoked, then report.
  case registryChanged(Completion)
  /// The device of this session has a newer one.
  case displace(SessionID)
  /// Ask the device's live sessions of that stream for these sequences, then report.
  case ask(device: UInt32, stream: UInt32, [StreamMarks.Run], Completion)
  /// What became of a request for enrolment.
  case enrolled(SessionID, EnrolmentAnswer)
  /// Take nothing more, answer what was taken, close and end.
  case drain
}

/// Counts workers that have done something, for one thread that waits for all of them.
package final class Completion: Sendable {
  private let left: Atomic<Int>
  /// Connections closed on the way.
  package let closed = Atomic<Int>(0)
  /// Ranges asked for.
  package let asked = Atomic<Int>(0)
  private let sleeper: EventFD

  package init(_ count: Int) throws(NetError) {
    left = Atomic(count)
    sleeper = try EventFD()
  }

  package func done() {
    if left.wrappingSubtract(1, ordering: .acquiringAndReleasing).newValue == 0 { sleeper.signal() }
  }

  /// - Returns: false if the time ran out first.
  package func wait(until deadline: Instant) -> Bool {
    while left.load(ordering: .acquiring) > 0 {
      do throws(NetError) {
        try sleeper.descriptor.wait(readable: true, writable: false, until: deadline)
      } catch {
        return left.load(ordering: .acquiring) <= 0
      }
    }
    return true
  }
}

/// What joins one worker to the sequencer and to the control plane.
package final class WorkerLink: Sendable {
  package let toSequencer: ByteRing
  package let toWorker: ByteRing
  package let sleeper: Sleeper
  package let counters = WorkerCounters()
  private let commands = Mutex<[WorkerCommand]>([])
  private let hasCommands = Atomic(false)

  /// Unanswered messages that a worker may have with the sequencer, so that every answer finds room.
  package static let unansweredMax = 8_192
  private static let ringBytes = 1 << 22
  private static let replyRingBytes = 1 << 24

  package init() throws(NetError) {
    // Every unanswered message gets one answer of its own, and may cause one refusal by name.
    precondition(WorkerLink.replyRingBytes >= 2 * WorkerLink.unansweredMax * (SequencerReply.bytesMax + 16))
    precondition(WorkerLink.ringBytes >= 4 * Limits.messageBytesMax)
    toSequencer = ByteRing(capacity: WorkerLink.ringBytes)
    toWorker = ByteRing(capacity: WorkerLink.replyRingBytes)
    sleeper = try Sleeper()
  }

  package func send(_ command: WorkerCommand) {
    commands.withLock { $0.append(command) }
    hasCommands.store(true, ordering: .releasing)
    sleeper.wake()
  }

  func takeCommands() -> [WorkerCommand] {
    guard hasCommands.exchange(false, ordering: .acquiring) else { return [] }
    return commands.withLock {
      let taken = $0
      $0 = []
      return taken
    }
  }

  var isQuiet: Bool { toWorker.isEmpty && !hasCommands.load(ordering: .acquiring) }
}
