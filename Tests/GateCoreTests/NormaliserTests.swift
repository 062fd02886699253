import GateCore
import Testing

private let now: Int64 = 1_790_000_000_000

private func fix(_ change: (inout Fix) -> Void) -> Fix {
  var fix = Fix()
  fix.sequence = 1
  fix.fixTimeMs = now - 1_000
  fix.latitudeE7 = 432_220_000
  fix.longitudeE7 = 768_512_000
  fix.present = [.time, .position]
  change(&fix)
  return fix
}

private struct Case: Sendable, CustomTestStringConvertible {
  let name: String
  let fix: Fix
  let verdict: Verdict
  var originals: [Original] = []
  var testDescription: String { name }
}

private let cases: [Case] = [
  Case(name: "plain", fix: fix { _ in }, verdict: .accepted),
  Case(name: "no time", fix: fix { $0.present = .position }, verdict: .noTime),
  Case(name: "before GPS time", fix: fix { $0.fixTimeMs = Normaliser.gpsEpochMs - 1 }, verdict: .ancient),
  Case(name: "first moment of GPS time", fix: fix { $0.fixTimeMs = Normaliser.gpsEpochMs }, verdict: .accepted),
  Case(name: "two minutes ahead", fix: fix { $0.fixTimeMs = now + 120_000 }, verdict: .accepted),
  Case(name: "more than two minutes ahead", fix: fix { $0.fixTimeMs = now + 120_001 }, verdict: .future),
  Case(name: "time at the end of Int64", fix: fix { $0.fixTimeMs = .max }, verdict: .future),
  Case(name: "time at the start of Int64", fix: fix { $0.fixTimeMs = .min }, verdict: .ancient),
  Case(name: "north pole", fix: fix { $0.latitudeE7 = 900_000_000 }, verdict: .accepted),
  Case(name: "beyond the pole", fix: fix { $0.latitudeE7 = 900_000_001 }, verdict: .latitudeOutOfRange),
  Case(name: "beyond the south pole", fix: fix { $0.latitudeE7 = .min }, verdict: .latitudeOutOfRange),
  Case(
    name: "180 degrees east is 180 west", fix: fix { $0.longitudeE7 = 1_800_000_000 }, verdict: .longitudeWrapped,
    originals: [Original(field: 4, value: 1_800_000_000)]),
  Case(
    name: "past the date line", fix: fix { $0.longitudeE7 = -1_800_000_001 }, verdict: .longitudeWrapped,
    originals: [Original(field: 4, value: -1_800_000_001)]),
  Case(
    name: "null island",
    fix: fix {
      $0.latitudeE7 = 0
      $0.longitudeE7 = 0
    }, verdict: .nullIsland),
  Case(name: "on the equator", fix: fix { $0.latitudeE7 = 0 }, verdict: .accepted),
  Case(name: "no position", fix: fix { $0.present = .time }, verdict: .noPosition),
  Case(
    name: "event without position",
    fix: fix {
      $0.present = .time
      $0[.event] = 1
    }, verdict: .accepted),
  Case(
    name: "heartbeat without position",
    fix: fix {
      $0.present = .time
      $0[.trigger] = 4
    }, verdict: .accepted),
  Case(
    name: "course past north", fix: fix { $0[.courseCdeg] = 36_010 }, verdict: .courseWrapped,
    originals: [Original(field: 7, value: 36_010)]),
  Case(
    name: "course before north", fix: fix { $0[.courseCdeg] = -10 }, verdict: .courseWrapped,
    originals: [Original(field: 7, value: -10)]),
  Case(
    name: "accuracy 0 is unknown", fix: fix { $0[.horizontalAccuracyDm] = 0 }, verdict: .valueDropped,
    originals: [Original(field: 5, value: 0)]),
  Case(
    name: "speed -1 is unknown", fix: fix { $0[.speedCmPerS] = -1 }, verdict: .valueDropped,
    originals: [Original(field: 6, value: -1)]),
  Case(name: "speed 0 is a speed", fix: fix { $0[.speedCmPerS] = 0 }, verdict: .accepted),
  Case(
    name: "battery of 255 %", fix: fix { $0[.batteryPercent] = 255 }, verdict: .valueDropped,
    originals: [Original(field: 8, value: 255)]),
  Case(
    name: "the worst finding is the verdict",
    fix: fix {
      $0[.batteryPercent] = 255
      $0.fixTimeMs = now + 3_600_000
    }, verdict: .future, originals: [Original(field: 8, value: 255)]),
]

@Suite struct NormaliserTests {
  @Test(arguments: cases)
  fileprivate func judges(_ row: Case) {
    var record = Record()
    record.fix = row.fix
    Normaliser(futureToleranceMs: 120_000).normalise(&record, at: now)
    #expect(record.code == row.verdict.rawValue)
    #expect(record.kind == (row.verdict.outcome == .held ? .held : .fix))
    #expect((0..<record.originalCount).map { record.originals[$0] } == row.originals)
    if row.verdict == .longitudeWrapped {
      #expect((-1_800_000_000..<1_800_000_000).contains(record.fix.longitudeE7))
    }
    if let course = record.fix[.courseCdeg] { #expect((0..<36_000).contains(course)) }
    if row.verdict == .valueDropped { #expect(record.fix.present == [.time, .position]) }
  }

  /// Every column out of its range at once fits the record's room for originals.
  @Test func keepsEveryOriginal() {
    var record = Record()
    record.fix = fix {
      for column in Column.allCases { $0[column] = .min }
      $0.longitudeE7 = .min
    }
    Normaliser(futureToleranceMs: 0).normalise(&record, at: now)
    #expect(record.originalCount == 13)
  }
}
