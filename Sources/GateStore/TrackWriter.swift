internal import GateCore

package enum TrackFormat: String, CaseIterable, Sendable {
  /// RFC 4180, but lines end in LF. Header first; an unknown value is an empty field.
  case csv
  /// RFC 7946: a FeatureCollection of one Point feature a fix; a fix without position has the geometry null.
  case geojson
  /// GPX 1.1: one track with one segment; fixes without position are left out.
  case gpx
}

/// Writes a track piece by piece into `out`, in order: `begin`, `append` for each fix, `end`.
///
/// Decimals come from integers, exactly: what was stored as 1e-7 degree is written with seven places. Times are
/// ISO 8601 UTC with milliseconds.
package struct TrackWriter: ~Copyable {
  private let format: TrackFormat
  private let out: (Span<UInt8>) -> Void
  private var bytes: [UInt8] = []
  private var count = 0

  /// Gathered before `out` is called.
  private static let chunkBytes = 32_768

  /// - Parameter out: takes the bytes of each piece; they are valid during the call only.
  package init(format: TrackFormat, out: @escaping (Span<UInt8>) -> Void) {
    self.format = format
    self.out = out
  }

  /// Columns that are written after time and position, with the power of ten of their unit.
  private static let fields: [(name: String, column: Column, places: Int)] = [
    ("accuracy_m", .horizontalAccuracyDm, 1), ("speed_m_per_s", .speedCmPerS, 2), ("course_deg", .courseCdeg, 2),
    ("battery_percent", .batteryPercent, 0), ("altitude_ellipsoid_m", .altitudeEllipsoidDm, 1),
    ("altitude_msl_m", .altitudeMslDm, 1), ("vertical_accuracy_m", .verticalAccuracyDm, 1),
    ("speed_accuracy_m_per_s", .speedAccuracyCmPerS, 2), ("course_accuracy_deg", .courseAccuracyCdeg, 2),
    ("satellites_used", .satellitesUsed, 0), ("hdop", .hdopTenths, 1), ("fix_mode", .fixMode, 0), ("source", .source, 0),
    ("trigger", .trigger, 0), ("event", .event, 0), ("priority", .priority, 0), ("flags_known", .flagsKnown, 0),
    ("flags", .flags, 0), ("activity", .activity, 0), ("charging", .charging, 0),
    ("external_power_v", .externalPowerMv, 3), ("odometer_m", .odometerM, 0), ("connectivity", .connectivity, 0),
    ("signal_dbm", .signalDbm, 0),
  ]

  /// - Parameter name: of the track; the device's id.
  package mutating func begin(name: String) {
    switch format {
    case .csv:
      text("time,lat,lon")
      for field in TrackWriter.fields { text(",\(field.name)") }
      text(",verdict,stream,sequence,task,stop\n")
    case .geojson: text("{\"type\":\"FeatureCollection\",\"features\":[")
    case .gpx:
      text("<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n")
      text("<gpx version=\"1.1\" creator=\"fixgate\" xmlns=\"http://www.topografix.com/GPX/1/1\">\n<trk><name>")
      xml(name)
      text("</name><trkseg>\n")
    }
    flush(above: TrackWriter.chunkBytes)
  }

  package mutating func append(_ point: TrackPoint) {
    switch format {
    case .csv: csv(point)
    case .geojson: geojson(point)
    case .gpx: gpx(point)
    }
    count += 1
    flush(above: TrackWriter.chunkBytes)
  }

  package consuming func end() {
    switch format {
    case .csv: break
    case .geojson: text("\n]}\n")
    case .gpx: text("</trkseg></trk>\n</gpx>\n")
    }
    flush(above: 0)
  }

  private mutating func csv(_ point: TrackPoint) {
    bytes.append(time: point.timeMs)
    text(",")
    if let position = point.position { bytes.append(fixed: position.latitudeE7, places: 7) }
    text(",")
    if let position = point.position { bytes.append(fixed: position.longitudeE7, places: 7) }
    for field in TrackWriter.fields {
      text(",")
      if let value = point[field.column] { bytes.append(fixed: value, places: field.places) }
    }
    for number in [point.verdict, point.stream, point.sequence] {
      text(",")
      bytes.append(decimal: number)
    }
    for reference in [point.task, point.stop] {
      text(",")
      if let reference { quoted(reference) }
    }
    text("\n")
  }

  private mutating func geojson(_ point: TrackPoint) {
    text(count == 0 ? "\n" : ",\n")
    text("{\"type\":\"Feature\",\"geometry\":")
    if let position = point.position {
      text("{\"type\":\"Point\",\"coordinates\":[")
      bytes.append(fixed: position.longitudeE7, places: 7)
      text(",")
      bytes.append(fixed: position.latitudeE7, places: 7)
      if let altitude = point[.altitudeEllipsoidDm] {
        // RFC 7946 section 3.1.1: the third number is metres above the WGS 84 ellipsoid.
        text(",")
        bytes.append(fixed: altitude, places: 1)
      }
      text("]}")
    } else {
      text("null")
    }
    text(",\"properties\":{\"time\":\"")
    bytes.append(time: point.timeMs)
    text("\"")
    for field in TrackWriter.fields {
      guard let value = point[field.column] else { continue }
      text(",\"\(field.name)\":")
      bytes.append(fixed: value, places: field.places)
    }
    text(",\"verdict\":")
    bytes.append(decimal: point.verdict)
    text(",\"stream\":")
    bytes.append(decimal: point.stream)
    text(",\"sequence\":")
    bytes.append(decimal: point.sequence)
    for (name, reference) in [("task", point.task), ("stop", point.stop)] {
      guard let reference else { continue }
      text(",\"\(name)\":")
      let utf8 = Array(reference.utf8)
      bytes.append(json: 0..<utf8.count, of: utf8.span)
    }
    text("}}")
  }

  private mutating func gpx(_ point: TrackPoint) {
    guard let position = point.position else { return }
    text("<trkpt lat=\"")
    bytes.append(fixed: position.latitudeE7, places: 7)
    text("\" lon=\"")
    bytes.append(fixed: position.longitudeE7, places: 7)
    text("\">")
    // By custom metres above mean sea level; the ellipsoid's where that is all there is.
    if let altitude = point[.altitudeMslDm] ?? point[.altitudeEllipsoidDm] {
      text("<ele>")
      bytes.append(fixed: altitude, places: 1)
      text("</ele>")
    }
    text("<time>")
    bytes.append(time: point.timeMs)
    text("</time>")
    if let satellites = point[.satellitesUsed] {
      text("<sat>")
      bytes.append(decimal: satellites)
      text("</sat>")
    }
    if let hdop = point[.hdopTenths] {
      text("<hdop>")
      bytes.append(fixed: hdop, places: 1)
      text("</hdop>")
    }
    text("</trkpt>\n")
  }

  private mutating func text(_ text: String) { bytes.append(contentsOf: text.utf8) }

  /// RFC 4180 section 2.6: quoted where it has to be.
  private mutating func quoted(_ value: String) {
    guard value.utf8.contains(where: { $0 == 0x22 || $0 == 0x2c || $0 == 0x0a || $0 == 0x0d }) else { return text(value) }
    text("\"")
    for byte in value.utf8 {
      if byte == 0x22 { bytes.append(byte) }
      bytes.append(byte)
    }
    text("\"")
  }

  private mutating func xml(_ value: String) {
    for byte in value.utf8 {
      switch byte {
      case UInt8(ascii: "<"): text("&lt;")
      case UInt8(ascii: ">"): text("&gt;")
      case UInt8(ascii: "&"): text("&amp;")
      // XML 1.0 has no way to write these.
      case 0..<0x20: text("?")
      default: bytes.append(byte)
      }
    }
  }

  private mutating func flush(above limit: Int) {
    guard bytes.count > limit else { return }
    out(bytes.span)
    bytes.removeAll(keepingCapacity: true)
  }
}

extension [UInt8] {
  /// Appends ms since 1970-01-01 UTC as ISO 8601, `2026-11-21T04:03:02.001Z`. Any number is written, years beyond 9999
  /// with more digits.
  mutating func append(time ms: Int64) {
    let dayMs: Int64 = 86_400_000
    var days = ms / dayMs
    var rest = ms % dayMs
    if rest < 0 {
      rest += dayMs
      days -= 1
    }
    // Days since 0000-03-01, in eras of 400 years: a leap day then ends its year.
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    let year = yearOfEra + era * 400 + (month <= 2 ? 1 : 0)
    if year < 0 { append(UInt8(ascii: "-")) }
    append(magnitude: year.magnitude, digits: 4)
    append(UInt8(ascii: "-"))
    append(magnitude: UInt64(month), digits: 2)
    append(UInt8(ascii: "-"))
    append(magnitude: UInt64(dayOfYear - (153 * shiftedMonth + 2) / 5 + 1), digits: 2)
    append(UInt8(ascii: "T"))
    append(magnitude: UInt64(rest / 3_600_000), digits: 2)
    append(UInt8(ascii: ":"))
    append(magnitude: UInt64(rest / 60_000 % 60), digits: 2)
    append(UInt8(ascii: ":"))
    append(magnitude: UInt64(rest / 1_000 % 60), digits: 2)
    append(UInt8(ascii: "."))
    append(magnitude: UInt64(rest % 1_000), digits: 3)
    append(UInt8(ascii: "Z"))
  }
}
