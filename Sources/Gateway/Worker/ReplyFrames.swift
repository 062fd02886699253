package import GateCore
package import GateProto

/// What the sequencer decided, for the device: frames over TCP, messages over UDP. Messages that are appended to each other are
/// one message still, but for acks: the ranges of two would be read as those of one, and name sequences that nobody has stored.
/// So a datagram holds one ack at most, and a welcome over UDP has none of its own.
package enum ReplyFrames {
  /// Appends the frame for one reply; nothing for a silent one.
  ///
  /// - Parameters:
  ///   - window: fixes of backlog that a device may have unacked.
  ///   - told: the window that the device knows; told again when it has changed.
  ///   - wallMs: the gateway's clock.
  package static func append(
    _ reply: SequencerReply, window: UInt32, told: inout UInt32, wallMs: Int64, over transport: Transport,
    to out: inout [UInt8]
  ) {
    let start = out.count
    switch reply.kind {
    case .ack where reply.judgementCount == 0 && told == window:
      var ranges = InlineArray<16, GateProto.SequenceRange>(repeating: SequenceRange(first: 0, count: 0))
      for i in 0..<reply.rangeCount {
        ranges[i] = SequenceRange(first: reply.ranges[i].first, count: reply.ranges[i].count)
      }
      AckEncoder.append(through: reply.through, above: ranges.span.extracting(..<reply.rangeCount), into: &out)
    case .ack:
      var downlink = Downlink(ack: reply)
      if told != window { downlink.ack?.backlogWindow = window }
      told = window
      downlink.encode(into: &out)
    case .welcome:
      // The ack beside it spares a device that comes back from sending again what is durable already.
      var downlink = transport == .stream ? Downlink(ack: reply) : Downlink()
      let bytesMax = transport == .stream ? Limits.frameBytesMax : Limits.datagramBytesMax
      downlink.welcome = Welcome(through: reply.through, backlogWindow: window, frameBytesMax: UInt32(bytesMax))
      told = window
      downlink.serverTimeMs = wallMs
      downlink.encode(into: &out)
    case .refusal:
      Downlink(refusal: reply, closing: transport == .datagram && reply.refusal.endsDatagrams).encode(into: &out)
    case .silent: return
    }
    Frame.close(from: start, in: &out, over: transport)
  }

  /// Appends a refusal of all that is in flight.
  package static func append(
    _ code: RefusalCode, retryAfterMs: UInt32?, closing: Bool, over transport: Transport, to out: inout [UInt8]
  ) {
    var refusal = Refusal(code: code, retry: retryAfterMs != nil, retryAfterMs: retryAfterMs)
    refusal.closing = closing
    var downlink = Downlink()
    downlink.refusals = [refusal]
    let start = out.count
    downlink.encode(into: &out)
    Frame.close(from: start, in: &out, over: transport)
  }

  /// Appends the answer to a request for enrolment.
  package static func append(_ enrolled: Enrolled, to out: inout [UInt8]) {
    var downlink = Downlink()
    downlink.enrolled = enrolled
    let start = out.count
    downlink.encode(into: &out)
    Frame.close(from: start, in: &out)
  }

  /// Appends a request for sequences that the gateway misses.
  package static func append(asking runs: [StreamMarks.Run], over transport: Transport, to out: inout [UInt8]) {
    var downlink = Downlink()
    downlink.requests = runs.map { SequenceRange(first: $0.first, count: $0.count) }
    let start = out.count
    downlink.encode(into: &out)
    Frame.close(from: start, in: &out, over: transport)
  }
}

extension Downlink {
  fileprivate init(ack reply: SequencerReply) {
    self.init()
    var ack = Ack(through: reply.through)
    for i in 0..<reply.rangeCount {
      ack.above.append(SequenceRange(first: reply.ranges[i].first, count: reply.ranges[i].count))
    }
    for i in 0..<reply.judgementCount {
      let run = reply.judgements[i]
      ack.judgements.append(
        Judgement(code: UInt32(run.code), range: SequenceRange(first: run.first, count: run.count)))
    }
    self.ack = ack
  }

  fileprivate init(refusal reply: SequencerReply, closing: Bool) {
    self.init()
    let code = RefusalCode(rawValue: UInt16(reply.refusal.rawValue)) ?? .unspecified
    var refusal = Refusal(code: code, retry: reply.refusal != .tooManyStreams)
    refusal.closing = closing
    if reply.retryAfterMs > 0 { refusal.retryAfterMs = reply.retryAfterMs }
    if reply.refusal == .streamReused { refusal.stream = reply.stream }
    for i in 0..<reply.rangeCount {
      refusal.ranges.append(SequenceRange(first: reply.ranges[i].first, count: reply.ranges[i].count))
    }
    refusals = [refusal]
  }
}
