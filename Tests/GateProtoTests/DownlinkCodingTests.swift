import GateCore
import GateProto
import Testing

@Suite struct DownlinkCodingTests {
  static let full: Downlink = {
    var downlink = Downlink()
    downlink.welcome = Welcome(through: 7, backlogWindow: 600, frameBytesMax: 16_384)
    var ack = Ack(through: 7, above: [SequenceRange(first: 9, count: 1), SequenceRange(first: 20, count: 500)])
    ack.stream = 5
    ack.backlogWindow = 60
    ack.judgements = [Judgement(code: 42, range: SequenceRange(first: 3, count: 1))]
    downlink.ack = ack
    downlink.refusals = [
      Refusal(code: .rateLimited, retry: true, retryAfterMs: 250, ranges: [SequenceRange(first: 30, count: 2)]),
      Refusal(code: .streamReused, retry: true, closing: true, stream: 77),
    ]
    var settings = Settings(version: 2)
    settings.reportIntervalS = 10
    settings.batchFixes = 30
    settings.batchWaitS = 60
    settings.stop = false
    settings.lanes = [.live]
    downlink.settings = settings
    downlink.pong = 8
    downlink.serverTimeMs = 1_700_000_000_000
    downlink.requests = [SequenceRange(first: 1, count: 1)]
    downlink.enrolled = Enrolled(tenant: "demo", device: "phone-1", credential: .token([UInt8](repeating: 7, count: 32)))
    return downlink
  }()

  @Test(arguments: [full, Downlink()])
  func roundTrip(downlink: Downlink) throws {
    var bytes: [UInt8] = []
    downlink.encode(into: &bytes)
    #expect(try Downlink.decode(bytes.span, 0..<bytes.count) == downlink)
    for end in 0..<bytes.count { _ = try? Downlink.decode(bytes.span, 0..<end) }
    for i in bytes.indices {
      var changed = bytes
      changed[i] ^= 0x55
      _ = try? Downlink.decode(changed.span, 0..<changed.count)
    }
  }

  @Test(arguments: [
    // Odd number of entries, nothing skipped, nothing covered, past 2^62.
    ([0x12, 5, 0x08, 1, 0x12, 1, 1], ProtoError.badRange(field: 2)),
    ([0x12, 6, 0x08, 1, 0x12, 2, 0, 1], .badRange(field: 2)),
    ([0x12, 6, 0x08, 1, 0x12, 2, 1, 0], .badRange(field: 2)),
    ([0x12, 15, 0x12, 11, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1, 1, 0x08, 1], .badRange(field: 2)),
    ([0x1a, 4, 0x22, 2, 0x08, 1], .badRange(field: 4)),
    ([0x3a, 0], .badRange(field: 7)),
    ([0x22, 11, 0x32, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0], .tooMany(field: 6, count: 9)),
    ([0xff], .malformed),
  ] as [([UInt8], ProtoError)])
  func badMessages(bytes: [UInt8], error: ProtoError) {
    #expect(throws: error) { try Downlink.decode(bytes.span, 0..<bytes.count) }
  }

  @Test func unknownCodesAreUnspecified() throws {
    let bytes: [UInt8] = [0x1a, 4, 0x08, 99, 0x10, 1, 0xa0, 6, 1]
    let downlink = try Downlink.decode(bytes.span, 0..<bytes.count)
    #expect(downlink.refusals == [Refusal(code: .unspecified, retry: true)])
  }
}
