/// Where a datagram came from, and to which of our sockets: a key for tables. What the fields mean is the socket's matter.
package struct PeerAddress: Hashable, Sendable, BitwiseCopyable {
  package let high: UInt64
  package let low: UInt64
  package let scope: UInt32
  package let port: UInt16
  package let isIPv6: Bool
  /// The socket that it came to, by its place in the list of addresses listened on; answers leave by the same one.
  package let local: UInt8
  /// Which of the machine's addresses it came to, where that socket serves all of them; 0 = not known. It says how to answer and
  /// not who is there: no part of the key.
  package let own: UInt8

  package init(
    high: UInt64, low: UInt64, port: UInt16, scope: UInt32, isIPv6: Bool, local: UInt8 = 0, own: UInt8 = 0
  ) {
    self.local = local
    self.own = own
    self.high = high
    self.low = low
    self.port = port
    self.scope = scope
    self.isIPv6 = isIPv6
  }

  package static func == (a: PeerAddress, b: PeerAddress) -> Bool {
    a.low == b.low && a.port == b.port && a.high == b.high && a.scope == b.scope && a.isIPv6 == b.isIPv6 && a.local == b.local
  }

  package func hash(into hasher: inout Hasher) {
    hasher.combine(high)
    hasher.combine(low)
    hasher.combine(UInt64(scope) << 32 | UInt64(port) << 16 | UInt64(local) << 8 | (isIPv6 ? 1 : 0))
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
    bytes.append(UInt8(port >> 8))
    bytes.append(UInt8(port & 255))
    bytes.append(isIPv6 ? 1 : 0)
    bytes.append(local)
    return bytes
  }
}
