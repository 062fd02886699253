package import GateCore
package import GateProto

/// The device's side of the conversation with a gateway, sans-I/O: bytes and time in, frames and events out. It lives
/// longer than a connection; `log` must outlive the process (`StateFile`).
///
/// Over TCP a connection is a stream of frames with length prefixes, and what is sent arrives or the connection ends. Over UDP
/// it is a DTLS session: a frame is a datagram, may be lost, and then goes out again. A DTLS session carries one stream, since
/// datagrams overtake each other and do not say which stream they belong to. See DeviceSession+Datagrams.swift.
///
/// A place (see `UploadLog`) is in exactly one state: settled, in flight, delayed by a retry-after, or sendable.
package struct DeviceSession: Sendable {
  /// Why nothing more can be sent, in any connection, until an operator has acted.
  package private(set) var fatal: RefusalCode?
  package private(set) var log: UploadLog
  package var options: DeviceOptions
  /// The gateway has told this device to record and send nothing.
  package private(set) var isStopped = false
  /// No frame goes out and no connection should be opened before.
  package private(set) var pausedUntil = Instant(ns: 0)
  package private(set) var welcome: Welcome?
  /// Frames that were sent and fixes in them, resent ones included.
  package private(set) var framesSent: UInt64 = 0
  package private(set) var fixesSent: UInt64 = 0
  /// Datagrams that counted as lost; their fixes went out again.
  package internal(set) var framesLost: UInt64 = 0

  private let token: [UInt8]
  private var isConnected = false
  /// Set over UDP only.
  var datagrams: DatagramWindow?
  /// The gateway closes this connection, or it is of no more use: send nothing more on it, make another.
  package internal(set) var isClosing = false
  var needsHello = false
  /// Hello was sent and is not answered yet: a refusal may have meant its frame.
  var helloIsOpen = false
  private var window: UInt64
  var inFlight = RangeSet64()
  private var delayed: [(places: ClosedRange<UInt64>, until: Instant)] = []
  private var settingsVersion: UInt32 = 0
  private var appliedToSay: UInt32?
  private var gapsToSay: [GapMessage] = []
  /// The gateway has every sequence of the stream up to here, as far as it has said so in this connection.
  private var throughTold: UInt64 = 0
  private var pingId: UInt32 = 0
  private(set) var lastSent = Instant(ns: 0)
  /// When the gateway began to owe an answer.
  private var owedSince: Instant?
  /// When the oldest fix of the batch that is not full yet was recorded.
  private var gatheringSince: Instant?
  private var stash: [UInt8] = []
  /// With `.liveFirst`: places up to here are backlog, those above are live.
  private var backlogEnd: UInt64 = 0
  private var panicPlaces = RangeSet64()
  /// Of the backlog, or of the only lane.
  private var pacing = SendPacing()
  /// The lane waited for its pacing when it was last asked.
  private var isPaced = false
  /// By lane: over its limit, nothing more goes out in it before.
  private var lanePausedUntil = InlineArray<3, Instant>(repeating: Instant(ns: 0))
  private var scratch: [Fix] = []
  /// Fixes that fill a datagram, judging by the last one.
  var fixesThatFit = 0
  /// While early data is made: bytes that the next frame may have.
  private var earlyRoom: Int?

  /// Most answers to the gateway's requests that wait to be sent.
  private static let gapsToSayMax = 16
  /// Most ranges that wait for their own time; with more the whole device waits.
  private static let delayedMax = 256
  /// Room that a frame of one fix never exceeds.
  private static let earlyFrameBytesMin = 1_024
  /// Wait after a refusal that says "retry" and not when.
  private static let retryAfterMs: UInt32 = 1_000

  /// - Parameter token: `Hello.tokenBytes` long, or empty when the transport proves the device.
  package init(log: UploadLog, token: [UInt8], options: DeviceOptions = DeviceOptions()) {
    precondition(token.isEmpty || token.count == Hello.tokenBytes)
    self.log = log
    self.token = token
    self.options = options
    window = options.firstWindow
  }

  /// Every recorded fix is acked or given up, and nothing is left to say.
  package var isDone: Bool { log.isSettled && appliedToSay == nil && gapsToSay.isEmpty }

  package var inFlightCount: UInt64 { inFlight.count }

  /// Places above are recorded and not to be sent yet: a track that is played at its own pace.
  package var released = UInt64.max

  /// Fixes have been recorded behind those there are. They may wait for others: see `DeviceOptions.batchWaitNs`.
  /// - Parameter panic: they wait for nothing, and go out in the panic lane.
  package mutating func record(_ count: UInt64, at now: Instant, panic: Bool = false) {
    if panic, count > 0 { panicPlaces.insert(log.recorded + 1...log.recorded + count) }
    log.record(count)
    if gatheringSince == nil { gatheringSince = now }
  }

  /// Nothing that is recorded waits for others any longer: an event, or the end of the recording.
  package mutating func flush() { gatheringSince = nil }

  /// A connection over TCP stands. All that is unacked may be sent again; the next frame begins with hello.
  /// - Parameter earlyDataTaken: what `earlyData` gave is under way on this connection; else it counts as not sent.
  package mutating func connected(at now: Instant, earlyDataTaken: Bool = false) {
    datagrams = nil
    let early = inFlight
    begin(at: now)
    guard earlyDataTaken, !early.isEmpty else { return }
    inFlight = early
    owedSince = now
  }

  /// Appends frames of fixes, and of nothing else, that travel before the connection stands (0-RTT). Only where a ticket goes
  /// along that the gateway gave to a session in this stream: it stands for the hello.
  /// - Parameters:
  ///   - bytesMax: of all frames together.
  ///   - clockMs, monotonicMs, source: as for `nextFrame`.
  package mutating func earlyData(
    into out: inout [UInt8], at now: Instant, clockMs: Int64? = nil, monotonicMs: UInt64? = nil, bytesMax: Int,
    from source: (ClosedRange<UInt64>, inout [Fix]) -> Void
  ) {
    guard fatal == nil else { return }
    datagrams = nil
    begin(at: now)
    isConnected = false
    defer { earlyRoom = nil }
    let batch = UInt64(options.batchFixes.clamped(to: 1...Limits.fixesPerFrameMax))
    while inFlight.count + batch <= Limits.earlyFixesMax, bytesMax - out.count >= DeviceSession.earlyFrameBytesMin,
      let next = nextPlaces(at: now), now >= pausedUntil || next.lane == .panic
    {
      let start = out.count
      earlyRoom = min(bytesMax - start - Limits.framePrefixBytesMax, Limits.frameBytesMax)
      _ = appendBatch(next.places, next.lane, frameStart: start, into: &out, clockMs, monotonicMs, source)
      Frame.close(from: start, in: &out)
      framesSent += 1
    }
  }

  mutating func begin(at now: Instant) {
    isConnected = true
    isClosing = false
    needsHello = true
    helloIsOpen = false
    welcome = nil
    throughTold = 0
    window = options.firstWindow
    inFlight.removeAll()
    gapsToSay.removeAll()
    stash.removeAll(keepingCapacity: true)
    // What could not be sent while there was no connection is backlog, but for the newest fix.
    backlogEnd = max(min(log.recorded, released), 1) - 1
    lastSent = now
    owedSince = nil
  }

  package mutating func disconnected() {
    isConnected = false
    isClosing = false
    datagrams = nil
    inFlight.removeAll()
    owedSince = nil
  }

  /// Appends the next frame, if there is something that may be sent now. Over TCP with its length prefix; over UDP it is the
  /// plaintext of one datagram, `Limits.datagramBytesMax` at most.
  /// - Parameters:
  ///   - clockMs: the device's own clock, ms since 1970-01-01 UTC; `nil` when it has none.
  ///   - monotonicMs: the clock of the fixes' `monotonicMs`, at the same moment; `nil` when it has none.
  ///   - source: appends the recorded fixes of these places, in order; their sequences are set here.
  /// - Returns: whether a frame was appended. Call again until it is `false`.
  package mutating func nextFrame(
    into out: inout [UInt8], at now: Instant, clockMs: Int64? = nil, monotonicMs: UInt64? = nil,
    from source: (ClosedRange<UInt64>, inout [Fix]) -> Void
  ) -> Bool {
    guard isConnected, !isClosing, fatal == nil else { return false }
    expireDatagrams(at: now)
    if let due = asksAgainAt, now >= due { needsHello = true }
    let next = nextPlaces(at: now)
    guard now >= pausedUntil || next?.lane == .panic, mayGo(next?.lane) else { return false }
    let start = out.count
    if needsHello || datagrams != nil && helloIsOpen {
      hello(clockMs: clockMs).append(into: &out)
      needsHello = false
      helloIsOpen = true
    }
    if let version = appliedToSay {
      SettingsApplied(version: version).append(into: &out)
      appliedToSay = nil
    }
    for gap in gapsToSay { gap.append(into: &out) }
    gapsToSay.removeAll()
    if next != nil || out.count > start, let number = datagrams?.ping(at: now) { Ping(id: number).append(into: &out) }
    if let next, next.lane == .backlog || options.lanes != .liveFirst { pacing.sent(at: now) }
    var sent: ClosedRange<UInt64>?
    if let next {
      sent = appendBatch(next.places, next.lane, frameStart: start, into: &out, clockMs, monotonicMs, source)
    }
    if datagrams == nil, out.count == start, now.since(lastSent) >= options.pingAfterNs {
      pingId &+= 1
      Ping(id: pingId).append(into: &out)
    }
    guard out.count > start else { return false }
    if datagrams == nil { Frame.close(from: start, in: &out) }
    if sent != nil || helloIsOpen { datagrams?.send(sent, at: now) }
    framesSent += 1
    lastSent = now
    if owedSince == nil { owedSince = now }
    return true
  }

  /// As above, where `fixes[i]` is place i + 1 and all of `fixes` is recorded.
  package mutating func nextFrame(
    into out: inout [UInt8], at now: Instant, clockMs: Int64? = nil, monotonicMs: UInt64? = nil, from fixes: [Fix]
  ) -> Bool {
    nextFrame(into: &out, at: now, clockMs: clockMs, monotonicMs: monotonicMs) { places, into in
      into.append(contentsOf: fixes[Int(places.lowerBound) - 1...Int(places.upperBound) - 1])
    }
  }

  /// Takes bytes of the downlink as they come, split anywhere.
  /// - Throws: when the gateway breaks the specification. Events of frames before the bad one are in `events`.
  package mutating func receive(
    _ bytes: Span<UInt8>, at now: Instant, into events: inout [DeviceEvent]
  ) throws(DeviceError) {
    for i in bytes.indices { stash.append(bytes[i]) }
    var at = 0
    defer { stash.removeFirst(at) }
    while true {
      let payload: Range<Int>?
      do { payload = try FrameScanner.next(in: stash.span, from: at, to: stash.count) } catch {
        throw .badFrame(offset: at)
      }
      guard let payload else { return }
      let downlink: Downlink
      do { downlink = try Downlink.decode(stash.span, payload) } catch { throw .malformed(error) }
      at = payload.upperBound
      take(downlink, at: now, into: &events)
    }
  }

  /// When to call `nextFrame` next (or, at silence, to close) if nothing arrives before; `nil` if there is no such time.
  package var deadline: Instant? {
    guard isConnected, fatal == nil else { return nil }
    if isClosing { return lastSent.advanced(byNs: options.silenceNs) }
    var next = Instant(ns: .max)
    if let datagrams {
      if let expiry = datagrams.deadline { next = expiry }
      if let asksAgainAt { next = min(next, asksAgainAt) }
    } else {
      next = lastSent.advanced(byNs: options.pingAfterNs)
      if let owedSince { next = min(next, owedSince.advanced(byNs: options.silenceNs)) }
    }
    if pausedUntil.ns > 0 { next = min(next, pausedUntil) }
    for each in delayed { next = min(next, each.until) }
    if isPaced, let paced = pacing.waits(at: lastSent) { next = min(next, paced) }
    for i in lanePausedUntil.indices where lanePausedUntil[i] > lastSent { next = min(next, lanePausedUntil[i]) }
    if let gatheringSince, options.batchWaitNs > 0 {
      next = min(next, gatheringSince.advanced(byNs: options.batchWaitNs))
    }
    return next.ns == .max ? nil : max(next, pausedUntil)
  }

  /// The gateway has owed an answer for too long: close the connection and make another. Over UDP that is told by datagrams
  /// without an answer, since time passes while a device sleeps.
  package func isSilent(at now: Instant) -> Bool {
    if let datagrams { return datagrams.isSilent }
    guard isConnected, let owedSince else { return false }
    return now.since(owedSince) >= options.silenceNs
  }
}

// Sending.
extension DeviceSession {
  private func hello(clockMs: Int64?) -> Hello {
    var hello = Hello(token: token, stream: log.stream, nextSequence: log.nextSequence, oldestHeld: log.oldestHeld)
    hello.sendTimeMs = clockMs
    hello.device = options.device
    hello.work = options.work
    hello.settingsVersion = settingsVersion
    return hello
  }

  /// What goes out next: a run of sendable places, cut to batch and window, and its lane.
  private mutating func nextPlaces(at now: Instant) -> (places: ClosedRange<UInt64>, lane: Lane)? {
    // What has run out goes, sent or not, so that `deadline` never stays in the past.
    delayed.removeAll { $0.until <= now }
    if pausedUntil <= now { pausedUntil = Instant(ns: 0) }
    for i in lanePausedUntil.indices where lanePausedUntil[i] <= now { lanePausedUntil[i] = Instant(ns: 0) }
    if let since = gatheringSince, now.since(since) >= options.batchWaitNs { gatheringSince = nil }
    guard !isStopped else { return nil }
    let newest = min(log.recorded, released)
    let batch = UInt64(options.batchFixes.clamped(to: 1...Limits.fixesPerFrameMax))
    // A datagram is filled by bytes: try a few fixes more than should fit.
    let most = datagrams == nil ? batch : UInt64((fixesThatFit * 17 / 16 + 1).clamped(to: 1...Limits.fixesPerFrameMax))
    switch options.lanes {
    case .single(let lane):
      let used = inFlight.count
      guard used < window, isOpen(lane), !waitsForPacing(at: now) else { return nil }
      let room = min(most, window - used)
      return run(in: 1, through: newest, most: room, gathering: lane == .panic ? nil : batch).map { ($0, lane) }
    case .liveFirst:
      for panic in panicPlaces.ranges {
        if let places = run(in: panic.lowerBound, through: min(panic.upperBound, newest), most: most) {
          return (places, .panic)
        }
      }
      // Live is what fits one batch; what is older than that has become backlog.
      if newest > batch { backlogEnd = max(backlogEnd, newest - batch) }
      if isOpen(.live), let places = run(in: backlogEnd + 1, through: newest, most: batch, gathering: batch) {
        return (places, .live)
      }
      let used = inFlight.count(through: backlogEnd)
      guard used < window, isOpen(.backlog), !waitsForPacing(at: now) else { return nil }
      return run(in: 1, through: backlogEnd, most: min(most, window - used)).map { ($0, .backlog) }
    }
  }

  private mutating func waitsForPacing(at now: Instant) -> Bool {
    isPaced = pacing.waits(at: now) != nil
    return isPaced
  }

  private func isOpen(_ lane: Lane) -> Bool { lanePausedUntil[Int(lane.rawValue)].ns == 0 }

  /// The lowest run of sendable places from `start` through `end`.
  /// - Parameter gathering: if the run ends with the newest fix and is shorter, it may wait for more.
  private func run(
    in start: UInt64, through end: UInt64, most: UInt64, gathering: UInt64? = nil
  ) -> ClosedRange<UInt64>? {
    var place = start
    search: while place <= end, let first = log.firstUnsettled(from: place), first <= end {
      if let range = inFlight.range(atOrAfter: first), range.contains(first) {
        place = range.upperBound + 1
        continue
      }
      for each in delayed where each.places.contains(first) {
        place = each.places.upperBound + 1
        continue search
      }
      var last = min(log.runEnd(from: first), end)
      if let next = inFlight.range(atOrAfter: first) { last = min(last, next.lowerBound - 1) }
      for each in delayed where each.places.lowerBound > first { last = min(last, each.places.lowerBound - 1) }
      if let gathering, last == log.recorded, last - first + 1 < gathering, gatheringSince != nil { return nil }
      return first...min(last, first + most - 1)
    }
    return nil
  }

  /// Appends lane, oldest_held, send time and as many of `places` as fit into a frame.
  /// - Returns: the places that did.
  private mutating func appendBatch(
    _ places: ClosedRange<UInt64>, _ lane: Lane, frameStart: Int, into out: inout [UInt8], _ clockMs: Int64?,
    _ monotonicMs: UInt64?, _ source: (ClosedRange<UInt64>, inout [Fix]) -> Void
  ) -> ClosedRange<UInt64>? {
    guard let firstSequence = log.sequence(of: places.lowerBound) else { return nil }
    scratch.removeAll(keepingCapacity: true)
    source(places, &scratch)
    precondition(scratch.count == Int(places.upperBound - places.lowerBound) + 1)
    for i in scratch.indices { scratch[i].sequence = firstSequence + UInt64(i) }
    appendScalars(lane, clockMs, monotonicMs, into: &out)
    let bound = earlyRoom ?? (datagrams == nil ? Limits.frameBytesMax : Limits.datagramBytesMax)
    // Hello has not told it yet.
    let work = earlyRoom == nil ? [] : options.work?.encoded ?? []
    let most = min(bound, max(Int(welcome?.frameBytesMax ?? UInt32.max), 1_024))
    let start = out.count
    var count = scratch.count
    while true {
      if count == 1, work.isEmpty {
        FixEncoder.row(scratch[0], from: [UInt8]().span, into: &out)
      } else {
        FixEncoder.batch(scratch[0..<count], work: work, into: &out)
      }
      let bytes = out.count - start
      let room = most - (start - frameStart)
      // In proportion. What a batch says once weighs more in a shorter one, so a cut converges from above.
      fixesThatFit = count * room / bytes
      if bytes <= room || count == 1 { break }
      out.removeLast(bytes)
      count = fixesThatFit.clamped(to: 1...count - 1)
    }
    let sent = places.lowerBound...places.lowerBound + UInt64(count) - 1
    inFlight.insert(sent)
    fixesSent += UInt64(count)
    if sent.upperBound == log.recorded { gatheringSince = nil }
    return sent
  }

  /// Over UDP, where a fix may travel alone, only what the gateway cannot know: `oldest_held` where its own mark does not
  /// reach so far, and the clock beside fixes that can be checked against it.
  private func appendScalars(_ lane: Lane, _ clockMs: Int64?, _ monotonicMs: UInt64?, into out: inout [UInt8]) {
    var scalars = UplinkScalars(lane: lane == .live ? nil : lane, oldestHeld: earlyRoom == nil ? log.oldestHeld : nil)
    if datagrams != nil, let oldest = scalars.oldestHeld, oldest <= throughTold + 1 { scalars.oldestHeld = nil }
    if datagrams == nil || scratch.contains(where: { $0.present.contains(.monotonic) }) {
      scalars.sendTimeMs = clockMs
      scalars.sendMonotonicMs = monotonicMs
    }
    scalars.append(into: &out)
  }
}

// Receiving.
extension DeviceSession {
  mutating func take(_ downlink: Downlink, at now: Instant, into events: inout [DeviceEvent]) {
    owedSince = nil
    if let welcome = downlink.welcome {
      self.welcome = welcome
      helloIsOpen = false
      throughTold = max(throughTold, welcome.through)
      setWindow(welcome.backlogWindow)
      events.append(.welcome(welcome))
    }
    if let time = downlink.serverTimeMs { events.append(.serverTime(time)) }
    if let ack = downlink.ack { take(ack, into: &events) }
    for refusal in downlink.refusals { take(refusal, at: now, into: &events) }
    if let settings = downlink.settings {
      take(settings)
      events.append(.settings(settings))
    }
    if let pong = downlink.pong {
      datagrams?.pong(pong, at: now)
      events.append(.pong(pong))
    }
    for request in downlink.requests { take(request: request) }
    if !inFlight.isEmpty, owedSince == nil { owedSince = now }
  }

  private mutating func setWindow(_ fixes: UInt32) {
    window = fixes == 0 ? options.windowMax : min(UInt64(fixes), options.windowMax)
  }

  private mutating func take(_ ack: Ack, into events: inout [DeviceEvent]) {
    if let window = ack.backlogWindow { setWindow(window) }
    // An ack of a stream that this device has left behind: its fixes have been numbered anew, so nothing to delete.
    if let stream = ack.stream, stream != log.stream { return }
    let before = log.ackedCount
    throughTold = max(throughTold, ack.through)
    if ack.through > 0 { acknowledge(SequenceRange(first: 1, count: ack.through)) }
    for range in ack.above { acknowledge(range) }
    for judgement in ack.judgements { events.append(.judged(judgement)) }
    if log.ackedCount > before {
      pacing.taken()
      events.append(.acked(log.ackedCount - before))
    }
  }

  private mutating func acknowledge(_ range: SequenceRange) {
    for places in log.places(of: range) {
      log.acknowledge(places)
      inFlight.remove(places)
      datagrams?.answered(places)
      panicPlaces.remove(places)
    }
  }

  private mutating func take(_ refusal: Refusal, at now: Instant, into events: inout [DeviceEvent]) {
    events.append(.refused(refusal))
    let until = now.advanced(byNs: UInt64(refusal.retryAfterMs ?? DeviceSession.retryAfterMs) * 1_000_000)
    if refusal.closing { isClosing = true }
    switch refusal.code {
    case .streamReused:
      guard let stream = refusal.stream else {
        fatal = refusal.code
        return
      }
      // Said twice, it is done once.
      if stream != log.stream { log.renumber(stream: stream) }
      forgetAllInFlight()
      delayed.removeAll()
      needsHello = true
      if datagrams != nil { isClosing = true }
      events.append(.renumbered(stream: stream))
    case .needHello:
      // Of several datagrams each is answered so, also when hello is on its way already.
      if datagrams != nil, helloIsOpen { return }
      forgetAllInFlight()
      needsHello = true
      if refusal.retryAfterMs != nil { pausedUntil = max(pausedUntil, until) }
    default:
      if refusal.ranges.isEmpty {
        // It cannot be known which of the frames under way is meant, so none of them counts as taken.
        if refusal.retry { delayPanicInFlight(until: until) }
        forgetAllInFlight()
        if helloIsOpen { needsHello = true }
        if refusal.retry { pausedUntil = max(pausedUntil, until) } else { fatal = refusal.code }
        return
      }
      // Over the limit, more of the same lane would only be refused too.
      if refusal.code == .rateLimited, let first = refusal.ranges.first.flatMap({ log.places(of: $0).first }) {
        let lane = lane(of: first.lowerBound)
        if lane != .live || options.lanes != .liveFirst {
          pacing.limited(isFirst: isOpen(lane), retryAfterNs: until.since(now))
        }
        lanePausedUntil[Int(lane.rawValue)] = max(lanePausedUntil[Int(lane.rawValue)], until)
      }
      for range in refusal.ranges {
        for places in log.places(of: range) {
          inFlight.remove(places)
          datagrams?.answered(places)
          if !refusal.retry {
            log.giveUp(places, code: refusal.code)
          } else if delayed.count < DeviceSession.delayedMax {
            delayed.append((places, until))
          } else {
            pausedUntil = max(pausedUntil, until)
          }
        }
      }
    }
  }

  private func lane(of place: UInt64) -> Lane {
    switch options.lanes {
    case .single(let lane): lane
    case .liveFirst: panicPlaces.contains(place) ? .panic : place > backlogEnd ? .live : .backlog
    }
  }

  /// The panic lane heeds no pause, and what was refused in it would go round and round. So that waits by itself; a new alarm does not.
  private mutating func delayPanicInFlight(until: Instant) {
    for sent in inFlight.ranges {
      let panics = options.lanes == .single(.panic) ? [sent] : panicPlaces.ranges.filter { $0.overlaps(sent) }
      for places in panics where delayed.count < DeviceSession.delayedMax {
        delayed.append((places.clamped(to: sent), until))
      }
    }
  }

  /// All that is under way counts as not taken.
  private mutating func forgetAllInFlight() {
    inFlight.removeAll()
    datagrams?.forget()
  }

  private mutating func take(_ settings: Settings) {
    settingsVersion = settings.version
    if let fixes = settings.batchFixes { options.batchFixes = Int(fixes).clamped(to: 1...Limits.fixesPerFrameMax) }
    if let wait = settings.batchWaitS { options.batchWaitNs = UInt64(wait) * 1_000_000_000 }
    if let stop = settings.stop { isStopped = stop }
    appliedToSay = settings.version
  }

  /// What is held and unacked goes out anew; what is not held is given up by a gap.
  private mutating func take(request: SequenceRange) {
    for places in log.places(of: request) {
      inFlight.remove(places)
      for range in log.acked.ranges where range.overlaps(places) {
        let both = range.clamped(to: places)
        guard gapsToSay.count < DeviceSession.gapsToSayMax, let first = log.sequence(of: both.lowerBound) else { return }
        gapsToSay.append(
          GapMessage(
            range: SequenceRange(first: first, count: both.upperBound - both.lowerBound + 1), reason: .sentElsewhere))
      }
    }
  }
}

extension Comparable {
  fileprivate func clamped(to range: ClosedRange<Self>) -> Self { min(max(self, range.lowerBound), range.upperBound) }
}
