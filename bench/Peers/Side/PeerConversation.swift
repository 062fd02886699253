import BenchFleet
import GateCore

/// The content of messages: the same bytes as fixgate's devices send, whatever protocol carries them.
struct Content {
  let fixes: [Fix]
  let offset: Int
  let batch: Int

  /// - Parameter number: from 1; its fixes' sequences follow those of the message before.
  func append(message number: Int, into out: inout [UInt8]) {
    let first = (number - 1) * batch
    var taken: [Fix] = []
    for i in first..<first + batch {
      var fix = fixes[(offset + i) % fixes.count]
      fix.sequence = UInt64(i + 1)
      taken.append(fix)
    }
    if batch == 1 {
      FixEncoder.row(taken[0], from: [UInt8]().span, into: &out)
    } else {
      FixEncoder.batch(taken[...], work: [], into: &out)
    }
  }
}

/// What a peer's protocol adds: greeting, envelope, answers. Bytes of answers come split anywhere.
protocol PeerProtocol {
  /// What a device says first.
  mutating func greet(into out: inout [UInt8])
  /// Envelopes `content` as message `number`, from 1.
  mutating func wrap(_ content: [UInt8], number: Int, into out: inout [UInt8])
  /// Takes the answer that begins at `at`, and moves behind it.
  /// - Returns: `nil` when more bytes are needed.
  /// - Throws: `.conversation` when the peer refuses or breaks its protocol.
  mutating func take(_ bytes: [UInt8], at: inout Int) throws(FleetError) -> PeerAnswer?
}

enum PeerAnswer {
  /// The greeting is accepted: messages may go.
  case ready
  /// So many messages, the oldest unanswered ones, are taken over.
  case acked(Int)
  case nothing
}

/// A device of a peer's fleet.
final class PeerConversation<Speech: PeerProtocol>: Conversation {
  let refused = 0
  let wakeAt: Instant? = nil
  private let content: Content
  private let start: Speech
  private var speech: Speech
  private var hasGreeted = false
  private var isReady = false
  private var recorded = 0
  private var sent = 0
  private var acked = 0
  private var stash: [UInt8] = []
  private var body: [UInt8] = []

  init(_ speech: Speech, _ content: Content) {
    (start, self.speech, self.content) = (speech, speech, content)
  }

  func connected(at now: Instant, overDatagrams: Bool) {
    speech = start
    (hasGreeted, isReady, sent) = (false, false, acked)
    stash.removeAll()
  }

  func disconnected() { isReady = false }
  func record(_ messages: Int, at now: Instant) { recorded += messages }

  func speak(into out: inout [UInt8], at now: Instant) -> Bool {
    guard hasGreeted else {
      hasGreeted = true
      speech.greet(into: &out)
      return true
    }
    guard isReady, sent < recorded else { return false }
    sent += 1
    body.removeAll(keepingCapacity: true)
    content.append(message: sent, into: &body)
    speech.wrap(body, number: sent, into: &out)
    return true
  }

  func hear(_ bytes: Span<UInt8>, at now: Instant) throws -> Int {
    for i in bytes.indices { stash.append(bytes[i]) }
    var at = 0
    var messages = 0
    while let answer = try speech.take(stash, at: &at) {
      switch answer {
      case .ready: isReady = true
      case .acked(let count): messages += count
      case .nothing: break
      }
    }
    stash.removeFirst(at)
    acked += messages
    return messages * content.batch
  }
}
