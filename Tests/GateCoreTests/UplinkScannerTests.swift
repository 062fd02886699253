import GateCore
import Testing
import WireVectors

struct UplinkScannerTests {
  private func parts(_ hex: String) throws -> (parts: [UplinkPart], unknown: Int) {
    let bytes = try #require(hexBytes(hex))
    var scanner = UplinkScanner(0..<bytes.count)
    var parts: [UplinkPart] = []
    while let part = try scanner.next(in: bytes.span) { parts.append(part) }
    return (parts, scanner.unknownFields)
  }

  @Test func everyFieldInAnyOrder() throws {
    let (parts, unknown) = try parts("5a 00 48 05 40 06 38 01 32 00 2a 01 00 22 00 1a 02 0000 12 00 0a 00")
    #expect(
      parts == [
        .enrol(2..<2), .sendTimeMs(5), .oldestHeld(6), .lane(1), .applied(10..<10), .ping(12..<13), .gap(15..<15),
        .batch(17..<19), .fix(21..<21), .hello(23..<23),
      ])
    #expect(unknown == 0)
  }

  @Test func unknownFieldsAreCounted() throws {
    // Field 60 as varint, group and bytes; the lane as bytes; a fix as varint.
    let (parts, unknown) = try parts("e003 01  e303 0801 e403  e203 01 ff  3a 00  10 01  12 00")
    #expect(parts == [.fix(19..<19)])
    #expect(unknown == 5)
  }

  @Test func valuesAreCutToTheirWidth() throws {
    #expect(try parts("38 ffffffffffffffffff01").parts == [.lane(-1)])
    #expect(try parts("48 ffffffffffffffffff01").parts == [.sendTimeMs(-1)])
  }

  @Test(arguments: [
    ("12 01", DecodeError.truncated(offset: 1)), ("40", .truncated(offset: 1)), ("00", .badTag(offset: 0)),
    ("0f", .badTag(offset: 0)), ("0c", .unmatchedGroup(offset: 0)), ("40 80808080808080808080 00", .badVarint(offset: 1)),
  ])
  func refusals(hex: String, error: DecodeError) {
    #expect(throws: error) { try parts(hex) }
  }
}
