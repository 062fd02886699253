package import GateCore
package import GateNet
package import GateTLS

/// DTLS 1.2 over UDP, with a connection ID.
package final class DTLSLink: Link {
  private let address: SocketAddress
  private var socket: UDPClient
  private var client: DTLSClient
  private var inbox: [UInt8] = []
  package private(set) var traffic = Traffic()
  package private(set) var isBlocked = false
  private var isToldWritable = false

  /// IPv4 20, UDP 8.
  private static let headerBytes: UInt64 = 28

  package init(to address: SocketAddress, context: DTLSClientContext, serverName: String, at now: Instant) throws {
    self.address = address
    socket = try UDPClient(to: address)
    client = try DTLSClient(context: context, serverName: serverName, at: now)
  }

  package var carriesDatagrams: Bool { true }
  package var roundTripsToBegin: Int { 0 }
  package var isOpen: Bool { client.isEstablished }
  package var isResumed: Bool { false }
  package var tookEarlyData: Bool { false }
  package var ticket: [UInt8]? { nil }
  package var wakeAt: Instant? { client.deadline }

  package func watch(_ poller: borrowing Poller, token: UInt64) throws {
    try poller.add(socket.descriptor, token: token, for: .read)
    isToldWritable = false
  }

  package func becameWritable() { isBlocked = false }

  package func receive(_ buffers: inout LinkBuffers, at now: Instant) throws -> Bool {
    var end = 0
    while let count = try DTLSLink.receive(&socket, &buffers.cipher) {
      guard count > 0 else { continue }
      traffic.bytesDown += UInt64(count) + DTLSLink.headerBytes
      traffic.packetsDown += 1
      inbox.removeAll(keepingCapacity: true)
      var ends: [Int] = []
      try client.receive(buffers.cipher.span.extracting(..<count), at: now) { message in
        for i in message.indices { inbox.append(message[i]) }
        ends.append(inbox.count)
      }
      var start = 0
      for messageEnd in ends where end + messageEnd - start <= buffers.plain.count {
        for i in start..<messageEnd { buffers.plain[end + i - start] = inbox[i] }
        buffers.messages.append(end..<end + messageEnd - start)
        end += messageEnd - start
        start = messageEnd
      }
      // Datagrams are small: more than this at a time is left to the next look.
      if end > buffers.plain.count / 2 { break }
    }
    return !client.isClosed
  }

  package func write(_ bytes: [UInt8]) throws { try client.seal(bytes.span) }

  package func flush(_ poller: borrowing Poller, token: UInt64) throws -> Bool {
    var sent = false
    if !isBlocked {
      isBlocked = try !client.drain { datagram throws(NetError) in
        guard try socket.send(datagram) else { return false }
        traffic.bytesUp += UInt64(datagram.count) + DTLSLink.headerBytes
        traffic.packetsUp += 1
        sent = true
        return true
      }
    }
    if isBlocked != isToldWritable {
      isToldWritable = isBlocked
      try poller.modify(socket.descriptor, token: token, for: isBlocked ? [.read, .write] : .read)
    }
    return sent
  }

  package func expire(at now: Instant) throws { try client.expire(at: now) }

  /// A new source port, as behind a NAT that has forgotten the old one.
  package func move(_ poller: borrowing Poller, token: UInt64) throws -> Bool {
    socket = try UDPClient(to: address)
    isBlocked = false
    try watch(poller, token: token)
    return true
  }

  /// A device over UDP goes to sleep and says nothing.
  package func close() {}

  private static func receive(_ socket: inout UDPClient, _ bytes: inout [UInt8]) throws(NetError) -> Int? {
    var room = bytes.mutableSpan
    return try socket.receive(into: &room)
  }
}
