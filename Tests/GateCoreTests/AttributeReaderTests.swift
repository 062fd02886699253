import GateCore
import Testing
import WireVectors

struct AttributeReaderTests {
  private func read(_ hex: String) throws -> [Attribute] {
    let bytes = try #require(hexBytes(hex))
    var reader = AttributeReader(Region(offset: 0, length: UInt32(bytes.count)))
    var found: [Attribute] = []
    while let attribute = try reader.next(in: bytes.span) { found.append(attribute) }
    return found
  }

  @Test func everyKindOfValue() throws {
    #expect(try read("fa01 04 0807 1003") == [Attribute(id: 7, value: .integer(-2))])
    #expect(try read("fa01 09 19 000000000000f03f") == [Attribute(id: 0, value: .number(1))])
    #expect(try read("fa01 06 0809 2202 6869") == [Attribute(id: 9, value: .text(7..<9))])
    #expect(try read("fa01 05 0809 2a01 ff") == [Attribute(id: 9, value: .blob(7..<8))])
  }

  @Test func highestFieldCountsThenTheLast() throws {
    #expect(try read("fa01 08 0807 2a00 1002 2200") == [Attribute(id: 7, value: .blob(7..<7))])
    #expect(try read("fa01 06 0807 1002 1004") == [Attribute(id: 7, value: .integer(2))])
  }

  @Test func whatIsNotAnEntryIsSkipped() throws {
    // The index of FixAttributes, an entry without a value, one with a newer kind of value, one to read.
    #expect(try read("0805 fa01 02 0807 fa01 04 0808 3001 fa01 02 1002") == [Attribute(id: 0, value: .integer(1))])
    #expect(try read("").isEmpty)
  }

  @Test func brokenRegionsAreNotRead() {
    #expect(throws: DecodeError.truncated(offset: 2)) { try read("fa01 05 08") }
    #expect(throws: DecodeError.truncated(offset: 4)) { try read("fa01 02 19 00") }
  }
}
