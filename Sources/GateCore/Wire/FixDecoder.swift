/// Reads `Fix` messages where they lie (proto/fixgate.proto). `FixDecoder+Batch.swift` reads their column form.
///
/// Any legal encoding is read as the protobuf encoding guide says: fields in any order, the last one of several
/// counting, padded varints, values cut to 32 bits, unknown fields (groups included) skipped, and a field whose wire
/// type is not the one of proto/fixgate.proto taken as unknown. Nothing is allocated or copied.
package enum FixDecoder {
  /// Bits of `Fix` fields by `Column.index` that are zigzag-encoded in a row: both altitudes and the signal.
  private static let zigzagColumns: UInt32 =
    FixFields(.altitudeEllipsoidDm).rawValue | FixFields(.altitudeMslDm).rawValue | FixFields(.signalDbm).rawValue

  /// Which of latitude and longitude have been seen: bits 0 and 1. Both make a position, one alone is dropped.
  private struct Halves {
    var latitude = false
    var longitude = false
  }

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
    fix = Fix()
    var present: UInt32 = 0
    var halves = Halves()

    // The canonical order first: a reader that expects it predicts well.
    if at < bytes.count, bytes[at] == 1 << 3 {
      at &+= 1
      fix.sequence = try WireReader.varint(bytes, &at)
    }
    if at < bytes.count, bytes[at] == 2 << 3 {
      at &+= 1
      fix.fixTimeMs = Int64(bitPattern: try WireReader.varint(bytes, &at))
      present |= FixFields.time.rawValue
    }
    if bytes.count &- at >= 10, bytes[at] == 3 << 3 | 5, bytes[at &+ 5] == 4 << 3 | 5 {
      fix.latitudeE7 = Int32(bitPattern: bytes.load32(at: at &+ 1))
      fix.longitudeE7 = Int32(bitPattern: bytes.load32(at: at &+ 6))
      halves = Halves(latitude: true, longitude: true)
      at &+= 10
    }
    while at < bytes.count {
      // A column's tag of one byte, 5 to 15.
      let tag = bytes[at]
      if tag & 0x87 == 0, tag >= 5 << 3 {
        at &+= 1
        let raw = try WireReader.varint(bytes, &at)
        store(raw, index: Int(tag &>> 3) &- Column.first, into: &fix, &present)
        continue
      }
      try field(bytes, &at, into: &fix, &present, &halves)
    }
    if halves.latitude && halves.longitude { present |= FixFields.position.rawValue }
    fix.present = FixFields(rawValue: present)
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
  private static func field(
    _ bytes: Span<UInt8>, _ at: inout Int, into fix: inout Fix, _ present: inout UInt32, _ halves: inout Halves
  ) throws(DecodeError) {
    let tagAt = at
    let tag = try WireReader.tag(bytes, &at)
    switch tag {
    case 1 << 3:
      fix.sequence = try WireReader.varint(bytes, &at)
    case 2 << 3:
      fix.fixTimeMs = Int64(bitPattern: try WireReader.varint(bytes, &at))
      present |= FixFields.time.rawValue
    case 3 << 3 | 5:
      fix.latitudeE7 = Int32(bitPattern: try WireReader.fixed32(bytes, &at))
      halves.latitude = true
    case 4 << 3 | 5:
      fix.longitudeE7 = Int32(bitPattern: try WireReader.fixed32(bytes, &at))
      halves.longitude = true
    case 29 << 3:
      fix.monotonicMs = try WireReader.varint(bytes, &at)
      present |= FixFields.monotonic.rawValue
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
  }
}
