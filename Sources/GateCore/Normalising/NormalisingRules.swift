/// Whether times that are a multiple of 1024 weeks too old are moved: GPS counts weeks in 10 bits, and a receiver's firmware
/// knows which 1024 weeks it lives in only until a date of its own (some of 2027; all of them again in November 2038).
package enum WeekRollover: String, CaseIterable, Sendable {
  case off
  /// Only where the device's own clock proves it; the others are flagged.
  case proven
  /// The profile of a fleet whose receivers are known to be off: whenever it makes a recent time.
  case always
}

/// How fast the fastest thing goes that carries a device.
package enum SpeedClass: String, CaseIterable, Sendable {
  case walker, cycle, car, plane

  /// Metres per second. Generous: it tells jumps from journeys, not speeding from driving.
  package var limitMPerS: Double {
    switch self {
    case .walker: 12
    case .cycle: 25
    case .car: 90
    case .plane: 340
    }
  }
}

/// Every rule that an operator can set, with its default. `Normaliser` runs the stateless ones, `Judge` the others.
package struct NormalisingRules: Equatable, Sendable {
  /// How far ahead of the gateway's clock a fix may lie.
  package var futureToleranceS = 120
  package var weekRollover = WeekRollover.proven
  /// How old a fix may be whose time was moved. Above this it is taken for what it says: an old fix.
  package var weekRolloverDays = 90
  package var clockRepair = true
  /// A device clock that is off by less is left alone. Must exceed the time that a hello may take to arrive.
  package var clockToleranceS = 600
  package var nullIsland = RuleAction.flag
  package var approximate = RuleAction.flag
  package var simulated = RuleAction.flag
  package var receiverInvalid = RuleAction.flag
  package var frozen = RuleAction.flag
  /// Repeats of the same coordinates, while moving, before they count as frozen.
  package var frozenRepeats = 2
  package var teleport = RuleAction.flag
  package var speedClass = SpeedClass.car

  package init() {}
}

/// What a frame says about its device's clock. Each part is unknown where the device does not say it.
package struct DeviceClock: Equatable, Sendable, BitwiseCopyable {
  /// Device clock when the frame was first sent, ms since 1970-01-01 UTC, and the device's monotonic time then.
  package let sendTimeMs: Int64?
  package let sendMonotonicMs: Int64?
  /// Gateway's clock less the device's when hello came. A hello is made for its session and cannot be late by more than a
  /// handshake may take, while a frame may be sent again much later.
  package let helloErrorMs: Int64?

  /// Times beyond this many ms (142,000 years) are no times; below it, sums of a few cannot overflow.
  private static let msMax: Int64 = 1 << 52

  package init(sendTimeMs: Int64? = nil, sendMonotonicMs: UInt64? = nil, helloErrorMs: Int64? = nil) {
    self.sendTimeMs = sendTimeMs.flatMap { $0.magnitude < DeviceClock.msMax.magnitude ? $0 : nil }
    self.sendMonotonicMs = sendMonotonicMs.flatMap { $0 < UInt64(DeviceClock.msMax) ? Int64($0) : nil }
    self.helloErrorMs = helloErrorMs.flatMap { $0.magnitude < DeviceClock.msMax.magnitude ? $0 : nil }
  }

  /// - Returns: the gateway's clock less the device's; `nil` where `sendTimeMs` is no time.
  package static func errorMs(sendTimeMs: Int64, at wallMs: Int64) -> Int64? {
    sendTimeMs.magnitude < msMax.magnitude ? wallMs &- sendTimeMs : nil
  }
}
