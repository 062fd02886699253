import GateCore
import GateProto
import Testing

@testable import Gateway

@Suite struct ReplyFramesTests {
  private func reply(
    _ kind: SequencerReply.Kind, _ session: SessionID, through: UInt64, above: [UInt64]
  ) -> SequencerReply {
    var reply = SequencerReply(kind: kind, session: session, answers: 1)
    reply.through = through
    reply.rangeCount = above.count
    for (i, sequence) in above.enumerated() { reply.ranges[i] = .init(first: sequence, last: sequence) }
    return reply
  }

  /// A datagram with a welcome and the ack of the fixes that came beside hello. Were the ranges of two acks in it, a device
  /// would delete fixes that nobody has.
  @Test func aWelcomeOverUDPLeavesTheAckToTheAck() throws {
    let welcome = reply(.welcome, SessionID(datagramIndex: 0, generation: 1), through: 2, above: [50, 99])
    let ack = reply(.ack, SessionID(datagramIndex: 0, generation: 1), through: 3, above: [50, 99])

    var message: [UInt8] = []
    for reply in [welcome, ack] {
      var told: UInt32 = 60
      ReplyFrames.append(reply, window: 60, told: &told, wallMs: 1, over: .datagram, to: &message)
    }
    let read = try Downlink.decode(message.span, 0..<message.count)
    #expect(read.welcome?.through == 2)
    #expect(read.ack?.through == 3)
    #expect(read.ack?.above == [SequenceRange(first: 50, count: 1), SequenceRange(first: 99, count: 1)])
  }

  /// Over TCP each has a frame of its own, and a device that comes back hears at once what is durable.
  @Test func aWelcomeOverTCPHasItsAck() throws {
    let welcome = reply(.welcome, SessionID(slot: 0, generation: 1), through: 2, above: [50])
    var told: UInt32 = 0
    var frames: [UInt8] = []
    ReplyFrames.append(welcome, window: 60, told: &told, wallMs: 1, over: .stream, to: &frames)
    let payload = try #require(try FrameScanner.next(in: frames.span, from: 0, to: frames.count))
    let read = try Downlink.decode(frames.span, payload)
    #expect(read.ack?.through == 2 && read.ack?.above == [SequenceRange(first: 50, count: 1)])
    #expect(payload.upperBound == frames.count && read.welcome?.backlogWindow == 60 && told == 60)
  }
}
