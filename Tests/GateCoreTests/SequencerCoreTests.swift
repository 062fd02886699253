import GateCore
import Testing

/// Builds what a worker would send.
func recordsMessage(
  _ session: SessionID, device: UInt32, stream: UInt32, sequences: [UInt64], low: UInt64 = 0,
  change: (inout Record) -> Void = { _ in }
) -> [UInt8] {
  var message = WorkerMessage(kind: .records, session: session, device: device, stream: stream)
  message.count = UInt32(sequences.count)
  message.low = low
  var bytes = [UInt8](repeating: 0, count: WorkerMessage.headerBytes + sequences.count * 256)
  var out = bytes.mutableSpan
  message.write(into: &out)
  var at = WorkerMessage.headerBytes
  for sequence in sequences {
    var record = Record()
    record.device = device
    record.stream = stream
    record.fix.sequence = sequence
    record.fix.present = [.time, .position]
    record.fix.fixTimeMs = Int64(1_000 * sequence)
    record.fix.latitudeE7 = Int32(sequence)
    change(&record)
    at = record.write(into: &out, at: at, from: Span())
  }
  bytes.removeLast(bytes.count - at)
  return bytes
}

func helloMessage(
  _ session: SessionID, device: UInt32, stream: UInt32, next: UInt64, low: UInt64 = 0,
  kind: WorkerMessage.Kind = .hello
) -> [UInt8] {
  var message = WorkerMessage(kind: kind, session: session, device: device, stream: stream)
  message.next = next
  message.low = low
  var bytes = [UInt8](repeating: 0, count: WorkerMessage.headerBytes)
  var out = bytes.mutableSpan
  message.write(into: &out)
  return bytes
}

func resumeMessage(_ session: SessionID, device: UInt32, stream: UInt32) -> [UInt8] {
  var bytes = [UInt8](repeating: 0, count: WorkerMessage.headerBytes)
  var out = bytes.mutableSpan
  WorkerMessage(kind: .resume, session: session, device: device, stream: stream).write(into: &out)
  return bytes
}

func makeCore(_ devices: DeviceTable = DeviceTable()) -> SequencerCore {
  SequencerCore(
    devices: devices, workers: 2, batchCapacity: 2 * Limits.messageBytesMax, random: SeededRandom(seed: 1))
}

extension SequencerCore {
  mutating func take(_ bytes: [UInt8], from worker: Int = 0) {
    take(bytes.span, from: worker, receiveTimeMs: 1)
  }

  mutating func drainReplies() -> [SequencerReply] {
    // A reply survives its encoding.
    let result = replies.map { entry in
      var bytes = [UInt8](repeating: 0, count: entry.reply.encodedBytes)
      var out = bytes.mutableSpan
      entry.reply.write(into: &out)
      return SequencerReply(reading: bytes.span)
    }
    clearReplies()
    return result
  }

  /// The sequences in the batch, in order.
  func batchRecordsList() -> [Record] {
    var result: [Record] = []
    var at = 0
    while at < batchBytes {
      guard let (record, end) = try? Record.read(batch.span, at: at) else { break }
      result.append(record)
      at = end
    }
    return result
  }
}

@Suite struct SequencerCoreTests {
  private let datagrams = SessionID(datagramIndex: 3, generation: 1)

  /// Over UDP a hello may arrive behind fixes that were recorded after it. In another session the same hello means a count
  /// that was reset.
  @Test func aHelloThatCameLateReusesNothing() {
    var core = makeCore()
    core.take(helloMessage(datagrams, device: 1, stream: 9, next: 1))
    core.take(recordsMessage(datagrams, device: 1, stream: 9, sequences: [1, 2]))
    core.take(helloMessage(datagrams, device: 1, stream: 9, next: 2))
    #expect(core.drainReplies().map(\.kind) == [.welcome, .welcome])
    core.take(helloMessage(SessionID(datagramIndex: 4, generation: 1), device: 1, stream: 9, next: 2))
    core.take(helloMessage(session, device: 1, stream: 9, next: 2))
    #expect(core.drainReplies().map(\.refusal) == [.streamReused, .streamReused])
  }

  /// Of a session that an earlier run has made nobody knows which hello was its first: one that names less than the stream has is
  /// not judged, but said again in a new session, where a reset shows.
  @Test func aHelloOfAnEarlierRunProvesNoReset() {
    var core = makeCore()
    core.take(helloMessage(session, device: 1, stream: 9, next: 3))
    core.take(recordsMessage(session, device: 1, stream: 9, sequences: [1, 2]))
    core.commitSucceeded()
    core.clearReplies()
    core.take(helloMessage(datagrams, device: 1, stream: 9, next: 2, kind: .helloAgain))
    core.take(recordsMessage(datagrams, device: 1, stream: 9, sequences: [1]))
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.refusal, .silent] && replies[0].refusal == .needHello && replies[0].stream == 0)
    #expect(core.counts.refusedStream == 1 && core.counts.duplicate == 0)
    // The session is over: what is under way in it, another old hello too, says nothing more.
    core.take(helloMessage(datagrams, device: 1, stream: 9, next: 2))
    #expect(core.drainReplies().map(\.kind) == [.silent])
    let newer = SessionID(datagramIndex: 4, generation: 1)
    core.take(helloMessage(newer, device: 1, stream: 9, next: 3, kind: .helloAgain))
    #expect(core.drainReplies().map(\.kind) == [.welcome])
    core.take(helloMessage(SessionID(datagramIndex: 5, generation: 1), device: 1, stream: 9, next: 2))
    #expect(core.drainReplies().map(\.refusal) == [.streamReused])
  }

  /// A session of an earlier run goes on without a hello: no answer to the word, an ack to its records.
  @Test func aResumedSession() {
    var core = makeCore()
    core.take(resumeMessage(datagrams, device: 1, stream: 9))
    core.take(recordsMessage(datagrams, device: 1, stream: 9, sequences: [5]))
    core.commitSucceeded()
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.ack] && replies[0].session == datagrams && replies[0].answers == 1)
    #expect(replies[0].ranges[0] == .init(first: 5, last: 5))
  }

  /// Slot 3 of either transport is another session.
  @Test func transportsHaveTablesOfTheirOwn() {
    var core = makeCore()
    core.take(helloMessage(session, device: 1, stream: 7, next: 1))
    core.take(helloMessage(datagrams, device: 2, stream: 8, next: 1))
    core.take(recordsMessage(session, device: 1, stream: 7, sequences: [1]))
    core.take(recordsMessage(datagrams, device: 2, stream: 8, sequences: [1]))
    core.commitSucceeded()
    #expect(core.drainReplies().map(\.session) == [session, datagrams, session, datagrams])
  }

  private let session = SessionID(slot: 3, generation: 1)

  @Test func acksOnlyWhatIsDurable() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 4))
    #expect(core.drainReplies().map(\.kind) == [.welcome])
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1, 2, 3]))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [5, 2]))
    #expect(core.drainReplies().isEmpty)
    #expect(core.batchFixes == 4)
    core.commitSucceeded()
    let acks = core.drainReplies()
    #expect(acks.count == 1)
    #expect(acks[0].kind == .ack && acks[0].through == 3 && acks[0].answers == 2)
    #expect(acks[0].rangeCount == 1 && acks[0].ranges[0] == .init(first: 5, last: 5))
    #expect(core.counts.duplicate == 1 && core.counts.journaled == 4 && core.counts.taken == 5)
    #expect(core.devices.latestPosition(of: 0)?.fixTimeMs == 5_000)
  }

  /// The promise of the issue: a resend of a fix whose first write failed is stored, not called a duplicate.
  @Test func aFailedWriteForgets() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 2))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1]))
    core.commitFailed(retryAfterMs: 700)
    let refusal = core.drainReplies().last!
    #expect(refusal.kind == .refusal && refusal.refusal == .storageUnavailable && refusal.retryAfterMs == 700)
    #expect(core.devices.latestPosition(of: 0) == nil)
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1]))
    #expect(core.batchFixes == 1)
    core.commitSucceeded()
    #expect(core.drainReplies().last!.through == 1)
    #expect(core.counts.duplicate == 0 && core.counts.refusedStorage == 1 && core.counts.journaled == 1)
  }

  @Test func aFrameOfDuplicatesIsAckedToo() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 2))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1]))
    core.commitSucceeded()
    core.clearReplies()
    core.take(
      recordsMessage(session, device: 0, stream: 9, sequences: [1]) { $0.lane = 1 })
    #expect(core.batchBytes == 0 && core.hasWaiters)
    // A resend is not charged as a fix.
    #expect(core.refunds.map(\.device) == [0] && core.refunds.map(\.lane) == [1] && core.refunds.map(\.count) == [1])
    core.commitSucceeded()
    #expect(core.drainReplies().map(\.through) == [1])
  }

  /// A device that says hello again, for another refusal's sake, before it hears that it must leave the stream. Its count has passed
  /// its twin's by then, so nothing is wrong with that hello; but its answer would be read as one about the new stream.
  @Test func aHelloFromBeforeTheRefusalOpensNothing() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 3))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1, 2]))
    core.commitSucceeded()
    core.clearReplies()
    let clone = SessionID(slot: 4, generation: 1)
    core.take(helloMessage(clone, device: 0, stream: 9, next: 2))
    core.take(helloMessage(clone, device: 0, stream: 9, next: 4))
    core.take(recordsMessage(clone, device: 0, stream: 9, sequences: [1, 2, 3]))
    core.commitSucceeded()
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.refusal, .silent, .silent] && replies[0].refusal == .streamReused)
    core.take(helloMessage(clone, device: 0, stream: replies[0].stream, next: 3))
    #expect(core.drainReplies().map(\.kind) == [.welcome])
  }

  @Test func aCounterSetBackGetsAFreshStreamAndSwallowsNothing() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 6))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1, 2, 3, 4, 5]))
    core.commitSucceeded()
    core.clearReplies()
    let clone = SessionID(slot: 4, generation: 1)
    core.take(helloMessage(clone, device: 0, stream: 9, next: 5))
    core.take(recordsMessage(clone, device: 0, stream: 9, sequences: [1, 2]))
    let replies = core.drainReplies()
    #expect(replies.map(\.kind) == [.refusal, .silent] && replies[0].refusal == .streamReused)
    #expect(replies[0].stream != 9 && replies[0].stream != 0)
    #expect(core.counts.refusedStream == 2 && core.counts.duplicate == 0)
    core.take(helloMessage(clone, device: 0, stream: replies[0].stream, next: 3))
    core.take(recordsMessage(clone, device: 0, stream: replies[0].stream, sequences: [1, 2]))
    core.commitSucceeded()
    #expect(core.drainReplies().last!.through == 2)
    #expect(core.counts.journaled == 7)
  }

  @Test func oldestHeldClosesTheHolesBelow() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 100))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [4, 5, 9]))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [12], low: 11))
    let gaps = core.batchRecordsList().filter { $0.kind == .gap }
    #expect(gaps.map(\.fix.sequence) == [1, 6, 10] && gaps.map(\.fix.fixTimeMs) == [3, 3, 1])
    #expect(core.batchRecords == 7 && core.batchFixes == 4)
    core.commitSucceeded()
    let ack = core.drainReplies().last!
    #expect(ack.through == 10 && ack.ranges[0] == .init(first: 12, last: 12))
  }

  @Test func moreHolesThanTheBoundAreRefusedByName() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 1_000))
    let sequences = (0..<UInt64(Limits.rangesPerStreamMax + 3)).map { 2 + 2 * $0 }
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: sequences))
    #expect(core.counts.refusedGaps == 3 && core.batchFixes == Limits.rangesPerStreamMax)
    let refusal = core.drainReplies().last!
    #expect(refusal.kind == .refusal && refusal.refusal == .tooManyGaps && refusal.answers == 0)
    #expect((0..<refusal.rangeCount).map { refusal.ranges[$0].first } == Array(sequences.suffix(3)))
    core.commitSucceeded()
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1, 3] + sequences.suffix(3).prefix(2)))
    core.commitSucceeded()
    #expect(core.counts.journaled == UInt64(Limits.rangesPerStreamMax + 4))
  }

  @Test func verdictsTravelWithTheAck() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 10))
    core.take(
      recordsMessage(session, device: 0, stream: 9, sequences: [1, 2, 3, 4, 5]) { record in
        if (2...3).contains(record.fix.sequence) {
          record.kind = .held
          record.code = Verdict.future.rawValue
        }
      })
    core.commitSucceeded()
    let ack = core.drainReplies().last!
    #expect(ack.through == 5 && ack.judgementCount == 1)
    #expect(ack.judgements[0] == VerdictRun(code: Verdict.future.rawValue, first: 2, count: 2))
    #expect(core.devices.latestPosition(of: 0)?.fixTimeMs == 5_000)
  }

  /// A jump of 11 km in a second, then back: found before the commit, told in the ack, counted, and never the latest position.
  @Test func theJudgeWritesItsVerdict() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 10))
    core.clearReplies()
    func take(_ core: inout SequencerCore, _ sequences: [UInt64]) {
      core.take(
        recordsMessage(session, device: 0, stream: 9, sequences: sequences) { record in
          record.receiveTimeMs = 100_000
          if record.fix.sequence == 3 { record.fix.latitudeE7 = 1_000_000 }
        })
    }
    take(&core, [1, 2])
    core.commitSucceeded()
    core.clearReplies()
    let before = core.devices
    take(&core, [3])
    #expect(core.batchRecordsList().map(\.code) == [Verdict.teleport.rawValue])
    core.commitFailed(retryAfterMs: 1)
    #expect(core.devices == before && core.verdicts.isEmpty)
    core.clearReplies()
    take(&core, [3])
    core.commitSucceeded()
    let ack = core.drainReplies().last!
    #expect(ack.judgementCount == 1)
    #expect(ack.judgements[0] == VerdictRun(code: Verdict.teleport.rawValue, first: 3, count: 1))
    #expect(core.verdicts == [Verdict.teleport.rawValue: 1])
    #expect(core.devices.latestPosition(of: 0)?.sequence == 2)
    take(&core, [4, 3])
    #expect(core.batchRecordsList().map(\.code) == [0])
    #expect(core.counts.duplicate == 1)
  }

  /// Whatever the order of arrival, and with a clock that is a minute ahead for a while: the same fix is the latest.
  @Test(arguments: [[1, 2, 3, 4], [4, 3, 2, 1], [3, 1, 4, 2], [2, 4, 1, 3]] as [[UInt64]])
  func theLatestPositionKnowsNoOrder(sequences: [UInt64]) {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 10))
    for sequence in sequences {
      core.take(
        recordsMessage(session, device: 0, stream: 9, sequences: [sequence]) { record in
          record.receiveTimeMs = Int64(1_000 * sequence)
          if sequence == 2 { record.fix.fixTimeMs += 60_000 }
          if sequence == 4 { record.fix.fixTimeMs = 3_000 }
        })
      core.commitSucceeded()
    }
    // 3 and 4 have the same time; 2 came before both.
    #expect(core.devices.latestPosition(of: 0)?.sequence == 4)
  }

  @Test func marksSayWhatIsMissingAndWhatWasLimited() {
    var core = makeCore()
    #expect(core.marks(of: 3).isEmpty)
    core.take(helloMessage(session, device: 0, stream: 9, next: 12))
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1, 2, 5]))
    #expect(core.marks(of: 0).map(\.through) == [0], "not durable yet")
    core.commitSucceeded()
    var message = WorkerMessage(kind: .limited, session: session, device: 0, stream: 9)
    message.count = 3
    message.low = 6
    message.next = 8
    var bytes = [UInt8](repeating: 0, count: WorkerMessage.headerBytes)
    var out = bytes.mutableSpan
    message.write(into: &out)
    core.take(bytes)
    let marks = core.marks(of: 0)
    #expect(marks.count == 1 && marks[0].stream == 9 && marks[0].next == 12)
    #expect(marks[0].holes.map(\.run) == [.init(first: 3, count: 2), .init(first: 6, count: 6)])
    #expect(marks[0].limited == .init(first: 6, count: 3) && marks[0].limitedMs == 1)
    #expect(core.counts.limited == 3)
  }

  @Test func aDeviceCannotUseStreamsWithoutEnd() {
    var core = makeCore()
    for stream in 0..<UInt32(Limits.streamsPerDeviceMax) {
      core.take(helloMessage(session, device: 0, stream: stream, next: 1))
    }
    core.clearReplies()
    core.take(helloMessage(session, device: 0, stream: 100_000, next: 1))
    #expect(core.drainReplies().map(\.refusal) == [.tooManyStreams])
  }

  @Test func refusesWhileTheJournalCannotBeWritten() {
    var core = makeCore()
    core.take(helloMessage(session, device: 0, stream: 9, next: 2))
    core.clearReplies()
    core.storageRetryAfterMs = 1_500
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1]))
    let refusal = core.drainReplies().last!
    #expect(refusal.refusal == .storageUnavailable && refusal.retryAfterMs == 1_500 && core.batchBytes == 0)
    core.storageRetryAfterMs = nil
    core.take(recordsMessage(session, device: 0, stream: 9, sequences: [1]))
    #expect(core.batchFixes == 1)
  }

  /// Random devices, sessions, resends and failed commits. The journal is an array; after each round a checkpoint with the
  /// journal's rest must rebuild the same durable state.
  @Test(arguments: Array(UInt64(1)...60))
  func keepsTheEquationAndNoFixTwice(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var core = makeCore()
    var journal: [Record] = []
    var checkpoint = Checkpoint(lsn: 0, devices: DeviceTable()).encoded()
    var sent: UInt64 = 0
    for slot in 0..<UInt32(4) {
      core.take(
        helloMessage(SessionID(slot: slot, generation: 1), device: slot / 2, stream: 7, next: 1_000_000),
        from: Int(slot % 2))
    }
    for _ in 0..<80 {
      for _ in 0..<Int.random(in: 0...4, using: &random) {
        let slot = UInt32.random(in: 0..<4, using: &random)
        let first = UInt64.random(in: 1...200, using: &random)
        let sequences = (0..<UInt64.random(in: 1...10, using: &random)).map { first + $0 }
        core.take(
          recordsMessage(SessionID(slot: slot, generation: 1), device: slot / 2, stream: 7, sequences: sequences),
          from: Int(slot % 2))
        sent += UInt64(sequences.count)
      }
      if Int.random(in: 0..<5, using: &random) == 0 {
        core.commitFailed(retryAfterMs: 1)
      } else {
        journal += core.batchRecordsList()
        core.commitSucceeded()
      }
      #expect(core.counts.taken == sent)
      #expect(
        core.counts.taken
          == core.counts.duplicate + core.counts.refused + core.counts.journaled + UInt64(core.batchFixes))
      for entry in core.replies where entry.reply.kind == .ack {
        let device = entry.reply.session.slot / 2
        let stored = Set(journal.filter { $0.device == device }.map(\.fix.sequence))
        for sequence in 1..<(entry.reply.through + 1) { #expect(stored.contains(sequence), "seed \(seed)") }
        for i in 0..<entry.reply.rangeCount {
          for sequence in entry.reply.ranges[i].first...entry.reply.ranges[i].last {
            #expect(stored.contains(sequence), "seed \(seed)")
          }
        }
      }
      core.clearReplies()
      let old = try Checkpoint(decoding: checkpoint)
      var rebuilt = old.devices
      for record in journal[Int(old.lsn)...] { rebuilt.replay(record) }
      for device in 0..<2 {
        #expect(rebuilt.streamCount(of: device) <= 1)
        if rebuilt.streamCount(of: device) == 1 {
          #expect(rebuilt[device, 0].durable == core.devices[device, 0].durable, "seed \(seed)")
        }
      }
      if Int.random(in: 0..<10, using: &random) == 0 {
        checkpoint = Checkpoint(lsn: UInt64(journal.count), devices: core.devices).encoded()
      }
    }
    let keys = journal.map { "\($0.device)/\($0.fix.sequence)" }
    #expect(Set(keys).count == keys.count, "a fix was journaled twice, seed \(seed)")
  }
}
