import GateCore
import GateDevice
import GateProto
import Testing

@Suite struct DeviceLanesTests {
  private func device(_ count: Int) -> Device {
    Device(count) {
      $0.lanes = .liveFirst
      $0.batchFixes = 10
      $0.firstWindow = 30
    }
  }

  @Test func theNewestFixGoesFirstAndTheBacklogBehindIt() throws {
    var device = device(50)
    let frames = try device.send()
    #expect(frames[0].hello != nil)
    #expect(frames[0].sequences == [50] && frames[0].lane == nil)
    #expect(frames.dropFirst().map(\.sequences) == [Array(1...10), Array(11...20), Array(21...30)])
    #expect(frames.dropFirst().allSatisfy { $0.lane == Int32(Lane.backlog.rawValue) })
  }

  @Test func whatIsRecordedNowPassesTheBacklog() throws {
    var device = device(50)
    _ = try device.send()
    device.record(2)
    let frames = try device.send()
    #expect(frames.map(\.sequences) == [[51, 52]] && frames[0].lane == nil)
  }

  @Test func panicWaitsForNothing() throws {
    var device = device(50)
    _ = try device.send()
    try device.take { downlink in
      downlink.refusals = [Refusal(code: .storageUnavailable, retry: true, retryAfterMs: 60_000)]
    }
    device.record(1)
    #expect(try device.send().isEmpty)
    device.record(1, panic: true)
    let frames = try device.send()
    #expect(frames.map(\.sequences) == [[52]])
    #expect(frames[0].lane == Int32(Lane.panic.rawValue))
  }

  /// An alarm that was refused without a word about which frame is meant comes again when it was told, not at once; the next one goes.
  @Test func aRefusedPanicWaitsAsItIsTold() throws {
    var device = device(0)
    device.record(1, panic: true)
    #expect(try device.send().map(\.sequences) == [[1]])
    try device.take { $0.refusals = [Refusal(code: .rateLimited, retry: true, retryAfterMs: 200)] }
    #expect(try device.send().isEmpty)
    device.record(1, panic: true)
    #expect(try device.send().map(\.sequences) == [[2]])
    device.now = device.now.advanced(byNs: 200_000_000)
    #expect(try device.send().map(\.sequences) == [[1]])
  }

  /// The backlog is over its limit: it waits, live fixes do not.
  @Test func aLimitedLaneWaitsAlone() throws {
    var device = device(50)
    _ = try device.send()
    try device.take { downlink in
      var refusal = Refusal(code: .rateLimited, retry: true, retryAfterMs: 5_000)
      refusal.ranges = [SequenceRange(first: 1, count: 30)]
      downlink.refusals = [refusal]
    }
    #expect(try device.send().isEmpty)
    device.record(1)
    #expect(try device.send().map(\.sequences) == [[51]])
    device.now = device.now.advanced(byNs: 5_000_000_000)
    // And comes back a batch at a time.
    #expect(try device.send().flatMap(\.sequences) == Array(1...10))
  }

  @Test func liveFixesThatPileUpBecomeBacklog() throws {
    var device = device(1)
    _ = try device.send()
    try device.ack(1)
    device.record(25)
    let frames = try device.send()
    #expect(frames[0].sequences == Array(17...26) && frames[0].lane == nil)
    #expect(frames.dropFirst().flatMap(\.sequences) == Array(2...16))
  }

  /// A backlog of 20,000 fixes against 1,000 a second. Some 5,000 are in flight when the first refusal comes; of the rest a
  /// quarter is sent in vain.
  @Test func aDeviceOverItsRateSendsLittleInVain() throws {
    var device = Device(20_000) { $0.lanes = .liveFirst }
    let limiter = GCRA(perSecond: 1_000, burst: 1_024)
    var word: UInt64 = 0
    var received = SequenceRanges()
    var refused = 0
    var turns = 0
    while !device.session.isDone, turns < 100_000 {
      turns += 1
      let frames = try device.send()
      device.now = device.now.advanced(byNs: 2_000_000)
      if frames.isEmpty, let next = device.session.deadline, next > device.now { device.now = next }
      for frame in frames where !frame.sequences.isEmpty {
        let now = device.now
        try device.take { downlink in
          if frame.hello != nil {
            downlink.welcome = Welcome(through: 0, backlogWindow: 6_000, frameBytesMax: 16_384)
          }
          switch limiter.charge(word, units: UInt64(frame.sequences.count), at: now) {
          case .granted(let next):
            word = next
            for sequence in frame.sequences { _ = received.insert(sequence) }
            downlink.ack = Ack(
              through: received.through,
              above: received.above.map { SequenceRange(first: $0.first, count: $0.count) })
          case .limited(let retryNs):
            refused += frame.sequences.count
            var refusal = Refusal(
              code: .rateLimited, retry: true, retryAfterMs: UInt32((retryNs ?? 0) / 1_000_000 + 1))
            refusal.ranges = [
              SequenceRange(first: frame.sequences[0], count: UInt64(frame.sequences.count))
            ]
            downlink.refusals = [refusal]
          }
        }
      }
    }
    #expect(device.session.isDone)
    #expect(refused < 12_000, "\(refused) of 20,000 were sent in vain")
    // Nor does it dawdle: 20,000 less the burst, at 1,000 a second.
    #expect(device.now.since(Instant(ns: 0)) < 30_000_000_000)
  }

  /// 8 hours of fixes, one every 10 seconds, over a round trip of 1.5 s.
  @Test func eightHoursDrainInAFewRoundTrips() throws {
    var device = Device(2_880) { $0.lanes = .liveFirst }
    var roundTrips = 0
    var received = SequenceRanges()
    while !device.session.isDone {
      roundTrips += 1
      let frames = try device.send()
      device.now = device.now.advanced(byNs: 1_500_000_000)
      for frame in frames { for sequence in frame.sequences { _ = received.insert(sequence) } }
      let above = received.above.map { SequenceRange(first: $0.first, count: $0.count) }
      let through = received.through
      try device.take { downlink in
        if frames.first?.hello != nil {
          downlink.welcome = Welcome(through: 0, backlogWindow: 6_000, frameBytesMax: 16_384)
        }
        downlink.ack = Ack(through: through, above: above)
      }
      #expect(roundTrips < 5)
    }
    #expect(roundTrips == 2)
  }
}

extension Device {
  fileprivate mutating func record(_ count: UInt64, panic: Bool = false) {
    for _ in 0..<count {
      var fix = Fix()
      fix.present = [.position, .time]
      fix.latitudeE7 = Int32(fixes.count + 1)
      fixes.append(fix)
    }
    session.record(count, at: now, panic: panic)
  }
}
