import GateCore
import GateDevice
import GateProto
import Testing

/// What a device has sent, as the gateway's own scanner and decoder read it.
struct ReadFrame {
  var hello: Hello?
  var sequences: [UInt64] = []
  var latitudes: [Int32] = []
  var oldestHeld: UInt64?
  var lane: Int32?
  var gaps: [GapMessage] = []
  var ping: Ping?
  var applied: SettingsApplied?

  var sendTimeMs: Int64?
  var sendMonotonicMs: UInt64?

  /// All frames in `bytes`, which end with a whole one.
  static func all(in bytes: [UInt8]) throws -> [ReadFrame] {
    var frames: [ReadFrame] = []
    var at = 0
    while at < bytes.count {
      let payload = try #require(try FrameScanner.next(in: bytes.span, from: at, to: bytes.count))
      at = payload.upperBound
      frames.append(try ReadFrame(Array(bytes[payload])))
    }
    return frames
  }

  /// A frame without its prefix.
  init(_ bytes: [UInt8]) throws {
    var scanner = UplinkScanner(0..<bytes.count)
    while let part = try scanner.next(in: bytes.span) {
      switch part {
      case .hello(let range): hello = try Hello.decode(bytes.span, range)
      case .gap(let range): gaps.append(try GapMessage.decode(bytes.span, range))
      case .ping(let range): ping = try Ping.decode(bytes.span, range)
      case .applied(let range): applied = try SettingsApplied.decode(bytes.span, range)
      case .oldestHeld(let sequence): oldestHeld = sequence
      case .lane(let value): lane = value
      case .sendTimeMs(let time): sendTimeMs = time
      case .sendMonotonicMs(let time): sendMonotonicMs = time
      case .fix(let range):
        var fix = Fix()
        try FixDecoder.fix(bytes.span, range, into: &fix)
        sequences.append(fix.sequence)
        latitudes.append(fix.latitudeE7)
      case .batch(let range):
        var fixes = [Fix](repeating: Fix(), count: Limits.fixesPerFrameMax)
        var span = fixes.mutableSpan
        let count = try FixDecoder.batch(bytes.span, range, into: &span, at: 0)
        sequences += fixes[0..<count].map(\.sequence)
        latitudes += fixes[0..<count].map(\.latitudeE7)
      case .enrol: Issue.record("a device with a credential does not enrol")
      }
    }
  }
}

/// A device with `count` recorded fixes, the latitude of each being its place.
struct Device {
  var session: DeviceSession
  var fixes: [Fix]
  var now = Instant(ns: 1_000_000_000)
  var events: [DeviceEvent] = []

  init(_ count: Int, _ change: (inout DeviceOptions) -> Void = { _ in }) {
    fixes = (1...max(count, 1)).prefix(count).map {
      var fix = Fix()
      fix.present = [.position, .time]
      fix.latitudeE7 = Int32($0)
      fix.fixTimeMs = Int64($0) * 1_000
      return fix
    }
    var options = DeviceOptions()
    options.batchFixes = 10
    options.firstWindow = 20
    change(&options)
    session = DeviceSession(
      log: UploadLog(stream: 7, recorded: UInt64(count)), token: [UInt8](repeating: 1, count: 32), options: options)
    session.connected(at: now)
  }

  mutating func send() throws -> [ReadFrame] {
    var out: [UInt8] = []
    while session.nextFrame(into: &out, at: now, clockMs: 5, from: fixes) {}
    return try ReadFrame.all(in: out)
  }

  /// Takes a downlink frame, cut into pieces of `chunk` bytes.
  mutating func take(chunk: Int = .max, _ fill: (inout Downlink) -> Void) throws {
    var downlink = Downlink()
    fill(&downlink)
    var payload: [UInt8] = []
    downlink.encode(into: &payload)
    var bytes: [UInt8] = []
    Frame.append(payload, into: &bytes)
    var at = 0
    while at < bytes.count {
      let end = at + min(chunk, bytes.count - at)
      try session.receive(bytes.span.extracting(at..<end), at: now, into: &events)
      at = end
    }
  }

  mutating func ack(_ through: UInt64, _ above: [SequenceRange] = []) throws {
    try take { $0.ack = Ack(through: through, above: above) }
  }
}

@Suite struct DeviceSessionTests {
  /// Whoever holds the socket gives up a connection that is closing; the next one is not, from its first byte on.
  @Test func closingEndsWithItsConnection() throws {
    var device = Device(10)
    _ = try device.send()
    try device.take { $0.refusals = [Refusal(code: .shuttingDown, retry: true, retryAfterMs: 1_000, closing: true)] }
    #expect(device.session.isClosing)
    device.session.disconnected()
    #expect(!device.session.isClosing)
  }

  @Test func helloTravelsWithTheFirstBatchAndTheWindowHolds() throws {
    var device = Device(50)
    let frames = try device.send()
    #expect(frames.count == 2)
    let hello = try #require(frames[0].hello)
    #expect(hello.stream == 7 && hello.nextSequence == 51 && hello.oldestHeld == 1 && hello.sendTimeMs == 5)
    #expect(frames[0].sequences == Array(1...10))
    #expect(frames[1].hello == nil)
    #expect(frames[1].sequences == Array(11...20))
    #expect(try device.send().isEmpty)

    try device.take(chunk: 1) { $0.welcome = Welcome(through: 0, backlogWindow: 35, frameBytesMax: 16_384) }
    let more = try device.send()
    #expect(more.flatMap(\.sequences) == Array(21...35))
    try device.ack(20)
    #expect(device.events.last == .acked(20))
    let rest = try device.send()
    #expect(rest.flatMap(\.sequences) == Array(36...50))
    #expect(rest[0].oldestHeld == 21)
    #expect(!device.session.isDone)
    try device.ack(50)
    #expect(device.session.isDone)
    #expect(device.session.log.oldestHeld == nil)
  }

  @Test func selectiveAcksLeaveTheRestForTheNextConnection() throws {
    var device = Device(20)
    _ = try device.send()
    try device.ack(3, [SequenceRange(first: 6, count: 5), SequenceRange(first: 20, count: 1)])
    #expect(device.session.log.ackedCount == 9)
    device.session.disconnected()
    #expect(try device.send().isEmpty)
    device.session.connected(at: device.now)
    let frames = try device.send()
    #expect(frames[0].hello?.oldestHeld == 4)
    #expect(frames.map(\.sequences) == [[4, 5], Array(11...19)])
    // An ack of everything again counts nothing twice.
    try device.ack(20)
    #expect(device.session.log.ackedCount == 20)
  }

  @Test func retryAfterDelaysOnlyItsFixes() throws {
    var device = Device(30)
    _ = try device.send()
    try device.take {
      $0.refusals = [
        Refusal(code: .tooManyGaps, retry: true, retryAfterMs: 500, ranges: [SequenceRange(first: 5, count: 10)])
      ]
    }
    #expect(try device.send().map(\.sequences) == [Array(21...30)])
    #expect(device.session.deadline == device.now.advanced(byNs: 500_000_000))
    try device.ack(4, [SequenceRange(first: 15, count: 16)])
    #expect(try device.send().isEmpty)
    device.now = device.now.advanced(byNs: 500_000_000)
    #expect(try device.send().map(\.sequences) == [Array(5...14)])
  }

  @Test func finalRefusalIsGivenUpAndNeverAcked() throws {
    var device = Device(10)
    _ = try device.send()
    try device.take {
      $0.refusals = [Refusal(code: .badSequence, retry: false, ranges: [SequenceRange(first: 2, count: 2)])]
    }
    try device.ack(1, [SequenceRange(first: 4, count: 7)])
    #expect(device.session.isDone)
    #expect(device.session.log.ackedCount == 8)
    #expect(device.session.log.givenUpCount == 2)
    #expect(device.session.log.givenUp == [UploadLog.GivenUp(places: 2...3, code: .badSequence)])
  }

  @Test func refusalWithoutRangesPutsEverythingBack() throws {
    var device = Device(10)
    _ = try device.send()
    try device.take { $0.refusals = [Refusal(code: .storageUnavailable, retry: true, retryAfterMs: 100)] }
    #expect(try device.send().isEmpty)
    #expect(device.session.pausedUntil == device.now.advanced(byNs: 100_000_000))
    device.now = device.session.pausedUntil
    #expect(try device.send().map(\.sequences) == [Array(1...10)])
  }

  /// A refusal that names nothing may have meant the frame with hello: until it is answered, hello is said again.
  /// Without it, all that follows belongs to no stream, or to one that is used up. Found by the simulator.
  @Test func helloThatMayBeRefusedIsSaidAgain() throws {
    var device = Device(10)
    _ = try device.send()
    try device.take { $0.refusals = [Refusal(code: .rateLimited, retry: true, retryAfterMs: 100)] }
    device.now = device.session.pausedUntil
    #expect(try device.send().first?.hello != nil)
    try device.take { $0.welcome = Welcome(through: 0, backlogWindow: 100, frameBytesMax: 16_384) }
    try device.take { $0.refusals = [Refusal(code: .rateLimited, retry: true, retryAfterMs: 100)] }
    device.now = device.session.pausedUntil
    let frames = try device.send()
    #expect(frames.count == 1)
    #expect(frames.first?.hello == nil)
  }

  @Test(arguments: [RefusalCode.unknownCredential, .revoked, .unsupportedProtocol])
  func credentialRefusalsAreFatal(code: RefusalCode) throws {
    var device = Device(10)
    _ = try device.send()
    try device.take { $0.refusals = [Refusal(code: code, retry: false, closing: true)] }
    #expect(device.session.fatal == code)
    #expect(device.session.log.unsettledCount == 10)
    device.session.connected(at: device.now)
    #expect(try device.send().isEmpty)
  }

  @Test func reusedStreamIsNumberedAnewWithoutHoles() throws {
    var device = Device(20)
    _ = try device.send()
    try device.ack(4, [SequenceRange(first: 8, count: 3)])
    try device.take { $0.refusals = [Refusal(code: .streamReused, retry: true, stream: 99)] }
    #expect(device.events.last == .renumbered(stream: 99))
    // The device records on; its new fixes follow.
    device.fixes.append(device.fixes[0])
    device.fixes[20].latitudeE7 = 21
    device.session.record(1, at: device.now)
    let frames = try device.send()
    #expect(frames[0].hello?.stream == 99)
    #expect(frames[0].hello?.nextSequence == 15)
    #expect(frames[0].hello?.oldestHeld == 1)
    #expect(frames.flatMap(\.sequences) == Array(1...14))
    #expect(frames.flatMap(\.latitudes) == [5, 6, 7] + Array(11...21))
    try device.ack(3, [SequenceRange(first: 14, count: 1)])
    #expect(device.session.log.unsettledCount == 10)
    // An ack of the stream left behind deletes nothing.
    try device.take {
      var ack = Ack(through: 20)
      ack.stream = 7
      $0.ack = ack
    }
    #expect(device.session.log.unsettledCount == 10)
    // The state outlives the process.
    let again = try StateFile.decode(StateFile.encode(device.session.log).span)
    #expect(again == device.session.log)
    try device.ack(14)
    #expect(device.session.isDone)
  }

  @Test func acksBeyondWhatIsRecordedCoverNothingMore() throws {
    var device = Device(5)
    _ = try device.send()
    try device.ack(1 << 62, [])
    device.session.record(1, at: device.now)
    #expect(device.session.log.unsettledCount == 1)
  }

  @Test func settingsAreAppliedAndConfirmed() throws {
    var device = Device(60) { $0.firstWindow = 10 }
    _ = try device.send()
    try device.take {
      var settings = Settings(version: 4)
      settings.batchFixes = 3
      settings.stop = true
      $0.settings = settings
      $0.ack = Ack(through: 10)
    }
    let frames = try device.send()
    #expect(frames.count == 1)
    #expect(frames[0].applied == SettingsApplied(version: 4))
    #expect(frames[0].sequences.isEmpty)
    try device.take {
      var settings = Settings(version: 5)
      settings.stop = false
      $0.settings = settings
    }
    #expect(try device.send()[0].sequences == [11, 12, 13])
  }

  @Test func fixesWaitForTheirBatchButNotForEver() throws {
    var device = Device(0) { $0.batchWaitNs = 1_000_000_000 }
    _ = try device.send()
    func record(_ count: UInt64) {
      device.fixes += [Fix](repeating: Fix(), count: Int(count))
      device.session.record(count, at: device.now)
    }
    record(4)
    #expect(try device.send().isEmpty)
    #expect(device.session.deadline == device.now.advanced(byNs: 1_000_000_000))
    record(8)
    #expect(try device.send().map(\.sequences) == [Array(1...10)])
    device.now = device.now.advanced(byNs: 1_000_000_000)
    #expect(try device.send().map(\.sequences) == [[11, 12]])
    record(1)
    #expect(try device.send().isEmpty)
    device.session.flush()
    #expect(try device.send().map(\.sequences) == [[13]])
    // What was sent before waits for nobody on a new connection.
    device.session.connected(at: device.now)
    #expect(try device.send().map(\.sequences) == [Array(1...10), [11, 12, 13]])
  }

  @Test func requestsAreAnsweredFromWhatIsHeld() throws {
    var device = Device(10)
    _ = try device.send()
    try device.ack(6)
    try device.take { $0.requests = [SequenceRange(first: 5, count: 4)] }
    let frames = try device.send()
    #expect(frames[0].gaps == [GapMessage(range: SequenceRange(first: 5, count: 2), reason: .sentElsewhere)])
    #expect(frames.flatMap(\.sequences) == [7, 8])
  }

  @Test func pingsWhenIdleAndNoticesSilence() throws {
    var device = Device(0)
    #expect(try device.send().count == 1)
    try device.take { $0.welcome = Welcome(through: 0, backlogWindow: 10, frameBytesMax: 0) }
    #expect(device.session.deadline == device.now.advanced(byNs: 15_000_000_000))
    device.now = device.now.advanced(byNs: 15_000_000_000)
    #expect(try device.send().map(\.ping) == [Ping(id: 1)])
    #expect(try device.send().isEmpty)
    #expect(!device.session.isSilent(at: device.now))
    #expect(device.session.isSilent(at: device.now.advanced(byNs: 30_000_000_000)))
    try device.take { $0.pong = 1 }
    #expect(device.events.last == .pong(1))
    #expect(!device.session.isSilent(at: device.now.advanced(byNs: 60_000_000_000)))
  }

  @Test func batchesAreCutToTheFrame() throws {
    var device = Device(1_000) {
      $0.batchFixes = 1_000
      $0.firstWindow = 1_000
    }
    var random: UInt64 = 1
    for i in device.fixes.indices {
      for column in Column.allCases {
        random = random &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        device.fixes[i][column] = Int32(truncatingIfNeeded: random >> 33)
      }
    }
    let frames = try device.send()
    #expect(frames.count > 4)
    #expect(frames.flatMap(\.sequences) == Array(1...1_000))
  }

  @Test(arguments: [[0xff, 0xff, 0xff, 1], [0x81, 0x80, 1, 0], [1, 0xff]] as [[UInt8]])
  func nonsenseEndsTheConnectionNotTheProcess(bytes: [UInt8]) {
    var device = Device(1)
    #expect(throws: DeviceError.self) {
      try device.session.receive(bytes.span, at: device.now, into: &device.events)
    }
  }

  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func randomBytesNeverTrapAndAckNothingUnrecorded(seed: UInt64) throws {
    var state = seed
    func random(_ below: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % below
    }
    var device = Device(40)
    for _ in 0..<200 {
      _ = try device.send()
      // Mostly well-formed frames with small numbers, so that they get past the first check.
      var payload: [UInt8] = []
      for _ in 0..<random(12) {
        let body = (0..<random(9)).map { _ in UInt8(random(4) == 0 ? random(256) : random(48)) }
        payload += [UInt8(random(7) + 1) << 3 | 2, UInt8(body.count)] + body
      }
      var bytes: [UInt8] = []
      Frame.append(payload, into: &bytes)
      do {
        try device.session.receive(bytes.span, at: device.now, into: &device.events)
      } catch {
        device.session.connected(at: device.now)
      }
      device.now = device.now.advanced(byNs: 5_000_000_000)
      _ = try device.send()
      // Whoever waits for the deadline waits: it is not in the past once all is sent.
      if let deadline = device.session.deadline, !device.session.isClosing {
        #expect(deadline > device.now || device.session.isSilent(at: device.now))
      }
      #expect(device.session.log.ackedCount + device.session.log.givenUpCount <= 40)
      #expect(try StateFile.decode(StateFile.encode(device.session.log).span) == device.session.log)
      if device.session.fatal != nil { device = Device(40) }
    }
  }

  /// A gateway that takes, loses, refuses and acks at random over many connections: everything is acked in the end, and
  /// no ack is believed that was not given.
  @Test(arguments: 1...20 as ClosedRange<UInt64>)
  func everyFixArrivesOverBadConnections(seed: UInt64) throws {
    var state = seed
    func random(_ below: UInt64) -> UInt64 {
      state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
      return (state >> 33) % below
    }
    var device = Device(300)
    var stored = RangeSet64()
    var storedPlaces: Set<Int32> = []
    for _ in 0..<2_000 where !device.session.isDone {
      device.now = device.now.advanced(byNs: 10_000_000)
      if random(5) == 0 { device.session.connected(at: device.now) }
      let isReused = random(60) == 0
      for frame in try device.send() where random(3) > 0 && !isReused {
        if random(8) == 0, let first = frame.sequences.first {
          let range = SequenceRange(first: first, count: UInt64(frame.sequences.count))
          try device.take {
            $0.refusals = [Refusal(code: .busy, retry: true, retryAfterMs: 20, ranges: [range])]
          }
          continue
        }
        for sequence in frame.sequences { stored.insert(sequence...sequence) }
        storedPlaces.formUnion(frame.latitudes)
      }
      if isReused {
        stored.removeAll()
        try device.take { $0.refusals = [Refusal(code: .streamReused, retry: true, stream: UInt32(random(1 << 31)))] }
      } else if random(2) == 0 {
        var ranges = stored.ranges
        let through = ranges.first?.lowerBound == 1 ? ranges.removeFirst().upperBound : 0
        try device.ack(through, ranges.map { SequenceRange(first: $0.lowerBound, count: $0.upperBound - $0.lowerBound + 1) })
      }
      for range in device.session.log.acked.ranges {
        for place in range { #expect(storedPlaces.contains(Int32(place)), "seed \(seed)") }
      }
      #expect(try StateFile.decode(StateFile.encode(device.session.log).span) == device.session.log)
    }
    #expect(device.session.isDone, "seed \(seed)")
    #expect(device.session.log.ackedCount == 300)
  }
}
