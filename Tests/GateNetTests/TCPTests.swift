import GateNet
import Testing

@Test(arguments: [SocketAddress.loopback(port: 0), .loopbackIPv6(port: 0)])
func connectAndAccept(address: SocketAddress) throws {
  let ends = try Ends(on: address)
  #expect(ends.listener.boundPort != 0)
  #expect(ends.server.peer.isIPv6 == address.isIPv6)
  #expect(ends.server.peer.withPort(0) == address)
  #expect(ends.client.peer == ends.listener.address)
  #expect(try ends.listener.accept() == nil ? true : false)
}

@Test func workersShareAPort() throws {
  let first = try TCPListener(on: .loopback(port: 0))
  let second = try TCPListener(on: first.address)
  #expect(first.boundPort == second.boundPort)
  #expect(throws: NetError.addressInUse) { try TCPListener(on: first.address, sharesPort: false).boundPort }
}

@Test func bothFamiliesMayHaveTheSamePort() throws {
  let four = try TCPListener(on: SocketAddress(ipv4: 0, port: 0), sharesPort: false)
  let six = try TCPListener(on: SocketAddress(ipv6High: 0, low: 0, port: four.boundPort), sharesPort: false)
  #expect(six.boundPort == four.boundPort)
}

@Test func nobodyListens() throws {
  func freePort() throws -> SocketAddress { try TCPListener(on: .loopback(port: 0)).address }
  let address = try freePort()
  #expect(throws: NetError.refused) { try TCPStream.connect(to: address, until: soon()).peer }
}

@Test func foreignAddress() {
  // RFC 5737: never this machine's.
  #expect(throws: NetError.self) { try TCPListener(on: SocketAddress(ipv4: 0xC000_0201, port: 0)).boundPort }
}

@Test func everyAddressOfAHostIsTried() throws {
  let listener = try TCPListener(on: .loopback(port: 0))
  let client = try TCPStream.connect(to: HostPort(host: "localhost", port: listener.boundPort), until: soon())
  #expect(client.peer == listener.address)
}

@Test func aBatchOfConnections() throws {
  let listener = try TCPListener(on: .loopback(port: 0))
  func connect(_ count: Int) throws -> Int {
    guard count > 0 else {
      var accepted = 0
      while accepted < 20 {
        try listener.descriptor.wait(readable: true, writable: false, until: soon())
        while let stream = try listener.accept() {
          #expect(stream.peer.withPort(0) == .loopback(port: 0))
          accepted += 1
        }
      }
      return accepted
    }
    let client = try TCPStream.connect(to: listener.address, until: soon())
    let accepted = try connect(count - 1)
    #expect(client.peer == listener.address)
    return accepted
  }
  #expect(try connect(20) == 20)
}
