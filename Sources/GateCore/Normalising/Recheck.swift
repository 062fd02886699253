extension Normaliser {
  /// Runs the rules over a held fix again, as of its receipt: from the values that the device sent, with today's settings.
  ///
  /// What the device's clock said then is not kept, so a time that was moved stays moved. A finding of the judge stands as
  /// long as its rule does, held or flagged as the rule now says: the fixes that it was compared with are gone.
  package func recheck(_ record: inout Record) {
    let before = record.code
    var moved: Original?
    for i in 0..<record.originalCount {
      let original = record.originals[i]
      switch original.field {
      case 2: moved = original
      case 3: record.fix.latitudeE7 = Int32(truncatingIfNeeded: original.value)
      case 4: record.fix.longitudeE7 = Int32(truncatingIfNeeded: original.value)
      default:
        guard let column = UInt8(exactly: original.field).flatMap(Column.init(rawValue:)) else { continue }
        record.fix[column] = Int32(truncatingIfNeeded: original.value)
      }
    }
    record.originalCount = 0
    normalise(&record, at: record.receiveTimeMs)
    if let moved {
      let byEras = (record.fix.fixTimeMs &- moved.value) % ClockRepair.eraMs == 0
      raise(&record, to: byEras ? .weekRollover : .clockRepaired)
      record.originals[record.originalCount] = moved
      record.originalCount += 1
    }
    switch Verdict(rawValue: before) {
    case .heldFrozen: if let verdict = rules.frozen.verdict(.frozen) { raise(&record, to: verdict) }
    case .heldTeleport: if let verdict = rules.teleport.verdict(.teleport) { raise(&record, to: verdict) }
    default: break
    }
  }

  private func raise(_ record: inout Record, to verdict: Verdict) {
    guard verdict.rawValue > record.code else { return }
    record.code = verdict.rawValue
    record.kind = verdict.outcome == .held ? .held : .fix
  }
}
