import GateCore
import Testing

private let now: Int64 = 1_790_000_000_000

@Suite struct RecheckTests {
  private func held(_ rules: NormalisingRules, _ change: (inout Fix) -> Void) -> Record {
    var record = Record()
    record.receiveTimeMs = now
    record.fix.sequence = 1
    record.fix.fixTimeMs = now - 1_000
    record.fix.latitudeE7 = 432_220_000
    record.fix.longitudeE7 = 768_512_000
    record.fix.present = [.time, .position]
    change(&record.fix)
    Normaliser(rules).normalise(&record, at: now, clock: DeviceClock(sendTimeMs: now))
    #expect(record.kind == .held)
    return record
  }

  private var strict: NormalisingRules {
    var rules = NormalisingRules()
    rules.approximate = .hold
    return rules
  }

  @Test func correctionsAreMadeFromWhatWasSent() {
    var record = held(strict) {
      $0[.source] = 2
      $0.longitudeE7 = 1_800_000_005
      $0[.batteryPercent] = 255
    }
    Normaliser(NormalisingRules()).recheck(&record)
    #expect(record.kind == .fix && record.code == Verdict.approximate.rawValue)
    #expect(record.fix.longitudeE7 == -1_799_999_995 && record.fix[.batteryPercent] == nil)
    #expect((0..<record.originalCount).map { record.originals[$0].field } == [4, 8])
  }

  @Test func aTimeThatWasMovedStaysMoved() {
    var record = held(strict) {
      $0[.source] = 2
      $0.fixTimeMs = now - 1_000 - 1_024 * 7 * 86_400_000
    }
    var rules = NormalisingRules()
    rules.approximate = .off
    Normaliser(rules).recheck(&record)
    #expect(record.kind == .fix && record.code == Verdict.weekRollover.rawValue && record.fix.fixTimeMs == now - 1_000)
    #expect(record.originalCount == 1 && record.originals[0].value == now - 1_000 - 1_024 * 7 * 86_400_000)
  }

  @Test(arguments: [(RuleAction.off, Verdict.accepted), (.flag, .teleport), (.hold, .heldTeleport)])
  func theJudgesFindingsGoByTheirRule(action: RuleAction, verdict: Verdict) {
    var record = Record()
    record.receiveTimeMs = now
    record.fix.fixTimeMs = now
    record.fix.latitudeE7 = 1
    record.fix.present = [.time, .position]
    record.kind = .held
    record.code = Verdict.heldTeleport.rawValue
    var rules = NormalisingRules()
    rules.teleport = action
    Normaliser(rules).recheck(&record)
    #expect(record.code == verdict.rawValue && record.kind == (action == .hold ? .held : .fix))
  }
}
