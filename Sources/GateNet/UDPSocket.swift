import CLinux
import GateCore
import Glibc

/// One UDP socket with memory for a batch each way: recvmmsg and sendmmsg, never blocking. One a worker; several on one port
/// share its datagrams by SO_REUSEPORT.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package struct UDPSocket: ~Copyable, @unchecked Sendable {
  /// Datagrams in one batch.
  package static let batchMax = 32
  /// Longest datagram that is taken. Longer ones are dropped and counted in `truncated`.
  package static let datagramBytesMax = Limits.receivedDatagramBytesMax

  package let descriptor: FileDescriptor
  /// With the real port where 0 was asked for.
  package let address: SocketAddress
  package var boundPort: UInt16 { address.port }
  /// Bytes of receive buffer that the kernel granted, its own bookkeeping included: twice what was asked for, less if
  /// net.core.rmem_max is smaller. Tell the operator.
  package let receiveBufferBytes: Int
  /// Datagrams that the kernel has dropped for want of room, since the socket was made (SO_RXQ_OVFL), as of the last receive.
  package private(set) var kernelDrops: UInt32 = 0
  /// Datagrams that were too long, or came from no address.
  package private(set) var truncated = 0
  /// Datagrams that the kernel would not send: no route, not permitted. UDP loses datagrams; so does this.
  package private(set) var unsendable = 0

  /// The machine's addresses that datagrams have come to, known by their places; the first is the kernel's choice. Only where
  /// the socket is bound to none in particular.
  private var ownAddresses = [gate_own_address()]
  private let incoming: DatagramBatch
  private let outgoing: DatagramBatch
  private var waitingFrom = 0
  private var waitingTo = 0

  /// - Parameters:
  ///   - address: an IPv6 one serves IPv6 alone (IPV6_V6ONLY); port 0 = any.
  ///   - sharesPort: other sockets of the same user may have the same port.
  ///   - receiveBufferBytes: asked of the kernel.
  /// - Throws: `.addressInUse`, `.addressUnavailable`, `.system`: stop the process.
  package init(
    on address: SocketAddress, sharesPort: Bool = true, receiveBufferBytes: Int32 = 4_194_304
  ) throws(NetError) {
    let descriptor = try FileDescriptor.datagramSocket(family: address.family)
    // No SO_REUSEADDR: for UDP it would let anyone take the port over.
    if sharesPort { try descriptor.setOption(SOL_SOCKET, SO_REUSEPORT, 1) }
    if address.isIPv6 { try descriptor.setOption(Int32(IPPROTO_IPV6), IPV6_V6ONLY, 1) }
    try descriptor.setOption(SOL_SOCKET, SO_RXQ_OVFL, 1)
    try descriptor.setOption(SOL_SOCKET, SO_RCVBUF, receiveBufferBytes)
    if address.isWildcard, gate_tell_own_address(descriptor.raw, address.family) != 0 {
      throw .system(.setOption, errno: errno)
    }
    try descriptor.bind(to: address)
    var granted: Int32 = 0
    var length = socklen_t(MemoryLayout<Int32>.size)
    guard unsafe getsockopt(descriptor.raw, SOL_SOCKET, SO_RCVBUF, &granted, &length) == 0 else {
      throw .system(.getOption, errno: errno)
    }
    let real = try descriptor.boundAddress()
    let incoming = try DatagramBatch()
    let outgoing = try DatagramBatch()
    self.descriptor = descriptor
    self.address = real
    self.receiveBufferBytes = Int(granted)
    self.incoming = incoming
    self.outgoing = outgoing
  }

  /// Makes all sockets of this port's group take the datagrams of their own virtual shards: type 25 goes to socket
  /// `connectionID.shard % sockets`, in the order in which they were bound; all others by the kernel's hash of addresses and
  /// ports. Once, when all of them are bound; another number of sockets orphans no session.
  /// - Throws: `.system(.setOption)`.
  package borrowing func routeByShard(sockets: Int) throws(NetError) {
    precondition(sockets > 0 && sockets <= 256)
    guard gate_route_by_shard(descriptor.raw, UInt32(sockets)) == 0 else {
      throw .system(.setOption, errno: errno)
    }
  }

  // MARK: Receiving

  /// Takes up to `batchMax` datagrams and hands each to `body`, with its sender and the place of our address that it was sent
  /// to, for `queue`; the bytes are good until `body` returns.
  /// - Returns: how many the kernel had; below `batchMax` nothing waits any more.
  /// - Throws: `.system(.read)`: stop the process.
  package mutating func receive(_ body: (Span<UInt8>, SocketAddress, UInt8) -> Void) throws(NetError) -> Int {
    while true {
      let count = unsafe gate_datagrams_receive(incoming.raw, descriptor.raw, &kernelDrops)
      if count < 0 {
        let code = errno
        switch code {
        case EINTR: continue
        case EAGAIN: return 0
        // Left behind by an ICMP message about something we sent.
        case ECONNREFUSED, EHOSTUNREACH, ENETUNREACH: continue
        default:
          trapIfOurs(code)
          throw .system(.read, errno: code)
        }
      }
      for index in 0..<count {
        var length = 0
        var isTruncated: Int32 = 0
        var peer: UnsafePointer<sockaddr_storage>? = nil
        var peerLength = socklen_t(0)
        var own = gate_own_address()
        let bytes = unsafe gate_datagrams_get(
          incoming.raw, UInt32(index), &length, &isTruncated, &peer, &peerLength, &own)
        guard isTruncated == 0, let peer = unsafe peer,
          let sender = unsafe SocketAddress(peer.pointee, length: peerLength)
        else {
          truncated += 1
          continue
        }
        let datagram = unsafe UnsafeBufferPointer(start: bytes, count: length)
        body(unsafe datagram.span, sender, place(of: own))
      }
      return Int(count)
    }
  }

  /// Those of a machine with more addresses than places leave from the kernel's choice.
  private mutating func place(of own: gate_own_address) -> UInt8 {
    for i in ownAddresses.indices where ownAddresses[i].words == own.words { return UInt8(i) }
    guard ownAddresses.count <= UInt8.max else { return 0 }
    ownAddresses.append(own)
    return UInt8(ownAddresses.count - 1)
  }

  // MARK: Sending

  /// Datagrams that wait for `flush`.
  package var waiting: Int { waitingTo - waitingFrom }

  /// Copies a datagram into the batch.
  /// - Parameter own: the place of our address that it leaves from, as `receive` gave it; 0 = the kernel's choice.
  /// - Returns: false if the batch is full: `flush` first; what then still does not fit may be dropped, since it is UDP.
  package mutating func queue(_ bytes: Span<UInt8>, to peer: SocketAddress, from own: UInt8 = 0) -> Bool {
    precondition(bytes.count <= UDPSocket.datagramBytesMax)
    guard waitingTo < UDPSocket.batchMax else { return false }
    let index = UInt32(waitingTo)
    unsafe bytes.withUnsafeBytes { from in
      guard let start = from.baseAddress else { return }
      unsafe memcpy(gate_datagrams_room(outgoing.raw, index), start, from.count)
    }
    unsafe peer.withSockaddr { address, length in
      unsafe gate_datagrams_set(outgoing.raw, index, bytes.count, address, length, ownAddresses[Int(own)])
    }
    waitingTo += 1
    return true
  }

  /// Sends what waits. A datagram that the kernel refuses for its own sake is dropped and counted.
  /// - Returns: true when nothing waits any more; false = wait until the socket is writable.
  /// - Throws: `.system(.write)`: stop the process.
  package mutating func flush() throws(NetError) -> Bool {
    while waitingFrom < waitingTo {
      let count = unsafe gate_datagrams_send(
        outgoing.raw, descriptor.raw, UInt32(waitingFrom), UInt32(waitingTo))
      if count > 0 {
        waitingFrom += Int(count)
        continue
      }
      let code = errno
      switch code {
      case EINTR: continue
      case EAGAIN, ENOBUFS: return false
      case EPERM, EACCES, ENETUNREACH, EHOSTUNREACH, ENETDOWN, EHOSTDOWN, ECONNREFUSED, EINVAL, EMSGSIZE,
        EADDRNOTAVAIL, EAFNOSUPPORT:
        unsendable += 1
        waitingFrom += 1
      default:
        trapIfOurs(code)
        throw .system(.write, errno: code)
      }
    }
    waitingFrom = 0
    waitingTo = 0
    return true
  }
}

/// Owns the memory of one batch.
@safe struct DatagramBatch: ~Copyable {
  let raw: OpaquePointer

  init() throws(NetError) {
    guard
      let raw = unsafe gate_datagrams_new(UInt32(UDPSocket.batchMax), UDPSocket.datagramBytesMax)
    else { throw .system(.socket, errno: ENOMEM) }
    unsafe self.raw = raw
  }

  deinit { unsafe gate_datagrams_free(raw) }
}
