/// Where a datagram came from, and to which of our sockets: a key for tables. What the fields mean is the socket's matter.
package struct PeerAddress: Hashable, Sendable, BitwiseCopyable {
  package let high: UInt64
  package let low: UInt64
  package let scope: UInt32
  package let port: UInt16
  package let isIPv6: Bool
  /// The socket that it came to, by its place in the list of addresses listened on; answers leave by the same one.
  package let local: UInt8

  package init(high: UInt64, low: UInt64, port: UInt16, scope: UInt32, isIPv6: Bool, local: UInt8 = 0) {
    self.local = local
    self.high = high
    self.low = low
    self.port = port
    self.scope = scope
    self.isIPv6 = isIPv6
  }

  /// Length of `bytes`.
  package static let byteCount = 24

  /// In a fixed form, to be hashed into a cookie.
  package var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(PeerAddress.byteCount)
    for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: high >> UInt64(shift))) }
    for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: low >> UInt64(shift))) }
    for shift in stride(from: 24, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: scope >> UInt32(shift))) }
    return bytes + [UInt8(port >> 8), UInt8(port & 255), isIPv6 ? 1 : 0, local]
  }
}
