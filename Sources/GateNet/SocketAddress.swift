package import GateCore
import Glibc

/// An IPv4 or IPv6 address with its port: a value for listeners, logs and filters.
package struct SocketAddress: Hashable, Sendable, CustomStringConvertible {
  /// The address's bytes as a number: IPv4 in the low 32 bits, IPv6 in all 128.
  package let high: UInt64
  package let low: UInt64
  package let isIPv6: Bool
  package let port: UInt16
  /// Interface of a link-local IPv6 address; 0 otherwise.
  package let scope: UInt32

  package init(ipv4: UInt32, port: UInt16) {
    (high, low, isIPv6, scope) = (0, UInt64(ipv4), false, 0)
    self.port = port
  }

  /// An IPv4 address in IPv6's clothing (RFC 4291 section 2.5.5.2) becomes IPv4, so that a filter sees one form.
  package init(ipv6High high: UInt64, low: UInt64, port: UInt16, scope: UInt32 = 0) {
    let mapped = high == 0 && low >> 32 == 0xFFFF
    self.high = high
    self.low = mapped ? low & 0xFFFF_FFFF : low
    isIPv6 = !mapped
    self.port = port
    self.scope = mapped ? 0 : scope
  }

  package static func loopback(port: UInt16) -> SocketAddress { SocketAddress(ipv4: 0x7F00_0001, port: port) }
  package static func loopbackIPv6(port: UInt16) -> SocketAddress { SocketAddress(ipv6High: 0, low: 1, port: port) }

  package func withPort(_ port: UInt16) -> SocketAddress {
    isIPv6
      ? SocketAddress(ipv6High: high, low: low, port: port, scope: scope)
      : SocketAddress(ipv4: UInt32(truncatingIfNeeded: low), port: port)
  }

  /// `127.0.0.1:7443` or `[::1]:7443`. Not for logs about devices.
  package var description: String {
    var storage = storage
    return unsafe withUnsafePointer(to: &storage.bytes) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { address in
        var host = [CChar](repeating: 0, count: Int(NI_MAXHOST))
        guard unsafe getnameinfo(address, storage.length, &host, socklen_t(host.count), nil, 0, NI_NUMERICHOST) == 0
        else { return "?:\(port)" }
        let text = String(decoding: host.prefix { $0 != 0 }.map(UInt8.init(bitPattern:)), as: UTF8.self)
        return isIPv6 ? "[\(text)]:\(port)" : "\(text):\(port)"
      }
    }
  }
}

extension SocketAddress {
  /// - Parameters:
  ///   - local: the socket that the datagram came to.
  ///   - own: the address that it came to there, see `UDPSocket.receive`.
  package func peer(at local: UInt8 = 0, own: UInt8 = 0) -> PeerAddress {
    PeerAddress(high: high, low: low, port: port, scope: scope, isIPv6: isIPv6, local: local, own: own)
  }

  package init(_ peer: PeerAddress) {
    self =
      peer.isIPv6
      ? SocketAddress(ipv6High: peer.high, low: peer.low, port: peer.port, scope: peer.scope)
      : SocketAddress(ipv4: UInt32(truncatingIfNeeded: peer.low), port: peer.port)
  }
}

/// `host:port` as an operator writes it.
package struct HostPort: Hashable, Sendable {
  package var host: String
  package var port: UInt16

  package init(host: String, port: UInt16) {
    self.host = host
    self.port = port
  }

  /// Reads `name:port`, `127.0.0.1:port` or `[::1]:port`.
  /// - Throws: `.addressSyntax`.
  package init(_ text: String) throws(NetError) {
    guard let colon = text.lastIndex(of: ":") else { throw .addressSyntax }
    let digits = text[text.index(after: colon)...]
    guard !digits.isEmpty, digits.utf8.allSatisfy({ (0x30...0x39).contains($0) }), let port = UInt16(digits) else {
      throw .addressSyntax
    }
    var host = text[..<colon]
    if host.hasPrefix("[") {
      guard host.hasSuffix("]"), host.contains(":") else { throw .addressSyntax }
      host = host.dropFirst().dropLast()
    } else if host.contains(":") || host.contains("]") {
      throw .addressSyntax
    }
    guard !host.isEmpty, !host.utf8.contains(0) else { throw .addressSyntax }
    self.host = String(host)
    self.port = port
  }

  /// All addresses of the host, in the order in which they should be tried. Blocks on the resolver.
  /// - Throws: `.unresolvable`.
  package func resolve() throws(NetError) -> [SocketAddress] {
    var hints = unsafe addrinfo()
    unsafe hints.ai_socktype = Int32(SOCK_STREAM.rawValue)
    var list: UnsafeMutablePointer<addrinfo>? = nil
    let code = unsafe getaddrinfo(host, nil, &hints, &list)
    guard code == 0 else { throw .unresolvable(code: code) }
    defer { unsafe freeaddrinfo(list) }
    var addresses: [SocketAddress] = []
    var next = unsafe list
    while let entry = unsafe next {
      if let raw = unsafe entry.pointee.ai_addr,
        let address = unsafe SocketAddress(raw, length: entry.pointee.ai_addrlen)
      {
        let address = address.withPort(port)
        if !addresses.contains(address) { addresses.append(address) }
      }
      unsafe next = entry.pointee.ai_next
    }
    guard !addresses.isEmpty else { throw .unresolvable(code: EAI_NONAME) }
    return addresses
  }
}

extension SocketAddress {
  /// 0.0.0.0 or ::, all addresses of the machine.
  var isWildcard: Bool { high == 0 && low == 0 }

  var family: Int32 { isIPv6 ? AF_INET6 : AF_INET }

  /// As the kernel wants it.
  var storage: (bytes: sockaddr_storage, length: socklen_t) {
    var bytes = sockaddr_storage()
    if isIPv6 {
      var address = sockaddr_in6()
      address.sin6_family = sa_family_t(AF_INET6)
      address.sin6_port = port.bigEndian
      address.sin6_scope_id = scope
      unsafe withUnsafeMutableBytes(of: &address.sin6_addr) { raw in
        unsafe raw.storeBytes(of: high.bigEndian, toByteOffset: 0, as: UInt64.self)
        unsafe raw.storeBytes(of: low.bigEndian, toByteOffset: 8, as: UInt64.self)
      }
      unsafe withUnsafeMutableBytes(of: &bytes) { unsafe $0.storeBytes(of: address, as: sockaddr_in6.self) }
      return (bytes, socklen_t(MemoryLayout<sockaddr_in6>.size))
    }
    var address = sockaddr_in()
    address.sin_family = sa_family_t(AF_INET)
    address.sin_port = port.bigEndian
    address.sin_addr.s_addr = UInt32(truncatingIfNeeded: low).bigEndian
    unsafe withUnsafeMutableBytes(of: &bytes) { unsafe $0.storeBytes(of: address, as: sockaddr_in.self) }
    return (bytes, socklen_t(MemoryLayout<sockaddr_in>.size))
  }

  /// As the kernel gave it; `nil` for another family.
  init?(_ address: UnsafePointer<sockaddr>, length: socklen_t) {
    let raw = unsafe UnsafeRawPointer(address)
    switch unsafe Int32(address.pointee.sa_family) {
    case AF_INET where Int(length) >= MemoryLayout<sockaddr_in>.size:
      let value = unsafe raw.loadUnaligned(as: sockaddr_in.self)
      self.init(ipv4: UInt32(bigEndian: value.sin_addr.s_addr), port: UInt16(bigEndian: value.sin_port))
    case AF_INET6 where Int(length) >= MemoryLayout<sockaddr_in6>.size:
      var value = unsafe raw.loadUnaligned(as: sockaddr_in6.self)
      let (high, low) = unsafe withUnsafeBytes(of: &value.sin6_addr) { bytes in
        unsafe (bytes.loadUnaligned(as: UInt64.self), bytes.loadUnaligned(fromByteOffset: 8, as: UInt64.self))
      }
      self.init(
        ipv6High: UInt64(bigEndian: high), low: UInt64(bigEndian: low), port: UInt16(bigEndian: value.sin6_port),
        scope: value.sin6_scope_id)
    default: return nil
    }
  }

  init?(_ storage: sockaddr_storage, length: socklen_t) {
    var storage = storage
    let address = unsafe withUnsafePointer(to: &storage) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe SocketAddress($0, length: length) }
    }
    guard let address else { return nil }
    self = address
  }

  /// Hands the address to `body` as the kernel wants it.
  func withSockaddr<R>(_ body: (UnsafePointer<sockaddr>, socklen_t) -> R) -> R {
    var storage = storage
    return unsafe withUnsafePointer(to: &storage.bytes) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) { unsafe body($0, storage.length) }
    }
  }
}
