extension FixDecoder {
  /// Reads one batch: column by column, straight into the fixes.
  ///
  /// A fix has a position when the batch has both latitudes and longitudes and mask 3, if any, names it. Sequences run
  /// from `first_sequence`, 0 when absent; the caller judges them, but they never run past 2^64. Times and values are
  /// computed modulo 2^64 and 2^32. A column without values is absent whatever its mask says.
  /// - Parameters:
  ///   - bytes: the receive buffer.
  ///   - range: the message's body, from `UplinkScanner`.
  ///   - fixes: those from `start` on are overwritten as a whole; their content is unspecified after a throw.
  ///   - start: how many fixes the frame has had so far.
  /// - Returns: the number of fixes read, at least 1.
  package static func batch(
    _ bytes: Span<UInt8>, _ range: Range<Int>, into fixes: inout MutableSpan<Fix>, at start: Int
  ) throws(DecodeError) -> Int {
    let bytes = bytes.extracting(first: range.upperBound)
    let layout = try BatchLayout(bytes, from: range.lowerBound)
    let count = Int(layout.count)
    guard count > 0 else { throw .badCount(offset: range.lowerBound) }
    let room = min(fixes.count, Limits.fixesPerFrameMax) &- start
    guard count <= room else { throw .tooManyFixes(offset: range.lowerBound) }
    guard !layout.firstSequence.addingReportingOverflow(UInt64(count)).overflow else {
      throw .badSequence(offset: range.lowerBound)
    }
    try layout.checkMasks(bytes)

    let rows = start..<start &+ count
    let present = layout.unmaskedFields
    var sequence = layout.firstSequence
    for i in rows {
      clear(&fixes[i])
      fixes[i].sequence = sequence
      fixes[i].present = present
      fixes[i].work = layout.work
      sequence &+= 1
    }
    try columns(bytes, layout, into: &fixes, rows)
    if !layout.attributes.isEmpty { try attributes(bytes, layout, into: &fixes, rows) }
    return count
  }

  private static func columns(
    _ bytes: Span<UInt8>, _ layout: BatchLayout, into fixes: inout MutableSpan<Fix>, _ rows: Range<Int>
  ) throws(DecodeError) {
    let unit = layout.timeUnitMs
    try spread(bytes, layout, 2, wide: true, .time, into: &fixes, rows) { fix, value in
      fix.fixTimeMs = Int64(bitPattern: value &* unit)
    }
    let position: FixFields = layout.has(3) && layout.has(4) ? .position : []
    try spread(bytes, layout, 3, wide: false, position, into: &fixes, rows) { fix, value in
      fix.latitudeE7 = Int32(truncatingIfNeeded: value)
    }
    try spread(bytes, layout, 4, wide: false, position, into: &fixes, rows) { fix, value in
      fix.longitudeE7 = Int32(truncatingIfNeeded: value)
    }
    var rest = layout.filled & FixFields.columns.rawValue &<< UInt32(Column.first)
    while rest != 0 {
      let field = rest.trailingZeroBitCount
      rest &= rest &- 1
      let index = field &- Column.first
      try spread(bytes, layout, field, wide: false, FixFields(rawValue: 1 &<< UInt32(index)), into: &fixes, rows) {
        fix, value in
        fix.values[index] = Int32(truncatingIfNeeded: value)
      }
    }
    try spread(bytes, layout, 29, wide: true, .monotonic, into: &fixes, rows) { fix, value in fix.monotonicMs = value }
  }

  /// Undoes the differences of one column and hands each fix that has it its value.
  ///
  /// Values of 32-bit columns are cut to 32 bits before zigzag, as the encoding guide says; the low 32 bits of their
  /// sum modulo 2^64 are their sum modulo 2^32.
  @inline(__always)
  private static func spread(
    _ bytes: Span<UInt8>, _ layout: BatchLayout, _ field: Int, wide: Bool, _ bit: FixFields,
    into fixes: inout MutableSpan<Fix>, _ rows: Range<Int>,
    _ set: (inout Fix, UInt64) -> Void
  ) throws(DecodeError) {
    guard layout.has(field) else { return }
    let mask = layout.mask(of: field)
    if mask != nil || layout.scattered &>> UInt32(truncatingIfNeeded: field) & 1 != 0 {
      try spreadScattered(bytes, layout, field, wide: wide, mask, bit, into: &fixes, rows, set)
      return
    }
    let packed = bytes.extracting(first: layout.values[field].range.upperBound)
    var at = layout.values[field].range.lowerBound
    var value: UInt64 = 0
    var difference: UInt64 = 0
    var i = rows.lowerBound
    // On average 9/8 to 15/8 bytes a value: a branch between one byte and two would be mispredicted, so there is none.
    let length = packed.count &- at
    if length &* 8 > rows.count &* 9, length &* 8 < rows.count &* 15 {
      while packed.count &- at >= 2, i < rows.upperBound {
        let pair = packed.extracting(at..<at &+ 2)
        let first = UInt64(pair[0])
        let second = UInt64(pair[1])
        let isLong = first &>> 7
        if isLong & second &>> 7 != 0 {
          difference = WireReader.zigzag(try WireReader.varint(packed, &at), wide: wide)
        } else {
          difference = WireReader.zigzag(first & 0x7f | (second &<< 7) & (0 &- isLong), wide: wide)
          at &+= 1 &+ Int(truncatingIfNeeded: isLong)
        }
        value &+= difference
        set(&fixes[i], value)
        i &+= 1
      }
    }
    while at < packed.count {
      guard i < rows.upperBound else { throw .columnTooLong(offset: at) }
      difference = WireReader.zigzag(try WireReader.varint(packed, &at), wide: wide)
      value &+= difference
      set(&fixes[i], value)
      i &+= 1
    }
    if i == rows.lowerBound &+ 1 { difference = 0 }
    while i < rows.upperBound {
      value &+= difference
      set(&fixes[i], value)
      i &+= 1
    }
  }

  /// The same for a column with a mask, or in several pieces.
  @inline(__always)
  private static func spreadScattered(
    _ bytes: Span<UInt8>, _ layout: BatchLayout, _ field: Int, wide: Bool, _ mask: Region?, _ bit: FixFields,
    into fixes: inout MutableSpan<Fix>, _ rows: Range<Int>,
    _ set: (inout Fix, UInt64) -> Void
  ) throws(DecodeError) {
    var cursor = ColumnCursor(layout, field: field)
    var value: UInt64 = 0
    var difference: UInt64 = 0
    var seen = 0
    for row in rows {
      let i = row &- rows.lowerBound
      if let mask {
        guard i &>> 3 < Int(mask.length), bytes[Int(mask.offset) &+ i &>> 3] &>> UInt8(i & 7) & 1 != 0 else { continue }
        fixes[row].present.formUnion(bit)
      }
      if let raw = try cursor.next(bytes) {
        difference = WireReader.zigzag(raw, wide: wide)
        seen &+= 1
      } else if seen == 1 {
        difference = 0
      }
      value &+= difference
      set(&fixes[row], value)
    }
    if let excess = try cursor.rest(bytes) { throw .columnTooLong(offset: excess) }
  }

  /// Checks the `FixAttributes` of a batch and gives each fix its own.
  private static func attributes(
    _ bytes: Span<UInt8>, _ layout: BatchLayout, into fixes: inout MutableSpan<Fix>, _ rows: Range<Int>
  ) throws(DecodeError) {
    let bytes = bytes.extracting(first: layout.attributes.range.upperBound)
    var at = layout.attributes.range.lowerBound
    var least = 0
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      guard tag == 31 << 3 | 2 else {
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
        continue
      }
      let body = try WireReader.range(bytes, &at)
      guard body.count <= Limits.attributeBytesMax else { throw .attributesTooLong(offset: tagAt) }
      let index = Int(try RegionChecker.fixAttributes(bytes, body))
      guard index >= least, index < rows.count else { throw .badIndex(offset: tagAt) }
      fixes[rows.lowerBound &+ index].attributes = Region(offset: UInt32(body.lowerBound), length: UInt32(body.count))
      least = index &+ 1
    }
  }
}
