public import GateBytes

/// Little-endian integers at any offset of a span, bounds-checked.
extension Span where Element == UInt8 {
  @inlinable @inline(__always)
  package func load16(at offset: Int) -> UInt16 { integer(UInt16.self, at: offset) }

  @inlinable @inline(__always)
  package func load32(at offset: Int) -> UInt32 { integer(UInt32.self, at: offset) }

  @inlinable @inline(__always)
  package func load64(at offset: Int) -> UInt64 { integer(UInt64.self, at: offset) }
}

extension MutableSpan where Element == UInt8 {
  @inlinable @inline(__always)
  package mutating func store(_ value: UInt16, at offset: Int) { put(value, at: offset) }

  @inlinable @inline(__always)
  package mutating func store(_ value: UInt32, at offset: Int) { put(value, at: offset) }

  @inlinable @inline(__always)
  package mutating func store(_ value: UInt64, at offset: Int) { put(value, at: offset) }

  /// Copies `range` of `source` to `offset`.
  @inlinable @inline(__always)
  package mutating func copy(_ source: Span<UInt8>, _ range: Range<Int>, to offset: Int) {
    put(source, range, at: offset)
  }
}
