import GateCore
import GateNet
import Glibc
import Testing

/// Waits for at least one datagram and takes a batch.
func receive(_ socket: inout UDPSocket) throws -> [[UInt8]] {
  try socket.descriptor.wait(readable: true, writable: false, until: soon())
  var datagrams: [[UInt8]] = []
  _ = try socket.receive { bytes, _, _ in datagrams.append(bytes.indices.map { bytes[$0] }) }
  return datagrams
}

@Suite struct UDPSocketTests {
  @Test(arguments: [SocketAddress.loopback(port: 0), .loopbackIPv6(port: 0)]) func thereAndBack(address: SocketAddress) throws {
    var server = try UDPSocket(on: address)
    var client = try UDPSocket(on: address)
    #expect(server.receiveBufferBytes > 0 && server.boundPort != 0 && server.boundPort != client.boundPort)
    #expect(try server.receive { _, _, _ in Issue.record("nothing was sent") } == 0)
    for i in 0..<5 as Range<UInt8> {
      let bytes = [UInt8](repeating: i, count: Int(i) * 300)
      let queued = client.queue(bytes.span, to: server.address)
      #expect(queued)
    }
    #expect(client.waiting == 5)
    #expect(try client.flush() && client.waiting == 0)
    try server.descriptor.wait(readable: true, writable: false, until: soon())
    var got: [Int] = []
    var peers: Set<SocketAddress> = []
    let count = try server.receive { bytes, peer, _ in
      got.append(bytes.count)
      peers.insert(peer)
    }
    #expect(count == 5 && got == [0, 300, 600, 900, 1_200] && peers == [client.address])
    let answer: [UInt8] = [7]
    let queued = server.queue(answer.span, to: client.address)
    #expect(queued)
    #expect(try server.flush())
    #expect(try GateNetTests.receive(&client) == [[7]])
    #expect(server.kernelDrops == 0 && server.truncated == 0 && server.unsendable == 0)
  }

  /// A machine with several addresses answers from the one that was asked: a client takes nothing from another.
  @Test(arguments: [SocketAddress(ipv4: 0x7F00_0001, port: 0), SocketAddress(ipv4: 0x7F00_0002, port: 0), .loopbackIPv6(port: 0)])
  func aWildcardAnswersFromTheAddressAsked(asked: SocketAddress) throws {
    let all = asked.isIPv6 ? SocketAddress(ipv6High: 0, low: 0, port: 0) : SocketAddress(ipv4: 0, port: 0)
    var server = try UDPSocket(on: all)
    var client = try UDPClient(to: asked.withPort(server.boundPort))
    let bytes: [UInt8] = [1]
    _ = try client.send(bytes.span)
    try server.descriptor.wait(readable: true, writable: false, until: soon())
    var from: (peer: SocketAddress, own: UInt8)?
    _ = try server.receive { _, peer, own in from = (peer, own) }
    let sender = try #require(from)
    let queued = server.queue(bytes.span, to: sender.peer, from: sender.own)
    #expect(queued)
    #expect(try server.flush() && server.unsendable == 0)
    try client.descriptor.wait(readable: true, writable: false, until: soon())
    var room = [UInt8](repeating: 0, count: 16)
    var span = room.mutableSpan
    let count = try client.receive(into: &span)
    #expect(count == 1)
  }

  @Test func batchesAreBounded() throws {
    var client = try UDPSocket(on: .loopback(port: 0))
    var server = try UDPSocket(on: .loopback(port: 0))
    let bytes: [UInt8] = [1]
    for _ in 0..<UDPSocket.batchMax {
      let queued = client.queue(bytes.span, to: server.address)
      #expect(queued)
    }
    let refused = client.queue(bytes.span, to: server.address)
    #expect(!refused)
    #expect(try client.flush())
    let again = client.queue(bytes.span, to: server.address)
    #expect(again)
    #expect(try client.flush())
    try server.descriptor.wait(readable: true, writable: false, until: soon())
    #expect(try server.receive { _, _, _ in } == UDPSocket.batchMax)
    #expect(try server.receive { _, _, _ in } == 1)
  }

  @Test func tooLongIsDropped() throws {
    var server = try UDPSocket(on: .loopback(port: 0))
    let raw = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
    let client = FileDescriptor(taking: raw)
    var to = sockaddr_in()
    to.sin_family = sa_family_t(AF_INET)
    to.sin_port = server.boundPort.bigEndian
    to.sin_addr.s_addr = UInt32(0x7F00_0001).bigEndian
    let connected = unsafe withUnsafePointer(to: &to) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe connect(raw, $0, socklen_t(MemoryLayout<sockaddr_in>.size))
      }
    }
    #expect(connected == 0)
    let long = [UInt8](repeating: 1, count: UDPSocket.datagramBytesMax + 1)
    #expect(try client.send(long.span) == .bytes(long.count))
    try server.descriptor.wait(readable: true, writable: false, until: soon())
    #expect(try server.receive { _, _, _ in Issue.record("too long") } == 1)
    #expect(server.truncated == 1)
  }

  @Test func fullBufferIsCounted() throws {
    var server = try UDPSocket(on: .loopback(port: 0), receiveBufferBytes: 4_096)
    var client = try UDPSocket(on: .loopback(port: 0))
    let bytes = [UInt8](repeating: 1, count: 1_000)
    for _ in 0..<64 {
      if !client.queue(bytes.span, to: server.address) { _ = try client.flush() }
    }
    _ = try client.flush()
    var taken = 0
    while true {
      let count = try server.receive { _, _, _ in }
      if count == 0 { break }
      taken += count
    }
    // The counter rides on the next datagram that is received.
    _ = client.queue(bytes.span, to: server.address)
    _ = try client.flush()
    try server.descriptor.wait(readable: true, writable: false, until: soon())
    _ = try server.receive { _, _, _ in }
    #expect(taken < 60 && server.kernelDrops > 0)
  }

  @Test(arguments: [SocketAddress.loopback(port: 0), .loopbackIPv6(port: 0)])
  func shardsFindTheirSocket(address: SocketAddress) throws {
    var first = try UDPSocket(on: address)
    var second = try UDPSocket(on: first.address)
    try first.routeByShard(sockets: 2)
    for shard in 0..<20 as Range<UInt8> {
      // A new source port each time: the kernel's own hash would spread them.
      var client = try UDPSocket(on: address)
      let cid = ConnectionID(node: 9, shard: shard, random: 77)
      let record: [UInt8] = [25, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, 1] + (0..<8).map { cid[$0] } + [0, 0]
      let queued = client.queue(record.span, to: first.address)
      #expect(queued)
      #expect(try client.flush())
      let got = try shard % 2 == 0 ? GateNetTests.receive(&first) : GateNetTests.receive(&second)
      #expect(got == [record])
    }
    // Others are spread, and none is lost; a short one of type 25 goes to the first.
    var client = try UDPSocket(on: address)
    for bytes in [[25], [22, 1, 2]] as [[UInt8]] {
      let queued = client.queue(bytes.span, to: first.address)
      #expect(queued)
      #expect(try client.flush())
    }
    #expect(try GateNetTests.receive(&first).first == [25])
  }
}
