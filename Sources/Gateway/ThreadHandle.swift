import GateNet
import Synchronization

/// A thread of the gateway. One that throws has met an error of the system that it cannot go on from.
final class ThreadHandle: Sendable {
  private let thread: Mutex<OSThread?>

  init(_ name: String, failed: EventFD, log: @escaping Log, _ body: sending @escaping () throws -> Void) throws(NetError) {
    thread = Mutex(
      try OSThread(name) {
        do {
          try body()
        } catch {
          log(.error, "\(GatewayError.thread("\(name): \(error)"))")
          failed.signal()
        }
      })
  }

  func join() {
    if let thread = thread.withLock({ $0.take() }) { thread.join() }
  }
}

/// What a thread of its own works out while its owner does something else. Never outlives the owner.
final class Errand<Value: Sendable>: Sendable {
  private final class Outcome: Sendable { let result = Mutex<Result<Value, any Error>?>(nil) }

  private let outcome: Outcome
  private let thread: Mutex<OSThread?>

  init(_ name: String, _ body: @escaping @Sendable () throws -> Value) throws(NetError) {
    let outcome = Outcome()
    self.outcome = outcome
    thread = Mutex(
      try OSThread(name) {
        let result = Result { try body() }
        outcome.result.withLock { $0 = result }
      })
  }

  deinit { join() }

  /// Waits for it. Once.
  func value() throws -> Value {
    join()
    guard let result = outcome.result.withLock({ $0.take() }) else { preconditionFailure("an errand has one result") }
    return try result.get()
  }

  private func join() {
    if let thread = thread.withLock({ $0.take() }) { thread.join() }
  }
}
