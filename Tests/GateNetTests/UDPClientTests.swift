import GateCore
import GateNet
import Testing

@Suite struct UDPClientTests {
  private static func wait(_ client: borrowing UDPClient) throws(NetError) {
    try client.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: 10_000_000_000))
  }

  @Test(arguments: [SocketAddress.loopback(port: 0), .loopbackIPv6(port: 0)])
  func talksWithItsPeerAlone(address: SocketAddress) throws {
    var server = try UDPSocket(on: address)
    var stranger = try UDPSocket(on: address)
    var client = try UDPClient(to: server.address)
    let hello: [UInt8] = [1, 2, 3]
    _ = try client.send(hello.span)
    try server.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: 10_000_000_000))
    var source: SocketAddress?
    _ = try server.receive { bytes, from, _ in source = bytes.count == 3 ? from : nil }
    let from = try #require(source)
    let (strange, own, empty): ([UInt8], [UInt8], [UInt8]) = ([9], [4, 5], [])
    _ = stranger.queue(strange.span, to: from)
    _ = try stranger.flush()
    _ = server.queue(own.span, to: from)
    _ = server.queue(empty.span, to: from)
    _ = try server.flush()
    var heard: [[UInt8]] = []
    while heard.count < 2 {
      try Self.wait(client)
      var room = [UInt8](repeating: 0, count: UDPClient.datagramBytesMax)
      var span = room.mutableSpan
      while let count = try client.receive(into: &span) { heard.append((0..<count).map { span[$0] }) }
    }
    #expect(heard == [[4, 5], []])
  }

  /// Nobody listens: the network says so, and it is no error, since somebody may listen soon.
  @Test func hearsThatNobodyListens() throws {
    let gone: SocketAddress
    do {
      let server = try UDPSocket(on: .loopback(port: 0))
      gone = server.address
    }
    var client = try UDPClient(to: gone)
    let hello: [UInt8] = [1]
    _ = try client.send(hello.span)
    try Self.wait(client)
    var room = [UInt8](repeating: 0, count: 10)
    var span = room.mutableSpan
    let count = try client.receive(into: &span)
    let isUnreachable = client.isUnreachable
    #expect(count == nil && isUnreachable)
    var server = try UDPSocket(on: gone)
    _ = try client.send(hello.span)
    try server.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: 10_000_000_000))
    var bytes = 0
    _ = try server.receive { datagram, _, _ in bytes += datagram.count }
    #expect(bytes == 1)
  }
}
