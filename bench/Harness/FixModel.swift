import Foundation
package import GateCore

/// What a phone would have said beside time and position: see README.md, "Wire model".
package enum FixModel {
  /// - Parameter full: also altitude, satellites and hdop.
  package static func fixes(_ track: Track, firstSequence: UInt64 = 1, full: Bool = false, seed: UInt64 = 1) -> [Fix] {
    var random = SplitMix(seed: seed)
    var fixes: [Fix] = []
    var (accuracy, course, altitude, satellites) = (50, 0, 400, 14)
    for (i, point) in track.points.enumerated() {
      var fix = Fix()
      fix.sequence = firstSequence + UInt64(i)
      fix.fixTimeMs = point.seconds * 1_000
      fix.latitudeE7 = Int32((point.latitude * 1e7).rounded())
      fix.longitudeE7 = Int32((point.longitude * 1e7).rounded())
      fix.present = [.time, .position]
      var speed = 0.0
      if i > 0 {
        let before = track.points[i - 1]
        let north = (point.latitude - before.latitude) * 111_320
        let east = (point.longitude - before.longitude) * 111_320 * cos(point.latitude * .pi / 180)
        let metres = (north * north + east * east).squareRoot()
        let seconds = Double(point.seconds - before.seconds)
        if seconds > 0 { speed = min(metres / seconds, 340) }
        if metres >= 1 { course = (Int((atan2(east, north) * 18_000 / .pi).rounded()) + 36_000) % 36_000 }
      }
      if random.next() & 1 == 0 { accuracy = min(120, max(30, accuracy + Int(random.next() % 9) - 4)) }
      fix[.horizontalAccuracyDm] = Int32(accuracy)
      fix[.speedCmPerS] = Int32((speed * 100).rounded())
      fix[.courseCdeg] = Int32(course)
      let used = (point.seconds - track.points[0].seconds) / 360
      fix[.batteryPercent] = Int32(100 - min(95, max(0, used)))
      if full {
        if random.next() & 3 == 0 { altitude += Int(random.next() % 7) - 3 }
        if random.next() & 15 == 0 { satellites = min(24, max(5, satellites + Int(random.next() % 3) - 1)) }
        fix[.altitudeEllipsoidDm] = Int32(altitude)
        fix[.satellitesUsed] = Int32(satellites)
        fix[.hdopTenths] = Int32(25 - satellites)
      }
      fixes.append(fix)
    }
    return fixes
  }
}
