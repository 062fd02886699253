import Glibc

/// A client's UDP socket, never blocking. It is connected: it takes datagrams of its peer alone, and hears when nobody listens
/// there. Every new one has a new source port.
package struct UDPClient: ~Copyable, Sendable {
  /// Longest datagram that is taken whole.
  package static let datagramBytesMax = 2_048

  package let descriptor: FileDescriptor
  package let peer: SocketAddress
  /// The last that was heard from the network: nobody listens there, or there is no way.
  package private(set) var isUnreachable = false

  /// - Throws: `.system(.connect)`: no way to such an address.
  package init(to peer: SocketAddress) throws(NetError) {
    let descriptor = try FileDescriptor.datagramSocket(family: peer.family)
    let result = unsafe peer.withSockaddr { unsafe Glibc.connect(descriptor.raw, $0, $1) }
    guard result == 0 else { throw .system(.connect, errno: errno) }
    self.descriptor = descriptor
    self.peer = peer
  }

  /// Sends one datagram, or loses it if the network will not have it.
  /// - Returns: false if there is no room now: wait until the socket is writable.
  /// - Throws: `.system(.write)`.
  package mutating func send(_ datagram: Span<UInt8>) throws(NetError) -> Bool {
    while true {
      let count = unsafe datagram.withUnsafeBytes { unsafe Glibc.send(descriptor.raw, $0.baseAddress, $0.count, 0) }
      if count >= 0 { return true }
      let code = errno
      switch code {
      case EINTR: continue
      case EAGAIN, ENOBUFS: return false
      case _ where UDPClient.isOfTheNetwork(code):
        isUnreachable = true
        return true
      default:
        trapIfOurs(code)
        throw .system(.write, errno: code)
      }
    }
  }

  /// Takes one datagram into `bytes`, from its front.
  /// - Returns: its length; `nil` when none waits.
  /// - Throws: `.system(.read)`.
  package mutating func receive(into bytes: inout MutableSpan<UInt8>) throws(NetError) -> Int? {
    while true {
      let raw = descriptor.raw
      let (count, code) = unsafe bytes.withUnsafeMutableBytes { room in
        let count = unsafe recv(raw, room.baseAddress, room.count, 0)
        return (count, errno)
      }
      if count >= 0 {
        isUnreachable = false
        return count
      }
      switch code {
      case EINTR: continue
      case EAGAIN: return nil
      case _ where UDPClient.isOfTheNetwork(code): isUnreachable = true
      default:
        trapIfOurs(code)
        throw .system(.read, errno: code)
      }
    }
  }

  /// What an ICMP message, a filter or a missing route says about a datagram.
  private static func isOfTheNetwork(_ code: Int32) -> Bool {
    [ECONNREFUSED, EHOSTUNREACH, ENETUNREACH, EHOSTDOWN, ENETDOWN, EPERM, EACCES, EADDRNOTAVAIL].contains(code)
  }
}
