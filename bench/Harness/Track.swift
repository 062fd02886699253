import Foundation

/// A recorded or made-up ride: where somebody was, and when.
package struct Track {
  package struct Point {
    package var latitude: Double
    package var longitude: Double
    /// Since 1970-01-01 UTC.
    package var seconds: Int64
  }

  package var points: [Point]

  /// A courier at 1 Hz who never was: stops, streets of some length, 0 to 60 km/h, a receiver error that wanders.
  package static func courier(seed: UInt64, points count: Int) -> Track {
    var random = SplitMix(seed: seed)
    var (latitude, longitude, speed, course) = (52.5, 13.4, 0.0, 0.0)
    var (errorNorth, errorEast, standing, seconds) = (0.0, 0.0, 0, Int64(1_700_000_000))
    var points: [Point] = []
    for _ in 0..<count {
      if standing > 0 {
        standing -= 1
        speed = 0
      } else {
        speed = min(16.7, max(0, speed + random.between(-1.5, 1.6)))
        course += random.between(0, 1) < 0.02 ? (random.between(0, 1) < 0.5 ? 90 : -90) : random.between(-3, 3)
        if random.between(0, 1) < 0.005 { standing = Int(random.between(10, 180)) }
      }
      errorNorth = errorNorth * 0.98 + random.between(-0.3, 0.3)
      errorEast = errorEast * 0.98 + random.between(-0.3, 0.3)
      latitude += speed * cos(course * .pi / 180) / 111_320
      longitude += speed * sin(course * .pi / 180) / (111_320 * cos(latitude * .pi / 180))
      points.append(
        Point(latitude: latitude + errorNorth / 111_320, longitude: longitude + errorEast / 68_000, seconds: seconds))
      seconds += 1
    }
    return Track(points: points)
  }

  /// Reads `lat,lng,datetime,uid` (header first; time as `yyyy-MM-dd HH:mm:ss`, UTC), one track for each uid, in the
  /// file's order.
  /// - Parameter path: plain, or gzip-compressed when it ends in `.gz`.
  package static func read(_ path: String) throws -> [Track] {
    var data = try Data(contentsOf: URL(filePath: path))
    if path.hasSuffix(".gz") { data = try unzipped(path) }
    var tracks: [String: Track] = [:]
    var order: [String] = []
    for line in String(decoding: data, as: UTF8.self).split(separator: "\n").dropFirst() {
      let parts = line.split(separator: ",")
      guard parts.count >= 4, let latitude = Double(parts[0]), let longitude = Double(parts[1]),
        let seconds = seconds(parts[2])
      else { throw TrackError.badLine }
      let uid = String(parts[3])
      if tracks[uid] == nil { order.append(uid) }
      tracks[uid, default: Track(points: [])].points.append(
        Point(latitude: latitude, longitude: longitude, seconds: seconds))
    }
    return order.compactMap { tracks[$0] }
  }

  private static func unzipped(_ path: String) throws -> Data {
    let process = Process()
    process.executableURL = URL(filePath: "/usr/bin/env")
    process.arguments = ["gzip", "-dc", path]
    let pipe = Pipe()
    process.standardOutput = pipe
    try process.run()
    let data = pipe.fileHandleForReading.readDataToEndOfFile()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw TrackError.notGzip }
    return data
  }

  /// Days from civil, Howard Hinnant's way.
  private static func seconds(_ text: Substring) -> Int64? {
    let numbers = text.split(whereSeparator: { "-: T".contains($0) }).compactMap { Int64($0) }
    guard numbers.count == 6 else { return nil }
    let year = numbers[1] <= 2 ? numbers[0] - 1 : numbers[0]
    let era = year / 400
    let yearOfEra = year - era * 400
    let dayOfYear = (153 * (numbers[1] + (numbers[1] > 2 ? -3 : 9)) + 2) / 5 + numbers[2] - 1
    let days = era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468
    return ((days * 24 + numbers[3]) * 60 + numbers[4]) * 60 + numbers[5]
  }
}

package enum TrackError: Error {
  /// The file is not a track. Nothing is measured.
  case badLine
  /// `gzip` refuses the file. Nothing is measured.
  case notGzip
}

/// SplitMix64.
package struct SplitMix: RandomNumberGenerator {
  private var state: UInt64
  package init(seed: UInt64) { state = seed }
  package mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
  package mutating func between(_ low: Double, _ high: Double) -> Double { Double.random(in: low..<high, using: &self) }
}
