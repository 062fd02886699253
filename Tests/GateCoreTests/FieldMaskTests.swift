import GateCore
import Testing

@Suite struct FieldMaskTests {
  private func record(_ sequence: UInt64) -> Record {
    var record = Record()
    record.tenant = 1
    record.device = 2
    record.fix.sequence = sequence
    record.fix.fixTimeMs = 1_767_225_600_000
    record.fix.latitudeE7 = 432_220_000
    record.fix.longitudeE7 = 768_512_000
    record.fix.present = [.time, .position]
    record.fix[.speedCmPerS] = 420
    record.fix[.batteryPercent] = 77
    record.originals[0] = Original(field: 3, value: 432_220_001)
    record.originalCount = 1
    return record
  }

  private func encode(_ records: [Record]) -> [UInt8] {
    var bytes: [UInt8] = []
    for record in records {
      var room = [UInt8](repeating: 0, count: Limits.recordBytesMax)
      var span = room.mutableSpan
      let count = record.write(into: &span, at: 0, from: [UInt8]().span)
      bytes += room[..<count]
    }
    return bytes
  }

  private func decode(_ bytes: [UInt8]) throws -> [Record] {
    var records: [Record] = []
    var at = 0
    while at < bytes.count {
      let (record, end) = try Record.read(bytes.span, at: at)
      records.append(record)
      at = end
    }
    return records
  }

  @Test func onlyWhatIsNamedGoesOut() throws {
    let mask = try #require(FieldMask(["speed_cm_per_s"]))
    #expect(!mask.isAll)
    let bytes = encode([record(1), record(2)])
    var out: [UInt8] = []
    mask.apply(to: bytes.span, records: 0..<bytes.count, into: &out)
    let records = try decode(out)
    #expect(records.map(\.fix.sequence) == [1, 2] && records[0].device == 2 && records[0].tenant == 1)
    #expect(records[0].fix.present == [.time, FixFields(.speedCmPerS)] && records[0].fix[.speedCmPerS] == 420)
    #expect(records[0].fix.latitudeE7 == 0 && records[0].fix.longitudeE7 == 0 && records[0].originalCount == 0)
    // Not in any byte either.
    let bytesOut = out
    #expect(!(0..<out.count - 4).contains { bytesOut.span.load32(at: $0) == 432_220_000 })
  }

  @Test func emptyIsAllAndNamesMustBeKnown() {
    #expect(FieldMask([])?.isAll == true && FieldMask(FieldMask.names)?.isAll == true)
    #expect(FieldMask(["speed"]) == nil)
  }

  /// A gap's number is not a time, and what is refused has nothing to leave out.
  @Test func gapsStayAsTheyAre() throws {
    var gap = Record()
    gap.kind = .gap
    gap.fix.sequence = 9
    gap.fix.fixTimeMs = 40
    let bytes = encode([gap])
    var out: [UInt8] = []
    try #require(FieldMask(["position"])).apply(to: bytes.span, records: 0..<bytes.count, into: &out)
    #expect(out == bytes)
  }

  /// What cannot be read cannot be masked, so it does not go out.
  @Test func theUnreadableStays() throws {
    var bytes = encode([record(1), record(2)])
    let second = bytes.count / 2
    bytes[second + 4] = 99
    var out: [UInt8] = []
    try #require(FieldMask(["speed_cm_per_s"])).apply(to: bytes.span, records: 0..<bytes.count, into: &out)
    let first = try Record.read(out.span, at: 0)
    #expect(first.record.fix.sequence == 1 && out[first.end...].allSatisfy { $0 == 0 })
    #expect(throws: RecordError.self) { try Record.read(out.span, at: first.end) }
  }
}
