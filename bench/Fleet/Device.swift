package import GateCore
import GateProto

/// One device of a fleet: its conversation, the connection it has at the moment, and the messages that wait for an ack.
package final class Device {
  let conversation: any Conversation
  let lane: Int
  /// Its place in the fleet.
  var index = 0
  var link: (any Link)?
  /// Which connection this is, from 1: an event of an earlier one is told apart.
  var generation: UInt32 = 0
  var token: UInt64 { UInt64(generation) << 32 | UInt64(index) }
  var ticket: [UInt8]?
  var wasOpen = false
  /// When the last connection was lost; `nil` while there is one.
  var lostAt: Instant?
  var isAsleep = false
  /// When each unanswered message was due, oldest first.
  var waiting = MomentQueue()
  /// Acked fixes that do not make a whole message yet.
  var partlyAcked = 0
  /// Of connections that are gone.
  var pastTraffic = Traffic()

  /// Times that it spoke, on this connection; what it said without hearing anything in between is one turn.
  var turns = 0
  var hasHeard = true
  var hasAck = false

  package init(_ conversation: any Conversation, lane: Int = 0) {
    self.conversation = conversation
    self.lane = lane
  }

  /// When its conversation or its connection has something to do though nothing came.
  var wakeAt: Instant? {
    guard let link else { return nil }
    switch (conversation.wakeAt, link.wakeAt) {
    case (let a?, let b?): return min(a, b)
    case (let a, let b): return a ?? b
    }
  }

  var traffic: Traffic {
    var all = pastTraffic
    if let link { all += link.traffic }
    return all
  }
}

/// A queue of moments: first in, first out.
struct MomentQueue {
  private var moments: [Instant] = []
  private var head = 0

  var isEmpty: Bool { head == moments.count }
  var count: Int { moments.count - head }

  mutating func push(_ moment: Instant) { moments.append(moment) }

  mutating func pop() -> Instant? {
    guard head < moments.count else { return nil }
    defer {
      head += 1
      if head == moments.count {
        moments.removeAll(keepingCapacity: true)
        head = 0
      } else if head >= 1_024, head * 2 > moments.count {
        moments.removeFirst(head)
        head = 0
      }
    }
    return moments[head]
  }
}

extension Device {
  /// One fixgate device for each that is enrolled.
  /// - Parameter lanes: the share of devices that send in the live, the backlog and the panic lane each.
  package static func fixgate(
    _ enrolment: Enrolment, lanes: [Double], fixes: [Fix], batch: Int, messagesInFlight: Int
  ) -> [Device] {
    precondition(lanes.count == 3 && lanes.allSatisfy { $0 >= 0 } && lanes.contains { $0 > 0 })
    let whole = lanes.reduce(0, +)
    return enrolment.tokens.enumerated().map { index, token in
      let place = (Double(index) + 0.5) / Double(enrolment.tokens.count) * whole
      let lane: Lane = place < lanes[0] ? .live : place < lanes[0] + lanes[1] ? .backlog : .panic
      return Device(
        FixgateConversation(
          token: token, stream: UInt32.random(in: 1...UInt32.max), lane: lane, fixes: fixes,
          offset: index * 60 % max(fixes.count, 1), batch: batch, messagesInFlight: messagesInFlight),
        lane: Int(lane.rawValue))
    }
  }
}
