/// One value outside the columns. Ranges are positions in the bytes that the region belongs to.
package struct Attribute: Equatable, Sendable {
  package enum Value: Equatable, Sendable {
    case integer(Int64)
    case number(Double)
    /// UTF-8.
    case text(Range<Int>)
    case blob(Range<Int>)
  }

  /// proto/README, "Attributes". 0 when the device gave none.
  package var id: UInt32
  package var value: Value

  package init(id: UInt32, value: Value) {
    self.id = id
    self.value = value
  }
}

/// Iterates the `Attribute` entries of `Fix.attributes`, of a row, of a batch or of a journal record. Entries without a
/// value that this version knows are left out.
package struct AttributeReader: Sendable {
  private var at: Int
  private let end: Int

  package init(_ region: Region) {
    at = region.range.lowerBound
    end = region.range.upperBound
  }

  /// - Parameter bytes: the frame or record that the region was taken from, the same in each call.
  /// - Returns: the next entry; `nil` at the end.
  /// - Throws: never for a region that `FixDecoder` has made, since it checks them. Take none of what is left.
  package mutating func next(in bytes: Span<UInt8>) throws(DecodeError) -> Attribute? {
    try nextField(in: bytes)?.attribute
  }

  /// As `next`, with where the entry's field lies, its tag included.
  package mutating func nextField(
    in bytes: Span<UInt8>
  ) throws(DecodeError) -> (attribute: Attribute, field: Range<Int>)? {
    let bytes = bytes.extracting(first: end)
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      if tag == 31 << 3 | 2 {
        if let attribute = try attribute(bytes, try WireReader.range(bytes, &at)) { return (attribute, tagAt..<at) }
      } else {
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
    return nil
  }

  /// Of several value fields the one with the highest number counts, of several of one number the last.
  private func attribute(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) -> Attribute? {
    let bytes = bytes.extracting(first: range.upperBound)
    var at = range.lowerBound
    var id: UInt32 = 0
    var value: Attribute.Value?
    var rank: UInt32 = 0
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      let read: Attribute.Value
      switch tag {
      case 1 << 3:
        id = UInt32(truncatingIfNeeded: try WireReader.varint(bytes, &at))
        continue
      case 2 << 3:
        read = .integer(Int64(bitPattern: WireReader.zigzag64(try WireReader.varint(bytes, &at))))
      case 3 << 3 | 1:
        guard bytes.count &- at >= 8 else { throw .truncated(offset: at) }
        read = .number(Double(bitPattern: bytes.load64(at: at)))
        at &+= 8
      case 4 << 3 | 2: read = .text(try WireReader.range(bytes, &at))
      case 5 << 3 | 2: read = .blob(try WireReader.range(bytes, &at))
      default:
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
        continue
      }
      if tag &>> 3 >= rank {
        rank = tag &>> 3
        value = read
      }
    }
    guard let value else { return nil }
    return Attribute(id: id, value: value)
  }
}
