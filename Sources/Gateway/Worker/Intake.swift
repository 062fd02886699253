package import GateCore
package import GateMemory
package import GateProto

/// From one frame's bytes to the sequencer's ring: decode, limit, normalise, apply the tenant's policy, encode. The worker's path
/// of a fix.
///
/// Works on the bytes where they lie and on scratch memory made once: a frame that holds only fixes costs no allocation, no
/// lock and no system call here. Answers that need no sequencer are appended to `out` as frames.
package struct Intake: ~Copyable {
  package struct Settings: Sendable {
    package var normaliser: Normaliser
    package var frames: GCRA

    package init(_ configuration: Configuration) {
      normaliser = Normaliser(configuration.normalising)
      frames = configuration.limits.frames.gcra
    }
  }

  package enum Outcome: Equatable, Sendable {
    /// - Parameter unanswered: messages given to the sequencer that it will answer.
    case taken(unanswered: Int)
    /// The frame was refused for now; the connection goes on.
    case refused(RefusalCode)
    /// The frame was refused and the connection ends once `out` is sent.
    case close(RefusalCode)
    /// Over TCP: a device asks to be enrolled, which others do; the session takes nothing more. Where in `bytes` the body
    /// of the message lies, which `Enrol` can read.
    case enrol(Range<Int>)
  }

  private let settings: Settings
  let ring: ByteRing
  let limiters: LimiterTable
  let privacy: PrivacyContext
  private var fixes = [Fix](repeating: Fix(), count: Limits.fixesPerFrameMax)
  private var record = Record()
  /// What is left of a fix's attributes and work.
  private var kept = [UInt8](repeating: 0, count: Minimiser.keptBytesMax)
  package private(set) var unknownFields: UInt64 = 0

  /// Messages that the sequencer has not answered yet.
  package internal(set) var unanswered = 0
  private let unansweredMax: Int

  /// - Parameter unansweredMax: so many answers, each with a refusal by name, find room on their way back.
  package init(
    settings: Settings, ring: ByteRing, limiters: LimiterTable, privacy: PrivacyContext,
    unansweredMax: Int = WorkerLink.unansweredMax
  ) {
    self.settings = settings
    self.privacy = privacy
    self.unansweredMax = unansweredMax
    self.ring = ring
    self.limiters = limiters
  }

  /// Whether another frame may be taken: its records fit the ring, and its answers the way back. Otherwise the worker must
  /// not read.
  package var hasRoom: Bool { unanswered < unansweredMax - 2 && ring.hasRoom(for: Limits.messageBytesMax) }

  /// Whether there is room for the frames of many reads.
  package var isRoomy: Bool { unanswered < unansweredMax / 2 && !ring.isFilling }

  /// The sequencer has answered so many messages.
  package mutating func answered(_ count: Int) { unanswered -= count }

  /// Takes one frame.
  ///
  /// - Parameters:
  ///   - bytes: the worker's buffer; the session's default work lies at its start.
  ///   - frame: the payload in it.
  ///   - word: the connection's own limiter word, charged per frame before anything is decoded.
  package mutating func take(
    _ bytes: Span<UInt8>, frame: Range<Int>, session: inout Session, word: inout UInt64, registry: RegistrySnapshot,
    at now: Instant, wallMs: Int64, out: inout [UInt8]
  ) -> Outcome {
    switch settings.frames.charge(word, units: 1, at: now) {
    case .granted(let next): word = next
    case .limited(let retryAfterNs):
      refuse(.rateLimited, retryAfterMs: milliseconds(retryAfterNs), session, into: &out)
      return .refused(.rateLimited)
    }
    do throws(DecodeError) {
      let outcome = try read(
        bytes, frame: frame, session: &session, registry: registry, at: now, wallMs: wallMs, out: &out)
      if case .taken(let messages) = outcome { unanswered += messages }
      return outcome
    } catch {
      return close(error.refusal, &session, into: &out)
    }
  }

  /// Tells the sequencer of a session that an earlier run has opened. No answer comes.
  package mutating func resume(_ session: SessionID, device: UInt32, stream: UInt32) {
    let message = WorkerMessage(kind: .resume, session: session, device: device, stream: stream)
    ring.push(atMost: WorkerMessage.headerBytes) { out in
      message.write(into: &out)
      return WorkerMessage.headerBytes
    }
  }

  /// Answers bytes that are no frame.
  package func refuse(_ error: FrameError, session: inout Session, out: inout [UInt8]) -> Outcome {
    switch error {
    case .oversize: close(.tooLarge, &session, into: &out)
    case .badPrefix: close(.malformed, &session, into: &out)
    }
  }

  /// Answers a message over UDP above `Limits.datagramBytesMax`.
  package func refuse(tooLarge session: inout Session, out: inout [UInt8]) -> Outcome {
    close(.tooLarge, &session, into: &out)
  }

  private mutating func read(
    _ bytes: Span<UInt8>, frame: Range<Int>, session: inout Session, registry: RegistrySnapshot, at now: Instant,
    wallMs: Int64, out: inout [UInt8]
  ) throws(DecodeError) -> Outcome {
    var owed = 0
    var count = 0
    var gaps = 0
    var lane = 0
    var low: UInt64 = 0
    var hello: Range<Int>?
    var enrol: Range<Int>?
    var pong: UInt32?
    var applied: UInt32?
    var sendTimeMs: Int64?
    var sendMonotonicMs: UInt64?
    let isEarly = session.isEarly
    var scanner = UplinkScanner(frame)
    while let part = try scanner.next(in: bytes) {
      if isEarly, !part.isAboutFixes { return close(.malformed, &session, into: &out) }
      switch part {
      case .fix(let range):
        guard count < Limits.fixesPerFrameMax else { throw .tooManyFixes(offset: range.lowerBound) }
        try FixDecoder.fix(bytes, range, into: &fixes[count])
        count += 1
      case .batch(let range):
        var span = fixes.mutableSpan
        count += try FixDecoder.batch(bytes, range, into: &span, at: count)
      case .gap: gaps += 1
      case .hello(let range):
        // Two hellos in a frame would have to be merged; a device has no reason to send them.
        guard hello == nil else { return close(.malformed, &session, into: &out) }
        hello = range
      case .lane(let value): lane = (0..<3).contains(value) ? Int(value) : 0
      case .oldestHeld(let sequence): low = sequence
      case .ping(let range):
        guard let ping = try? Ping.decode(bytes, range) else { return close(.malformed, &session, into: &out) }
        // One message holds one pong: over UDP it is the last, however many pings are crammed into a datagram.
        if session.transport == .datagram { pong = ping.id } else { answer(ping.id, session, to: &out) }
      case .sendTimeMs(let time): sendTimeMs = time
      case .sendMonotonicMs(let time): sendMonotonicMs = time
      case .applied(let range):
        guard let settings = try? SettingsApplied.decode(bytes, range) else { return close(.malformed, &session, into: &out) }
        applied = settings.version
      case .enrol(let range):
        guard enrol == nil else { return close(.malformed, &session, into: &out) }
        enrol = range
      }
    }
    unknownFields &+= UInt64(scanner.unknownFields)
    if let pong { answer(pong, session, to: &out) }

    if let enrol {
      guard session.transport == .stream, case .awaitingHello = session.state, hello == nil, count == 0, gaps == 0,
        (try? Enrol.decode(bytes, enrol)) != nil
      else { return close(.malformed, &session, into: &out) }
      session.close()
      return .enrol(enrol)
    }
    guard low <= Limits.sequenceMax, gaps <= Limits.gapsPerFrameMax else {
      return close(.malformed, &session, into: &out)
    }
    var regionBytes = 0
    for i in 0..<count {
      guard fixes[i].sequence >= 1, fixes[i].sequence <= Limits.sequenceMax else {
        return close(.badSequence, &session, into: &out)
      }
      regionBytes += Int(fixes[i].attributes.length) + Int(fixes[i].work.length)
    }
    if isEarly, !session.countEarly(count) { return close(.tooLarge, &session, into: &out) }
    // From here on the sequencer owes answers: nothing below may close.
    if let hello {
      if let code = greet(bytes, hello, &session, registry: registry, wallMs: wallMs) {
        return close(code, &session, into: &out)
      }
      owed += 1
    }
    if let applied, case .open(let identity, _) = session.state {
      privacy.steering.confirm(identity.device, version: applied)
    }
    steer(session, registry: registry, wallMs: wallMs, into: &out)
    guard count > 0 || gaps > 0 || low > 0 else { return .taken(unanswered: owed) }
    guard let (identity, stream) = session.speaker else {
      // Datagrams overtake each other, and a gateway may have lost what it knew: the device says hello and goes on.
      guard session.transport == .datagram, session.state == .awaitingHello else {
        return close(.needHello, &session, into: &out)
      }
      refuse(.needHello, retryAfterMs: nil, session, into: &out)
      return .refused(.needHello)
    }
    regionBytes += count * session.work.count
    if count > 0,
      case .limited(let retryAfterNs) = isEarly
        // A replay must not use up the device's allowance: the sequencer charges what is new.
        ? limiters.weigh(device: identity.device, tenant: identity.tenant, lane: lane, units: count, at: now)
        : limiters.charge(device: identity.device, tenant: identity.tenant, lane: lane, units: count, at: now)
    {
      let retryAfterMs = milliseconds(retryAfterNs)
      limited(count, session.id, identity, stream: stream)
      refuse(.rateLimited, retryAfterMs: retryAfterMs, ranges: sequences(of: count), session, into: &out)
      return owed > 0 ? .taken(unanswered: owed) : .refused(.rateLimited)
    }
    let clock = DeviceClock(
      sendTimeMs: sendTimeMs, sendMonotonicMs: sendMonotonicMs, helloErrorMs: session.clockErrorMs)
    if privacy.shifts != nil, changesShifts(count, identity, registry, wallMs: wallMs, clock: clock) {
      limited(count, session.id, identity, stream: stream)
      refuse(.busy, retryAfterMs: Intake.shiftRetryMs, ranges: sequences(of: count), session, into: &out)
      return owed > 0 ? .taken(unanswered: owed) : .refused(.busy)
    }
    publish(
      bytes, frame: frame, count: count, gaps: gaps, low: low, lane: UInt8(lane), regionBytes: regionBytes,
      session: session, identity, stream: stream, registry: registry, wallMs: wallMs, clock: clock)
    return .taken(unanswered: owed + 1)
  }

  /// How long the registry may take to enter a shift.
  private static let shiftRetryMs: UInt32 = 200

  /// Whether the frame has an event that opens or closes a shift which the registry does not know yet.
  private func changesShifts(
    _ count: Int, _ identity: DeviceIdentity, _ registry: RegistrySnapshot, wallMs: Int64, clock: DeviceClock
  ) -> Bool {
    var changes = false
    for i in 0..<count where fixes[i].present.contains(FixFields(.event)) {
      guard fixes[i][.event] == 6 || fixes[i][.event] == 7 else { continue }
      var event = Record()
      event.fix = fixes[i]
      event.tenant = identity.tenant
      event.device = identity.device
      settings.normaliser.normalise(&event, at: wallMs, clock: clock)
      guard let change = registry.privacy.change(by: event) else { continue }
      privacy.shifts?.offer(change)
      changes = true
    }
    return changes
  }

  /// Normalises the decoded fixes, applies the policy and encodes them straight into the ring.
  private mutating func publish(
    _ bytes: Span<UInt8>, frame: Range<Int>, count: Int, gaps: Int, low: UInt64, lane: UInt8, regionBytes: Int,
    session: borrowing Session, _ identity: DeviceIdentity, stream: UInt32, registry: RegistrySnapshot, wallMs: Int64,
    clock: DeviceClock
  ) {
    var message = WorkerMessage(kind: .records, session: session.id, device: identity.device, stream: stream)
    message.count = UInt32(count)
    message.low = low
    record.tenant = identity.tenant
    record.device = identity.device
    record.subject = identity.subject
    record.stream = stream
    record.lane = lane
    record.transport = session.transport.rawValue
    record.receiveTimeMs = wallMs
    let defaultWork = Region(offset: 0, length: UInt32(session.work.count))
    let policyVersion = session.policyVersion
    var dropped = 0
    let room = WorkerMessage.headerBytes + count * Limits.recordFixedBytesMax + regionBytes + gaps * Record.headerBytes
    ring.push(atMost: room, items: count) { out in
      message.write(into: &out)
      var at = WorkerMessage.headerBytes
      if gaps > 0 { at = writeGaps(bytes, frame, into: &out, at: at) }
      for i in 0..<count {
        record.fix = fixes[i]
        record.originalCount = 0
        record.gridM = 0
        settings.normaliser.normalise(&record, at: wallMs, clock: clock)
        if record.fix.work.isEmpty { record.fix.work = defaultWork }
        // What the device says that its subject has accepted, where the tenant has set none.
        record.policyVersion = policyVersion
        dropped += Intake.apply(registry.privacy, to: &record, from: bytes, keeping: &kept)
        at = record.write(into: &out, at: at, from: kept.span)
      }
      return at
    }
    privacy.count(dropped, ofTenant: identity.tenant)
  }

  private static func apply(
    _ privacy: PrivacyTable, to record: inout Record, from bytes: Span<UInt8>, keeping kept: inout [UInt8]
  ) -> Int {
    var room = kept.mutableSpan
    return privacy.apply(to: &record, from: bytes, keeping: &room)
  }

  /// Gaps are rare: they are read in a second pass, by libprotobuf-c. One that is none is left out; the device asks again.
  private func writeGaps(
    _ bytes: Span<UInt8>, _ frame: Range<Int>, into out: inout MutableSpan<UInt8>, at start: Int
  ) -> Int {
    var at = start
    var scanner = UplinkScanner(frame)
    while let part = try? scanner.next(in: bytes) {
      guard case .gap(let range) = part, let gap = try? GapMessage.decode(bytes, range) else { continue }
      var closed = Record()
      closed.kind = .gap
      closed.code = gap.reason.rawValue
      closed.tenant = record.tenant
      closed.device = record.device
      closed.subject = record.subject
      closed.stream = record.stream
      closed.receiveTimeMs = record.receiveTimeMs
      closed.fix.sequence = gap.range.first
      closed.fix.fixTimeMs = Int64(gap.range.count)
      at = closed.write(into: &out, at: at, from: bytes)
    }
    return at
  }

  // MARK: - Hello

  /// - Returns: why the hello is refused, or `nil`.
  private func greet(
    _ bytes: Span<UInt8>, _ range: Range<Int>, _ session: inout Session, registry: RegistrySnapshot, wallMs: Int64
  ) -> RefusalCode? {
    guard let hello = try? Hello.decode(bytes, range) else { return .malformed }
    let greeting = Session.Greeting(
      protocolVersion: hello.protocolVersion, stream: hello.stream, nextSequence: hello.nextSequence,
      oldestHeld: hello.oldestHeld ?? 0)
    let identity: DeviceIdentity
    do throws(Session.HelloRefusal) {
      let proof = Credentials.prove(
        token: hello.token, channel: session.channel, registry: registry, wallMs: wallMs)
      identity = try session.hello(greeting, proof: proof)
    } catch {
      return RefusalCode(rawValue: error.rawValue) ?? .malformed
    }
    // A device beyond the limiter's table can be enrolled, but not served: the operator has to raise devices_max.
    guard limiters.covers(device: identity.device, tenant: identity.tenant) else { return .unknownCredential }
    privacy.steering.greet(identity.device, version: hello.settingsVersion)
    session.clockErrorMs = hello.sendTimeMs.flatMap { DeviceClock.errorMs(sendTimeMs: $0, at: wallMs) }
    if let work = hello.work {
      session.policyVersion = work.policyVersion ?? 0
      session.work = Intake.encodedField(work)
    }
    var message = WorkerMessage(
      kind: session.isOfEarlierRun ? .helloAgain : .hello, session: session.id, device: identity.device, stream: hello.stream)
    message.next = hello.nextSequence
    message.low = hello.oldestHeld ?? 0
    ring.push(atMost: WorkerMessage.headerBytes) { out in
      message.write(into: &out)
      return WorkerMessage.headerBytes
    }
    return nil
  }

  /// `Work` as field 30, the shape in which records carry it.
  private static func encodedField(_ work: Work) -> [UInt8] {
    let body = work.encoded
    var field: [UInt8] = []
    WireWriter.header(30, bytes: body.count, into: &field)
    field += body
    return field.count <= Limits.workBytesMax ? field : []
  }

  // MARK: - Limiting

  /// Fixes that were decoded and not taken belong to the equation too.
  private func limited(_ count: Int, _ session: SessionID, _ identity: DeviceIdentity, stream: UInt32) {
    var message = WorkerMessage(kind: .limited, session: session, device: identity.device, stream: stream)
    message.count = UInt32(count)
    message.low = .max
    for i in 0..<count {
      message.low = min(message.low, fixes[i].sequence)
      message.next = max(message.next, fixes[i].sequence)
    }
    ring.push(atMost: WorkerMessage.headerBytes, items: count) { out in
      message.write(into: &out)
      return WorkerMessage.headerBytes
    }
  }

  /// Rounded up. What can never be granted as it is may come back in a minute, in smaller frames.
  private func milliseconds(_ ns: UInt64?) -> UInt32 {
    UInt32(clamping: (ns ?? 60_000_000_000) / 1_000_000 + 1)
  }

  // MARK: - Answers

  /// The sequences of the decoded fixes, as ranges; none, which means all in flight, if they are too scattered to name.
  private func sequences(of count: Int) -> [GateProto.SequenceRange] {
    var ranges: [GateProto.SequenceRange] = []
    for i in 0..<count {
      let sequence = fixes[i].sequence
      if let last = ranges.last, last.first + last.count == sequence {
        ranges[ranges.count - 1].count += 1
      } else {
        guard ranges.count < Limits.rangesPerAckMax else { return [] }
        ranges.append(SequenceRange(first: sequence, count: 1))
      }
    }
    return ranges
  }

  private func refuse(
    _ code: RefusalCode, retryAfterMs: UInt32?, ranges: [GateProto.SequenceRange] = [], _ session: borrowing Session,
    into out: inout [UInt8]
  ) {
    var answer = Downlink()
    var refusal = Refusal(code: code, retry: true, retryAfterMs: retryAfterMs)
    refusal.ranges = ranges
    answer.refusals = [refusal]
    append(answer, session, to: &out)
  }

  /// Over UDP a message that cannot be taken spoils nothing behind it, so a session that has proven its device goes on.
  private func close(_ code: RefusalCode, _ session: inout Session, into out: inout [UInt8]) -> Outcome {
    let goesOn = session.transport == .datagram && session.isOpen && !code.endsSession
    var refusal = Refusal(code: code, retry: false)
    refusal.closing = !goesOn
    var answer = Downlink()
    answer.refusals = [refusal]
    append(answer, session, to: &out)
    if goesOn { return .refused(code) }
    session.close()
    return .close(code)
  }

  private func answer(_ ping: UInt32, _ session: borrowing Session, to out: inout [UInt8]) {
    var downlink = Downlink()
    downlink.pong = ping
    append(downlink, session, to: &out)
  }

  private func append(_ answer: Downlink, _ session: borrowing Session, to out: inout [UInt8]) {
    let start = out.count
    answer.encode(into: &out)
    Frame.close(from: start, in: &out, over: session.transport)
  }
}

extension RefusalCode {
  /// Whoever hears it has lost the right to talk.
  fileprivate var endsSession: Bool {
    switch self {
    case .unknownCredential, .revoked, .credentialExpired: true
    default: false
    }
  }
}

extension DecodeError {
  fileprivate var refusal: RefusalCode {
    switch self {
    case .tooManyFixes, .attributesTooLong, .workTooLong: .tooLarge
    default: .malformed
    }
  }
}
