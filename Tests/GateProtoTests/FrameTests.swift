import GateCore
import GateProto
import Testing

@Suite struct FrameTests {
  @Test(arguments: [0, 1, 127, 128, 300, 16_383, 16_384])
  func bothWaysMakeTheSameFrame(bytes: Int) throws {
    let payload = (0..<bytes).map { UInt8(truncatingIfNeeded: $0) }
    var appended: [UInt8] = [9]
    Frame.append(payload, into: &appended)
    var closed: [UInt8] = [9] + payload
    Frame.close(from: 1, in: &closed)
    #expect(closed == appended)
    let range = try #require(try FrameScanner.next(in: closed.span, from: 1, to: closed.count))
    #expect(Array(closed[range]) == payload)
    #expect(range.upperBound == closed.count)
  }
}
