/// Where the parts of one `FixBatch` lie: the result of one pass over its top level, before any value is spread.
struct BatchLayout {
  /// Field numbers of the columns: 2 to 29.
  static let columns = 2..<30

  var firstSequence: UInt64 = 0
  var timeUnitMs: UInt64 = 1
  var count: UInt32 = 0
  /// By field number: the first occurrence's packed values, or the one value of an unpacked occurrence.
  var values = InlineArray<32, Region>(repeating: Region())
  /// By field number: the `present` bytes of the column's mask.
  var masks = InlineArray<32, Region>(repeating: Region())
  /// By field number, one bit each: has values; has more occurrences behind the first one; has a mask.
  var filled: UInt32 = 0
  var scattered: UInt32 = 0
  var masked: UInt32 = 0
  /// From the first `FixAttributes` field to the end of the last one; others may lie between. The same for `Work`.
  var attributes = Region()
  var work = Region()

  /// - Parameters:
  ///   - bytes: the frame, cut off at the end of the message.
  ///   - start: offset of the message's first byte.
  init(_ bytes: Span<UInt8>, from start: Int) throws(DecodeError) {
    var at = start
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      let field = tag &>> 3
      if BatchLayout.columns.contains(Int(field)) {
        switch tag & 7 {
        case 2:
          let packed = try WireReader.range(bytes, &at)
          if !packed.isEmpty { note(field, from: packed.lowerBound, to: packed.upperBound) }
          continue
        case 0:
          let valueAt = at
          _ = try WireReader.varint(bytes, &at)
          note(field, from: valueAt, to: at)
          continue
        default: break
        }
      }
      switch tag {
      case 1 << 3: firstSequence = try WireReader.varint(bytes, &at)
      case 30 << 3 | 2:
        try RegionChecker.work(bytes, try WireReader.range(bytes, &at))
        work = try RegionChecker.extend(work, from: tagAt, to: at, workAt: tagAt)
      case 31 << 3 | 2:
        _ = try WireReader.range(bytes, &at)
        attributes = RegionChecker.extend(attributes, from: tagAt, to: at)
      case 32 << 3: count = UInt32(truncatingIfNeeded: try WireReader.varint(bytes, &at))
      case 33 << 3:
        let unit = UInt32(truncatingIfNeeded: try WireReader.varint(bytes, &at))
        timeUnitMs = unit == 0 ? 1 : UInt64(unit)
      case 34 << 3 | 2: try noteMask(bytes, try WireReader.range(bytes, &at))
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
  }

  @inline(__always)
  private mutating func note(_ field: UInt32, from start: Int, to end: Int) {
    let bit: UInt32 = 1 &<< field
    if filled & bit == 0 {
      filled |= bit
      values[Int(field)] = Region(offset: UInt32(start), length: UInt32(end &- start))
    } else {
      scattered |= bit
    }
  }

  private mutating func noteMask(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) {
    let bytes = bytes.extracting(first: range.upperBound)
    var at = range.lowerBound
    var column: UInt32 = 0
    var present = Region()
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3: column = UInt32(truncatingIfNeeded: try WireReader.varint(bytes, &at))
      case 2 << 3 | 2:
        let bits = try WireReader.range(bytes, &at)
        present = Region(offset: UInt32(bits.lowerBound), length: UInt32(bits.count))
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
    // A newer device may have columns that this version does not know; they are unknown fields, and so is their mask.
    guard column <= 34 else { return }
    let bit: UInt32 = 1 &<< (column & 31)
    guard column != 4, BatchLayout.columns.contains(Int(column)), masked & bit == 0 else {
      throw .badMask(offset: range.lowerBound)
    }
    masked |= bit
    masks[Int(column)] = present
  }

  /// Throws if a mask says something about fixes that the batch does not have. Bytes that a mask lacks at its end are 0.
  func checkMasks(_ bytes: Span<UInt8>) throws(DecodeError) {
    var rest = masked
    while rest != 0 {
      let mask = masks[rest.trailingZeroBitCount]
      rest &= rest &- 1
      var byte = Int(count) &>> 3
      var excess = UInt8(truncatingIfNeeded: 0xff &<< (Int(count) & 7))
      while byte < Int(mask.length) {
        guard bytes[Int(mask.offset) &+ byte] & excess == 0 else { throw .badMask(offset: Int(mask.offset)) }
        excess = 0xff
        byte &+= 1
      }
    }
  }

  @inline(__always)
  func has(_ field: Int) -> Bool { filled &>> UInt32(truncatingIfNeeded: field) & 1 != 0 }

  /// The `present` bytes that say which fixes have a column; `nil` when all have it.
  @inline(__always)
  func mask(of field: Int) -> Region? {
    let column = field == 4 ? 3 : field
    return masked &>> UInt32(truncatingIfNeeded: column) & 1 != 0 ? masks[column] : nil
  }

  /// What every fix has: filled columns without a mask.
  var unmaskedFields: FixFields {
    let all = filled & ~masked
    var fields = FixFields(rawValue: all &>> UInt32(Column.first)).intersection([.columns, .monotonic])
    if all &>> 2 & 1 != 0 { fields.insert(.time) }
    if all &>> 3 & 3 == 3 { fields.insert(.position) }
    return fields
  }
}
