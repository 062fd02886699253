/// Where a datagram came from: a key for tables. What the fields mean is the socket's matter.
package struct PeerAddress: Hashable, Sendable, BitwiseCopyable {
  package let high: UInt64
  package let low: UInt64
  package let scope: UInt32
  package let port: UInt16
  package let isIPv6: Bool

  package init(high: UInt64, low: UInt64, port: UInt16, scope: UInt32, isIPv6: Bool) {
    self.high = high
    self.low = low
    self.port = port
    self.scope = scope
    self.isIPv6 = isIPv6
  }

  /// Length of `bytes`.
  package static let byteCount = 23

  /// In a fixed form, to be hashed into a cookie.
  package var bytes: [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(PeerAddress.byteCount)
    for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: high >> UInt64(shift))) }
    for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: low >> UInt64(shift))) }
    for shift in stride(from: 24, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: scope >> UInt32(shift))) }
    return bytes + [UInt8(port >> 8), UInt8(port & 255), isIPv6 ? 1 : 0]
  }
}
