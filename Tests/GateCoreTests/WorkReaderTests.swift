import GateCore
import Testing
import WireVectors

struct WorkReaderTests {
  private func read(_ hex: String) throws -> WorkReader {
    let bytes = try #require(hexBytes(hex))
    return try WorkReader(Region(offset: 0, length: UInt32(bytes.count)), in: bytes.span)
  }

  @Test func everyField() throws {
    let work = try read("f201 0b 0a0161 120162 1a0163 2007")
    #expect(work.subject == 5..<6 && work.task == 8..<9 && work.stop == 11..<12 && work.policyVersion == 7)
  }

  @Test func absentIsNil() throws {
    let work = try read("")
    #expect(work.subject == nil && work.task == nil && work.stop == nil && work.policyVersion == nil)
  }

  @Test func partsAreMergedAndOthersSkipped() throws {
    let work = try read("f201 03 0a0161  0805  f201 05 0a0162 5001")
    #expect(work.subject == 13..<14)
    #expect(work.task == nil)
  }

  @Test func brokenRegionsAreNotRead() {
    #expect(throws: DecodeError.truncated(offset: 2)) { try read("f201 05 0a") }
  }
}
