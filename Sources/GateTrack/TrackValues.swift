import GateCore

/// From a row's or a point's texts to a fix.
enum TrackValues {
  private static let optional: [(column: TrackColumn, target: Column, digits: Int, allowed: ClosedRange<Int64>)] = [
    (.speed, .speedCmPerS, 2, Int64(Int32.min)...Int64(Int32.max)),
    (.course, .courseCdeg, 2, -36_000...72_000),
    (.accuracy, .horizontalAccuracyDm, 1, Int64(Int32.min)...Int64(Int32.max)),
    (.altitude, .altitudeMslDm, 1, Int64(Int32.min)...Int64(Int32.max)),
    (.battery, .batteryPercent, 0, 0...100),
    (.satellites, .satellitesUsed, 0, 0...255),
    (.hdop, .hdopTenths, 1, 0...Int64(Int32.max)),
  ]

  /// - Parameter field: where a column's text lies; an empty range where there is none.
  /// - Returns: the column whose value cannot be read.
  static func read(into fix: inout Fix, _ field: (TrackColumn) -> (bytes: [UInt8], range: Range<Int>)) -> TrackColumn? {
    let degrees = Int64(Int32.min)...Int64(Int32.max)
    let (latitude, longitude, time) = (field(.latitude), field(.longitude), field(.time))
    guard let lat = FieldNumber.decimal(latitude.bytes, latitude.range, digits: 7, in: degrees) else { return .latitude }
    guard let lon = FieldNumber.decimal(longitude.bytes, longitude.range, digits: 7, in: degrees) else { return .longitude }
    guard let ms = FieldNumber.time(time.bytes, time.range) else { return .time }
    fix.latitudeE7 = Int32(truncatingIfNeeded: lat)
    fix.longitudeE7 = Int32(truncatingIfNeeded: lon)
    fix.fixTimeMs = ms
    fix.present = [.position, .time]
    for each in optional {
      let (bytes, range) = field(each.column)
      if range.isEmpty { continue }
      guard let value = FieldNumber.decimal(bytes, range, digits: each.digits, in: each.allowed) else { return each.column }
      if value < 0, each.column == .speed || each.column == .accuracy { continue }
      fix[each.target] = Int32(truncatingIfNeeded: value)
    }
    return nil
  }

  /// Without white space around it.
  static func trimmed(_ bytes: [UInt8], _ range: Range<Int>) -> Range<Int> {
    func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || (0x09...0x0d).contains(byte) }
    var (low, high) = (range.lowerBound, range.upperBound)
    while low < high, isSpace(bytes[low]) { low += 1 }
    while high > low, isSpace(bytes[high - 1]) { high -= 1 }
    return low..<high
  }
}
