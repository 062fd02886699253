import Glibc

/// A range of addresses as operators write it: `10.0.0.0/8`, `2001:db8::/32`, or one address.
package struct NetworkPrefix: Equatable, Sendable {
  /// Lowest address of the range.
  private let first: SocketAddress
  /// Bits that all addresses of the range share, 0 to 32 or 128.
  private let bits: Int

  /// `nil` for anything else, and where bits behind the prefix are set: `10.0.0.1/8` is more likely a mistake than a range.
  package init?(_ text: String) {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count <= 2, let address = SocketAddress(literal: String(parts[0])) else { return nil }
    let width = address.isIPv6 ? 128 : 32
    var bits = width
    if parts.count == 2 {
      guard parts[1].utf8.allSatisfy({ (0x30...0x39).contains($0) }), let number = Int(parts[1]), number <= width
      else { return nil }
      bits = number
    }
    self.bits = bits
    first = address
    guard NetworkPrefix.masked(address, bits) == (address.high, address.low) else { return nil }
  }

  package func contains(_ address: SocketAddress) -> Bool {
    address.isIPv6 == first.isIPv6 && NetworkPrefix.masked(address, bits) == (first.high, first.low)
  }

  private static func masked(_ address: SocketAddress, _ bits: Int) -> (high: UInt64, low: UInt64) {
    guard address.isIPv6 else { return (0, address.low & (UInt64(0xFFFF_FFFF) << UInt64(32 - bits)) & 0xFFFF_FFFF) }
    let high = bits >= 64 ? UInt64.max : ~(UInt64.max >> UInt64(bits))
    let low = bits <= 64 ? 0 : ~(UInt64.max >> UInt64(bits - 64))
    return (address.high & high, address.low & low)
  }
}

extension SocketAddress {
  /// An address literal without port; port 0. `nil` for names and anything else.
  init?(literal text: String) {
    var four = in_addr()
    if unsafe inet_pton(AF_INET, text, &four) == 1 {
      self.init(ipv4: UInt32(bigEndian: four.s_addr), port: 0)
      return
    }
    var six = in6_addr()
    guard unsafe inet_pton(AF_INET6, text, &six) == 1 else { return nil }
    let (high, low) = unsafe withUnsafeBytes(of: &six) { bytes in
      unsafe (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
    }
    self.init(ipv6High: UInt64(bigEndian: high), low: UInt64(bigEndian: low), port: 0)
  }
}
