import GateCore
import GateNet
import GateTLS

/// What went over the wire.
struct DatagramTraffic {
  var datagramsSent = 0
  var datagramsReceived = 0
  /// Headers of UDP and IP counted.
  var bytesSent = 0
  var bytesReceived = 0

  static func + (a: DatagramTraffic, b: DatagramTraffic) -> DatagramTraffic {
    DatagramTraffic(
      datagramsSent: a.datagramsSent + b.datagramsSent, datagramsReceived: a.datagramsReceived + b.datagramsReceived,
      bytesSent: a.bytesSent + b.bytesSent, bytesReceived: a.bytesReceived + b.bytesReceived)
  }
}

/// A device's DTLS conversation and the socket that carries it for now.
struct DatagramChannel: ~Copyable {
  var client: DTLSClient
  private(set) var socket: UDPClient
  private(set) var traffic = DatagramTraffic()
  private var room = [UInt8](repeating: 0, count: UDPClient.datagramBytesMax)

  /// A handshake lasts no longer without a word from the gateway.
  private static let answerNs: UInt64 = 10_000_000_000

  /// Goes on with a session that was saved.
  init(_ client: consuming DTLSClient, to address: SocketAddress) throws(NetError) {
    self.client = client
    socket = try UDPClient(to: address)
  }

  /// Shakes hands.
  /// - Throws: `PassingProblem` if nobody answers; `DTLSError`; `NetError`.
  static func shakingHands(
    with address: SocketAddress, _ context: DTLSClientContext, serverName: String
  ) throws -> DatagramChannel {
    let client = try DTLSClient(context: context, serverName: serverName, at: SystemClock.now())
    var channel = try DatagramChannel(client, to: address)
    var giveUp = SystemClock.now().advanced(byNs: answerNs)
    while !channel.client.isEstablished {
      let isEmpty = try channel.flush()
      let due = channel.client.deadline.map { min($0, giveUp) } ?? giveUp
      if try channel.wait(writable: !isEmpty, until: due) {
        let before = channel.traffic.datagramsReceived
        _ = try channel.receive()
        if channel.socket.isUnreachable { throw PassingProblem(channel.problem) }
        if channel.traffic.datagramsReceived > before { giveUp = SystemClock.now().advanced(byNs: answerNs) }
      } else if SystemClock.now() >= giveUp {
        throw PassingProblem(channel.problem)
      }
      try channel.client.expire(at: SystemClock.now())
    }
    _ = try channel.flush()
    return channel
  }

  /// What it looks like when nothing comes.
  var problem: String {
    socket.isUnreachable
      ? "nobody listens on UDP at \(socket.peer)"
      : "no answer over UDP from \(socket.peer); if the network lets no UDP through, '--transport tls' goes over TCP"
  }

  /// Goes on from another source port. The gateway knows the session by its connection ID.
  mutating func move() throws(NetError) { socket = try UDPClient(to: socket.peer) }

  /// Sends what waits.
  /// - Returns: whether nothing waits any more.
  mutating func flush() throws(NetError) -> Bool {
    let headerBytes = socket.peer.isIPv6 ? 48 : 28
    var sent: [[UInt8]] = []
    _ = client.drain { datagram in
      sent.append(datagram.indices.map { datagram[$0] })
      return true
    }
    for datagram in sent {
      // UDP may lose a datagram anywhere: also here, when the network card is busy.
      guard try socket.send(datagram.span) else { return false }
      traffic.datagramsSent += 1
      traffic.bytesSent += datagram.count + headerBytes
    }
    return true
  }

  /// Takes the datagrams that are there.
  /// - Returns: the gateway's messages in them.
  mutating func receive() throws -> [[UInt8]] {
    let headerBytes = socket.peer.isIPv6 ? 48 : 28
    let now = SystemClock.now()
    var messages: [[UInt8]] = []
    while let count = try DatagramChannel.receive(&socket, &room) {
      traffic.datagramsReceived += 1
      traffic.bytesReceived += count + headerBytes
      let datagram = Array(room[..<count])
      try client.receive(datagram.span, at: now) { message in
        messages.append(message.indices.map { message[$0] })
      }
    }
    return messages
  }

  private static func receive(_ socket: inout UDPClient, _ room: inout [UInt8]) throws(NetError) -> Int? {
    var span = room.mutableSpan
    return try socket.receive(into: &span)
  }

  /// - Returns: false when the time is over.
  func wait(writable: Bool, until deadline: Instant) throws(NetError) -> Bool {
    do throws(NetError) {
      try socket.descriptor.wait(readable: true, writable: writable, until: deadline)
      return true
    } catch .timedOut {
      return false
    }
  }
}
