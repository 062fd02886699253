package import GateCore
import GateDevice
import GateNet
package import GateProto

/// What a device says and hears, whatever carries it. Messages are answered in the order in which they were recorded.
package protocol Conversation: AnyObject {
  /// A connection stands. What is unanswered is said again.
  func connected(at now: Instant, overDatagrams: Bool)
  func disconnected()
  /// So many messages are there to be sent.
  func record(_ messages: Int, at now: Instant)
  /// Appends the next message that may be sent now.
  /// - Returns: whether there was one.
  func speak(into out: inout [UInt8], at now: Instant) -> Bool
  /// Takes a datagram, or bytes of a stream as they come.
  /// - Returns: how many fixes the peer has taken over for good by these bytes.
  /// - Throws: when the peer breaks its protocol.
  func hear(_ bytes: Span<UInt8>, at now: Instant) throws -> Int
  /// When `speak` may have more to say though nothing was heard.
  var wakeAt: Instant? { get }
  /// Fixes that the peer has refused so far; they are sent again.
  var refused: Int { get }
}

/// A fixgate device, as the product has it: `DeviceSession`.
package final class FixgateConversation: Conversation {
  package private(set) var refused = 0
  private var session: DeviceSession
  private let fixes: [Fix]
  private let offset: Int
  private let batch: Int
  private let isPanic: Bool
  private var isHeld = false
  private var usesDatagrams = false
  private var events: [DeviceEvent] = []

  /// - Parameters:
  ///   - fixes: what is recorded, over and over, beginning at `offset`.
  ///   - batch: fixes in a message.
  ///   - messagesInFlight: sent before the first welcome at most.
  package init(
    token: [UInt8], stream: UInt32, lane: Lane, fixes: [Fix], offset: Int, batch: Int, messagesInFlight: Int
  ) {
    var options = DeviceOptions()
    options.batchFixes = batch
    options.lanes = .single(lane)
    options.firstWindow = UInt64(batch * messagesInFlight)
    // A silent device is what idle memory is measured on.
    options.pingAfterNs = 3_600_000_000_000
    options.silenceNs = 3_600_000_000_000
    session = DeviceSession(log: UploadLog(stream: stream), token: token, options: options)
    isPanic = lane == .panic
    self.fixes = fixes
    self.offset = offset
    self.batch = batch
  }

  package func connected(at now: Instant, overDatagrams: Bool) {
    usesDatagrams = overDatagrams
    if overDatagrams {
      session.connectedOverUDP(at: now, isResumed: false, seed: UInt64(offset))
    } else {
      session.connected(at: now)
    }
  }

  package func disconnected() { session.disconnected() }
  package func record(_ messages: Int, at now: Instant) {
    session.record(UInt64(messages * batch), at: now, panic: isPanic)
  }

  package func speak(into out: inout [UInt8], at now: Instant) -> Bool {
    isHeld = false
    let (fixes, offset) = (fixes, offset)
    return session.nextFrame(
      into: &out, at: now, clockMs: SystemClock.wallMs(), monotonicMs: now.ns / 1_000_000,
      from: { places, into in
        for place in places { into.append(fixes[(offset + Int(place) - 1) % fixes.count]) }
      })
  }

  package func hear(_ bytes: Span<UInt8>, at now: Instant) throws -> Int {
    events.removeAll(keepingCapacity: true)
    if usesDatagrams {
      try session.receive(datagram: bytes, at: now, into: &events)
    } else {
      try session.receive(bytes, at: now, into: &events)
    }
    var acked = 0
    for event in events {
      switch event {
      case .acked(let count): acked += Int(count)
      case .refused(let refusal):
        if let fatal = session.fatal { throw FleetError.conversation("refused for good: \(fatal)") }
        isHeld = true
        refused += refusal.ranges.reduce(0) { $0 + Int($1.count) }
      default: break
      }
    }
    return acked
  }

  /// Datagrams get lost, refused fixes wait; else every answer is an event.
  package var wakeAt: Instant? { isHeld || usesDatagrams ? session.deadline : nil }
}
