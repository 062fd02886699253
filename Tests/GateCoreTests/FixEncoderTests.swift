import GateCore
import Testing

struct FixEncoderTests {
  private func fix(_ sequence: UInt64, time: Int64, speed: Int32? = nil) -> Fix {
    var fix = Fix()
    fix.sequence = sequence
    fix.fixTimeMs = time
    fix.present = .time
    fix[.speedCmPerS] = speed
    return fix
  }

  private func batch(_ fixes: [Fix]) -> [UInt8] {
    var out: [UInt8] = []
    FixEncoder.batch(fixes[...], work: [], into: &out)
    return out
  }

  @Test func constantColumnsAndStraightLinesAreShort() {
    // Sequence, one value and one difference of time, one value of speed, count.
    let fixes = (0..<60).map { fix(1 + UInt64($0), time: 1_000 + Int64($0), speed: 7) }
    #expect(batch(fixes) == [0x1a, 13, 0x08, 1, 0x12, 3, 0xd0, 0x0f, 2, 0x32, 1, 14, 0x80, 0x02, 60])
  }

  @Test func timeUnitIsTakenWhereItSaves() {
    let fixes = (0..<8).map { fix(1 + UInt64($0), time: 1_700_000_000_000 + Int64($0 * $0) * 1_000) }
    let coarse = batch(fixes)
    #expect(coarse.suffix(4) == [0x88, 0x02, 0xe8, 0x07])
    #expect(!batch([fix(1, time: 2)]).contains(0x88))
  }

  @Test func masksNameTheFixesThatHaveAColumn() {
    let out = batch([fix(1, time: 0), fix(2, time: 0, speed: 3)])
    #expect(out.suffix(8) == [0x92, 0x02, 5, 0x08, 6, 0x12, 1, 2])
  }

  @Test func usualRowIsShort() {
    var lone = fix(100_000, time: 1_700_000_000_000, speed: 1_400)
    lone.present.insert(.position)
    lone[.horizontalAccuracyDm] = 50
    lone[.courseCdeg] = 27_000
    lone[.batteryPercent] = 80
    var out: [UInt8] = []
    let nothing: [UInt8] = []
    FixEncoder.row(lone, from: nothing.span, into: &out)
    #expect(out.count == 34)
  }
}
