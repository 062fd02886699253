/// Little-endian integers and runs of bytes at any offset of a span, each behind one check and by one instruction.
///
/// Safe Swift has no such load: byte by byte the compiler keeps the check of every byte once a few loads stand together, and a
/// checksum took three times as long. Inlined into other modules, as everything that reads records goes through it.
extension Span where Element == UInt8 {
  @inlinable @inline(__always)
  package func integer<T: FixedWidthInteger & BitwiseCopyable>(_ type: T.Type, at offset: Int) -> T {
    precondition(offset >= 0 && offset <= count &- MemoryLayout<T>.size)
    return unsafe T(littleEndian: bytes.unsafeLoadUnaligned(fromUncheckedByteOffset: offset, as: T.self))
  }
}

extension MutableSpan where Element == UInt8 {
  @inlinable @inline(__always)
  package mutating func put<T: FixedWidthInteger & BitwiseCopyable>(_ value: T, at offset: Int) {
    precondition(offset >= 0 && offset <= count &- MemoryLayout<T>.size)
    var bytes = unsafe mutableBytes
    unsafe bytes.storeBytes(of: value.littleEndian, toUncheckedByteOffset: offset, as: T.self)
  }

  @inlinable @inline(__always)
  package mutating func put(_ source: Span<UInt8>, _ range: Range<Int>, at offset: Int) {
    precondition(range.lowerBound >= 0 && range.upperBound <= source.count)
    precondition(offset >= 0 && offset <= count &- range.count)
    if range.isEmpty { return }
    unsafe withUnsafeMutableBufferPointer { to in
      unsafe source.withUnsafeBufferPointer { from in
        unsafe UnsafeMutableRawPointer(to.baseAddress! + offset).copyMemory(
          from: from.baseAddress! + range.lowerBound, byteCount: range.count)
      }
    }
  }
}
