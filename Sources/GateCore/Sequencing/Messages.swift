/// Names one session of one worker for as long as it lives: `slot` is reused, `generation` tells its users apart.
package struct SessionID: Equatable, Hashable, Sendable, BitwiseCopyable {
  package var slot: UInt32
  package var generation: UInt32
  package init(slot: UInt32, generation: UInt32) {
    self.slot = slot
    self.generation = generation
  }

  /// Slots from here on are conversations over UDP: a table of their own in worker and sequencer.
  package static let firstDatagramSlot: UInt32 = 1 << 21

  /// - Parameter datagramIndex: position in the worker's table of conversations over UDP.
  package init(datagramIndex: Int, generation: UInt32) {
    self.init(slot: SessionID.firstDatagramSlot + UInt32(datagramIndex), generation: generation)
  }

  package var transport: Transport { slot < SessionID.firstDatagramSlot ? .stream : .datagram }
  /// Position in the table of its transport.
  package var index: Int { Int(slot < SessionID.firstDatagramSlot ? slot : slot - SessionID.firstDatagramSlot) }
}

/// What a worker tells the sequencer, in the order in which the session's frames came. 40 bytes, then the records.
package struct WorkerMessage: Equatable, Sendable, BitwiseCopyable {
  package enum Kind: UInt8, Sendable, BitwiseCopyable {
    /// `count` normalised records follow. `low` = oldest sequence the device holds, or 0.
    case records = 1
    /// The device said hello: `low` = oldest sequence held or 0, `next` = its next sequence.
    case hello = 2
    /// `count` fixes were decoded and refused by the limiter: sequences `low` to `next`. No answer.
    case limited = 3
    /// The session goes on in a stream that an earlier run has opened: no hello came in this one. No answer.
    case resume = 4
    /// A connection was resumed by a ticket of `stream`: early data follows, hello is still to come. Answered in silence.
    case early = 5
    /// As `hello`, over UDP in a session that an earlier run has made. That run may have taken a newer one, so `next` proves no
    /// reset.
    case helloAgain = 6
  }

  package static let headerBytes = 40

  package var kind: Kind
  package var session: SessionID
  package var device: UInt32
  package var stream: UInt32
  package var count: UInt32 = 0
  package var low: UInt64 = 0
  package var next: UInt64 = 0

  package init(kind: Kind, session: SessionID, device: UInt32, stream: UInt32) {
    self.kind = kind
    self.session = session
    self.device = device
    self.stream = stream
  }

  package func write(into out: inout MutableSpan<UInt8>) {
    out.store(UInt32(kind.rawValue), at: 0)
    out.store(session.slot, at: 4)
    out.store(session.generation, at: 8)
    out.store(device, at: 12)
    out.store(stream, at: 16)
    out.store(count, at: 20)
    out.store(low, at: 24)
    out.store(next, at: 32)
  }

  package init(reading bytes: Span<UInt8>) {
    guard let kind = Kind(rawValue: bytes[0]) else { preconditionFailure("worker message of unknown kind") }
    self.kind = kind
    session = SessionID(slot: bytes.load32(at: 4), generation: bytes.load32(at: 8))
    device = bytes.load32(at: 12)
    stream = bytes.load32(at: 16)
    count = bytes.load32(at: 20)
    low = bytes.load64(at: 24)
    next = bytes.load64(at: 32)
  }
}

/// Why the sequencer did not take something; the raw value is `RefusalCode` of proto/fixgate.proto.
package enum SequencerRefusal: UInt8, Sendable, BitwiseCopyable {
  /// In a new session: what this one said cannot be judged.
  case needHello = 3
  case streamReused = 7
  case tooManyStreams = 8
  case tooManyGaps = 21
  case storageUnavailable = 22

  /// Over UDP the session ends with it. Another stream wants another session: what is under way in this one must not be taken for
  /// the new stream's. And a hello is judged as the first of its session.
  package var endsDatagrams: Bool { self == .streamReused || self == .needHello }
}

/// A run of consecutive sequences with one verdict other than accepted.
package struct VerdictRun: Equatable, Sendable, BitwiseCopyable {
  package var code: UInt16
  package var first: UInt64
  package var count: UInt64
  package init(code: UInt16, first: UInt64, count: UInt64) {
    self.code = code
    self.first = first
    self.count = count
  }
}

/// What the sequencer tells a worker for one session.
package struct SequencerReply: Sendable, BitwiseCopyable {
  package enum Kind: UInt8, Sendable, BitwiseCopyable {
    /// `through` and `ranges`: what is durable of the session's stream.
    case ack = 1
    /// As an ack, in answer to a hello.
    case welcome = 2
    /// `refusal`, `retryAfterMs`, `stream`; `ranges` = what is refused, none = all that is unacked.
    case refusal = 3
    /// Nothing to say to the device; only the worker's count goes down.
    case silent = 4
  }

  package static let bytesMax = 48 + Limits.rangesPerAckMax * 16 + Limits.judgementsPerAckMax * 24

  package var kind: Kind
  package var session: SessionID
  /// Messages of the worker that this answers; the worker counts those still unanswered.
  package var answers: UInt32
  package var refusal: SequencerRefusal = .streamReused
  package var retryAfterMs: UInt32 = 0
  /// `streamReused`: the number to go on with.
  package var stream: UInt32 = 0
  package var through: UInt64 = 0
  package var rangeCount = 0
  package var ranges = InlineArray<16, SequenceRanges.Range>(repeating: .init(first: 0, last: 0))
  package var judgementCount = 0
  package var judgements = InlineArray<16, VerdictRun>(repeating: VerdictRun(code: 0, first: 0, count: 0))

  package init(kind: Kind, session: SessionID, answers: UInt32) {
    self.kind = kind
    self.session = session
    self.answers = answers
  }

  package var encodedBytes: Int { 48 + rangeCount * 16 + judgementCount * 24 }

  package func write(into out: inout MutableSpan<UInt8>) {
    out.store(UInt32(kind.rawValue), at: 0)
    out.store(session.slot, at: 4)
    out.store(session.generation, at: 8)
    out.store(answers, at: 12)
    out.store(UInt32(refusal.rawValue), at: 16)
    out.store(retryAfterMs, at: 20)
    out.store(stream, at: 24)
    out.store(UInt32(rangeCount), at: 28)
    out.store(UInt32(judgementCount), at: 32)
    out.store(UInt32(0), at: 36)
    out.store(through, at: 40)
    var at = 48
    for i in 0..<rangeCount {
      out.store(ranges[i].first, at: at)
      out.store(ranges[i].last, at: at + 8)
      at += 16
    }
    for i in 0..<judgementCount {
      out.store(UInt64(judgements[i].code), at: at)
      out.store(judgements[i].first, at: at + 8)
      out.store(judgements[i].count, at: at + 16)
      at += 24
    }
  }

  package init(reading bytes: Span<UInt8>) {
    guard let kind = Kind(rawValue: bytes[0]), let refusal = SequencerRefusal(rawValue: bytes[16]) else {
      preconditionFailure("sequencer reply of unknown kind")
    }
    self.kind = kind
    self.refusal = refusal
    session = SessionID(slot: bytes.load32(at: 4), generation: bytes.load32(at: 8))
    answers = bytes.load32(at: 12)
    retryAfterMs = bytes.load32(at: 20)
    stream = bytes.load32(at: 24)
    rangeCount = Int(bytes.load32(at: 28))
    judgementCount = Int(bytes.load32(at: 32))
    through = bytes.load64(at: 40)
    var at = 48
    for i in 0..<rangeCount {
      ranges[i] = .init(first: bytes.load64(at: at), last: bytes.load64(at: at + 8))
      at += 16
    }
    for i in 0..<judgementCount {
      judgements[i] = VerdictRun(
        code: UInt16(truncatingIfNeeded: bytes.load64(at: at)), first: bytes.load64(at: at + 8),
        count: bytes.load64(at: at + 16))
      at += 24
    }
  }
}
