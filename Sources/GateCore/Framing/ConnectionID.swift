/// A DTLS connection ID (RFC 9146): names a session where the peer's address cannot. Readable on the path.
///
/// The gateway's own: node (1 byte), virtual shard (1), 6 bytes that nobody can guess, made anew for every handshake and
/// never from anything of the device. Node and shard let a load balancer and the kernel route a datagram.
///
/// Invariant: bytes from `count` on are zero, so equality and hash see only the bytes that count.
package struct ConnectionID: Hashable, Sendable, BitwiseCopyable {
  /// Longest one of a peer that is kept. Longer ones are declined; the session is then a classic one.
  package static let bytesMax = 20
  /// Length of the gateway's own.
  package static let gatewayBytes = 8

  private var first: UInt64 = 0
  private var second: UInt64 = 0
  private var third: UInt32 = 0
  private var length: UInt8 = 0

  /// The empty one: a peer that wants classic records.
  package init() {}

  /// `nil` above `bytesMax`.
  package init?(_ bytes: Span<UInt8>) {
    guard bytes.count <= ConnectionID.bytesMax else { return nil }
    length = UInt8(bytes.count)
    if bytes.count == ConnectionID.gatewayBytes {
      first = bytes.load64(at: 0).byteSwapped
    } else {
      for i in bytes.indices { put(bytes[i], at: i) }
    }
  }

  /// One of the gateway's.
  /// - Parameter random: the low 48 bits are used.
  package init(node: UInt8, shard: UInt8, random: UInt64) {
    first = UInt64(node) << 56 | UInt64(shard) << 48 | random & (1 << 48 - 1)
    length = UInt8(ConnectionID.gatewayBytes)
  }

  /// One of the gateway's, from its `word`.
  package init(gateway word: UInt64) {
    first = word
    length = UInt8(ConnectionID.gatewayBytes)
  }

  package var count: Int { Int(length) }
  package var isEmpty: Bool { length == 0 }
  package var node: UInt8 { self[0] }
  package var shard: UInt8 { self[1] }
  /// The first 8 bytes, big endian: all of a gateway's own, so a key for its table.
  package var word: UInt64 { first }

  /// 0 from `count` on.
  package subscript(index: Int) -> UInt8 {
    precondition(index >= 0 && index < ConnectionID.bytesMax)
    if index < 8 { return UInt8(truncatingIfNeeded: first >> UInt64(56 - index * 8)) }
    if index < 16 { return UInt8(truncatingIfNeeded: second >> UInt64(120 - index * 8)) }
    return UInt8(truncatingIfNeeded: third >> UInt32(152 - index * 8))
  }

  /// Whether `bytes` are exactly this connection ID.
  package func matches(_ bytes: Span<UInt8>) -> Bool {
    guard bytes.count == count else { return false }
    if count == ConnectionID.gatewayBytes { return bytes.load64(at: 0).byteSwapped == first }
    for i in bytes.indices where bytes[i] != self[i] { return false }
    return true
  }

  /// Writes its `count` bytes to `out` from `at` on.
  package func write(into out: inout MutableSpan<UInt8>, at: Int) {
    if count == ConnectionID.gatewayBytes {
      out.store(first.byteSwapped, at: at)
      return
    }
    for i in 0..<count { out[at + i] = self[i] }
  }

  private mutating func put(_ byte: UInt8, at index: Int) {
    if index < 8 {
      first |= UInt64(byte) << UInt64(56 - index * 8)
    } else if index < 16 {
      second |= UInt64(byte) << UInt64(120 - index * 8)
    } else {
      third |= UInt32(byte) << UInt32(152 - index * 8)
    }
  }
}
