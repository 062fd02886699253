package import GateCore
package import GateProto

/// Which lane fixes travel in.
package enum LanePolicy: Equatable, Sendable {
  /// All in one, in the order in which they were recorded: the simplest tracker.
  case single(Lane)
  /// Panic at once, whatever else waits; then what is recorded now, the newest batch first; then the backlog.
  case liveFirst
}

/// How a device behaves; what `Settings` from the gateway may change is noted.
package struct DeviceOptions: Sendable {
  /// Most fixes in a frame. Settings change it.
  package var batchFixes = 60
  /// How long a fix may wait for others of its batch; 0 sends at once. The panic lane never waits. Settings change it.
  package var batchWaitNs: UInt64 = 0
  /// Fixes sent with hello, before `Welcome` tells the window.
  package var firstWindow: UInt64 = 120
  /// Window when the gateway tells 0 or none, and the most that is taken from a gateway.
  package var windowMax: UInt64 = 65_536
  package var lanes = LanePolicy.single(.live)
  package var device: DeviceInfo?
  package var work: Work?
  /// A ping goes out after so long without a frame, also while acks are awaited.
  package var pingAfterNs: UInt64 = 15_000_000_000
  /// So long after a ping or a frame without an answer, the connection counts as dead.
  package var silenceNs: UInt64 = 30_000_000_000

  package init() {}
}

/// The device's side of the conversation with a gateway, sans-I/O: bytes and time in, frames and events out. It lives
/// longer than a connection; `log` must outlive the process (`StateFile`).
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

  private let token: [UInt8]
  private var isConnected = false
  /// The gateway closes this connection: send nothing more on it.
  package private(set) var isClosing = false
  private var needsHello = false
  /// Hello was sent and is not answered yet: a refusal may have meant its frame.
  private var helloIsOpen = false
  private var window: UInt64
  private var inFlight = RangeSet64()
  private var delayed: [(places: ClosedRange<UInt64>, until: Instant)] = []
  private var settingsVersion: UInt32 = 0
  private var appliedToSay: UInt32?
  private var gapsToSay: [GapMessage] = []
  private var pingId: UInt32 = 0
  private var lastSent = Instant(ns: 0)
  /// When the gateway began to owe an answer.
  private var owedSince: Instant?
  /// When the oldest fix of the batch that is not full yet was recorded.
  private var gatheringSince: Instant?
  private var stash: [UInt8] = []
  /// With `.liveFirst`: places up to here are backlog, those above are live.
  private var backlogEnd: UInt64 = 0
  private var panicPlaces = RangeSet64()
  /// By lane: over its limit, nothing more goes out in it before.
  /// Of the backlog, or of the only lane.
  private var pacing = SendPacing()
  /// The lane waited for its pacing when it was last asked.
  private var isPaced = false
  private var lanePausedUntil = InlineArray<3, Instant>(repeating: Instant(ns: 0))
  private var scratch: [Fix] = []

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

  /// A connection stands. All that is unacked may be sent again; the next frame begins with hello.
  /// - Parameter earlyDataTaken: what `earlyData` gave is under way on this connection; else it counts as not sent.
  package mutating func connected(at now: Instant, earlyDataTaken: Bool = false) {
    if !earlyDataTaken { begin(at: now) }
    isConnected = true
    isClosing = false
    needsHello = true
    stash.removeAll(keepingCapacity: true)
    lastSent = now
    owedSince = inFlight.isEmpty ? nil : now
  }

  /// Appends frames of fixes, and of nothing else, to be sent before the connection stands (0-RTT). Only where a ticket goes
  /// along that the gateway gave to a session in this stream: it stands for the hello.
  /// - Parameters:
  ///   - bytesMax: of all frames together.
  ///   - clockMs, source: as for `nextFrame`.
  package mutating func earlyData(
    into out: inout [UInt8], at now: Instant, clockMs: Int64? = nil, bytesMax: Int,
    from source: (ClosedRange<UInt64>, inout [Fix]) -> Void
  ) {
    guard fatal == nil else { return }
    begin(at: now)
    let batch = UInt64(options.batchFixes.clamped(to: 1...Limits.fixesPerFrameMax))
    while inFlight.count + batch <= Limits.earlyFixesMax, bytesMax - out.count >= DeviceSession.earlyFrameBytesMin,
      let next = nextPlaces(at: now), now >= pausedUntil || next.lane == .panic
    {
      let start = out.count
      appendBatch(
        next.places, next.lane, frameStart: start, bytesMax: bytesMax - start - Limits.framePrefixBytesMax, into: &out,
        clockMs: clockMs, isEarly: true, source)
      Frame.close(from: start, in: &out)
      framesSent += 1
    }
  }

  /// A connection is about to be made.
  private mutating func begin(at now: Instant) {
    welcome = nil
    window = options.firstWindow
    inFlight.removeAll()
    gapsToSay.removeAll()
    // What could not be sent while there was no connection is backlog, but for the newest fix.
    backlogEnd = max(min(log.recorded, released), 1) - 1
  }

  package mutating func disconnected() {
    isConnected = false
    isClosing = false
    inFlight.removeAll()
    owedSince = nil
  }

  /// Appends the next frame, length prefix included, if there is something that may be sent now.
  /// - Parameters:
  ///   - clockMs: the device's own clock, ms since 1970-01-01 UTC; `nil` when it has none.
  ///   - source: appends the recorded fixes of these places, in order; their sequences are set here.
  /// - Returns: whether a frame was appended. Call again until it is `false`.
  package mutating func nextFrame(
    into out: inout [UInt8], at now: Instant, clockMs: Int64? = nil,
    from source: (ClosedRange<UInt64>, inout [Fix]) -> Void
  ) -> Bool {
    guard isConnected, !isClosing, fatal == nil else { return false }
    let next = nextPlaces(at: now)
    guard now >= pausedUntil || next?.lane == .panic else { return false }
    let start = out.count
    if needsHello {
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
    if let next, next.lane == .backlog || options.lanes != .liveFirst { pacing.sent(at: now) }
    if let next {
      let bytesMax = min(Limits.frameBytesMax, max(Int(welcome?.frameBytesMax ?? UInt32.max), 1_024))
      appendBatch(
        next.places, next.lane, frameStart: start, bytesMax: bytesMax, into: &out, clockMs: clockMs, isEarly: false, source)
    }
    if out.count == start, now.since(lastSent) >= options.pingAfterNs {
      pingId &+= 1
      Ping(id: pingId).append(into: &out)
    }
    guard out.count > start else { return false }
    Frame.close(from: start, in: &out)
    framesSent += 1
    lastSent = now
    if owedSince == nil { owedSince = now }
    return true
  }

  /// As above, where `fixes[i]` is place i + 1 and all of `fixes` is recorded.
  package mutating func nextFrame(
    into out: inout [UInt8], at now: Instant, clockMs: Int64? = nil, from fixes: [Fix]
  ) -> Bool {
    nextFrame(into: &out, at: now, clockMs: clockMs) { places, into in
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

  /// When to call `nextFrame` next (or, at silence, to close) if nothing arrives before; `nil` without a connection.
  package var deadline: Instant? {
    guard isConnected, fatal == nil else { return nil }
    if isClosing { return lastSent.advanced(byNs: options.silenceNs) }
    var next = lastSent.advanced(byNs: options.pingAfterNs)
    if let owedSince { next = min(next, owedSince.advanced(byNs: options.silenceNs)) }
    for each in delayed { next = min(next, each.until) }
    if isPaced, let paced = pacing.waits(at: lastSent) { next = min(next, paced) }
    for i in lanePausedUntil.indices where lanePausedUntil[i] > lastSent { next = min(next, lanePausedUntil[i]) }
    if let gatheringSince, options.batchWaitNs > 0 {
      next = min(next, gatheringSince.advanced(byNs: options.batchWaitNs))
    }
    return max(next, pausedUntil)
  }

  /// The gateway has owed an answer for too long: close the connection and make another.
  package func isSilent(at now: Instant) -> Bool {
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
    for i in lanePausedUntil.indices where lanePausedUntil[i] <= now { lanePausedUntil[i] = Instant(ns: 0) }
    if let since = gatheringSince, now.since(since) >= options.batchWaitNs { gatheringSince = nil }
    guard !isStopped else { return nil }
    let newest = min(log.recorded, released)
    let batch = UInt64(options.batchFixes.clamped(to: 1...Limits.fixesPerFrameMax))
    switch options.lanes {
    case .single(let lane):
      let used = inFlight.count
      guard used < window, isOpen(lane), !waitsForPacing(at: now) else { return nil }
      let room = min(batch, window - used)
      return run(in: 1, through: newest, most: room, gathering: lane == .panic ? nil : batch).map { ($0, lane) }
    case .liveFirst:
      for panic in panicPlaces.ranges {
        if let places = run(in: panic.lowerBound, through: min(panic.upperBound, newest), most: batch) {
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
      return run(in: 1, through: backlogEnd, most: min(batch, window - used)).map { ($0, .backlog) }
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

  /// Appends lane, oldest_held, send time and as many of `places` as fit into `bytesMax`, one at least.
  /// - Parameter isEarly: only fixes, and with them the work that hello has not told yet.
  private mutating func appendBatch(
    _ places: ClosedRange<UInt64>, _ lane: Lane, frameStart: Int, bytesMax: Int, into out: inout [UInt8],
    clockMs: Int64?, isEarly: Bool, _ source: (ClosedRange<UInt64>, inout [Fix]) -> Void
  ) {
    UplinkScalars(
      lane: lane == .live ? nil : lane, oldestHeld: isEarly ? nil : log.oldestHeld, sendTimeMs: clockMs
    ).append(into: &out)
    guard let firstSequence = log.sequence(of: places.lowerBound) else { return }
    scratch.removeAll(keepingCapacity: true)
    source(places, &scratch)
    precondition(scratch.count == Int(places.upperBound - places.lowerBound) + 1)
    for i in scratch.indices { scratch[i].sequence = firstSequence + UInt64(i) }
    let work = isEarly ? options.work?.encoded ?? [] : []
    let batchStart = out.count
    var count = scratch.count
    while true {
      FixEncoder.batch(scratch[0..<count], work: work, into: &out)
      if out.count - frameStart <= bytesMax || count == 1 { break }
      out.removeLast(out.count - batchStart)
      count = (count + 1) / 2
    }
    inFlight.insert(places.lowerBound...places.lowerBound + UInt64(count) - 1)
    fixesSent += UInt64(count)
    if places.lowerBound + UInt64(count) - 1 == log.recorded { gatheringSince = nil }
  }
}

// Receiving.
extension DeviceSession {
  private mutating func take(_ downlink: Downlink, at now: Instant, into events: inout [DeviceEvent]) {
    owedSince = nil
    if let welcome = downlink.welcome {
      self.welcome = welcome
      helloIsOpen = false
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
    if let pong = downlink.pong { events.append(.pong(pong)) }
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
      inFlight.removeAll()
      delayed.removeAll()
      needsHello = true
      events.append(.renumbered(stream: stream))
    case .needHello:
      inFlight.removeAll()
      needsHello = true
      if refusal.retryAfterMs != nil { pausedUntil = max(pausedUntil, until) }
    default:
      if refusal.ranges.isEmpty {
        // It cannot be known which of the frames under way is meant, so none of them counts as taken.
        inFlight.removeAll()
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
