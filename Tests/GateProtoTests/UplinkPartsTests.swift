import GateCore
import GateProto
import Testing

@Suite struct UplinkPartsTests {
  @Test func partsConcatenateToOneFrame() throws {
    let gap = GapMessage(range: SequenceRange(first: 5, count: 2), reason: .deviceOff)
    var bytes: [UInt8] = []
    Hello(token: [], stream: 1, nextSequence: 1).append(into: &bytes)
    gap.append(into: &bytes)
    Ping(id: 9).append(into: &bytes)
    SettingsApplied(version: 3).append(into: &bytes)
    UplinkScalars(lane: .backlog, oldestHeld: 4, sendTimeMs: -1, sendMonotonicMs: 1 << 40).append(into: &bytes)
    var scanner = UplinkScanner(0..<bytes.count)
    var seen: [String] = []
    while let part = try scanner.next(in: bytes.span) {
      switch part {
      case .hello(let range): seen.append("hello \(try Hello.decode(bytes.span, range).stream)")
      case .gap(let range): #expect(try GapMessage.decode(bytes.span, range) == gap)
      case .ping(let range): #expect(try Ping.decode(bytes.span, range) == Ping(id: 9))
      case .applied(let range): #expect(try SettingsApplied.decode(bytes.span, range).version == 3)
      case .lane(let lane): seen.append("lane \(lane)")
      case .oldestHeld(let sequence): seen.append("oldest \(sequence)")
      case .sendTimeMs(let time): seen.append("time \(time)")
      case .sendMonotonicMs(let time): seen.append("monotonic \(time)")
      case .fix, .batch, .enrol: Issue.record("none of these here")
      }
    }
    #expect(seen == ["hello 1", "lane 1", "oldest 4", "time -1", "monotonic 1099511627776"])
  }

  @Test(arguments: [
    ([], ProtoError.badRange(field: 2)),
    ([0x08, 1], .badRange(field: 2)),
    ([0x08, 0, 0x10, 1], .badRange(field: 2)),
    ([0x08, 2, 0x10, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1], .badRange(field: 2)),
    ([0x08], .malformed),
  ] as [([UInt8], ProtoError)])
  func badGaps(bytes: [UInt8], error: ProtoError) {
    #expect(throws: error) { try GapMessage.decode(bytes.span, 0..<bytes.count) }
  }

  @Test func unknownReasonReadsAsUnspecified() throws {
    let bytes: [UInt8] = [0x08, 1, 0x10, 1, 0x18, 99]
    #expect(try GapMessage.decode(bytes.span, 0..<bytes.count).reason == .unspecified)
  }
}
