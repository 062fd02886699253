import GateCore
import GateProto
import Testing

@Suite struct AckEncoderTests {
  static let cases: [(UInt64, [SequenceRange])] = [
    (0, []), (1, []), (127, []), (128, []), (1 << 62, []),
    (0, [SequenceRange(first: 2, count: 1)]),
    (7, [SequenceRange(first: 9, count: 1), SequenceRange(first: 20, count: 500)]),
    (300, (1...16).map { SequenceRange(first: 300 + UInt64($0) * 1_000_000_007, count: 1 << 20) }),
    (1, [SequenceRange(first: (1 << 62) - 1, count: 2)]),
  ]

  @Test(arguments: cases)
  func sameBytesAsLibprotobufC(through: UInt64, above: [SequenceRange]) {
    var oracle = Downlink()
    oracle.ack = Ack(through: through, above: above)
    var expected: [UInt8] = []
    oracle.encode(into: &expected)
    var bytes: [UInt8] = []
    AckEncoder.append(through: through, above: above.span, into: &bytes)
    #expect(bytes == expected)
    #expect(bytes.count <= AckEncoder.bytesMax)
  }

  @Test func laterRangesAreLeftOut() throws {
    let above = (1...40).map { SequenceRange(first: UInt64($0) * 10, count: 3) }
    var bytes: [UInt8] = []
    AckEncoder.append(through: 1, above: above.span, into: &bytes)
    let ack = try Downlink.decode(bytes.span, 0..<bytes.count).ack
    #expect(ack?.above == Array(above.prefix(Limits.rangesPerAckMax)))
  }

  @Test func reservedCapacityIsEnough() {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(AckEncoder.bytesMax + Limits.framePrefixBytesMax)
    let capacity = bytes.capacity
    let above = (1...16).map { SequenceRange(first: UInt64($0) << 57, count: 1 << 50) }
    AckEncoder.append(through: 1, above: above.span, into: &bytes)
    Frame.close(from: 0, in: &bytes)
    #expect(bytes.capacity == capacity)
  }

  /// An ack of what was not meant would make the device delete it.
  @Test func rangesThatTouchTrap() async {
    await #expect(processExitsWith: .failure) {
      var bytes: [UInt8] = []
      let above = [SequenceRange(first: 2, count: 1)]
      AckEncoder.append(through: 1, above: above.span, into: &bytes)
    }
  }
}
