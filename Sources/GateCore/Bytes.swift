/// Little-endian integers at any offset of a span, bounds-checked: in the form in which one check is left, and one load or store.
extension Span where Element == UInt8 {
  @inline(__always)
  package func load16(at offset: Int) -> UInt16 {
    precondition(offset >= 0 && offset <= count &- 2)
    return UInt16(self[offset]) | UInt16(self[offset &+ 1]) &<< 8
  }

  @inline(__always)
  package func load32(at offset: Int) -> UInt32 {
    precondition(offset >= 0 && offset <= count &- 4)
    var value: UInt32 = 0
    for i in 0..<4 { value |= UInt32(self[offset &+ i]) &<< UInt32(8 &* i) }
    return value
  }

  @inline(__always)
  package func load64(at offset: Int) -> UInt64 {
    precondition(offset >= 0 && offset <= count &- 8)
    var value: UInt64 = 0
    for i in 0..<8 { value |= UInt64(self[offset &+ i]) &<< UInt64(8 &* i) }
    return value
  }
}

// One for each width: a generic one would not be specialised for callers in other modules.
extension MutableSpan where Element == UInt8 {
  @inline(__always)
  package mutating func store(_ value: UInt16, at offset: Int) {
    precondition(offset >= 0 && offset <= count &- 2)
    for i in 0..<2 { self[offset &+ i] = UInt8(truncatingIfNeeded: value &>> UInt16(8 &* i)) }
  }

  @inline(__always)
  package mutating func store(_ value: UInt32, at offset: Int) {
    precondition(offset >= 0 && offset <= count &- 4)
    for i in 0..<4 { self[offset &+ i] = UInt8(truncatingIfNeeded: value &>> UInt32(8 &* i)) }
  }

  @inline(__always)
  package mutating func store(_ value: UInt64, at offset: Int) {
    precondition(offset >= 0 && offset <= count &- 8)
    for i in 0..<8 { self[offset &+ i] = UInt8(truncatingIfNeeded: value &>> UInt64(8 &* i)) }
  }

  /// Copies `range` of `source` to `offset`.
  @inline(__always)
  package mutating func copy(_ source: Span<UInt8>, _ range: Range<Int>, to offset: Int) {
    precondition(range.lowerBound >= 0 && range.upperBound <= source.count)
    precondition(offset >= 0 && offset <= count &- range.count)
    for i in 0..<range.count { self[offset &+ i] = source[range.lowerBound &+ i] }
  }
}
