import GateCore
import GateProto
import Testing

@Suite struct EnrolmentTests {
  private static let key = [UInt8](0..<16)

  private func body(_ enrol: Enrol) throws -> (bytes: [UInt8], range: Range<Int>) {
    var bytes: [UInt8] = []
    enrol.append(into: &bytes)
    guard case .enrol(let range) = try part(bytes) else { throw ProtoError.malformed }
    return (bytes, range)
  }

  @Test(arguments: [
    Enrol(code: "7K3M-9QXA-1BR0", key: key), Enrol(code: "x", key: key, label: "pixel-7", kind: .psk),
    Enrol(code: String(repeating: "0", count: 32), key: key, label: String(repeating: "a", count: 32)),
  ])
  func requestsGoThereAndBack(enrol: Enrol) throws {
    let (bytes, range) = try body(enrol)
    #expect(try Enrol.decode(bytes.span, range) == enrol)
    for end in range { _ = try? Enrol.decode(bytes.span, range.lowerBound..<end) }
  }

  @Test(arguments: [
    (Enrol(code: String(repeating: "0", count: 33), key: key), ProtoError.badLength(field: 1, bytes: 33)),
    (Enrol(code: "x", key: [1]), .badLength(field: 2, bytes: 1)), (Enrol(code: "x", key: []), .badLength(field: 2, bytes: 0)),
    (Enrol(code: "x", key: key, label: String(repeating: "a", count: 33)), .badLength(field: 3, bytes: 33)),
  ])
  func boundsHold(enrol: Enrol, error: ProtoError) throws {
    let (bytes, range) = try body(enrol)
    #expect(throws: error) { try Enrol.decode(bytes.span, range) }
  }

  @Test func theCodeMustBeThere() {
    let bytes: [UInt8] = []
    #expect(throws: ProtoError.missing(field: 1)) { try Enrol.decode(bytes.span, 0..<0) }
  }

  @Test func answersWithAKeyGoThereAndBack() throws {
    var downlink = Downlink()
    downlink.enrolled = Enrolled(
      tenant: "demo", device: "d", credential: .psk(identity: "fixgate-0", secret: [UInt8](repeating: 9, count: 32)))
    var bytes: [UInt8] = []
    downlink.encode(into: &bytes)
    #expect(try Downlink.decode(bytes.span, 0..<bytes.count) == downlink)
  }

  @Test(arguments: [
    ([0x42, 0], ProtoError.missing(field: 1)), ([0x42, 3, 0x0a, 1, 0x61], .missing(field: 2)),
    ([0x42, 6, 0x0a, 1, 0x61, 0x12, 1, 0x62], .badLength(field: 3, bytes: 0)),
    ([0x42, 9, 0x0a, 1, 0x61, 0x12, 1, 0x62, 0x22, 1, 0x63], .badLength(field: 5, bytes: 0)),
  ] as [([UInt8], ProtoError)])
  func answersMustBeWhole(bytes: [UInt8], error: ProtoError) {
    #expect(throws: error) { try Downlink.decode(bytes.span, 0..<bytes.count) }
  }
}
