import Foundation
import GateCore
import GateNet
import GateTLS
import Testing

/// A gateway in small: sends back each record it gets, and says goodbye behind a line feed if asked to.
private struct EchoEndpoint: ~Copyable {
  static let key: [UInt8] = [0x0F, 0x1E, 0x2D, 0x3C, 0x4B, 0x5A, 0x69, 0x78, 0x87, 0x96, 0xA5, 0xB4, 0xC3, 0xD2, 0xE1, 0xF0]

  var socket: UDPSocket
  var endpoint: DTLSEndpoint
  var received: [[UInt8]] = []
  var peers: [DTLSPeer] = []

  init(_ identity: TLSIdentity, on address: SocketAddress = .loopback(port: 0)) throws {
    let context = try DTLSServerContext(
      identity: identity,
      preSharedKey: { name, room in
        guard name.count == 8 else { return nil }
        for i in EchoEndpoint.key.indices { room[i] = EchoEndpoint.key[i] }
        return EchoEndpoint.key.count
      })
    let socket = try UDPSocket(on: address)
    let endpoint = try DTLSEndpoint(
      context: context, cookieKey: randomBytes(CookieGate.keyBytes), node: 1, shards: [0], sessionsMax: 10,
      handshakesMax: 10)
    self.socket = socket
    self.endpoint = endpoint
  }

  /// One turn: waits for a datagram, or for a deadline.
  mutating func turn(closing: Bool, until deadline: Instant) throws {
    let wake = endpoint.deadline.map { min($0, deadline) } ?? deadline
    do throws(NetError) {
      try socket.descriptor.wait(readable: true, writable: false, until: wake)
    } catch {
      guard error == .timedOut, SystemClock.now() < deadline else { throw error }
    }
    let now = SystemClock.now()
    endpoint.expire(at: now)
    var datagrams: [([UInt8], SocketAddress)] = []
    _ = try socket.receive { bytes, from, _ in datagrams.append((bytes.indices.map { bytes[$0] }, from)) }
    for (datagram, from) in datagrams {
      var room = [UInt8](repeating: 0, count: 8_192)
      var span = room.mutableSpan
      endpoint.receive(datagram.span, from: from.peer(), at: now, plaintext: &span)
      for event in endpoint.events {
        switch event {
        case .opened(_, _, let peer): peers.append(peer)
        case .closed: break
        case .data(let session, _, let range, _):
          received.append(Array(room[range]))
          var record = [UInt8](repeating: 0, count: 1_300)
          var offset = 0
          var into = record.mutableSpan
          let to = try endpoint.seal(room.span.extracting(range), for: session, into: &into, at: &offset)
          if let to { _ = socket.queue(record.span.extracting(0..<offset), to: SocketAddress(to)) }
          if closing { endpoint.close(session) }
        }
      }
    }
    _ = try socket.flush()
    _ = endpoint.drain { datagram, to in socket.queue(datagram, to: SocketAddress(to)) }
    _ = try socket.flush()
  }
}

@Suite struct DTLSInteropTests {
  private static func identity(in directory: String) throws -> TLSIdentity {
    let authority = try DevelopmentCA.make(nowS: nowS())
    try Data(authority.certificatePEM).write(to: URL(fileURLWithPath: directory + "/ca.pem"))
    return try authority.serverIdentity(nowS: nowS())
  }

  @Test(
    .enabled(if: installed("openssl")),
    arguments: [
      "PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256", "PSK-CHACHA20-POLY1305", "ECDHE-PSK-CHACHA20-POLY1305",
    ], [false, true])
  func sClientWithAPreSharedKey(cipher: String, overIPv6: Bool) throws {
    let directory = try TemporaryDirectory()
    var server = try EchoEndpoint(
      Self.identity(in: directory.path), on: overIPv6 ? .loopbackIPv6(port: 0) : .loopback(port: 0))
    let peer = try Peer(
      [
        "openssl", "s_client", "-quiet", "-dtls1_2", "-connect",
        "\(overIPv6 ? "[::1]" : "127.0.0.1"):\(server.socket.boundPort)", "-psk_identity", "device-7", "-psk",
        EchoEndpoint.key.map { String(format: "%02x", $0) }.joined(), "-cipher", cipher,
      ], input: "a line\n", in: directory.path)
    let deadline = soon()
    while server.received.isEmpty { try server.turn(closing: true, until: deadline) }
    let (_, output) = try peer.finish()
    #expect(server.received == [Array("a line\n".utf8)])
    #expect(server.peers == [.preSharedKey(identity: Array("device-7".utf8))])
    #expect(output.contains("a line\n"), "\(output)")
  }

  @Test(
    .enabled(if: installed("openssl")),
    arguments: ["ECDHE-ECDSA-AES128-CCM8", "ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
  func sClientWithTheServersCertificate(cipher: String) throws {
    let directory = try TemporaryDirectory()
    var server = try EchoEndpoint(Self.identity(in: directory.path))
    let peer = try Peer(
      [
        "openssl", "s_client", "-quiet", "-dtls1_2", "-connect", "127.0.0.1:\(server.socket.boundPort)", "-CAfile",
        directory / "ca.pem", "-verify_return_error", "-verify_hostname", "localhost", "-cipher", cipher,
      ], input: "a line\n", in: directory.path)
    let deadline = soon()
    while server.received.isEmpty { try server.turn(closing: true, until: deadline) }
    let (_, output) = try peer.finish()
    #expect(server.received == [Array("a line\n".utf8)] && server.peers == [.anonymous])
    #expect(output.contains("a line\n"), "\(output)")
  }

  @Test(.enabled(if: installed("gnutls-cli")), arguments: ["AES-128-CCM-8", "AES-128-GCM", "CHACHA20-POLY1305"])
  func gnutlsWithAPreSharedKey(cipher: String) throws {
    let directory = try TemporaryDirectory()
    var server = try EchoEndpoint(Self.identity(in: directory.path))
    let peer = try Peer(
      [
        "gnutls-cli", "--udp", "-p", "\(server.socket.boundPort)", "127.0.0.1", "--pskusername", "device-7", "--pskkey",
        EchoEndpoint.key.map { String(format: "%02x", $0) }.joined(), "--priority",
        "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+PSK:-CIPHER-ALL:+\(cipher)",
      ], input: "a line\n", in: directory.path)
    let deadline = soon()
    while server.received.isEmpty { try server.turn(closing: true, until: deadline) }
    let (_, output) = try peer.finish()
    #expect(server.received == [Array("a line\n".utf8)], "\(output)")
    #expect(server.peers == [.preSharedKey(identity: Array("device-7".utf8))])
  }

  /// A device with a connection ID: handshake over one socket, then each record from another port.
  @Test(arguments: [SocketAddress.loopback(port: 0), .loopbackIPv6(port: 0)])
  func aNewPortForEveryRecord(address: SocketAddress) throws {
    let directory = try TemporaryDirectory()
    var server = try EchoEndpoint(Self.identity(in: directory.path), on: address)
    let cipher = try RecordCipher()
    let context = try DTLSClientContext(identity: Array("device-7".utf8), key: EchoEndpoint.key)
    var handshake: DTLSHandshake? = try DTLSHandshake(client: context, at: SystemClock.now(), with: cipher)
    var socket = try UDPSocket(on: address)
    let deadline = soon()
    var progress = DTLSProgress.handshaking
    while progress == .handshaking {
      for datagram in handshake?.takeOutput() ?? [] { _ = socket.queue(datagram.span, to: server.socket.address) }
      _ = try socket.flush()
      try server.turn(closing: false, until: deadline)
      for datagram in try receive(&socket) {
        progress = try handshake?.receive(datagram.span, at: SystemClock.now(), with: cipher) ?? .done
      }
    }
    guard let established = handshake.take()?.finish() else { return }
    var session = established.takeSession()
    for i in 0..<10 as Range<UInt8> {
      socket = try UDPSocket(on: address)
      var record = [UInt8](repeating: 0, count: 100)
      var offset = 0
      var into = record.mutableSpan
      let plaintext: [UInt8] = [i]
      try session.seal(.applicationData, plaintext.span, into: &into, at: &offset, with: cipher)
      _ = socket.queue(record.span.extracting(0..<offset), to: server.socket.address)
      _ = try socket.flush()
      try server.turn(closing: false, until: deadline)
      let answer = try receive(&socket)[0]
      var room = [UInt8](repeating: 0, count: 100)
      var span = room.mutableSpan
      var end = 0
      let header = try DTLSRecord.next(in: answer.span, from: 0, connectionIDBytes: 0)
      let opened = try session.open(header, of: answer.span, into: &span, at: &end, with: cipher)
      #expect(opened.content == .applicationData(bytes: 1) && room[0] == i)
    }
    #expect(server.endpoint.counters.addressChanges == 10 && server.endpoint.counters.handshakesDone == 1)
  }
}
