/// Times that are wrong in a way that can be proven: 1024 weeks too old, or on a device clock that is off.
///
/// Nothing is guessed. A time is moved only where two clocks of the device, or the device's clock and the gateway's, leave no
/// other reading; what only looks wrong is flagged, and what lies in the future is held.
struct ClockRepair: Sendable {
  enum Finding: Equatable, Sendable {
    case keep
    case suspect(Verdict)
    case move(to: Int64, Verdict)
  }

  private let weekRollover: WeekRollover
  private let rolloverAgeMs: Int64
  private let futureToleranceMs: Int64
  private let repairs: Bool
  private let toleranceMs: Int64

  /// 1024 weeks.
  static let eraMs: Int64 = 1_024 * 7 * 86_400_000
  /// How exactly a clock that lies in another era must meet the gateway's once it is moved.
  private static let eraToleranceMs: Int64 = 86_400_000
  /// Two clocks that count the same time agree within this: readings are taken one after the other, and crystals drift.
  private static let sameClockMs: Int64 = 2_000

  init(_ rules: NormalisingRules) {
    weekRollover = rules.weekRollover
    rolloverAgeMs = Int64(rules.weekRolloverDays) * 86_400_000
    futureToleranceMs = Int64(rules.futureToleranceS) * 1_000
    repairs = rules.clockRepair
    toleranceMs = Int64(rules.clockToleranceS) * 1_000
  }

  /// - Parameters: `fixTimeMs` and `monotonicMs` of one fix.
  func examine(_ fixTimeMs: Int64, monotonicMs: UInt64?, at wallMs: Int64, clock: DeviceClock) -> Finding {
    let rolled = rollover(fixTimeMs, at: wallMs, clock: clock)
    if case .move = rolled { return rolled }
    if repairs, let monotonicMs, let errorMs = errorOfFix(fixTimeMs, monotonicMs, at: wallMs, clock: clock) {
      return .move(to: fixTimeMs &+ errorMs, .clockRepaired)
    }
    return rolled
  }

  // MARK: - Week rollover

  private func rollover(_ fixTimeMs: Int64, at wallMs: Int64, clock: DeviceClock) -> Finding {
    guard weekRollover != .off, fixTimeMs >= Normaliser.gpsEpochMs,
      fixTimeMs <= wallMs + futureToleranceMs - ClockRepair.eraMs
    else { return .keep }
    let eras = (wallMs + futureToleranceMs - fixTimeMs) / ClockRepair.eraMs
    let movedMs = fixTimeMs + eras * ClockRepair.eraMs
    guard wallMs - movedMs <= rolloverAgeMs else { return .keep }
    if weekRollover == .always || proves(eras, movedMs, at: wallMs, clock: clock) {
      return .move(to: movedMs, .weekRollover)
    }
    return .suspect(.rolloverSuspected)
  }

  /// Either the device's clock lies in our era, so that the device was sending 19 years after its own fix and yet had it in
  /// its memory of at most `rolloverAgeMs`; or the clock, set by the same receiver, is itself off by just as many eras.
  private func proves(_ eras: Int64, _ movedMs: Int64, at wallMs: Int64, clock: DeviceClock) -> Bool {
    let sendTimeMs: Int64
    if let known = clock.sendTimeMs {
      sendTimeMs = known
    } else if let errorMs = clock.helloErrorMs {
      sendTimeMs = wallMs &- errorMs
    } else {
      return false
    }
    let slackMs = futureToleranceMs
    if sendTimeMs <= wallMs &+ toleranceMs, wallMs &- sendTimeMs <= rolloverAgeMs {
      return movedMs <= sendTimeMs &+ slackMs
    }
    let sentMs = sendTimeMs &+ eras * ClockRepair.eraMs
    let offMs = wallMs &- sentMs
    return offMs.magnitude <= ClockRepair.eraToleranceMs.magnitude && movedMs <= sentMs &+ slackMs
  }

  // MARK: - A clock that is off

  /// How far the clock is off that this fix's time came from, if that can be proven.
  ///
  /// The device says its clock and its monotonic time at sending, and the fix both at recording. Where the two pairs differ
  /// by the same, no restart and no setting of the clock lies between them, and the fix's time is that clock's and not
  /// GNSS's. A clock that is ahead is then proven by the frame's arrival alone. One that is behind might be a frame that took
  /// long, so the session's hello must tell the same error.
  private func errorOfFix(
    _ fixTimeMs: Int64, _ monotonicMs: UInt64, at wallMs: Int64, clock: DeviceClock
  ) -> Int64? {
    guard let sendTimeMs = clock.sendTimeMs, let sendMonotonicMs = clock.sendMonotonicMs,
      let recordedMs = Int64(exactly: monotonicMs), recordedMs <= sendMonotonicMs
    else { return nil }
    let ageMs = sendMonotonicMs - recordedMs
    let (clockAgeMs, overflow) = sendTimeMs.subtractingReportingOverflow(fixTimeMs)
    guard !overflow, clockAgeMs >= -ClockRepair.sameClockMs,
      (clockAgeMs - ageMs).magnitude <= ClockRepair.sameClockMs.magnitude
    else { return nil }
    let errorMs = wallMs &- sendTimeMs
    if errorMs < -toleranceMs { return errorMs }
    guard errorMs > toleranceMs, let helloErrorMs = clock.helloErrorMs,
      (errorMs &- helloErrorMs).magnitude <= toleranceMs.magnitude
    else { return nil }
    // Of two measurements of one error the smaller has the shorter delay in it.
    return min(errorMs, helloErrorMs)
  }
}
