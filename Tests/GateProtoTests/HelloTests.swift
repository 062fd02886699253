import GateCore
import GateProto
import Testing

/// The one part of an `Uplink` frame, found by the gateway's own scanner.
func part(_ bytes: [UInt8]) throws -> UplinkPart {
  var scanner = UplinkScanner(0..<bytes.count)
  let part = try #require(try scanner.next(in: bytes.span))
  #expect(try scanner.next(in: bytes.span) == nil)
  return part
}

private func decode(_ bytes: [UInt8]) throws(ProtoError) -> Hello { try Hello.decode(bytes.span, 0..<bytes.count) }

@Suite struct HelloTests {
  static let full: Hello = {
    var hello = Hello(token: [UInt8](repeating: 7, count: 32), stream: 0xdead_beef, nextSequence: 1 << 62, oldestHeld: 9)
    hello.sendTimeMs = -1
    hello.device = DeviceInfo(hardware: "FMC130", firmware: "ü", app: nil, os: String(repeating: "o", count: 64))
    hello.work = Work(subject: "courier-7", task: "t", stop: nil, policyVersion: 3)
    hello.settingsVersion = 4
    hello.lanes = [.panic, .live]
    return hello
  }()

  @Test(arguments: [full, Hello(token: [], stream: 0, nextSequence: 1)])
  func roundTrip(hello: Hello) throws {
    var bytes: [UInt8] = []
    hello.append(into: &bytes)
    guard case .hello(let range) = try part(bytes) else {
      Issue.record("not a hello")
      return
    }
    #expect(try Hello.decode(bytes.span, range) == hello)
    // A hello cut anywhere is malformed or lacks something; it never traps.
    for end in range.lowerBound..<range.upperBound {
      _ = try? Hello.decode(bytes.span, range.lowerBound..<end)
    }
  }

  /// stream 1, next_sequence 1; cases add to these or replace them.
  static let base: [UInt8] = [0x1d, 1, 0, 0, 0, 0x20, 1]

  @Test(arguments: [
    ([0x20, 1], ProtoError.missing(field: 3)),
    ([0x1d, 1, 0, 0, 0], .missing(field: 4)),
    (base + [0x12, 31] + [UInt8](repeating: 1, count: 31), .badLength(field: 2, bytes: 31)),
    (base + [0x3a, 67, 0x0a, 65] + [UInt8](repeating: 0x61, count: 65), .badLength(field: 7, bytes: 65)),
    (base + [0x3a, 3, 0x0a, 1, 0xff], .notText(field: 7)),
    (base + [0x42, 0x82, 2, 0x0a, 0xff, 1] + [UInt8](repeating: 0x61, count: 255), .badLength(field: 8, bytes: 258)),
    (base + [0x52, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0], .tooMany(field: 10, count: 9)),
    (base + [0x12, 5], .malformed),
    ([0x1b], .malformed),
  ])
  func boundsHold(bytes: [UInt8], error: ProtoError) {
    #expect(throws: error) { try decode(bytes) }
  }

  @Test func unknownFieldsAndLanesAreIgnored() throws {
    let hello = try decode(Self.base + [0xa0, 6, 1, 0x52, 3, 0, 9, 2])
    #expect(hello.lanes == [.live, .panic])
    #expect(hello.protocolVersion == 1)
  }

  @Test func unpackingIsBoundedInMemory() {
    // 8,000 unknown fields would take more than the allowance.
    var bytes = Self.base
    for _ in 0..<8_000 { bytes += [0x7a, 0] }
    #expect(throws: ProtoError.malformed) { try decode(bytes) }
  }

  @Test func workBody() throws {
    let work = Work(subject: "s", policyVersion: 2)
    #expect(work.encoded == [0x0a, 1, 0x73, 0x20, 2])
    #expect(Work().encoded == [])
  }
}
