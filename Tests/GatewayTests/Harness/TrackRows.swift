import Foundation
import GateCore
import GateTrack

/// What one input row must have become in the store.
struct TrackRow: Equatable {
  var sequence: Int64
  var timeMs: Int64
  var latitudeE7: Int64
  var longitudeE7: Int64
}

/// Recorded tracks as files, and what is in them, read without the code under test.
enum TrackFileText {
  /// Made-up rides of two couriers, 001 and 005, in the columns lat,lng,datetime,uid.
  static func write(to path: String, fixesEach: Int, seed: UInt64) throws {
    var text = "lat,lng,datetime,uid\n"
    for (uid, salt) in [("001", 1), ("005", 2)] as [(String, UInt64)] {
      for fix in CourierRide.fixes(count: fixesEach, seed: seed &* 10 &+ salt, startMs: 1_718_000_000_000) {
        let date = Date(timeIntervalSince1970: Double(fix.fixTimeMs / 1_000)).ISO8601Format()
        let time = date.replacingOccurrences(of: "T", with: " ").replacingOccurrences(of: "Z", with: "")
        text += "\(degrees(fix.latitudeE7)),\(degrees(fix.longitudeE7)),\(time),\(uid)\n"
      }
    }
    try Data(text.utf8).write(to: URL(fileURLWithPath: path))
  }

  /// Rows by uid, numbered from 1 as the device numbers them. A name that ends in .gz is read through gzip.
  static func read(_ path: String) throws -> [String: [TrackRow]] {
    var text = ""
    if path.hasSuffix(".gz") {
      guard let outcome = try Child("/usr/bin/env", ["gzip", "-dc", path]).wait(seconds: 60), outcome.status == 0 else {
        throw GatewayProcess.Failure(description: "gzip cannot read \(path)")
      }
      text = outcome.output
    } else {
      text = try String(contentsOfFile: path, encoding: .utf8)
    }
    var rows: [String: [TrackRow]] = [:]
    for line in text.split(whereSeparator: \.isNewline).dropFirst() {
      let fields = line.split(separator: ",")
      guard fields.count == 4, let latitude = e7(fields[0]), let longitude = e7(fields[1]), let time = ms(fields[2]) else {
        throw GatewayProcess.Failure(description: "cannot read: \(line)")
      }
      let uid = String(fields[3])
      rows[uid, default: []].append(
        TrackRow(
          sequence: Int64(rows[uid]?.count ?? 0) + 1, timeMs: time, latitudeE7: latitude, longitudeE7: longitude))
    }
    return rows
  }

  private static func degrees(_ e7: Int32) -> String {
    let digits = String(abs(Int(e7)) + 1_000_000_000_0).dropFirst()
    return (e7 < 0 ? "-" : "") + digits.prefix(3) + "." + digits.suffix(7)
  }

  /// Decimal degrees in units of 1e-7, from the digits; half is rounded up.
  private static func e7(_ text: Substring) -> Int64? {
    let isNegative = text.hasPrefix("-")
    let parts = text.drop { $0 == "-" }.split(separator: ".")
    guard let whole = parts.first.flatMap({ Int64($0) }), parts.count <= 2 else { return nil }
    let digits = (parts.count == 2 ? String(parts[1]) : "") + "00000000"
    guard let fraction = Int64(digits.prefix(7)), let next = Int64(digits.dropFirst(7).prefix(1)) else { return nil }
    let value = whole * 10_000_000 + fraction + (next >= 5 ? 1 : 0)
    return isNegative ? -value : value
  }

  /// `YYYY-MM-DD HH:MM:SS`, UTC.
  private static func ms(_ text: Substring) -> Int64? {
    let n = text.split { "- :".contains($0) }.compactMap { Int64($0) }
    guard n.count == 6 else { return nil }
    // Days since 1970-01-01 by counting years from March, so that a leap day is a year's last.
    let year = n[1] <= 2 ? n[0] - 1 : n[0]
    let dayOfYear = (153 * (n[1] + (n[1] > 2 ? -3 : 9)) + 2) / 5 + n[2] - 1
    let days = 365 * year + year / 4 - year / 100 + year / 400 + dayOfYear - 719_468
    return ((days * 24 + n[3]) * 60 + n[4]) * 60_000 + n[5] * 1_000
  }
}
