@testable import GateCore
import Testing

@Suite struct MinimiserTests {
  private func minimise(
    _ record: inout Record, _ taken: TakenFields = TakenFields(), gridM: UInt16 = 0, from bytes: [UInt8] = []
  ) -> (dropped: Int, kept: [UInt8]) {
    var kept = [UInt8](repeating: 0xEE, count: Minimiser.keptBytesMax)
    var room = kept.mutableSpan
    let dropped = Minimiser(taken, gridM: gridM).minimise(&record, from: bytes.span, keeping: &room)
    return (dropped, kept)
  }

  /// Over the globe: a place goes to its cell's middle, stays there, and is never further off than the cell's corner.
  @Test(arguments: [1, 50, 500, 5_000, 65_535] as [UInt16])
  func cellsAreSmallAndMiddlesStay(metres: UInt16) throws {
    let grid = try #require(Grid(metres: metres))
    var random = SeededRandom(seed: UInt64(metres))
    for _ in 0..<20_000 {
      let latitude = Int32.random(in: -900_000_000...900_000_000, using: &random)
      let longitude = Int32.random(in: -1_800_000_000..<1_800_000_000, using: &random)
      let middle = grid.middle(latitudeE7: latitude, longitudeE7: longitude)
      let again = grid.middle(latitudeE7: middle.latitudeE7, longitudeE7: middle.longitudeE7)
      #expect(again == middle, "\(latitude) \(longitude)")
      let distance = Earth.chordM(latitude, longitude, middle.latitudeE7, middle.longitudeE7)
      // Towards its southern edge a row is wider than at its middle; near the poles by much.
      let slack = abs(latitude) < 800_000_000 ? 1.02 : 1.6
      #expect(distance <= Double(metres) * 0.7072 * slack + 0.02, "\(latitude) \(longitude): \(distance)")
    }
  }

  @Test func neighboursAreToldApartOnlyByTheirCells() throws {
    let grid = try #require(Grid(metres: 500))
    let home = grid.middle(latitudeE7: 432_220_000, longitudeE7: 768_512_000)
    let cells = Set((0..<500).map { step -> [Int32] in
      let middle = grid.middle(latitudeE7: home.latitudeE7, longitudeE7: home.longitudeE7 + Int32(step) * 1_000)
      return [middle.latitudeE7, middle.longitudeE7]
    })
    // 500 steps of 8.1 m lead through eight or nine cells of 500 m.
    #expect((8...9).contains(cells.count))
  }

  /// The original of a wrapped longitude is as coarse as the longitude; a latitude out of range stays out of range.
  @Test func coarsenessHoldsForOriginalsAndHeldFixes() {
    var record = Record()
    record.fix.present = [.position, .time]
    record.fix.latitudeE7 = 432_220_123
    record.fix.longitudeE7 = 1_900_000_123
    Normaliser(NormalisingRules()).normalise(&record, at: 0)
    let fine = record
    _ = minimise(&record, gridM: 1_000)
    #expect(fine.originals[0] == Original(field: 4, value: 1_900_000_123))
    #expect(record.fix.longitudeE7 != fine.fix.longitudeE7 && record.fix.latitudeE7 != fine.fix.latitudeE7)
    #expect(record.originals[0].value - 3_600_000_000 == Int64(record.fix.longitudeE7))
    #expect(record.gridM == 1_000 && record.fix[.horizontalAccuracyDm] == 7_101)
    var held = Record()
    held.fix.present = [.position]
    held.fix.latitudeE7 = 910_000_123
    _ = minimise(&held, gridM: 1_000)
    #expect(held.fix.latitudeE7 > 900_000_000 && held.fix.latitudeE7 != 910_000_123)
  }

  @Test func columnsThatAreNotListedAreLeftOutWithTheirOriginals() {
    var record = Record()
    record.fix[.speedCmPerS] = 500
    record.fix[.batteryPercent] = 50
    record.fix.present.formUnion([.monotonic, .time])
    record.fix.monotonicMs = 77
    record.originals[0] = Original(field: 2, value: 1)
    record.originals[1] = Original(field: UInt32(Column.batteryPercent.rawValue), value: 300)
    record.originals[2] = Original(field: UInt32(Column.speedCmPerS.rawValue), value: -1)
    record.originalCount = 3
    var taken = TakenFields()
    taken.columns = FixFields(.speedCmPerS)
    #expect(minimise(&record, taken).dropped == 2)
    #expect(record.fix.present == [.time, FixFields(.speedCmPerS)])
    #expect(record.fix[.speedCmPerS] == 500 && record.fix.monotonicMs == 0 && record.fix.values[Column.batteryPercent.index] == 0)
    #expect(record.originalCount == 2 && record.originals[0].field == 2 && record.originals[1].value == -1)
  }

  private static func attribute(_ id: UInt8, _ value: UInt8) -> [UInt8] { [0xFA, 0x01, 4, 0x08, id, 0x10, value] }
  /// Field 30 with a task of one letter.
  private static let work: [UInt8] = [0xF2, 0x01, 3, 0x12, 1, 0x41]
  /// Field 3, a latitude.
  private static let latitude: [UInt8] = [0x1D, 1, 2, 3, 4]

  /// Between attributes a device may put any other field; nothing but what is listed goes on.
  @Test func onlyListedAttributesAreKept() {
    let bytes =
      [9, 9] + Self.attribute(8, 1) + Self.latitude + Self.attribute(20, 2) + Self.attribute(25, 3) + Self.work
      + Self.attribute(33, 4)
    var record = Record()
    record.fix.attributes = Region(offset: 2, length: UInt32(bytes.count - 2))
    record.fix.work = Region(offset: 2, length: UInt32(bytes.count - 2))
    let before = record
    var (dropped, kept) = minimise(&record, from: bytes)
    #expect(dropped == 1)
    #expect(Array(kept[record.fix.attributes.range]) == Self.attribute(8, 1) + Self.attribute(25, 3) + Self.attribute(33, 4))
    #expect(Array(kept[record.fix.work.range]) == Self.work)

    record = before
    (dropped, kept) = minimise(&record, gridM: 10, from: bytes)
    #expect(dropped == 2, "the position beside the position goes with the grid")
    #expect(Array(kept[record.fix.attributes.range]) == Self.attribute(8, 1) + Self.attribute(33, 4))

    record = before
    var taken = TakenFields()
    taken.attributes = AttributeRule(only: [20])
    taken.work = false
    (dropped, kept) = minimise(&record, taken, from: bytes)
    #expect(dropped == 4 && record.fix.work.isEmpty)
    #expect(Array(kept[record.fix.attributes.range]) == Self.attribute(20, 2))
  }

  @Test func whatTwoRulesTakeIsWhatBothTake() {
    let off = AttributeRule()
    #expect(!off.takes(20) && !off.takes(21) && !off.takes(22) && off.takes(8) && off.takes(.max))
    let only = AttributeRule(only: [8, 20])
    for both in [off.intersection(only), only.intersection(off)] {
      #expect(both.takes(8) && !both.takes(20) && !both.takes(9))
    }
    let none = AttributeRule(only: [1]).intersection(AttributeRule(only: [2]))
    #expect(!none.takes(1) && !none.takes(2))
    let more = off.intersection(AttributeRule(allBut: [8]))
    #expect(!more.takes(8) && !more.takes(20) && more.takes(9))
  }

  /// A refused fix is a code and a sequence: its bytes are those of a fix that never was anywhere.
  @Test func aRefusedFixSaysNeitherWhereNorWhen() {
    var record = Record()
    record.device = 3
    record.receiveTimeMs = 5
    record.fix.sequence = 7
    var bare = record
    bare.refuse(.offDuty)
    record.fix.present = [.position, .time, .monotonic, FixFields(.speedCmPerS)]
    record.fix.fixTimeMs = 1_790_000_000_000
    record.fix.latitudeE7 = 432_220_000
    record.fix.longitudeE7 = 768_512_000
    record.fix.attributes = Region(offset: 0, length: 3)
    record.originalCount = 2
    record.refuse(.offDuty)
    func bytes(_ record: Record) -> [UInt8] {
      var bytes = [UInt8](repeating: 0xEE, count: record.encodedBytes)
      var out = bytes.mutableSpan
      _ = record.write(into: &out, at: 0, from: Span())
      return bytes
    }
    #expect(bytes(record) == bytes(bare) && record.encodedBytes == Record.headerBytes)
    #expect(record.kind == .refused && record.code == 60)
  }
}
