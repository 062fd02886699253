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
  var rules = NormalisingRules()
  var clock = DeviceClock()
  /// What the time becomes; `nil` = it stays.
  var movedMs: Int64?
  var at = now
  var testDescription: String { name }
}

private func rules(_ change: (inout NormalisingRules) -> Void) -> NormalisingRules {
  var rules = NormalisingRules()
  change(&rules)
  return rules
}

private let day: Int64 = 86_400_000
private let era: Int64 = 1_024 * 7 * day
private let uptime: UInt64 = 9_000_000

/// A fix timed by a device clock that said `sendTimeMs` at `uptime`, recorded `ageMs` earlier.
private func recorded(_ ageMs: Int64, before sendTimeMs: Int64) -> Fix {
  fix {
    $0.fixTimeMs = sendTimeMs - ageMs
    $0.monotonicMs = uptime - UInt64(ageMs)
    $0.present.insert(.monotonic)
  }
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
  // Android says 0 of what it does not know (hasSpeedAccuracy() is false); an HDOP of 0 does not exist.
  Case(
    name: "speed accuracy 0 is unknown", fix: fix { $0[.speedAccuracyCmPerS] = 0 }, verdict: .valueDropped,
    originals: [Original(field: 12, value: 0)]),
  Case(
    name: "HDOP 0 is unknown", fix: fix { $0[.hdopTenths] = 0 }, verdict: .valueDropped,
    originals: [Original(field: 15, value: 0)]),
  // Teltonika through Traccar: satellites = 0 with the last coordinates again (field.md section 5, rule 29).
  Case(name: "no satellites", fix: fix { $0[.satellitesUsed] = 0 }, verdict: .receiverInvalid),
  Case(
    name: "no satellites, fused by a phone",
    fix: fix {
      $0[.satellitesUsed] = 0
      $0[.source] = 3
    }, verdict: .accepted),
  Case(name: "fix mode none", fix: fix { $0[.fixMode] = 0 }, verdict: .receiverInvalid),
  Case(
    name: "flag valid is known and clear",
    fix: fix {
      $0[.flagsKnown] = 1
      $0[.flags] = 0
    }, verdict: .receiverInvalid),
  Case(
    name: "flag valid is not known",
    fix: fix {
      $0[.flagsKnown] = 2
      $0[.flags] = 0
    }, verdict: .accepted),
  Case(name: "from cells", fix: fix { $0[.source] = 2 }, verdict: .approximate),
  Case(
    name: "flag approximate",
    fix: fix {
      $0[.flagsKnown] = 2
      $0[.flags] = 2
    }, verdict: .approximate),
  Case(name: "mock location", fix: fix { $0[.source] = 8 }, verdict: .simulated),
  Case(name: "from cells, held", fix: fix { $0[.source] = 2 }, verdict: .heldApproximate, rules: rules { $0.approximate = .hold }),
  Case(name: "from cells, rule off", fix: fix { $0[.source] = 2 }, verdict: .accepted, rules: rules { $0.approximate = .off }),
  Case(
    name: "null island, held",
    fix: fix {
      $0.latitudeE7 = 0
      $0.longitudeE7 = 0
    }, verdict: .heldNullIsland, rules: rules { $0.nullIsland = .hold }),

  // Week rollover: traccar #5029 (fixes of 2023 stamped 2003, exactly 1024 weeks off), NeoGPS #171 (u-blox of 2027).
  Case(
    name: "1024 weeks old, the device's clock is right", fix: fix { $0.fixTimeMs = now - 60_000 - era },
    verdict: .weekRollover, originals: [Original(field: 2, value: now - 60_000 - era)],
    clock: DeviceClock(sendTimeMs: now - 500), movedMs: now - 60_000),
  Case(
    name: "1024 weeks old, the hello's clock is right", fix: fix { $0.fixTimeMs = now - 60_000 - era },
    verdict: .weekRollover, originals: [Original(field: 2, value: now - 60_000 - era)],
    clock: DeviceClock(helloErrorMs: 1_000), movedMs: now - 60_000),
  Case(
    name: "1024 weeks old, and so is the device's clock", fix: fix { $0.fixTimeMs = now - 60_000 - era },
    verdict: .weekRollover, originals: [Original(field: 2, value: now - 60_000 - era)],
    clock: DeviceClock(sendTimeMs: now - 500 - era), movedMs: now - 60_000),
  Case(
    name: "2048 weeks old, and so is the device's clock", fix: fix { $0.fixTimeMs = now - 60_000 - 2 * era },
    verdict: .weekRollover, originals: [Original(field: 2, value: now - 60_000 - 2 * era)],
    clock: DeviceClock(sendTimeMs: now - 2 * era), movedMs: now - 60_000),
  Case(
    name: "backlog of two months, 1024 weeks old", fix: fix { $0.fixTimeMs = now - 60 * day - era },
    verdict: .weekRollover, originals: [Original(field: 2, value: now - 60 * day - era)],
    clock: DeviceClock(sendTimeMs: now), movedMs: now - 60 * day),
  Case(
    name: "1024 weeks old, nothing proves it", fix: fix { $0.fixTimeMs = now - 60_000 - era },
    verdict: .rolloverSuspected),
  Case(
    name: "1024 weeks old, the device's clock is off by something else",
    fix: fix { $0.fixTimeMs = now - 60_000 - era }, verdict: .rolloverSuspected,
    clock: DeviceClock(sendTimeMs: now - era / 2)),
  Case(
    name: "1024 weeks old, the clock is older than the fix would be", fix: fix { $0.fixTimeMs = now - 60_000 - era },
    verdict: .rolloverSuspected, clock: DeviceClock(sendTimeMs: now - 30 * day)),
  Case(
    name: "1024 weeks old, by the fleet's profile", fix: fix { $0.fixTimeMs = now - 60_000 - era },
    verdict: .weekRollover, originals: [Original(field: 2, value: now - 60_000 - era)],
    rules: rules { $0.weekRollover = .always }, movedMs: now - 60_000),
  Case(
    name: "1024 weeks old, rule off", fix: fix { $0.fixTimeMs = now - 60_000 - era }, verdict: .accepted,
    rules: rules { $0.weekRollover = .off }, clock: DeviceClock(sendTimeMs: now)),
  Case(
    name: "an old fix is an old fix", fix: fix { $0.fixTimeMs = now - 200 * day - era }, verdict: .accepted,
    clock: DeviceClock(sendTimeMs: now)),
  Case(
    name: "ten years old is no rollover", fix: fix { $0.fixTimeMs = now - 3_650 * day }, verdict: .accepted,
    clock: DeviceClock(sendTimeMs: now)),
  Case(
    name: "a send time that is none", fix: fix { $0.fixTimeMs = now - 60_000 - era }, verdict: .rolloverSuspected,
    clock: DeviceClock(sendTimeMs: .min)),
  // The first roll of a receiver in the field's reports: 2027-01-03 read as 2007-05-20.
  Case(
    name: "a receiver of 2027", fix: fix { $0.fixTimeMs = 1_798_934_400_000 - era }, verdict: .weekRollover,
    originals: [Original(field: 2, value: 1_798_934_400_000 - era)], clock: DeviceClock(sendTimeMs: 1_798_934_401_000),
    movedMs: 1_798_934_400_000, at: 1_798_934_402_000),

  // Clock repair: vitalidze/traccar-web #1065, traccar #3067 (a device in the future, cleaned up by hand in SQL).
  Case(
    name: "the device's clock is a year ahead", fix: recorded(60_000, before: now + 365 * day), verdict: .clockRepaired,
    originals: [Original(field: 2, value: now + 365 * day - 60_000)],
    clock: DeviceClock(sendTimeMs: now + 365 * day, sendMonotonicMs: uptime), movedMs: now - 60_000),
  Case(
    name: "the device's clock began at 2000 with its start", fix: recorded(3_600_000, before: 946_684_800_000 + 9_000_000),
    verdict: .clockRepaired, originals: [Original(field: 2, value: 946_684_800_000 + 5_400_000)],
    clock: DeviceClock(
      sendTimeMs: 946_684_800_000 + 9_000_000, sendMonotonicMs: uptime,
      helloErrorMs: now - 946_684_800_000 - 9_000_000), movedMs: now - 3_600_000),
  Case(
    name: "behind, and the hello tells another error: a frame that took long",
    fix: recorded(60_000, before: now - 8 * 3_600_000), verdict: .accepted,
    clock: DeviceClock(sendTimeMs: now - 8 * 3_600_000, sendMonotonicMs: uptime, helloErrorMs: 0)),
  Case(
    name: "behind, and no hello to tell", fix: recorded(60_000, before: now - 8 * 3_600_000), verdict: .accepted,
    clock: DeviceClock(sendTimeMs: now - 8 * 3_600_000, sendMonotonicMs: uptime)),
  Case(
    name: "ahead, but the fix's time is GNSS's", fix: recorded(60_000, before: now), verdict: .accepted,
    clock: DeviceClock(sendTimeMs: now + 365 * day, sendMonotonicMs: uptime)),
  Case(
    name: "ahead, from before a restart",
    fix: {
      var fix = recorded(60_000, before: now + day)
      fix.monotonicMs = UInt64(uptime) + 1
      return fix
    }(), verdict: .future, clock: DeviceClock(sendTimeMs: now + day, sendMonotonicMs: uptime)),
  Case(
    name: "ahead by less than the tolerance", fix: recorded(60_000, before: now + 100_000), verdict: .accepted,
    clock: DeviceClock(sendTimeMs: now + 100_000, sendMonotonicMs: uptime)),
  Case(
    name: "ahead, nothing proves it", fix: recorded(60_000, before: now + day), verdict: .future,
    clock: DeviceClock(sendTimeMs: now + day)),
  Case(
    name: "ahead, rule off", fix: recorded(60_000, before: now + day), verdict: .future,
    rules: rules { $0.clockRepair = false }, clock: DeviceClock(sendTimeMs: now + day, sendMonotonicMs: uptime)),
  Case(
    name: "times at the ends of their types",
    fix: fix {
      $0.fixTimeMs = .max
      $0.monotonicMs = .max
      $0.present.insert(.monotonic)
    }, verdict: .future, clock: DeviceClock(sendTimeMs: .max, sendMonotonicMs: .max, helloErrorMs: .min)),

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
    Normaliser(row.rules).normalise(&record, at: row.at, clock: row.clock)
    #expect(record.fix.fixTimeMs == row.movedMs ?? row.fix.fixTimeMs)
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
    Normaliser(NormalisingRules()).normalise(&record, at: now)
    #expect(record.originalCount == 13)
  }
}
