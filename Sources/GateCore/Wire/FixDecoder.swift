/// Reads `Fix` messages where they lie (proto/fixgate.proto). `FixDecoder+Batch.swift` reads their column form.
///
/// Any legal encoding is read as the protobuf encoding guide says: fields in any order, the last one of several
/// counting, padded varints, values cut to 32 bits, unknown fields (groups included) skipped, and a field whose wire
/// type is not the one of proto/fixgate.proto taken as unknown. Nothing is allocated or copied.
package enum FixDecoder {
  /// Bits of `Fix` fields by `Column.index` that are zigzag-encoded in a row: both altitudes and the signal.
  private static let zigzagColumns: UInt32 =
    FixFields(.altitudeEllipsoidDm).rawValue | FixFields(.altitudeMslDm).rawValue | FixFields(.signalDbm).rawValue

  /// Which of latitude and longitude have been seen, in bits that `FixFields` leaves free. Both make a position, one
  /// alone is dropped.
  private static let latitudeBit: UInt32 = 1 << 30
  private static let longitudeBit: UInt32 = 1 << 31

  /// Reads one row.
  ///
  /// Latitude without longitude, or the reverse, is no position. The sequence may be anything, 0 when absent: the caller
  /// judges it. Attributes and work are checked for structure and UTF-8 here and interpreted by `AttributeReader`.
  /// - Parameters:
  ///   - bytes: the receive buffer.
  ///   - range: the message's body, from `UplinkScanner`.
  ///   - fix: overwritten as a whole; its content is unspecified after a throw.
  package static func fix(_ bytes: Span<UInt8>, _ range: Range<Int>, into fix: inout Fix) throws(DecodeError) {
    let bytes = bytes.extracting(first: range.upperBound)
    var at = range.lowerBound
    var present: UInt32 = 0
    clear(&fix)

    // The canonical order and the usual columns first.
    if WireReader.has(bytes, at), bytes[at] == 1 << 3 {
      at &+= 1
      fix.sequence = try WireReader.varint(bytes, &at)
    }
    if WireReader.has(bytes, at), bytes[at] == 2 << 3 {
      at &+= 1
      let long = try WireReader.longVarint(bytes, at)
      fix.fixTimeMs = Int64(bitPattern: long.value)
      at = long.end
      present |= FixFields.time.rawValue
    }
    if bytes.count &- at >= 10 {
      let halves = bytes.extracting(at..<at &+ 10)
      if halves[0] == 3 << 3 | 5, halves[5] == 4 << 3 | 5 {
        fix.latitudeE7 = Int32(bitPattern: WireReader.word32(halves, 1))
        fix.longitudeE7 = Int32(bitPattern: WireReader.word32(halves, 6))
        present |= latitudeBit | longitudeBit
        at &+= 10
      }
    }
    try expect(.horizontalAccuracyDm, bytes, &at, into: &fix, &present)
    try expect(.speedCmPerS, bytes, &at, into: &fix, &present)
    try expect(.courseCdeg, bytes, &at, into: &fix, &present)
    try expect(.batteryPercent, bytes, &at, into: &fix, &present)
    try expect(.altitudeEllipsoidDm, bytes, &at, into: &fix, &present)
    try expect(.satellitesUsed, bytes, &at, into: &fix, &present)
    try expect(.hdopTenths, bytes, &at, into: &fix, &present)
    while WireReader.has(bytes, at) {
      // A column's tag of one byte, 5 to 15.
      let tag = bytes[at]
      if tag & 0x87 == 0, tag >= 5 << 3 {
        at &+= 1
        let raw = try WireReader.varint(bytes, &at)
        store(raw, index: Int(tag &>> 3) &- Column.first, into: &fix, &present)
        continue
      }
      let step = try field(bytes, at, into: &fix)
      at = step.end
      present |= step.present
    }
    let halves = latitudeBit | longitudeBit
    if present & halves == halves { present |= FixFields.position.rawValue }
    fix.present = FixFields(rawValue: present & ~halves)
  }

  /// As `fix = Fix()`, in a few wide stores.
  @inline(__always)
  static func clear(_ fix: inout Fix) {
    fix.sequence = 0
    fix.fixTimeMs = 0
    fix.monotonicMs = 0
    fix.latitudeE7 = 0
    fix.longitudeE7 = 0
    for i in 0..<Column.count { fix.values[i] = 0 }
    fix.attributes = Region()
    fix.work = Region()
  }

  /// Reads the column if it is what comes next. A place in the code for each column lets the processor learn how long
  /// the values of that column are.
  @inline(__always)
  private static func expect(
    _ column: Column, _ bytes: Span<UInt8>, _ at: inout Int, into fix: inout Fix, _ present: inout UInt32
  ) throws(DecodeError) {
    guard WireReader.has(bytes, at), bytes[at] == column.rawValue &<< 3 else { return }
    at &+= 1
    store(try WireReader.varint(bytes, &at), index: column.index, into: &fix, &present)
  }

  @inline(__always)
  private static func store(_ raw: UInt64, index: Int, into fix: inout Fix, _ present: inout UInt32) {
    let bit: UInt32 = 1 &<< UInt32(truncatingIfNeeded: index)
    let plain = UInt32(truncatingIfNeeded: raw)
    let value = zigzagColumns & bit == 0 ? plain : WireReader.zigzag32(raw)
    fix.values[index] = Int32(bitPattern: value)
    present |= bit
  }

  /// Reads any one field, in any legal spelling.
  /// - Returns: the offset behind it, and what it adds to what is present.
  @inline(never)
  private static func field(
    _ bytes: Span<UInt8>, _ tagAt: Int, into fix: inout Fix
  ) throws(DecodeError) -> (end: Int, present: UInt32) {
    var at = tagAt
    var present: UInt32 = 0
    let tag = try WireReader.tag(bytes, &at)
    switch tag {
    case 1 << 3:
      fix.sequence = try WireReader.varint(bytes, &at)
    case 2 << 3:
      fix.fixTimeMs = Int64(bitPattern: try WireReader.varint(bytes, &at))
      present = FixFields.time.rawValue
    case 3 << 3 | 5:
      fix.latitudeE7 = Int32(bitPattern: try WireReader.fixed32(bytes, &at))
      present = latitudeBit
    case 4 << 3 | 5:
      fix.longitudeE7 = Int32(bitPattern: try WireReader.fixed32(bytes, &at))
      present = longitudeBit
    case 29 << 3:
      fix.monotonicMs = try WireReader.varint(bytes, &at)
      present = FixFields.monotonic.rawValue
    case 30 << 3 | 2:
      try RegionChecker.work(bytes, try WireReader.range(bytes, &at))
      fix.work = try RegionChecker.extend(fix.work, from: tagAt, to: at, workAt: tagAt)
    case 31 << 3 | 2:
      try RegionChecker.attribute(bytes, try WireReader.range(bytes, &at))
      fix.attributes = try RegionChecker.extend(fix.attributes, from: tagAt, to: at, attributesAt: tagAt)
    default:
      let index = Int(tag &>> 3) &- Column.first
      if tag & 7 == 0, index >= 0, index < Column.count {
        store(try WireReader.varint(bytes, &at), index: index, into: &fix, &present)
      } else {
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
    return (at, present)
  }
}
