/// The sequencer's logic as a value: dedupes what the workers send, gathers it for one commit at a time, and says what may be
/// acked once that commit is durable. It writes nothing and waits for nothing; the thread around it does.
///
/// One round: `take` messages while `hasRoom`, then commit `batch`, then `commitSucceeded` or `commitFailed`; replies gather in
/// `replies` and are for the caller to deliver. Nothing is acked before `commitSucceeded`.
package struct SequencerCore: ~Copyable {
  /// Counts of this run, in fixes. `received` is not here: the rings count what workers publish.
  package struct Counts: Equatable, Sendable {
    /// Taken from the rings.
    package var taken: UInt64 = 0
    package var duplicate: UInt64 = 0
    /// Refused by the limiter, for a bad stream, for want of ranges, or because the journal could not be written.
    package var limited: UInt64 = 0
    package var refusedStream: UInt64 = 0
    package var refusedGaps: UInt64 = 0
    package var refusedStorage: UInt64 = 0
    /// Made durable in the journal.
    package var journaled: UInt64 = 0

    package init() {}

    package var refused: UInt64 { limited + refusedStream + refusedGaps + refusedStorage }
  }

  package private(set) var devices: DeviceTable
  package private(set) var counts = Counts()
  /// Fixes made durable, by verdict code.
  package private(set) var verdicts: [UInt16: UInt64] = [:]
  /// For the caller to deliver and then `clearReplies`.
  package private(set) var replies: [(worker: Int, reply: SequencerReply)] = []

  /// Duplicates that were charged to a lane as if they were new; to be given back, then `clearReplies`.
  package private(set) var refunds: [(device: UInt32, lane: UInt8, count: Int)] = []
  /// New fixes of early data, which no worker has charged; to be charged, then `clearReplies`.
  package private(set) var charges: [(device: UInt32, tenant: UInt32, lane: UInt8, count: Int)] = []

  /// The records to commit next: `batchBytes` bytes of `batch`.
  package private(set) var batch: [UInt8]
  package private(set) var batchBytes = 0
  package private(set) var batchRecords = 0
  /// Of `batchRecords`, those that are fixes.
  package private(set) var batchFixes = 0

  /// While set, records are refused with this retry-after: the journal cannot be written.
  package var storageRetryAfterMs: UInt32?

  /// A session that has messages in the commit in hand. Its reply is made when the commit is over: it is 15 times as large.
  private struct Waiter: BitwiseCopyable {
    let worker: Int
    let device: Int
    let stream: Int
    let session: SessionID
    /// Messages of the worker that the reply answers.
    var answers: UInt32 = 1
    /// How many of `judgements` are for it, and the position of the last of them.
    var judgementCount = 0
    var lastJudgement = 0
  }

  private struct Touched: BitwiseCopyable {
    var device: Int
    var stream: Int
    var latest: LatestPosition?
    /// As it was before; `nil` = not touched.
    var travel: Travel?
  }

  /// What devices told beyond their fixes, by device above stream. One entry a stream that said hello in this run.
  private var news: [UInt64: News] = [:]

  private struct News: BitwiseCopyable {
    var next: UInt64
    /// What the limiter refused last; 0 = nothing.
    var limitedFirst: UInt64 = 0
    var limitedLast: UInt64 = 0
    var limitedMs: Int64 = 0
  }

  private let judge: Judge
  /// Seals what is written; `nil` = records are written as they are.
  private let cipher: (any SubjectCipher)?
  /// The batch as it is written; empty without a cipher.
  private var sealed: [UInt8] = []
  private var sessions: [SequencerSessions]
  private var waiters: [Waiter] = []
  /// What the waiters will be told of fixes that were not simply accepted.
  private var judgements: [(waiter: Int, run: VerdictRun)] = []
  private var touched: [Touched] = []
  private var random: any RandomNumberGenerator & Sendable
  /// Of the commit in hand: accepted fixes are not listed.
  private var batchVerdicts: [UInt16: UInt64] = [:]

  /// - Parameters:
  ///   - devices: as recovered.
  ///   - workers: number of workers.
  ///   - batchCapacity: bytes of one commit; at least one message's.
  ///   - judge: the stateful rules.
  ///   - cipher: seals what is written; `nil` = records are written as they are.
  ///   - random: picks fresh stream numbers and nonces.
  package init(
    devices: DeviceTable, workers: Int, batchCapacity: Int, judge: Judge = Judge(NormalisingRules()),
    cipher: (any SubjectCipher)? = nil, random: any RandomNumberGenerator & Sendable
  ) {
    precondition(batchCapacity >= Limits.messageBytesMax)
    self.devices = devices
    sessions = Array(repeating: SequencerSessions(), count: workers)
    batch = Array(repeating: 0, count: batchCapacity)
    self.judge = judge
    self.cipher = cipher
    if cipher != nil { sealed.reserveCapacity(SealedRun.bytesMax(sealing: batchCapacity)) }
    self.random = random
  }

  /// Whether a message of any size can be taken before the next commit.
  package var hasRoom: Bool { batch.count - batchBytes >= Limits.messageBytesMax + 64 * Record.headerBytes }

  /// Whether anybody waits for the commit in hand, even if it has no bytes: a frame of duplicates is acked too.
  package var hasWaiters: Bool { !waiters.isEmpty }

  package mutating func clearReplies() {
    replies.removeAll(keepingCapacity: true)
    refunds.removeAll(keepingCapacity: true)
    charges.removeAll(keepingCapacity: true)
  }

  /// What is known of a device's sequences, stream by stream, in the order in which they were first used.
  package func marks(of device: Int) -> [StreamMarks] {
    devices.marks(of: device).map { marks in
      var marks = marks
      guard let news = news[UInt64(device) << 32 | UInt64(marks.stream)] else { return marks }
      marks.next = news.next
      if news.limitedFirst > 0 {
        marks.limited = StreamMarks.Run(first: news.limitedFirst, count: news.limitedLast - news.limitedFirst + 1)
        marks.limitedMs = news.limitedMs
      }
      return marks
    }
  }

  /// Takes one message of a worker.
  package mutating func take(_ bytes: Span<UInt8>, from worker: Int, receiveTimeMs: Int64) {
    let message = WorkerMessage(reading: bytes)
    switch message.kind {
    case .hello, .helloAgain: hello(message, from: worker, receiveTimeMs: receiveTimeMs)
    case .resume: resume(message, from: worker)
    case .early: early(message, from: worker)
    case .records: records(message, bytes, from: worker, receiveTimeMs: receiveTimeMs)
    case .limited:
      counts.taken += UInt64(message.count)
      counts.limited += UInt64(message.count)
      let key = UInt64(message.device) << 32 | UInt64(message.stream)
      news[key]?.limitedFirst = message.low
      news[key]?.limitedLast = message.next
      news[key]?.limitedMs = receiveTimeMs
    }
  }

  /// Takes the keys in force from now on, and forgets where these devices were last seen. Call it between two commits.
  package mutating func forget(_ devices: [UInt32]) {
    precondition(batchBytes == 0, "a commit is in hand")
    cipher?.refresh()
    for device in devices { self.devices.forgetPlaces(of: Int(device)) }
  }

  /// Seals the batch for the journal. Call it once before it is written, however often that is tried.
  package mutating func sealBatch() {
    guard let cipher else { return }
    let nonce = SealedRun.Nonce(high: random.next(), low: UInt32(truncatingIfNeeded: random.next()))
    let (records, bytes) = (batch, batchBytes)
    SealedRun.seal(records, bytes, nonce: nonce, with: cipher, into: &sealed)
  }

  /// What is to be written: `payloadBytes` of it.
  package var payload: [UInt8] { cipher == nil ? batch : sealed }
  package var payloadBytes: Int { cipher == nil ? batchBytes : sealed.count }

  /// The commit in hand is durable: what it carries may be acked.
  package mutating func commitSucceeded() {
    counts.journaled += UInt64(batchFixes)
    for (code, count) in batchVerdicts { verdicts[code, default: 0] += count }
    for change in touched {
      devices[change.device, change.stream].durable = devices[change.device, change.stream].received
      if let latest = change.latest { devices.moveLatest(of: change.device, to: latest) }
    }
    let first = replies.count
    for waiter in waiters {
      let hears = sessions[waiter.worker][waiter.session].hears(of: waiter.stream)
      sessions[waiter.worker].forgetWaiter(of: waiter.session)
      replies.append(
        (waiter.worker, SequencerReply(kind: hears ? .ack : .silent, session: waiter.session, answers: waiter.answers)))
      replies[replies.count - 1].reply.describe(devices[waiter.device, waiter.stream].durable)
    }
    for (waiter, run) in judgements { replies[first + waiter].reply.judge(run) }
    finishRound()
  }

  /// The commit in hand was not written and will not be: its fixes were never received, and are refused.
  package mutating func commitFailed(retryAfterMs: UInt32) {
    counts.refusedStorage += UInt64(batchFixes)
    for change in touched.reversed() {
      devices[change.device, change.stream].received = devices[change.device, change.stream].durable
      if let travel = change.travel { devices[travelOf: change.device] = travel }
    }
    for waiter in waiters {
      sessions[waiter.worker].forgetWaiter(of: waiter.session)
      var reply = SequencerReply(kind: .refusal, session: waiter.session, answers: waiter.answers)
      reply.refusal = .storageUnavailable
      reply.retryAfterMs = retryAfterMs
      replies.append((waiter.worker, reply))
    }
    finishRound()
  }

  private mutating func finishRound() {
    touched.removeAll(keepingCapacity: true)
    waiters.removeAll(keepingCapacity: true)
    judgements.removeAll(keepingCapacity: true)
    if !batchVerdicts.isEmpty { batchVerdicts.removeAll(keepingCapacity: true) }
    batchBytes = 0
    batchRecords = 0
    batchFixes = 0
  }
}

// MARK: - Hello

extension SequencerCore {
  private mutating func hello(_ message: WorkerMessage, from worker: Int, receiveTimeMs: Int64) {
    let device = Int(message.device)
    devices.reserve(through: device)
    let known = devices.index(of: message.stream, of: device)
    let session = sessions[worker][message.session]
    // By the time that its answer came, the device had adopted another stream, and would take the acks of this one for that one's.
    guard session.stream != SequencerSessions.Entry.over, !session.leaves(known) else {
      replies.append((worker, SequencerReply(kind: .silent, session: message.session, answers: 1)))
      return
    }
    if let known, message.next <= devices[device, known].received.highest, !isRepeated(message, from: worker, stream: known) {
      // Its count was reset, or its device cloned. An old hello that comes late looks the same: where it may be one, a new
      // session brings another, which is the first there.
      if message.kind == .helloAgain {
        refuseSession(message, .needHello, from: worker, stream: 0)
      } else {
        refuseSession(message, .streamReused, from: worker, stream: freshStream(for: device), leaving: known)
      }
      return
    }
    guard let stream = devices.open(message.stream, of: device) else {
      refuseSession(message, .tooManyStreams, from: worker, stream: 0)
      return
    }
    open(message.session, of: worker, stream: UInt16(stream))
    news[UInt64(message.device) << 32 | UInt64(message.stream), default: News(next: 0)].next = message.next
    close(below: message.low, device: device, stream: stream, receiveTimeMs: receiveTimeMs)
    var reply = SequencerReply(kind: .welcome, session: message.session, answers: 1)
    reply.describe(devices[device, stream].durable)
    replies.append((worker, reply))
  }

  /// - Parameter leaving: position of the stream that the device is told to leave.
  private mutating func refuseSession(
    _ message: WorkerMessage, _ refusal: SequencerRefusal, from worker: Int, stream: UInt32, answers: UInt32 = 1,
    leaving: Int? = nil
  ) {
    if message.session.transport == .datagram, refusal.endsDatagrams {
      open(message.session, of: worker, stream: SequencerSessions.Entry.over)
    } else if let leaving {
      open(message.session, of: worker, stream: UInt16(leaving), by: .leaving)
    } else {
      open(message.session, of: worker, stream: SequencerSessions.Entry.refused)
    }
    var reply = SequencerReply(kind: .refusal, session: message.session, answers: answers)
    reply.refusal = refusal
    reply.stream = stream
    replies.append((worker, reply))
  }

  /// Whether this hello belongs to a session that is open in that stream already. Over UDP a hello may arrive behind fixes
  /// that were recorded after it; then its `next` proves no reset.
  private func isRepeated(_ message: WorkerMessage, from worker: Int, stream: Int) -> Bool {
    message.session.transport == .datagram && sessions[worker][message.session].stream == UInt16(stream)
  }

  /// A session from an earlier run, whose hello was answered then.
  private mutating func resume(_ message: WorkerMessage, from worker: Int) {
    guard let stream = devices.open(message.stream, of: Int(message.device)) else {
      refuseSession(message, .tooManyStreams, from: worker, stream: 0, answers: 0)
      return
    }
    open(message.session, of: worker, stream: UInt16(stream))
  }

  /// Early data is to come. Nothing is said, closed or noted before hello, which may still refuse the stream.
  private mutating func early(_ message: WorkerMessage, from worker: Int) {
    let stream = devices.open(message.stream, of: Int(message.device)).map { UInt16($0) }
    open(message.session, of: worker, stream: stream ?? SequencerSessions.Entry.refused, by: .ticket)
    replies.append((worker, SequencerReply(kind: .silent, session: message.session, answers: 1)))
  }

  private mutating func open(
    _ session: SessionID, of worker: Int, stream: UInt16, by introduction: SequencerSessions.Introduction = .hello
  ) {
    let waiter = sessions[worker][session].waiter
    sessions[worker][session] = SequencerSessions.Entry(
      generation: session.generation, stream: stream, introduction: introduction, waiter: waiter)
  }

  private mutating func freshStream(for device: Int) -> UInt32 {
    while true {
      let stream = UInt32(truncatingIfNeeded: random.next())
      if stream != 0, devices.index(of: stream, of: device) == nil { return stream }
    }
  }
}

// MARK: - Records

extension SequencerCore {
  private mutating func records(
    _ message: WorkerMessage, _ bytes: Span<UInt8>, from worker: Int, receiveTimeMs: Int64
  ) {
    let fixes = countFixes(bytes)
    counts.taken += fixes
    let session = sessions[worker][message.session]
    precondition(session.stream != SequencerSessions.Entry.unknown, "records of a session without hello")
    guard session.isOpen else {
      // The session was told with its hello; what it had sent by then is refused without another word.
      counts.refusedStream += fixes
      replies.append((worker, SequencerReply(kind: .silent, session: message.session, answers: 1)))
      return
    }
    if let retryAfterMs = storageRetryAfterMs {
      counts.refusedStorage += fixes
      var reply = SequencerReply(kind: .refusal, session: message.session, answers: 1)
      reply.refusal = .storageUnavailable
      reply.retryAfterMs = retryAfterMs
      replies.append((worker, reply))
      return
    }

    let device = Int(message.device)
    let stream = Int(session.stream)
    let waiter = waiterIndex(for: message.session, of: worker, device: device, stream: stream)
    close(below: message.low, device: device, stream: stream, receiveTimeMs: receiveTimeMs)

    var change = Touched(device: device, stream: stream, latest: nil, travel: devices[travelOf: device])
    let highest = devices[device, stream].received.highest
    var fresh = 0
    var duplicates = 0
    var lane: UInt8 = 0
    var refusal = SequencerReply(kind: .refusal, session: message.session, answers: 0)
    refusal.refusal = .tooManyGaps
    var at = WorkerMessage.headerBytes
    while at < bytes.count {
      let length = Int(bytes.load32(at: at))
      let sequence = bytes.load64(at: at + 24)
      let isGap = bytes[at + 4] == RecordKind.gap.rawValue
      let insertion =
        isGap
        ? devices[device, stream].received.insert(
          .init(first: sequence, last: sequence + bytes.load64(at: at + 40) - 1))
        : devices[device, stream].received.insert(sequence)
      switch insertion {
      case .new:
        let copy = batchBytes
        if !isGap, isErased(bytes, at: at) {
          appendStripped(bytes, at: at)
        } else {
          append(bytes, at..<at + length)
        }
        batchRecords += 1
        if !isGap {
          batchFixes += 1
          fresh += 1
          lane = min(bytes[at + 68], 2)
          judgeRecord(at: copy, device: device)
          tell(at: copy, sequence: sequence, waiter: waiter)
          note(at: copy, in: &change)
        }
      case .duplicate:
        if !isGap {
          counts.duplicate += 1
          duplicates += 1
          lane = min(bytes[at + 68], 2)
        }
      case .tooManyRanges:
        if !isGap { counts.refusedGaps += 1 }
        refusal.name(sequence)
      }
      at += length
    }
    touched.append(change)
    if session.introduction == .hello {
      if duplicates > 0 { refunds.append((message.device, lane, duplicates)) }
    } else {
      if fresh > 0 { charges.append((message.device, bytes.load32(at: WorkerMessage.headerBytes + 8), lane, fresh)) }
      if devices[device, stream].received.highest > highest {
        sessions[worker][message.session].introduction = .ticketWithNews
      }
    }
    if refusal.rangeCount > 0 { replies.append((worker, refusal)) }
  }

  private func countFixes(_ bytes: Span<UInt8>) -> UInt64 {
    var count: UInt64 = 0
    var at = WorkerMessage.headerBytes
    while at < bytes.count {
      if bytes[at + 4] != RecordKind.gap.rawValue { count += 1 }
      at += Int(bytes.load32(at: at))
    }
    return count
  }

  private mutating func append(_ bytes: Span<UInt8>, _ range: Range<Int>) {
    let start = batchBytes
    var out = batch.mutableSpan
    out.copy(bytes, range, to: start)
    batchBytes = start + range.count
  }

  /// Whether the owner has had erased what this record would tell.
  private func isErased(_ bytes: Span<UInt8>, at: Int) -> Bool {
    guard let cipher else { return false }
    let hasTime = FixFields(rawValue: bytes.load32(at: at + 56)).contains(.time)
    return cipher.isErased(
      KeyOwner.of(bytes, recordAt: at), fixTimeMs: hasTime ? Int64(bitPattern: bytes.load64(at: at + 40)) : nil)
  }

  private mutating func appendStripped(_ bytes: Span<UInt8>, at: Int) {
    let start = batchBytes
    append(bytes, at..<at + Record.headerBytes)
    var out = batch.mutableSpan
    SealedRun.strip(&out, at: start)
  }

  private mutating func waiterIndex(for session: SessionID, of worker: Int, device: Int, stream: Int) -> Int {
    let known = Int(sessions[worker][session].waiter)
    if known >= 0, waiters[known].stream == stream {
      waiters[known].answers += 1
      return known
    }
    sessions[worker][session].waiter = Int32(waiters.count)
    waiters.append(Waiter(worker: worker, device: device, stream: stream, session: session))
    return waiters.count - 1
  }

  /// Runs the stateful rules over a record of the batch, and writes what they find into it.
  private mutating func judgeRecord(at: Int, device: Int) {
    var travel = devices[travelOf: device]
    let finding = judge.judge(batch.span, at: at, in: &travel)
    devices[travelOf: device] = travel
    guard let verdict = finding else { return }
    var out = batch.mutableSpan
    out.store(verdict.rawValue, at: at + 6)
    if verdict.outcome == .held { out[at + 4] = RecordKind.held.rawValue }
  }

  /// Keeps the verdict of a record that was not simply accepted for the ack.
  private mutating func tell(at: Int, sequence: UInt64, waiter: Int) {
    let code = batch.span.load16(at: at + 6)
    guard code != 0 else { return }
    batchVerdicts[code, default: 0] += 1
    let count = waiters[waiter].judgementCount
    if count > 0 {
      let last = waiters[waiter].lastJudgement
      let run = judgements[last].run
      if run.code == code, run.first + run.count == sequence {
        judgements[last].run.count += 1
        return
      }
    }
    guard count < Limits.judgementsPerAckMax else { return }
    waiters[waiter].judgementCount = count + 1
    waiters[waiter].lastJudgement = judgements.count
    judgements.append((waiter, VerdictRun(code: code, first: sequence, count: 1)))
  }

  private func note(at: Int, in change: inout Touched) {
    guard let position = LatestPosition(batch.span, at: at) else { return }
    if let known = change.latest, !position.isNewer(than: known) { return }
    change.latest = position
  }

  /// Closes what the device no longer holds, and writes one gap record a hole so that the closing is durable and explained.
  private mutating func close(below low: UInt64, device: Int, stream: Int, receiveTimeMs: Int64) {
    guard low > 1, low - 1 > devices[device, stream].received.through else { return }
    guard storageRetryAfterMs == nil else { return }
    for hole in devices[device, stream].received.holes(below: low) {
      var record = Record()
      record.kind = .gap
      record.device = UInt32(device)
      record.stream = devices[device, stream].stream
      record.receiveTimeMs = receiveTimeMs
      record.fix.sequence = hole.first
      record.fix.fixTimeMs = Int64(hole.count)
      let start = batchBytes
      var out = batch.mutableSpan
      batchBytes = record.write(into: &out, at: start, from: Span())
      batchRecords += 1
    }
    devices[device, stream].received.close(below: low)
    touched.append(Touched(device: device, stream: stream, latest: nil))
  }
}

extension SequencerReply {
  /// Says what is in `ranges`, as far as there is room.
  fileprivate mutating func describe(_ ranges: borrowing SequenceRanges) {
    through = ranges.through
    rangeCount = min(ranges.above.count, Limits.rangesPerAckMax)
    for i in 0..<rangeCount { self.ranges[i] = ranges.above[i] }
  }

  fileprivate mutating func judge(_ run: VerdictRun) {
    judgements[judgementCount] = run
    judgementCount += 1
  }

  /// Adds a refused sequence. Beyond the bound the last range grows over what lies between: the device sends those again
  /// too, and they are duplicates.
  fileprivate mutating func name(_ sequence: UInt64) {
    if rangeCount > 0, sequence == ranges[rangeCount - 1].last + 1 || rangeCount == Limits.rangesPerAckMax {
      ranges[rangeCount - 1].first = min(ranges[rangeCount - 1].first, sequence)
      ranges[rangeCount - 1].last = max(ranges[rangeCount - 1].last, sequence)
    } else {
      ranges[rangeCount] = .init(first: sequence, last: sequence)
      rangeCount += 1
    }
  }
}
