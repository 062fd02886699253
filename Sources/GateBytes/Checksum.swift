import CGateShims

extension Span where Element == UInt8 {
  /// CRC32C (RFC 3720 section 12.1) of `range` behind `state`, without the inversion at either end.
  package func crc32c(_ state: UInt32, in range: Range<Int>) -> UInt32 {
    unsafe extracting(range).withUnsafeBufferPointer { unsafe gate_crc32c(state, $0.baseAddress, $0.count) }
  }
}
