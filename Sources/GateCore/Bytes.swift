/// Little-endian integers at any offset of a span, bounds-checked.
extension Span where Element == UInt8 {
  package func load16(at offset: Int) -> UInt16 {
    UInt16(self[offset]) | UInt16(self[offset + 1]) &<< 8
  }

  package func load32(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && count - offset >= 4)
    return UInt32(self[offset]) | UInt32(self[offset &+ 1]) &<< 8 | UInt32(self[offset &+ 2]) &<< 16
      | UInt32(self[offset &+ 3]) &<< 24
  }

  package func load64(at offset: Int) -> UInt64 {
    UInt64(load32(at: offset)) | UInt64(load32(at: offset &+ 4)) &<< 32
  }
}

extension MutableSpan where Element == UInt8 {
  package mutating func store<T: FixedWidthInteger & UnsignedInteger>(_ value: T, at offset: Int) {
    precondition(offset >= 0 && count - offset >= T.bitWidth / 8)
    var rest = value
    for i in 0..<T.bitWidth / 8 {
      self[offset &+ i] = UInt8(truncatingIfNeeded: rest)
      rest &>>= 8
    }
  }
}

extension MutableSpan where Element == UInt8 {
  /// Copies `range` of `source` to `offset`.
  package mutating func copy(_ source: Span<UInt8>, _ range: Range<Int>, to offset: Int) {
    precondition(offset >= 0 && count - offset >= range.count)
    for i in 0..<range.count { self[offset &+ i] = source[range.lowerBound &+ i] }
  }
}
