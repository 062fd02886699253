/// The values of one column of a `FixBatch`, in order, however many occurrences of its field they are spread over:
/// packed, unpacked or both (a legal encoding may split a packed field anywhere between values).
struct ColumnCursor {
  private let field: UInt32
  /// Whether there may be occurrences behind `end`.
  private var scattered: Bool
  private(set) var at: Int
  private(set) var end: Int

  init(_ layout: BatchLayout, field: Int) {
    let first = layout.values[field].range
    self.field = UInt32(field)
    at = first.lowerBound
    end = first.upperBound
    scattered = layout.scattered &>> UInt32(field) & 1 != 0
  }

  /// - Parameter bytes: the frame, cut off at the end of the batch.
  /// - Returns: the next value as it lies there; `nil` behind the last one.
  @inline(__always)
  mutating func next(_ bytes: Span<UInt8>) throws(DecodeError) -> UInt64? {
    if at == end {
      guard scattered else { return nil }
      try seek(bytes)
      if at == end { return nil }
    }
    // A value must not reach into what follows the packed field.
    return try WireReader.varint(bytes.extracting(first: end), &at)
  }

  /// - Returns: offset of the next value that has not been read; `nil` if there is none.
  mutating func rest(_ bytes: Span<UInt8>) throws(DecodeError) -> Int? {
    if at == end, scattered { try seek(bytes) }
    return at == end ? nil : at
  }

  /// Moves on to the next occurrence that holds values. Nothing is read twice: a whole column costs one walk.
  @inline(never)
  private mutating func seek(_ bytes: Span<UInt8>) throws(DecodeError) {
    var next = end
    while next < bytes.count {
      // A short value of another column: what an encoder that packs nothing puts in the way most.
      if bytes.count &- next >= 2 {
        let short = bytes.extracting(next..<next &+ 2)
        if short[0] & 0x87 == 0, short[1] < 0x80, short[0] >= 1 << 3, UInt32(short[0]) != field &<< 3 {
          next &+= 2
          continue
        }
      }
      let tagAt = next
      let tag = try WireReader.tag(bytes, &next)
      if tag == field &<< 3 | 2 {
        let packed = try WireReader.range(bytes, &next)
        if packed.isEmpty { continue }
        at = packed.lowerBound
        end = packed.upperBound
        return
      }
      let valueAt = next
      try WireReader.skip(tag, bytes, &next, tagAt: tagAt)
      if tag == field &<< 3 {
        at = valueAt
        end = next
        return
      }
    }
    scattered = false
  }
}
