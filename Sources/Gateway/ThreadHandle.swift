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
