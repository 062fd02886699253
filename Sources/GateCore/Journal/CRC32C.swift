import GateBytes

/// CRC32C (RFC 3720 section 12.1), by the CPU's instruction where it has one.
package struct CRC32C: Sendable {
  private var state: UInt32 = 0xffff_ffff

  package init() {}

  package mutating func update(_ bytes: Span<UInt8>, in range: Range<Int>) {
    state = bytes.crc32c(state, in: range)
  }

  package var value: UInt32 { ~state }

  package static func of(_ bytes: Span<UInt8>, in range: Range<Int>) -> UInt32 {
    var crc = CRC32C()
    crc.update(bytes, in: range)
    return crc.value
  }
}
