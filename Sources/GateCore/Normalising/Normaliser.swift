/// The stateless rules: what one fix says about itself. Runs in the worker, on every fix.
///
/// Of several findings the one with the highest code is the verdict; each value that is changed is kept beside the new one.
/// The rules are versioned so that a stored verdict can be read later: this is version 1.
package struct Normaliser: Sendable {
  package static let version = 1

  /// How far ahead of the gateway's clock a fix may lie, in ms.
  package let futureToleranceMs: Int64

  package init(futureToleranceMs: Int64) { self.futureToleranceMs = futureToleranceMs }

  /// 1980-01-06, when GPS time begins, in ms since 1970-01-01 UTC.
  package static let gpsEpochMs: Int64 = 315_964_800_000

  /// Checks and corrects the fix of `record`, sets its kind and code, and keeps the originals.
  /// - Parameter wallMs: the gateway's clock, ms since 1970-01-01 UTC.
  package func normalise(_ record: inout Record, at wallMs: Int64) {
    var verdict = Verdict.accepted
    func found(_ finding: Verdict, _ verdict: inout Verdict) {
      if finding.rawValue > verdict.rawValue { verdict = finding }
    }

    let present = record.fix.present
    if !present.contains(.time) {
      found(.noTime, &verdict)
    } else if record.fix.fixTimeMs < Normaliser.gpsEpochMs {
      found(.ancient, &verdict)
    } else if record.fix.fixTimeMs > wallMs &+ futureToleranceMs {
      found(.future, &verdict)
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
      if latitude == 0, longitude == 0 { found(.nullIsland, &verdict) }
    } else if !Normaliser.mayLackPosition(record.fix) {
      found(.noPosition, &verdict)
    }

    if let course = record.fix[.courseCdeg], course < 0 || course >= 36_000 {
      record.keepOriginal(field: UInt32(Column.courseCdeg.rawValue), value: Int64(course))
      let rest = course % 36_000
      record.fix[.courseCdeg] = rest < 0 ? rest + 36_000 : rest
      found(.courseWrapped, &verdict)
    }
    for i in Normaliser.ranges.indices {
      let rule = Normaliser.ranges[i]
      guard let value = record.fix[rule.column], value < rule.lowest || value > rule.highest else { continue }
      record.keepOriginal(field: UInt32(rule.column.rawValue), value: Int64(value))
      record.fix[rule.column] = nil
      found(.valueDropped, &verdict)
    }

    record.code = verdict.rawValue
    switch verdict.outcome {
    case .stored: record.kind = .fix
    case .held: record.kind = .held
    case .refused: record.kind = .refused
    }
  }

  /// An event, a heartbeat, or a fix whose receiver says that it had none, is worth storing without a position.
  private static func mayLackPosition(_ fix: Fix) -> Bool {
    if let event = fix[.event], event != 0 { return true }
    return fix[.trigger] == 4 || fix[.fixMode] == 0
  }

  private struct Rule {
    let column: Column
    let lowest: Int32
    let highest: Int32
  }

  /// Ranges outside which an optional value is taken as unknown. Phones say -1 for unknown, which as an unsigned value has
  /// its top bit set and so reads as negative here; an accuracy of exactly 0 means unknown too.
  private static let ranges: InlineArray<11, Rule> = [
    Rule(column: .horizontalAccuracyDm, lowest: 1, highest: .max),
    Rule(column: .speedCmPerS, lowest: 0, highest: 150_000),  // 1,500 m/s
    Rule(column: .batteryPercent, lowest: 0, highest: 100),
    Rule(column: .altitudeEllipsoidDm, lowest: -5_000, highest: 200_000),  // -500 m to 20 km
    Rule(column: .altitudeMslDm, lowest: -5_000, highest: 200_000),
    Rule(column: .verticalAccuracyDm, lowest: 1, highest: .max),
    Rule(column: .speedAccuracyCmPerS, lowest: 0, highest: .max),
    Rule(column: .courseAccuracyCdeg, lowest: 0, highest: 36_000),
    Rule(column: .satellitesUsed, lowest: 0, highest: 255),
    Rule(column: .hdopTenths, lowest: 0, highest: .max),
    Rule(column: .externalPowerMv, lowest: 0, highest: 1_000_000),
  ]
}

extension Record {
  fileprivate mutating func keepOriginal(field: UInt32, value: Int64) {
    originals[originalCount] = Original(field: field, value: value)
    originalCount += 1
  }
}
