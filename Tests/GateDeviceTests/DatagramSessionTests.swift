import GateCore
import GateDevice
import GateProto
import Testing

extension Device {
  /// The same device with a DTLS session instead of a connection.
  static func overUDP(
    _ count: Int, isResumed: Bool = false, seed: UInt64 = 1, _ change: (inout DeviceOptions) -> Void = { _ in }
  ) -> Device {
    var device = Device(count, change)
    device.session.disconnected()
    device.session.connectedOverUDP(at: device.now, isResumed: isResumed, seed: seed)
    return device
  }

  /// What goes out now, one datagram each.
  mutating func datagrams() throws -> [ReadFrame] {
    var frames: [ReadFrame] = []
    while let datagram = nextDatagram() { frames.append(try ReadFrame(datagram)) }
    return frames
  }

  mutating func lone(monotonicMs: UInt64) throws -> ReadFrame {
    let datagram = nextDatagram(monotonicMs: monotonicMs)
    return try ReadFrame(try #require(datagram))
  }

  mutating func nextDatagram(monotonicMs: UInt64? = nil) -> [UInt8]? {
    var out: [UInt8] = []
    guard session.nextFrame(into: &out, at: now, clockMs: 5, monotonicMs: monotonicMs, from: fixes) else { return nil }
    return out
  }

  mutating func hear(_ fill: (inout Downlink) -> Void) throws {
    var downlink = Downlink()
    fill(&downlink)
    var payload: [UInt8] = []
    downlink.encode(into: &payload)
    try session.receive(datagram: payload.span, at: now, into: &events)
  }

  mutating func hearWelcome() throws {
    try hear { $0.welcome = Welcome(through: 0, backlogWindow: 0, frameBytesMax: 1_200) }
  }

  mutating func hearAck(_ through: UInt64, _ above: [SequenceRange] = []) throws {
    try hear { $0.ack = Ack(through: through, above: above) }
  }

  mutating func pass(ms: UInt64) { now = now.advanced(byNs: ms * 1_000_000) }
}

@Suite struct DatagramSessionTests {
  @Test func helloTravelsWithTheFirstDatagramAndTheRestWaitsForItsAnswer() throws {
    var device = Device.overUDP(4_000)
    let first = try device.datagrams()
    #expect(first.count == 1 && first[0].hello?.nextSequence == 4_001 && first[0].sequences.first == 1)
    try device.hearWelcome()
    let more = try device.datagrams()
    #expect(more.count > 1 && more.allSatisfy { $0.hello == nil && $0.ping == nil })
    let all = first.flatMap(\.sequences) + more.flatMap(\.sequences)
    #expect(all == Array(1...UInt64(all.count)))
  }

  @Test func aResumedSessionNeedsNoHello() throws {
    var device = Device.overUDP(1, isResumed: true)
    let frames = try device.datagrams()
    #expect(frames.count == 1 && frames[0].hello == nil && frames[0].sequences == [1])
    try device.hearAck(1)
    #expect(device.session.isDone && device.session.deadline == nil)
  }

  /// Bytes fill a datagram, whatever number of fixes that is.
  @Test(arguments: [0, 3, 17]) func datagramsAreFilledByBytes(columns: Int) throws {
    var device = Device.overUDP(4_000, isResumed: true) { $0.firstWindow = 4_000 }
    var random = SeededRandom(seed: UInt64(columns))
    for i in device.fixes.indices {
      for column in Column.allCases.prefix(columns) { device.fixes[i][column] = Int32(random.next() % 100) }
      device.fixes[i].latitudeE7 = Int32(truncatingIfNeeded: random.next() % 1_000_000)
    }
    var sizes: [Int] = []
    var last: UInt64 = 0
    while !device.session.isDone {
      while let datagram = device.nextDatagram() {
        sizes.append(datagram.count)
        last += UInt64(try ReadFrame(datagram).sequences.count)
      }
      try device.hearAck(last)
    }
    #expect(sizes.max()! <= Limits.datagramBytesMax)
    // How many fixes that is, the first few datagrams tell.
    let settled = sizes.dropFirst(4).dropLast()
    #expect(!settled.isEmpty && settled.reduce(0, +) > settled.count * Limits.datagramBytesMax * 9 / 10, "\(sizes)")
  }

  /// Karn's rule: an answer to what was sent twice measures nothing; so the time-out stays doubled until a fresh datagram is
  /// answered, or a ping.
  @Test func timeoutsFollowTheRoundTrip() throws {
    var device = Device.overUDP(5, isResumed: true)
    device.session.released = 1
    _ = try device.datagrams()
    #expect(device.session.deadline == device.now.advanced(byNs: 1_000_000_000))
    device.pass(ms: 80)
    try device.hearAck(1)
    device.session.released = 2
    _ = try device.datagrams()
    // 80 ms, and four times the variation of 40 ms.
    #expect(device.session.deadline == device.now.advanced(byNs: 240_000_000))
    device.pass(ms: 240)
    #expect(try device.datagrams().flatMap(\.sequences) == [2])
    #expect(device.session.framesLost == 1)
    device.pass(ms: 5)
    try device.hearAck(2)
    device.session.released = 3
    _ = try device.datagrams()
    let waitMs = try #require(device.session.deadline).since(device.now) / 1_000_000
    #expect(waitMs >= 480 && waitMs <= 720)
    // A round trip that has grown is measured so, where a hasty time-out would never let it.
    device.pass(ms: 400)
    try device.hearAck(3)
    device.session.released = 4
    _ = try device.datagrams()
    let grownMs = try #require(device.session.deadline).since(device.now) / 1_000_000
    #expect(grownMs > 400 && grownMs < 800)

    device.now = try #require(device.session.deadline)
    let pinged = try #require(try device.datagrams().first?.ping)
    device.pass(ms: 300)
    try device.hear {
      $0.ack = Ack(through: 4)
      $0.pong = pinged.id
    }
    device.session.released = 5
    #expect(try device.datagrams().first?.ping == nil)
    let pingedMs = try #require(device.session.deadline).since(device.now) / 1_000_000
    #expect(pingedMs > 300 && pingedMs < 2 * grownMs)
  }

  @Test func timeoutsDoubleWithJitterAndThenTheSessionIsSilent() throws {
    var waits: [[UInt64]] = []
    for seed in 1...3 as ClosedRange<UInt64> {
      var device = Device.overUDP(2, isResumed: true, seed: seed)
      device.session.released = 1
      if seed > 1 {
        _ = try device.datagrams()
        device.pass(ms: 500)
        try device.hearAck(1)
        device.session.released = 2
      }
      var times: [UInt64] = []
      while !device.session.isSilent(at: device.now) {
        _ = try device.datagrams()
        let deadline = try #require(device.session.deadline)
        times.append(deadline.since(device.now) / 1_000_000)
        device.now = deadline
        _ = try device.datagrams()
      }
      for (i, ms) in times.enumerated() {
        let plain = min((seed > 1 ? 1_500 : 1_000) << UInt64(i), 8_000)
        #expect(ms >= plain && ms <= plain * 3 / 2, "\(times)")
      }
      // One that has answered before is waited for longer.
      #expect(times.count == (seed > 1 ? 10 : 8))
      waits.append(times)
    }
    #expect(Set(waits).count == 3)
  }

  /// Off duty it sends nothing, and asks every 15 minutes whether it may go on. Found by the simulator.
  @Test func whoWasToldToStopAsksAgain() throws {
    var device = Device.overUDP(4)
    _ = try device.datagrams()
    try device.hearWelcome()
    try device.hear {
      $0.ack = Ack(through: 4)
      $0.settings = Settings(version: 3)
      $0.settings?.stop = true
    }
    #expect(try device.datagrams().map(\.applied?.version) == [3])
    device.fixes += device.fixes[..<2]
    device.session.record(2, at: device.now)
    for _ in 0..<2 {
      #expect(try device.datagrams().isEmpty)
      let due = try #require(device.session.deadline)
      #expect(due.since(device.now) == 900_000_000_000)
      device.now = due
      let asked = try device.datagrams()
      #expect(asked.count == 1 && asked[0].hello?.settingsVersion == 3 && asked[0].sequences.isEmpty)
      try device.hearWelcome()
    }
    try device.hear {
      $0.settings = Settings(version: 4)
      $0.settings?.stop = false
    }
    #expect(try device.datagrams().flatMap(\.sequences) == [5, 6])
  }

  /// Hours without a word are sleep, not silence.
  @Test func sleepIsNotSilence() throws {
    var device = Device.overUDP(2, isResumed: true)
    device.session.released = 1
    _ = try device.datagrams()
    device.pass(ms: 3_600_000)
    device.session.released = 2
    #expect(!device.session.isSilent(at: device.now))
    #expect(try device.datagrams().flatMap(\.sequences) == [1, 2])
    #expect(!device.session.isSilent(at: device.now))
  }

  @Test func aLostDatagramIsSeenByThreeThatOvertookIt() throws {
    var device = Device.overUDP(4_000, isResumed: true) { $0.firstWindow = 4_000 }
    let frames = try device.datagrams()
    #expect(frames.count == 4)
    let lost = frames[0].sequences
    let after = frames[1].sequences.first!
    try device.hearAck(0, [SequenceRange(first: after, count: frames[2].sequences.last! - after + 1)])
    #expect(device.session.framesLost == 0)
    try device.hearAck(0, [SequenceRange(first: after, count: frames[3].sequences.last! - after + 1)])
    #expect(device.session.framesLost == 1)
    #expect(try device.datagrams().flatMap(\.sequences).prefix(lost.count) == lost[...])
  }

  /// Acks say all they know: a later one makes good for one that was lost, an older one changes nothing.
  @Test func acksMayBeLostAndOvertakeEachOther() throws {
    var device = Device.overUDP(30, isResumed: true) { $0.batchFixes = 1 }
    _ = try device.datagrams()
    try device.hearAck(30)
    try device.hearAck(10)
    #expect(device.session.isDone && device.session.deadline == nil)
    // A lost ack costs a duplicate.
    device = Device.overUDP(1, isResumed: true)
    _ = try device.datagrams()
    device.now = try #require(device.session.deadline)
    #expect(try device.datagrams().flatMap(\.sequences) == [1])
    try device.hearAck(1)
    #expect(device.session.isDone && device.session.framesSent == 2)
  }

  @Test func needHelloIsAnsweredOnceByHello() throws {
    var device = Device.overUDP(4_000, isResumed: true) { $0.firstWindow = 4_000 }
    #expect(try device.datagrams().count > 2)
    try device.hear { $0.refusals = [Refusal(code: .needHello, retry: true)] }
    let again = try device.datagrams()
    #expect(again.count == 1 && again[0].hello != nil && again[0].sequences.first == 1)
    // The other datagrams are answered in the same way.
    try device.hear { $0.refusals = [Refusal(code: .needHello, retry: true)] }
    #expect(try device.datagrams().isEmpty)
    try device.hearWelcome()
    #expect(try device.datagrams().allSatisfy { $0.hello == nil })
  }

  /// The gateway cannot say which hello of the session was the first: another session begins with one, and nothing is numbered anew.
  @Test func needHelloThatClosesWantsAnotherSession() throws {
    var device = Device.overUDP(20)
    let stream = device.session.log.stream
    _ = try device.datagrams()
    try device.hear { $0.refusals = [Refusal(code: .needHello, retry: true, closing: true)] }
    #expect(device.session.isClosing && device.session.log.stream == stream)
    #expect(try device.datagrams().isEmpty)
    device.session.disconnected()
    device.session.connectedOverUDP(at: device.now, isResumed: false, seed: 1)
    let again = try device.datagrams()
    #expect(again.count == 1 && again[0].hello?.stream == stream && again[0].sequences.first == 1)
  }

  @Test func aLostHelloIsSaidAgain() throws {
    var device = Device.overUDP(1)
    #expect(try device.datagrams().first?.hello != nil)
    device.now = try #require(device.session.deadline)
    let again = try device.datagrams()
    #expect(again.count == 1 && again[0].hello != nil && again[0].sequences == [1])
    // Its answer lost, its ack not: the next datagram says hello once more.
    try device.hearAck(1)
    device.fixes.append(device.fixes[0])
    device.session.record(1, at: device.now)
    #expect(try device.datagrams().first?.hello?.nextSequence == 3)
  }

  /// Datagrams of the old stream may still be on their way, so the new one gets a session of its own.
  @Test func anotherStreamIsAnotherSession() throws {
    var device = Device.overUDP(20)
    _ = try device.datagrams()
    try device.hear { $0.refusals = [Refusal(code: .streamReused, retry: true, stream: 99)] }
    #expect(device.session.isClosing && device.session.log.stream == 99)
    #expect(try device.datagrams().isEmpty)
    // An ack of the old stream that was overtaken says nothing about the new one. Found by the simulator.
    try device.hearAck(20)
    #expect(device.session.log.ackedCount == 0)
    device.session.disconnected()
    device.session.connectedOverUDP(at: device.now, isResumed: false, seed: 1)
    #expect(try device.datagrams().first?.hello?.stream == 99)
  }

  @Test func waitsThatTheGatewayAsksForAreKept() throws {
    var device = Device.overUDP(20, isResumed: true)
    _ = try device.datagrams()
    try device.hear {
      $0.refusals = [
        Refusal(
          code: .rateLimited, retry: true, retryAfterMs: 5_000, ranges: [SequenceRange(first: 1, count: 20)])
      ]
    }
    #expect(try device.datagrams().isEmpty)
    #expect(device.session.deadline == device.now.advanced(byNs: 5_000_000_000))
    device.pass(ms: 5_000)
    #expect(try device.datagrams().flatMap(\.sequences).first == 1)
    try device.hear { $0.refusals = [Refusal(code: .storageUnavailable, retry: true, retryAfterMs: 2_000)] }
    #expect(try device.datagrams().isEmpty)
    #expect(device.session.deadline == device.now.advanced(byNs: 2_000_000_000))
  }

  /// The clock goes beside fixes that can be checked against it, `oldest_held` where the gateway cannot know it.
  @Test func aLoneFixTravelsLight() throws {
    var device = Device.overUDP(2, isResumed: true)
    device.session.released = 1
    let first = try device.lone(monotonicMs: 9)
    #expect(first.oldestHeld == nil && first.sendTimeMs == nil && first.sendMonotonicMs == nil)
    try device.hearAck(1)
    device.fixes[1].present.insert(.monotonic)
    device.fixes[1].monotonicMs = 7
    device.session.released = 2
    let second = try device.lone(monotonicMs: 9)
    #expect(second.oldestHeld == nil && second.sendTimeMs == 5 && second.sendMonotonicMs == 9)

    // Another gateway may not know what this one has acked.
    device.session.disconnected()
    device.session.connectedOverUDP(at: device.now, isResumed: true, seed: 1)
    #expect(try device.datagrams().map(\.oldestHeld) == [2])
  }

  /// A network that loses, doubles and reorders; the gateway is a set of numbers.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func everythingArrivesOverABadNetwork(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var device = Device.overUDP(2_000, seed: seed) {
      $0.firstWindow = 200
      if seed.isMultiple(of: 2) { $0.lanes = .liveFirst }
    }
    var stored = RangeSet64()
    var passing: [(due: Instant, up: ReadFrame?, down: [UInt8])] = []
    func delay() -> UInt64 { 20_000_000 + random.next() % 60_000_000 }
    let start = device.now
    while !device.session.isDone {
      while let datagram = device.nextDatagram() {
        #expect(datagram.count <= Limits.datagramBytesMax)
        let frame = try ReadFrame(datagram)
        for _ in 0..<(random.next() % 10 == 0 ? 2 : 1) where random.next() % 5 != 0 {
          passing.append((device.now.advanced(byNs: delay()), frame, []))
        }
      }
      let arrival = passing.indices.min { passing[$0].due < passing[$1].due }
      let next = [arrival.map { passing[$0].due }, device.session.deadline].compactMap { $0 }.min()
      device.now = max(device.now, try #require(next, "nothing is left to wait for"))
      guard let arrival, passing[arrival].due <= device.now else { continue }
      let packet = passing.remove(at: arrival)
      guard let frame = packet.up else {
        try device.session.receive(datagram: packet.down.span, at: device.now, into: &device.events)
        continue
      }
      if let first = frame.sequences.first { stored.insert(first...first + UInt64(frame.sequences.count) - 1) }
      var downlink = Downlink()
      if frame.hello != nil { downlink.welcome = Welcome(through: 0, backlogWindow: 600, frameBytesMax: 1_200) }
      var ack = Ack(through: stored.ranges.first.map { $0.lowerBound == 1 ? $0.upperBound : 0 } ?? 0)
      ack.above = stored.ranges.filter { $0.lowerBound > ack.through + 1 }.prefix(16).map {
        SequenceRange(first: $0.lowerBound, count: $0.upperBound - $0.lowerBound + 1)
      }
      downlink.ack = ack
      var bytes: [UInt8] = []
      downlink.encode(into: &bytes)
      if random.next() % 5 != 0 { passing.append((device.now.advanced(byNs: delay()), nil, bytes)) }
      #expect(!device.session.isSilent(at: device.now))
    }
    #expect(stored.ranges == [1...2_000])
    #expect(device.now.since(start) < 60_000_000_000)
  }
}
