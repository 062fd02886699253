#if JetStream
import CNATS
import Synchronization

/// What has come back of messages that were published without waiting. The library calls from a thread of its own, maybe once
/// more while a connection is being closed: so it has a number for the ledger and not a pointer.
@safe final class AckLedger: Sendable {
  struct Failure: Equatable, Sendable {
    var status: UInt32
    var code: UInt32
    var words: String
  }

  private struct Books {
    var next: UInt = 1
    var open: [UInt: AckLedger] = [:]
  }

  private static let books = Mutex(Books())

  private let state = Mutex<(acks: UInt64, failure: Failure?)>((0, nil))

  /// Answers so far, failures included.
  var count: UInt64 { state.withLock { $0.acks } }
  /// The first failure.
  var failure: Failure? { state.withLock { $0.failure } }

  /// - Returns: the ledger's number, as the library hands it back.
  static func open(_ ledger: AckLedger) -> UInt {
    books.withLock { books in
      let number = books.next
      books.next += 1
      books.open[number] = ledger
      return number
    }
  }

  static func close(_ number: UInt) { books.withLock { _ = $0.open.removeValue(forKey: number) } }

  /// `jsPubAckHandler`: the message is ours to free.
  static func handler() -> jsPubAckHandler {
    { _, message, _, failure, number in
      var noted: Failure?
      if let failure = unsafe failure?.pointee {
        noted = unsafe Failure(
          status: failure.Err.rawValue, code: failure.ErrCode.rawValue,
          words: failure.ErrText.map { unsafe String(cString: $0) } ?? "")
      }
      unsafe natsMsg_Destroy(message)
      AckLedger.note(noted, of: UInt(bitPattern: number))
    }
  }

  private static func note(_ failure: Failure?, of number: UInt) {
    guard let ledger = books.withLock({ $0.open[number] }) else { return }
    ledger.state.withLock { state in
      state.acks += 1
      if state.failure == nil { state.failure = failure }
    }
  }
}
#endif
