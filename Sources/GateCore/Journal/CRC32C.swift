import CGateShims

/// CRC32C (RFC 3720 section 12.1), by the CPU's instruction where it has one.
package struct CRC32C: Sendable {
  private var state: UInt32 = 0xffff_ffff

  package init() {}

  package mutating func update(_ bytes: Span<UInt8>, in range: Range<Int>) {
    var at = range.lowerBound
    let end = range.upperBound
    precondition(at >= 0 && end <= bytes.count)
    while end &- at >= 32 {
      state = gate_crc32c_4x64(
        state, bytes.load64(at: at), bytes.load64(at: at &+ 8), bytes.load64(at: at &+ 16), bytes.load64(at: at &+ 24))
      at &+= 32
    }
    while at < end {
      state = gate_crc32c_8(state, bytes[at])
      at &+= 1
    }
  }

  package var value: UInt32 { ~state }

  package static func of(_ bytes: Span<UInt8>, in range: Range<Int>) -> UInt32 {
    var crc = CRC32C()
    crc.update(bytes, in: range)
    return crc.value
  }
}
