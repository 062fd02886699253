import GateCore
import Testing

/// What the sequencer makes of sessions that are resumed by ticket.
@Suite struct SequencerEarlyDataTests {
  private let before = SessionID(slot: 1, generation: 1)
  private let session = SessionID(slot: 2, generation: 5)

  private func earlyMessage(_ session: SessionID) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: WorkerMessage.headerBytes)
    var out = bytes.mutableSpan
    WorkerMessage(kind: .early, session: session, device: 4, stream: 9).write(into: &out)
    return bytes
  }

  private func records(_ session: SessionID, _ sequences: [UInt64]) -> [UInt8] {
    recordsMessage(session, device: 4, stream: 9, sequences: sequences) {
      $0.tenant = 3
      $0.lane = 1
    }
  }

  /// A stream that has 1 to 10 and 21 to 30, durable.
  private func core() -> SequencerCore {
    var core = makeCore()
    core.take(helloMessage(before, device: 4, stream: 9, next: 31))
    core.take(records(before, Array(1...10) + Array(21...30)))
    core.commitSucceeded()
    core.clearReplies()
    return core
  }

  @Test func newsIsAckedBeforeHello() {
    var core = core()
    core.take(earlyMessage(session))
    #expect(core.drainReplies().map(\.kind) == [.silent])
    core.take(records(session, [31, 32]))
    // The worker has charged nothing: it is done here, for what is new.
    #expect(core.charges.map(\.count) == [2])
    #expect(core.charges.first.map { [$0.device, $0.tenant, UInt32($0.lane)] } == [4, 3, 1])
    core.commitSucceeded()
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.ack] && replies[0].ranges[0].last == 32)
    core.take(records(session, [11]))
    core.commitSucceeded()
    #expect(core.drainReplies().map(\.kind) == [.ack])
    core.take(helloMessage(session, device: 4, stream: 9, next: 33))
    #expect(core.drainReplies().map(\.kind) == [.welcome])
  }

  @Test func aReplayIsADuplicateAndHearsNothing() {
    var core = core()
    for generation in 6..<10 as Range<UInt32> {
      let replay = SessionID(slot: 2, generation: generation)
      core.take(earlyMessage(replay))
      core.take(records(replay, [29, 30]))
      core.commitSucceeded()
      #expect(core.charges.isEmpty && core.refunds.isEmpty)
      #expect(core.drainReplies().map(\.kind) == [.silent, .silent])
    }
    #expect(core.counts.duplicate == 8 && core.counts.journaled == 20)
  }

  /// The counter was reset: what it sends early is not taken for what was acked in its former life.
  @Test func aResetCounterIsNotAckedAndThenRefused() {
    var core = core()
    core.take(earlyMessage(session))
    // 11 is new to the gateway and below what it has seen: it is stored, and not acked.
    core.take(records(session, [9, 10, 11]))
    core.commitSucceeded()
    #expect(core.drainReplies().map(\.kind) == [.silent, .silent])
    core.take(helloMessage(session, device: 4, stream: 9, next: 12))
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.refusal] && replies[0].refusal == .streamReused)
  }

  @Test func whatWasSentEarlyIsAckedToThoseWhoSayHello() {
    var core = core()
    core.take(earlyMessage(session))
    core.take(records(session, [10, 11]))
    core.take(helloMessage(session, device: 4, stream: 9, next: 31))
    #expect(core.drainReplies().map(\.kind) == [.silent, .welcome])
    core.commitSucceeded()
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.ack] && replies[0].through == 11)
  }

  /// An ack of the stream before would be read as one of the stream that the session is in now.
  @Test func noAckForAStreamThatTheSessionHasLeft() {
    var core = core()
    core.take(records(before, [31]))
    core.take(helloMessage(before, device: 4, stream: 10, next: 1))
    #expect(core.drainReplies().map(\.kind) == [.welcome])
    core.take(recordsMessage(before, device: 4, stream: 10, sequences: [1]))
    core.commitSucceeded()
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.silent, .ack] && replies[1].through == 1)
    #expect(replies.map(\.answers) == [1, 1])
  }

  @Test func aFailedCommitIsTold() {
    var core = core()
    core.take(earlyMessage(session))
    core.take(records(session, [31]))
    core.commitFailed(retryAfterMs: 500)
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.silent, .refusal] && replies[1].refusal == .storageUnavailable)
  }
}
