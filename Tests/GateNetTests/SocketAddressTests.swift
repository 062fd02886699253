import GateNet
import Testing

@Test(arguments: [
  ("127.0.0.1:7443", "127.0.0.1", 7443), ("[::1]:7443", "::1", 7443), ("gateway.example:0", "gateway.example", 0),
  ("[fe80::1%eth0]:65535", "fe80::1%eth0", 65535), ("0.0.0.0:1", "0.0.0.0", 1), ("[::]:80", "::", 80),
] as [(String, String, UInt16)])
func hostPorts(text: String, host: String, port: UInt16) throws {
  #expect(try HostPort(text) == HostPort(host: host, port: port))
}

@Test(arguments: [
  "", ":", "host", "host:", ":1", "host:65536", "host:-1", "host:+1", "host: 1", "::1:7443", "[::1]", "[::1]7443", "[::1:1",
  "::1]:1", "[]:1", "[host]:1", "a:b:1", "host:1x", "h\0st:1", "host:٣",
])
func hostPortsThatAreNone(text: String) {
  #expect(throws: NetError.addressSyntax) { try HostPort(text) }
}

@Test(arguments: [
  ("127.0.0.1:7443", "127.0.0.1:7443"), ("[::1]:7443", "[::1]:7443"), ("[2001:db8:0:0::7]:1", "[2001:db8::7]:1"),
  ("[::ffff:10.0.0.1]:5", "10.0.0.1:5"), ("255.255.255.255:65535", "255.255.255.255:65535"),
])
func numbersResolveToThemselves(text: String, description: String) throws {
  let addresses = try HostPort(text).resolve()
  #expect(addresses.map(\.description) == [description])
}

@Test func localhostResolves() throws {
  let addresses = try HostPort(host: "localhost", port: 9).resolve()
  #expect(addresses.contains(.loopback(port: 9)) || addresses.contains(.loopbackIPv6(port: 9)))
  #expect(Set(addresses).count == addresses.count)
}

@Test func unknownNamesAreAnError() {
  // Longer than any name may be, so that no name server is asked.
  #expect(throws: NetError.self) { try HostPort(host: String(repeating: "a", count: 300), port: 1).resolve() }
}

@Test func mappedAddressesAreIPv4() {
  let mapped = SocketAddress(ipv6High: 0, low: 0xFFFF_0A00_0001, port: 3, scope: 2)
  #expect(mapped == SocketAddress(ipv4: 0x0A00_0001, port: 3))
  #expect(!mapped.isIPv6)
  #expect(mapped.withPort(4) == SocketAddress(ipv4: 0x0A00_0001, port: 4))
}
