import GateCore
import Testing

@Suite struct ConnectionIDTests {
  @Test(arguments: 0...20) func bytesComeBack(count: Int) throws {
    let bytes = (0..<count).map { UInt8($0 * 7 + 1) }
    let made = ConnectionID(bytes.span)
    let id = try #require(made)
    #expect(id.count == count && id.isEmpty == (count == 0))
    #expect((0..<count).map { id[$0] } == bytes)
    for i in count..<ConnectionID.bytesMax { #expect(id[i] == 0) }
    let matches = id.matches(bytes.span)
    #expect(matches)
    let longer = bytes + [0]
    let matchesLonger = id.matches(longer.span)
    #expect(!matchesLonger)
    guard count > 0 else { return }
    var other = bytes
    other[count - 1] ^= 1
    let matchesOther = id.matches(other.span)
    #expect(!matchesOther)
    let otherID = ConnectionID(other.span)
    #expect(otherID != id)
  }

  @Test func longerOnesAreDeclined() {
    let bytes = [UInt8](repeating: 1, count: 21)
    let id = ConnectionID(bytes.span)
    #expect(id == nil)
  }

  @Test func lengthCounts() {
    let one: [UInt8] = [0]
    let two: [UInt8] = [0, 0]
    let a = ConnectionID(one.span)
    let b = ConnectionID(two.span)
    #expect(a != b && ConnectionID() != a)
  }

  @Test func gatewaysOwn() {
    let id = ConnectionID(node: 0x5a, shard: 0x07, random: 0xFFFF_0102_0304_0506)
    #expect(id.node == 0x5a && id.shard == 7 && id.count == 8 && id.word == 0x5a07_0102_0304_0506)
    #expect((0..<8).map { id[$0] } == [0x5a, 7, 1, 2, 3, 4, 5, 6])
  }
}
