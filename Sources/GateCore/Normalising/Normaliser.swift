/// The stateless rules: what one fix says about itself. Runs in the worker, on every fix.
///
/// Of several findings the one with the highest code is the verdict; each value that is changed is kept beside the new one.
/// The rules are versioned so that a stored verdict can be read later: this is version 2.
package struct Normaliser: Sendable {
  package static let version = 2

  package let rules: NormalisingRules
  private let clockRepair: ClockRepair
  private let futureToleranceMs: Int64
  private let nullIsland, approximate, simulated, receiverInvalid: Verdict?

  package init(_ rules: NormalisingRules) {
    self.rules = rules
    clockRepair = ClockRepair(rules)
    futureToleranceMs = Int64(rules.futureToleranceS) * 1_000
    nullIsland = rules.nullIsland.verdict(.nullIsland)
    approximate = rules.approximate.verdict(.approximate)
    simulated = rules.simulated.verdict(.simulated)
    receiverInvalid = rules.receiverInvalid.verdict(.receiverInvalid)
  }

  /// 1980-01-06, when GPS time begins, in ms since 1970-01-01 UTC.
  package static let gpsEpochMs: Int64 = 315_964_800_000

  /// Checks and corrects the fix of `record`, sets its kind and code, and keeps the originals.
  /// - Parameter wallMs: the gateway's clock, ms since 1970-01-01 UTC.
  /// - Parameter clock: what the frame says about the device's clock.
  package func normalise(_ record: inout Record, at wallMs: Int64, clock: DeviceClock = DeviceClock()) {
    var verdict = Verdict.accepted
    let present = record.fix.present
    if !present.contains(.time) {
      found(.noTime, &verdict)
    } else {
      let monotonicMs = present.contains(.monotonic) ? record.fix.monotonicMs : nil
      switch clockRepair.examine(record.fix.fixTimeMs, monotonicMs: monotonicMs, at: wallMs, clock: clock) {
      case .keep: break
      case .suspect(let finding): found(finding, &verdict)
      case .move(let fixTimeMs, let finding):
        record.keepOriginal(field: 2, value: record.fix.fixTimeMs)
        record.fix.fixTimeMs = fixTimeMs
        found(finding, &verdict)
      }
      if record.fix.fixTimeMs < Normaliser.gpsEpochMs {
        found(.ancient, &verdict)
      } else if record.fix.fixTimeMs > wallMs &+ futureToleranceMs {
        found(.future, &verdict)
      }
    }

    if present.contains(.position) {
      let latitude = record.fix.latitudeE7
      if latitude < -900_000_000 || latitude > 900_000_000 { found(.latitudeOutOfRange, &verdict) }
      let longitude = Int64(record.fix.longitudeE7)
      if longitude < -1_800_000_000 || longitude >= 1_800_000_000 {
        record.keepOriginal(field: 4, value: longitude)
        record.fix.longitudeE7 = Int32(longitude < 0 ? longitude + 3_600_000_000 : longitude - 3_600_000_000)
        found(.longitudeWrapped, &verdict)
      }
      if latitude == 0, longitude == 0, let nullIsland { found(nullIsland, &verdict) }
    } else if !Normaliser.mayLackPosition(record.fix) {
      found(.noPosition, &verdict)
    }
    // Most fixes say nothing of what this looks at.
    if !present.isDisjoint(with: Normaliser.receiverFields) { examineReceiver(record.fix, &verdict) }
    var columns = present.intersection(.columns).rawValue
    while columns != 0 {
      let index = columns.trailingZeroBitCount
      columns &= columns &- 1
      let value = record.fix.values[index]
      if value < Normaliser.bounds.lowest[index] || value > Normaliser.bounds.highest[index] {
        correct(&record, index, value, &verdict)
      }
    }

    record.code = verdict.rawValue
    switch verdict.outcome {
    case .stored: record.kind = .fix
    case .held: record.kind = .held
    case .refused: record.kind = .refused
    }
  }

  private func found(_ finding: Verdict, _ verdict: inout Verdict) {
    if finding.rawValue > verdict.rawValue { verdict = finding }
  }

  private static let receiverFields: FixFields = [
    FixFields(.flagsKnown), FixFields(.fixMode), FixFields(.satellitesUsed), FixFields(.source),
  ]

  private func examineReceiver(_ fix: Fix, _ verdict: inout Verdict) {
    if fix.present.contains(.position) {
      if let receiverInvalid, Normaliser.hasNoFix(fix) { found(receiverInvalid, &verdict) }
      if let approximate, Normaliser.isApproximate(fix) { found(approximate, &verdict) }
    }
    if let simulated, fix[.source] == 8 || fix.flag(2) == true { found(simulated, &verdict) }
  }

  /// A value out of its range: a course is wrapped, any other counts as unknown.
  @inline(never)
  private func correct(_ record: inout Record, _ index: Int, _ value: Int32, _ verdict: inout Verdict) {
    record.keepOriginal(field: UInt32(Column.first + index), value: Int64(value))
    if index == Column.courseCdeg.index {
      let rest = value % 36_000
      record.fix.values[index] = rest < 0 ? rest + 36_000 : rest
      found(.courseWrapped, &verdict)
    } else {
      record.fix.values[index] = 0
      record.fix.present.remove(FixFields(rawValue: 1 &<< UInt32(index)))
      found(.valueDropped, &verdict)
    }
  }

  /// An event, a heartbeat, or a fix whose receiver says that it had none, is worth storing without a position.
  private static func mayLackPosition(_ fix: Fix) -> Bool {
    if let event = fix[.event], event != 0 { return true }
    return fix[.trigger] == 4 || fix[.fixMode] == 0
  }

  /// The receiver says that it has no position, beside a position: much firmware repeats the last one then. No satellites
  /// mean that only of a satellite receiver; phones say 0 of positions that come from elsewhere.
  private static func hasNoFix(_ fix: Fix) -> Bool {
    if fix.flag(0) == false || fix[.fixMode] == 0 { return true }
    guard fix[.satellitesUsed] == 0 else { return false }
    switch fix[.source] {
    case nil, 0, 1, 9, 10: return true
    default: return false
    }
  }

  private static func isApproximate(_ fix: Fix) -> Bool { fix[.source] == 2 || fix.flag(1) == true }

  private struct Rule {
    let column: Column
    let lowest: Int32
    let highest: Int32
  }

  /// Both ends of each column's range, by `Column.index`; a column without a rule has the widest.
  private struct Bounds {
    var lowest = InlineArray<24, Int32>(repeating: .min)
    var highest = InlineArray<24, Int32>(repeating: .max)
  }

  private static let bounds: Bounds = {
    var bounds = Bounds()
    for i in ranges.indices {
      bounds.lowest[ranges[i].column.index] = ranges[i].lowest
      bounds.highest[ranges[i].column.index] = ranges[i].highest
    }
    return bounds
  }()

  /// Ranges outside which an optional value is taken as unknown, but for the course. Phones say -1 for unknown, which as an
  /// unsigned value has its top bit set and so reads as negative here; an accuracy of exactly 0 means unknown too, and no
  /// receiver has an HDOP of 0.
  private static let ranges: InlineArray<12, Rule> = [
    Rule(column: .courseCdeg, lowest: 0, highest: 35_999),
    Rule(column: .horizontalAccuracyDm, lowest: 1, highest: .max),
    Rule(column: .speedCmPerS, lowest: 0, highest: 150_000),  // 1,500 m/s
    Rule(column: .batteryPercent, lowest: 0, highest: 100),
    Rule(column: .altitudeEllipsoidDm, lowest: -5_000, highest: 200_000),  // -500 m to 20 km
    Rule(column: .altitudeMslDm, lowest: -5_000, highest: 200_000),
    Rule(column: .verticalAccuracyDm, lowest: 1, highest: .max),
    Rule(column: .speedAccuracyCmPerS, lowest: 1, highest: .max),
    Rule(column: .courseAccuracyCdeg, lowest: 1, highest: 36_000),
    Rule(column: .satellitesUsed, lowest: 0, highest: 255),
    Rule(column: .hdopTenths, lowest: 1, highest: .max),
    Rule(column: .externalPowerMv, lowest: 0, highest: 1_000_000),
  ]
}

extension Fix {
  /// State of one bit of `Flag`; `nil` = unknown.
  package func flag(_ bit: Int32) -> Bool? {
    guard let known = self[.flagsKnown], known >> bit & 1 == 1 else { return nil }
    return (self[.flags] ?? 0) >> bit & 1 == 1
  }
}

extension Record {
  fileprivate mutating func keepOriginal(field: UInt32, value: Int64) {
    originals[originalCount] = Original(field: field, value: value)
    originalCount += 1
  }
}
