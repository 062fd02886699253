package import GateCore

/// A made-up courier's ride, the same for the same seed: for the demo, tests and benchmarks. Streets are straight for a while,
/// then turn; speed wanders between a walk and 50 km/h; stops last a minute or so; the receiver's error drifts slowly.
package struct CourierRide: Sendable {
  /// Where it starts, 1e-7 degree.
  package static let latitudeE7: Int32 = 432_389_000
  package static let longitudeE7: Int32 = 768_897_000

  /// - Parameters:
  ///   - startMs: time of the first fix, ms since 1970-01-01 UTC.
  ///   - stepMs: time between fixes.
  package static func fixes(count: Int, seed: UInt64, startMs: Int64, stepMs: Int64 = 1_000) -> [Fix] {
    var random = SeededRandom(seed: seed)
    func uniform(_ low: Double, _ high: Double) -> Double { Double.random(in: low...high, using: &random) }
    // Metres from the start; heading as a vector of length 1.
    var north = 0.0
    var east = 0.0
    var headingNorth = 1.0
    var headingEast = 0.0
    var speed = 6.0
    var errorNorth = 0.0
    var errorEast = 0.0
    var accuracy = 5.0
    var stopLeft = 0
    let seconds = Double(stepMs) / 1_000
    let metresPerDegree = 111_195.0
    // cos(43.2389 degrees): the ride stays within a few kilometres.
    let shrink = 0.7285
    var fixes: [Fix] = []
    fixes.reserveCapacity(count)
    for i in 0..<count {
      if stopLeft > 0 {
        stopLeft -= 1
        speed = 0
      } else {
        if uniform(0, 1) < 0.004 * seconds { stopLeft = Int(uniform(20, 90) / seconds) }
        if uniform(0, 1) < 0.02 * seconds {
          (headingNorth, headingEast) = Bool.random(using: &random) ? (headingEast, -headingNorth) : (-headingEast, headingNorth)
        }
        speed = min(max(speed + uniform(-0.8, 0.8) * seconds, 1.2), 14)
      }
      north += headingNorth * speed * seconds
      east += headingEast * speed * seconds
      errorNorth = 0.97 * errorNorth + uniform(-0.25, 0.25)
      errorEast = 0.97 * errorEast + uniform(-0.25, 0.25)
      accuracy = min(max(accuracy + uniform(-0.3, 0.3), 3), 9)

      var fix = Fix()
      fix.sequence = UInt64(i + 1)
      fix.fixTimeMs = startMs + Int64(i) * stepMs
      fix.latitudeE7 = latitudeE7 + Int32(((north + errorNorth) / metresPerDegree * 1e7).rounded())
      fix.longitudeE7 = longitudeE7 + Int32(((east + errorEast) / (metresPerDegree * shrink) * 1e7).rounded())
      fix.present = [.time, .position]
      fix[.horizontalAccuracyDm] = Int32((accuracy * 10).rounded())
      fix[.speedCmPerS] = Int32((speed * 100).rounded())
      if speed > 0 { fix[.courseCdeg] = courseCdeg(north: headingNorth, east: headingEast) }
      fix[.batteryPercent] = Int32(max(95 - i / 600, 5))
      fixes.append(fix)
    }
    return fixes
  }

  /// Headings are along the grid.
  private static func courseCdeg(north: Double, east: Double) -> Int32 {
    if abs(north) > abs(east) { return north > 0 ? 0 : 18_000 }
    return east > 0 ? 9_000 : 27_000
  }
}
