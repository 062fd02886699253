import CLinux
package import GateCore
import Glibc

/// One TCP connection, non-blocking, without Nagle's delay.
package struct TCPStream: ~Copyable, Sendable {
  package let descriptor: FileDescriptor
  package let peer: SocketAddress

  package init(descriptor: consuming FileDescriptor, peer: SocketAddress) {
    self.descriptor = descriptor
    self.peer = peer
  }

  /// Connects to one address. For clients: it waits.
  /// - Throws: `.timedOut`, `.refused`, `.system(.connect)`.
  package static func connect(to address: SocketAddress, until deadline: Instant) throws(NetError) -> TCPStream {
    let descriptor = try FileDescriptor.socket(family: address.family)
    try descriptor.setOption(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    let result = unsafe address.withSockaddr { unsafe Glibc.connect(descriptor.raw, $0, $1) }
    var code = result == 0 ? 0 : errno
    if code == EINPROGRESS || code == EINTR {
      try descriptor.wait(readable: false, writable: true, until: deadline)
      var length = socklen_t(MemoryLayout<Int32>.size)
      guard unsafe getsockopt(descriptor.raw, SOL_SOCKET, SO_ERROR, &code, &length) == 0 else {
        throw .system(.getOption, errno: errno)
      }
    }
    switch code {
    case 0: return TCPStream(descriptor: descriptor, peer: address)
    case ECONNREFUSED: throw .refused
    case ETIMEDOUT: throw .timedOut
    default:
      trapIfOurs(code)
      throw .system(.connect, errno: code)
    }
  }

  /// Tries all addresses of a host in turn; each gets what is left of the time, divided by how many are left.
  /// - Throws: what the last address met; `.unresolvable`.
  package static func connect(to target: HostPort, until deadline: Instant) throws(NetError) -> TCPStream {
    let addresses = try target.resolve()
    for (index, address) in addresses.enumerated() {
      let now = SystemClock.now()
      let share = deadline.since(now) / UInt64(addresses.count - index)
      do throws(NetError) {
        return try connect(to: address, until: now.advanced(byNs: share))
      } catch {
        if index == addresses.count - 1 { throw error }
      }
    }
    throw .unresolvable(code: EAI_NONAME)
  }

  /// See `FileDescriptor.read(into:at:)`.
  package borrowing func read(into bytes: inout MutableSpan<UInt8>, at offset: inout Int) throws(NetError) -> ReadResult {
    try descriptor.read(into: &bytes, at: &offset)
  }

  /// See `FileDescriptor.send`.
  package borrowing func write(_ bytes: Span<UInt8>) throws(NetError) -> WriteResult { try descriptor.send(bytes) }

  /// Lets the socket be writable only while fewer bytes than this wait unsent in the kernel (TCP_NOTSENT_LOWAT), so that
  /// what is urgent does not stand behind megabytes on a slow network.
  package borrowing func limitUnsent(to bytes: Int32) throws(NetError) {
    try descriptor.setOption(Int32(IPPROTO_TCP), TCP_NOTSENT_LOWAT, bytes)
  }

  /// No more bytes will go out; reading goes on.
  package borrowing func shutdownWrite() {
    if Glibc.shutdown(descriptor.raw, Int32(SHUT_WR)) != 0 { trapIfOurs(errno) }
  }
}

/// Accepts TCP connections for one worker. Several on one port share its connections by SO_REUSEPORT.
package struct TCPListener: ~Copyable, Sendable {
  package let descriptor: FileDescriptor
  /// With the real port where 0 was asked for.
  package let address: SocketAddress
  package var boundPort: UInt16 { address.port }

  /// - Parameters:
  ///   - address: an IPv6 one serves IPv6 alone (IPV6_V6ONLY), so that both families may have the same port; port 0 = any.
  ///   - sharesPort: other listeners of the same user may have the same port.
  /// - Throws: `.addressInUse`, `.addressUnavailable`, `.system`: stop the process.
  package init(on address: SocketAddress, sharesPort: Bool = true, backlog: Int32 = 4_096) throws(NetError) {
    let descriptor = try FileDescriptor.socket(family: address.family)
    try descriptor.setOption(SOL_SOCKET, SO_REUSEADDR, 1)
    if sharesPort { try descriptor.setOption(SOL_SOCKET, SO_REUSEPORT, 1) }
    if address.isIPv6 { try descriptor.setOption(Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    // Inherited by the connections, which spares a call for each.
    try descriptor.setOption(Int32(IPPROTO_TCP), TCP_NODELAY, 1)
    try descriptor.bind(to: address)
    guard Glibc.listen(descriptor.raw, backlog) == 0 else {
      throw errno == EADDRINUSE ? .addressInUse : .system(.listen, errno: errno)
    }
    let real = try descriptor.boundAddress()
    self.descriptor = descriptor
    self.address = real
  }

  /// Accepts one connection; call until `nil`, or a batch full.
  /// - Returns: `nil` when none waits.
  /// - Throws: `.tooManyDescriptors`: stop watching the listener until a connection is closed. `.system(.accept)`.
  package borrowing func accept() throws(NetError) -> TCPStream? {
    while true {
      var peer = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let raw = unsafe gate_accept_nonblocking(descriptor.raw, &peer, &length)
      if raw >= 0 {
        let descriptor = FileDescriptor(taking: raw)
        guard let address = SocketAddress(peer, length: length) else { continue }
        return TCPStream(descriptor: descriptor, peer: address)
      }
      let code = errno
      switch code {
      case EAGAIN: return nil
      // accept(2): these belong to the one connection, which died in the queue.
      case EINTR, ECONNABORTED, EPROTO, ENETDOWN, ENOPROTOOPT, EHOSTDOWN, ENONET, EHOSTUNREACH, EOPNOTSUPP, ENETUNREACH,
        EPERM:
        continue
      case EMFILE, ENFILE, ENOBUFS, ENOMEM: throw .tooManyDescriptors(errno: code)
      default:
        trapIfOurs(code)
        throw .system(.accept, errno: code)
      }
    }
  }
}

extension FileDescriptor {
  /// A non-blocking stream socket.
  static func socket(family: Int32) throws(NetError) -> FileDescriptor {
    try socket(family: family, kind: Int32(SOCK_STREAM.rawValue))
  }

  /// A non-blocking datagram socket.
  static func datagramSocket(family: Int32) throws(NetError) -> FileDescriptor {
    try socket(family: family, kind: Int32(SOCK_DGRAM.rawValue))
  }

  private static func socket(family: Int32, kind: Int32) throws(NetError) -> FileDescriptor {
    let raw = Glibc.socket(family, kind | Int32(SOCK_NONBLOCK.rawValue) | Int32(SOCK_CLOEXEC.rawValue), 0)
    guard raw >= 0 else { throw .system(.socket, errno: errno) }
    return FileDescriptor(taking: raw)
  }

  /// - Throws: `.addressInUse`, `.addressUnavailable`, `.system(.bind)`.
  borrowing func bind(to address: SocketAddress) throws(NetError) {
    let raw = raw
    let result = unsafe address.withSockaddr { unsafe Glibc.bind(raw, $0, $1) }
    guard result == 0 else {
      switch errno {
      case EADDRINUSE: throw .addressInUse
      case EADDRNOTAVAIL, EACCES: throw .addressUnavailable(errno: errno)
      default: throw .system(.bind, errno: errno)
      }
    }
  }

  /// The address that a socket has, with its real port.
  borrowing func boundAddress() throws(NetError) -> SocketAddress {
    let raw = raw
    var bound = sockaddr_storage()
    var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
    let named = unsafe withUnsafeMutablePointer(to: &bound) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe getsockname(raw, $0, &length) }
    }
    guard named == 0, let real = SocketAddress(bound, length: length) else {
      throw .system(.getOption, errno: errno)
    }
    return real
  }
}
