import CFixProto
import GateCore
import WireVectors

/// The same messages through libprotobuf-c, then the rules of proto/fixgate.proto written down as plainly as possible:
/// arrays, one fix at a time. What `FixDecoder` says is held against this.
enum DecoderDifferentialOracle {
  /// - Returns: the fixes as `FixText` spells them; `nil` if the message is refused, by the library or by a rule.
  static func read(_ kind: WireVector.Kind, _ bytes: [UInt8]) -> String? {
    switch kind {
    case .row: row(bytes)
    case .batch: batch(bytes)
    }
  }

  static func row(_ bytes: [UInt8]) -> String? {
    guard let raw = unsafe fixgate__v1__fix__unpack(nil, bytes.count, bytes) else { return nil }
    defer { unsafe fixgate__v1__fix__free_unpacked(raw, nil) }
    let m = unsafe raw.pointee
    var parts = [unsafe "seq=\(m.has_sequence != 0 ? m.sequence : 0)"]
    if unsafe m.has_time_ms != 0 { unsafe parts.append("time=\(m.time_ms)") }
    if unsafe m.has_latitude_e7 != 0 && m.has_longitude_e7 != 0 {
      unsafe parts.append("lat=\(m.latitude_e7) lon=\(m.longitude_e7)")
    }
    let columns: [(Int, Bool, Int32)] = unsafe [
      (5 + 0, m.has_horizontal_accuracy_dm != 0, Int32(bitPattern: m.horizontal_accuracy_dm)),
      (5 + 1, m.has_speed_cm_per_s != 0, Int32(bitPattern: m.speed_cm_per_s)),
      (5 + 2, m.has_course_cdeg != 0, Int32(bitPattern: m.course_cdeg)),
      (5 + 3, m.has_battery_percent != 0, Int32(bitPattern: m.battery_percent)),
      (5 + 4, m.has_altitude_ellipsoid_dm != 0, m.altitude_ellipsoid_dm),
      (5 + 5, m.has_altitude_msl_dm != 0, m.altitude_msl_dm),
      (5 + 6, m.has_vertical_accuracy_dm != 0, Int32(bitPattern: m.vertical_accuracy_dm)),
      (5 + 7, m.has_speed_accuracy_cm_per_s != 0, Int32(bitPattern: m.speed_accuracy_cm_per_s)),
      (5 + 8, m.has_course_accuracy_cdeg != 0, Int32(bitPattern: m.course_accuracy_cdeg)),
      (5 + 9, m.has_satellites_used != 0, Int32(bitPattern: m.satellites_used)),
      (5 + 10, m.has_hdop_tenths != 0, Int32(bitPattern: m.hdop_tenths)),
      (5 + 11, m.has_fix_mode != 0, m.fix_mode),
      (5 + 12, m.has_source != 0, m.source),
      (5 + 13, m.has_trigger != 0, m.trigger),
      (5 + 14, m.has_event != 0, m.event),
      (5 + 15, m.has_priority != 0, m.priority),
      (5 + 16, m.has_flags_known != 0, Int32(bitPattern: m.flags_known)),
      (5 + 17, m.has_flags != 0, Int32(bitPattern: m.flags)),
      (5 + 18, m.has_activity != 0, m.activity),
      (5 + 19, m.has_charging != 0, m.charging),
      (5 + 20, m.has_external_power_mv != 0, Int32(bitPattern: m.external_power_mv)),
      (5 + 21, m.has_odometer_m != 0, Int32(bitPattern: m.odometer_m)),
      (5 + 22, m.has_connectivity != 0, m.connectivity),
      (5 + 23, m.has_signal_dbm != 0, m.signal_dbm),
    ]
    for (number, has, value) in columns where has { parts.append("c\(number)=\(value)") }
    if unsafe m.has_monotonic_ms != 0 { unsafe parts.append("mono=\(m.monotonic_ms)") }
    if let work = unsafe m.work { unsafe parts.append(text(work.pointee)) }
    for i in unsafe 0..<m.n_attribute { if let text = unsafe text(m.attribute[i]!.pointee) { parts.append(text) } }
    return parts.joined(separator: " ")
  }

  static func batch(_ bytes: [UInt8]) -> String? {
    guard let raw = unsafe fixgate__v1__fix_batch__unpack(nil, bytes.count, bytes) else { return nil }
    defer { unsafe fixgate__v1__fix_batch__free_unpacked(raw, nil) }
    let m = unsafe raw.pointee
    let count = unsafe m.has_count != 0 ? Int(m.count) : 0
    let first = unsafe m.has_first_sequence != 0 ? m.first_sequence : 0
    guard count > 0, count <= Limits.fixesPerFrameMax, first <= UInt64.max - UInt64(count) else { return nil }

    // values[c]: first value and differences of field number c, as the device sent them.
    let values: [[Int64]] = unsafe [
      [], [],
      Array(UnsafeBufferPointer(start: m.time, count: m.n_time)),
      unsafe integers(m.latitude_e7, m.n_latitude_e7),
      unsafe integers(m.longitude_e7, m.n_longitude_e7),
      unsafe integers(m.horizontal_accuracy_dm, m.n_horizontal_accuracy_dm),
      unsafe integers(m.speed_cm_per_s, m.n_speed_cm_per_s),
      unsafe integers(m.course_cdeg, m.n_course_cdeg),
      unsafe integers(m.battery_percent, m.n_battery_percent),
      unsafe integers(m.altitude_ellipsoid_dm, m.n_altitude_ellipsoid_dm),
      unsafe integers(m.altitude_msl_dm, m.n_altitude_msl_dm),
      unsafe integers(m.vertical_accuracy_dm, m.n_vertical_accuracy_dm),
      unsafe integers(m.speed_accuracy_cm_per_s, m.n_speed_accuracy_cm_per_s),
      unsafe integers(m.course_accuracy_cdeg, m.n_course_accuracy_cdeg),
      unsafe integers(m.satellites_used, m.n_satellites_used),
      unsafe integers(m.hdop_tenths, m.n_hdop_tenths),
      unsafe integers(m.fix_mode, m.n_fix_mode),
      unsafe integers(m.source, m.n_source),
      unsafe integers(m.trigger, m.n_trigger),
      unsafe integers(m.event, m.n_event),
      unsafe integers(m.priority, m.n_priority),
      unsafe integers(m.flags_known, m.n_flags_known),
      unsafe integers(m.flags, m.n_flags),
      unsafe integers(m.activity, m.n_activity),
      unsafe integers(m.charging, m.n_charging),
      unsafe integers(m.external_power_mv, m.n_external_power_mv),
      unsafe integers(m.odometer_m, m.n_odometer_m),
      unsafe integers(m.connectivity, m.n_connectivity),
      unsafe integers(m.signal_dbm, m.n_signal_dbm),
      Array(UnsafeBufferPointer(start: m.monotonic_ms, count: m.n_monotonic_ms)),
    ]
    var masks: [Int: [UInt8]] = [:]
    for i in unsafe 0..<m.n_mask {
      let mask = unsafe m.mask[i]!.pointee
      let column = unsafe mask.has_column != 0 ? Int(mask.column) : 0
      if column > 34 { continue }
      guard (2...29).contains(column), column != 4, masks[column] == nil else { return nil }
      let present = unsafe mask.has_present != 0 ? binary(mask.present) : []
      for bit in 0..<present.count * 8 where bit >= count && present[bit / 8] >> (bit % 8) & 1 != 0 { return nil }
      masks[column] = present
    }
    var columns: [[Int64?]] = []
    for field in 0..<30 {
      let mask = masks[field == 4 ? 3 : field]
      let here = (0..<count).map { i in mask.map { i / 8 < $0.count && $0[i / 8] >> (i % 8) & 1 != 0 } ?? true }
      guard values[field].count <= here.count(where: { $0 }) || values[field].isEmpty else { return nil }
      columns.append(spread(values[field], here, wide: field == 2 || field == 29))
    }
    guard let attributes = unsafe attributes(m, count) else { return nil }

    let unit = unsafe m.has_time_unit_ms != 0 && m.time_unit_ms != 0 ? Int64(m.time_unit_ms) : 1
    let work = unsafe m.work.map { unsafe text($0.pointee) }
    let fixes = (0..<count).map { i in
      var parts = ["seq=\(first + UInt64(i))"]
      if let time = columns[2][i] { parts.append("time=\(time &* unit)") }
      if let latitude = columns[3][i], let longitude = columns[4][i] {
        parts.append("lat=\(latitude) lon=\(longitude)")
      }
      for field in 5..<29 { if let value = columns[field][i] { parts.append("c\(field)=\(value)") } }
      if let value = columns[29][i] { parts.append("mono=\(UInt64(bitPattern: value))") }
      if let work { parts.append(work) }
      return (parts + attributes[i]).joined(separator: " ")
    }
    return fixes.joined(separator: " ; ")
  }

  /// One value for each fix that `here` names, `nil` for the others.
  private static func spread(_ values: [Int64], _ here: [Bool], wide: Bool) -> [Int64?] {
    if values.isEmpty { return here.map { _ in nil } }
    var value: Int64 = 0
    var difference: Int64 = 0
    var n = 0
    return here.map { present in
      if !present { return nil }
      if n < values.count { difference = values[n] } else if n == 1 { difference = 0 }
      value &+= difference
      n += 1
      return wide ? value : Int64(Int32(truncatingIfNeeded: value))
    }
  }

  /// Texts of each fix's attributes; `nil` if an index is out of place.
  private static func attributes(_ m: Fixgate__V1__FixBatch, _ count: Int) -> [[String]]? {
    var texts = [[String]](repeating: [], count: count)
    var least = 0
    for i in unsafe 0..<m.n_attributes {
      let entry = unsafe m.attributes[i]!.pointee
      let index = unsafe entry.has_index != 0 ? Int(entry.index) : 0
      guard index >= least, index < count else { return nil }
      least = index + 1
      for j in unsafe 0..<entry.n_attribute {
        if let text = unsafe text(entry.attribute[j]!.pointee) { texts[index].append(text) }
      }
    }
    return texts
  }

  private static func integers(_ start: UnsafeMutablePointer<Int32>?, _ count: Int) -> [Int64] {
    unsafe UnsafeBufferPointer(start: start, count: count).map(Int64.init)
  }

  private static func binary(_ data: ProtobufCBinaryData) -> [UInt8] {
    unsafe Array(UnsafeBufferPointer(start: data.data, count: data.len))
  }

  private static func text(_ work: Fixgate__V1__Work) -> String {
    let texts = unsafe [work.subject, work.task, work.stop].map { unsafe hex($0) ?? "-" }
    let version = unsafe work.has_policy_version != 0 ? String(work.policy_version) : "-"
    return "work=\(texts.joined(separator: ",")),\(version)"
  }

  private static func text(_ attribute: Fixgate__V1__Attribute) -> String? {
    let id = unsafe attribute.has_id != 0 ? attribute.id : 0
    if unsafe attribute.has_blob != 0 { return unsafe "a\(id)=b\(hex(binary(attribute.blob)))" }
    if let text = unsafe hex(attribute.text) { return "a\(id)=t\(text)" }
    if unsafe attribute.has_number != 0 { return unsafe "a\(id)=n\(attribute.number.bitPattern)" }
    if unsafe attribute.has_integer != 0 { return unsafe "a\(id)=i\(attribute.integer)" }
    return nil
  }

  private static func hex(_ string: UnsafeMutablePointer<CChar>?) -> String? {
    guard let string = unsafe string else { return nil }
    var bytes: [UInt8] = []
    var i = 0
    while unsafe string[i] != 0 {
      unsafe bytes.append(UInt8(bitPattern: string[i]))
      i += 1
    }
    return hex(bytes)
  }

  private static func hex(_ bytes: [UInt8]) -> String { FixText.hex(bytes.span, bytes.indices) }
}
