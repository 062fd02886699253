import Foundation

/// A child process with its output, waited for with a deadline, and dead at the latest when this value is.
final class Child: @unchecked Sendable {
  struct Outcome: Equatable {
    /// Exit code; of one that a signal ended, minus its number.
    var status: Int32
    var output: String
    var errors: String
  }

  /// What a pipe has brought, and whether it has ended. `bytes` and `isEnded` under the lock: one that ThreadSanitizer sees, as it
  /// does not see where a `Mutex` waits.
  private final class Collected: @unchecked Sendable {
    private let changed = NSCondition()
    private var bytes = Data()
    private var isEnded = false

    /// Reads on a thread of its own until the last writer has closed.
    func collect(from pipe: Pipe) {
      let reading = pipe.fileHandleForReading
      Thread.detachNewThread {
        while true {
          let data = reading.availableData
          self.changed.withLock {
            self.bytes.append(data)
            if data.isEmpty { self.isEnded = true }
            self.changed.broadcast()
          }
          if data.isEmpty { return }
        }
      }
    }

    var text: String { changed.withLock { String(decoding: bytes, as: UTF8.self) } }

    /// - Returns: the first line with this beginning; `nil` at the deadline, or once there can be none.
    func line(_ beginning: String, until deadline: Date) -> Substring? {
      changed.withLock {
        while true {
          let whole = String(decoding: bytes, as: UTF8.self).split(separator: "\n", omittingEmptySubsequences: false).dropLast()
          if let line = whole.first(where: { $0.hasPrefix(beginning) }) { return line }
          if isEnded || !changed.wait(until: deadline) { return nil }
        }
      }
    }

    func waitForEnd(until deadline: Date) {
      changed.withLock { while !isEnded, changed.wait(until: deadline) {} }
    }
  }

  private let process = Process()
  private let output = Collected()
  private let errors = Collected()
  private let ended = DispatchSemaphore(value: 0)
  private var outcome: Outcome?

  /// - Parameter environment: added to this process's own.
  init(_ executable: String, _ arguments: [String], environment: [String: String] = [:]) throws {
    process.executableURL = URL(fileURLWithPath: executable)
    process.arguments = arguments
    process.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
    process.standardInput = FileHandle.nullDevice
    let out = Pipe()
    let err = Pipe()
    process.standardOutput = out
    process.standardError = err
    process.terminationHandler = { [ended] _ in ended.signal() }
    try process.run()
    output.collect(from: out)
    errors.collect(from: err)
  }

  deinit { if outcome == nil { kill(process.processIdentifier, SIGKILL) } }

  var id: Int32 { process.processIdentifier }
  var errorsSoFar: String { errors.text }

  func signal(_ number: Int32) { if outcome == nil { kill(process.processIdentifier, number) } }

  /// - Returns: `nil` if it still runs after so long.
  func wait(seconds: Double) -> Outcome? {
    if let outcome { return outcome }
    guard ended.wait(timeout: .now() + seconds) == .success else { return nil }
    // Its last words may still be in the pipes; a grandchild that keeps them open is not waited for.
    output.waitForEnd(until: .now + 10)
    errors.waitForEnd(until: .now + 10)
    let isSignal = process.terminationReason == .uncaughtSignal
    let made = Outcome(
      status: isSignal ? -process.terminationStatus : process.terminationStatus, output: output.text, errors: errors.text)
    outcome = made
    return made
  }

  /// The first line of its output with this beginning; `nil` if none comes in time, or it ended without.
  func line(_ beginning: String, seconds: Double) -> Substring? { output.line(beginning, until: .now + seconds) }

  /// Kills it, and waits until it is gone.
  @discardableResult func kill9() -> Outcome? {
    signal(SIGKILL)
    return wait(seconds: 30)
  }
}
