import GateCore
import GateTLS

func peer(_ port: UInt16, host: UInt64 = 0x7F00_0001) -> PeerAddress {
  PeerAddress(high: 0, low: host, port: port, scope: 0, isIPv6: false)
}

/// An endpoint and what came out of it.
struct EndpointGateway: ~Copyable {
  var endpoint: DTLSEndpoint
  var now = Instant(ns: 100_000_000_000)
  var sent: [(bytes: [UInt8], to: PeerAddress)] = []
  var data: [[UInt8]] = []
  var admits = true
  /// What a start found in the session file.
  var restored: [(session: UInt64, slot: Int, facts: SessionFacts)] = []

  init(sessionsMax: Int = 100, handshakesMax: Int = 8, shelf: SessionShelf? = nil, epochS: Int64 = 0) throws {
    endpoint = try DTLSEndpoint(
      context: DTLSFixture.server(), cookieKey: DTLSFixture.cookieKey, node: 7, shards: [3, 5], sessionsMax: sessionsMax,
      handshakesMax: handshakesMax, shelf: shelf, epochS: epochS)
  }

  /// - Returns: the events.
  @discardableResult
  mutating func receive(_ datagram: [UInt8], from address: PeerAddress) -> [DTLSEvent] {
    var room = [UInt8](repeating: 0, count: 8_000)
    var span = room.mutableSpan
    let admits = admits
    endpoint.receive(datagram.span, from: address, at: now, plaintext: &span) { admits }
    let events = endpoint.events
    for case .data(_, _, let range, _) in events { data.append(Array(room[range])) }
    drain()
    return events
  }

  mutating func drain() {
    var out: [(bytes: [UInt8], to: PeerAddress)] = []
    _ = endpoint.drain { datagram, to in
      out.append((DTLSFixture.bytes(datagram), to))
      return true
    }
    sent += out
  }

  mutating func takeSent(to address: PeerAddress) -> [[UInt8]] {
    let mine = sent.filter { $0.to == address }.map(\.bytes)
    sent.removeAll { $0.to == address }
    return mine
  }

  mutating func answer(_ plaintext: [UInt8], session: UInt64) throws -> (bytes: [UInt8], to: PeerAddress)? {
    var buffer = [UInt8](repeating: 0, count: 1_300)
    var offset = 0
    var span = buffer.mutableSpan
    guard let to = try endpoint.seal(plaintext.span, for: session, into: &span, at: &offset) else { return nil }
    return (Array(buffer[..<offset]), to)
  }
}

/// A device: handshake, then session.
struct EndpointDevice: ~Copyable {
  let cipher: RecordCipher
  var session: DTLSSession
  var id: UInt64

  /// Runs the handshake over a network that loses nothing.
  init(_ suite: DTLSSuite = .pskAES128CCM8, with gateway: inout EndpointGateway, at address: PeerAddress, usesCID: Bool = true) throws {
    let cipher = try RecordCipher()
    var handshake: DTLSHandshake? = try DTLSHandshake(
      client: DTLSFixture.client(suite), serverName: "gateway.example", connectionID: usesCID ? ConnectionID() : nil,
      at: gateway.now, with: cipher)
    var session: UInt64? = nil
    var progress = DTLSProgress.handshaking
    while progress == .handshaking {
      let datagrams = handshake?.takeOutput() ?? []
      if datagrams.isEmpty { throw DTLSError.timedOut }
      for datagram in datagrams {
        for case .opened(let id, _, _) in gateway.receive(datagram, from: address) { session = id }
      }
      for datagram in gateway.takeSent(to: address) {
        progress = try handshake?.receive(datagram.span, at: gateway.now, with: cipher) ?? .handshaking
      }
    }
    guard let established = handshake.take()?.finish(), let session else { throw DTLSError.notOpen }
    self.cipher = cipher
    self.session = established.takeSession()
    id = session
  }

  mutating func seal(_ plaintext: [UInt8]) throws -> [UInt8] { try session.seal(plaintext, with: cipher) }
  mutating func open(_ datagram: [UInt8]) throws -> [UInt8] { try session.open(datagram, with: cipher).get().data }
}
