import GateNet
import Testing

@Test(arguments: [
  ("10.0.0.0/8", SocketAddress(ipv4: 0x0A01_0203, port: 9), true),
  ("10.0.0.0/8", SocketAddress(ipv4: 0x0B00_0000, port: 9), false),
  ("0.0.0.0/0", SocketAddress(ipv4: 0xFFFF_FFFF, port: 9), true),
  ("0.0.0.0/0", .loopbackIPv6(port: 9), false),
  ("192.0.2.7", SocketAddress(ipv4: 0xC000_0207, port: 1), true),
  ("192.0.2.7", SocketAddress(ipv4: 0xC000_0206, port: 1), false),
  ("::/0", .loopbackIPv6(port: 9), true),
  ("::1", .loopbackIPv6(port: 9), true),
  ("2001:db8::/32", SocketAddress(ipv6High: 0x2001_0DB8_1234_5678, low: 99, port: 0), true),
  ("2001:db8::/32", SocketAddress(ipv6High: 0x2001_0DB9_0000_0000, low: 99, port: 0), false),
  ("2001:db8:0:1::/64", SocketAddress(ipv6High: 0x2001_0DB8_0000_0001, low: .max, port: 0), true),
  ("2001:db8::8000:0/97", SocketAddress(ipv6High: 0x2001_0DB8_0000_0000, low: 0xFFFF_FFFF, port: 0), true),
  ("2001:db8::8000:0/97", SocketAddress(ipv6High: 0x2001_0DB8_0000_0000, low: 0x7FFF_FFFF, port: 0), false),
  // An IPv4 address in IPv6's clothing is IPv4.
  ("::ffff:10.0.0.0", SocketAddress(ipv4: 0x0A00_0000, port: 9), true),
] as [(String, SocketAddress, Bool)])
func aPrefixContains(text: String, address: SocketAddress, expected: Bool) throws {
  #expect(try #require(NetworkPrefix(text)).contains(address) == expected)
}

@Test(arguments: [
  "", "/8", "10.0.0.0/", "10.0.0.0/33", "10.0.0.0/-1", "10.0.0.0/8/8", "10.0.0.1/8", "10/8", "::/129", "::1/64",
  "localhost", "10.0.0.0/99999999999999999999", "10.0.0.0/+8",
])
func whatIsNoPrefixIsRefused(text: String) {
  #expect(NetworkPrefix(text) == nil)
}
