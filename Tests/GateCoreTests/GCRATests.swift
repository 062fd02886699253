import GateCore
import Testing

/// The definition, in whole numbers: a charge of n at t is granted if n intervals, laid behind what was granted before or
/// from t on, end no later than t + burst.
private struct Exact {
  let intervalNs: UInt64
  let burst: UInt64
  var busyUntil: UInt64 = 0

  mutating func charge(_ units: UInt64, at now: UInt64) -> Bool {
    let end = max(busyUntil, now) + units * intervalNs
    if end > now + burst * intervalNs { return false }
    busyUntil = end
    return true
  }
}

@Suite struct GCRATests {
  @Test(arguments: [UInt64(1), 2, 3, 4, 5])
  func agreesWithExactArithmetic(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let perSecond = UInt64.random(in: 1...5_000, using: &random)
    let burst = UInt64.random(in: 1...200, using: &random)
    let limiter = GCRA(perSecond: perSecond, burst: burst)
    var exact = Exact(intervalNs: 1_000_000_000 / perSecond, burst: burst)
    var word: UInt64 = 0
    var now: UInt64 = 1_000_000_000
    for _ in 0..<20_000 {
      now += UInt64.random(in: 0...(3 * limiter.intervalNs), using: &random)
      let units = UInt64.random(in: 1...(burst + 3), using: &random)
      let expected = exact.charge(units, at: now)
      switch limiter.charge(word, units: units, at: Instant(ns: now)) {
      case .granted(let next):
        #expect(expected)
        word = next
      case .limited(let retry):
        #expect(!expected)
        #expect((retry == nil) == (units > burst))
        if let retry {
          // Exactly then it fits, and not a nanosecond earlier.
          #expect(limiter.charge(word, units: units, at: Instant(ns: now + retry)) != .limited(retryAfterNs: nil))
          if case .limited = limiter.charge(word, units: units, at: Instant(ns: now + retry)) {
            Issue.record("retry-after was too short")
          }
          if retry > 0, case .granted = limiter.charge(word, units: units, at: Instant(ns: now + retry - 1)) {
            Issue.record("retry-after was too long")
          }
        }
      }
    }
    #expect(word == exact.busyUntil)
  }

  @Test func aChargeThatOverflowsIsNeverGranted() {
    let limiter = GCRA(perSecond: 1, burst: 1)
    #expect(limiter.charge(0, units: .max, at: Instant(ns: 5)) == .limited(retryAfterNs: nil))
  }
}
