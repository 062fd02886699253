import GateTLS
import Glibc
import Testing

/// 2030-01-01, so that no test depends on the day it runs. libssl's verification reads the real clock: certificates that
/// must be valid are made from `realNowS`.
let fixedNowS: Int64 = 1_893_456_000
let realNowS: Int64 = Int64(time(nil))

/// Certificates made once for all tests.
enum Fixture {
  static let authority = Result<DevelopmentCA, TLSError> { () throws(TLSError) in try DevelopmentCA.make(nowS: realNowS) }
  static let identity = Result<TLSIdentity, TLSError> { () throws(TLSError) in
    try authority.get().serverIdentity(names: ["gateway.example", "192.0.2.7"], nowS: realNowS)
  }
  static let ticketKeys = [UInt8](0..<80)

  static func server(
    allowTLS12: Bool = false, ticketKeys: [UInt8] = ticketKeys, ownRecords: Bool = false
  ) throws(TLSError) -> TLSServerContext {
    try TLSServerContext(
      identity: identity.get(), ticketKeys: ticketKeys, allowTLS12: allowTLS12, ownRecords: ownRecords)
  }

  static func client(version: TLSVersion = .tls13, ownRecords: Bool = false) throws(TLSError) -> TLSClientContext {
    try TLSClientContext(authorityPEM: authority.get().certificatePEM, version: version, ownRecords: ownRecords)
  }
}

extension TLSEngine {
  /// Feeds all of `bytes`, draining plaintext whenever the room of `room` bytes is full. Early data is not told apart.
  mutating func feed(_ bytes: [UInt8], room: Int = 20_000, into plaintext: inout [UInt8]) throws(TLSError) -> TLSProgress {
    var rest = bytes
    var buffer = [UInt8](repeating: 0, count: room)
    while true {
      var offset = 0
      var failure: TLSError? = nil
      var progress = TLSProgress.handshaking
      var span = buffer.mutableSpan
      do throws(TLSError) { progress = try receive(rest.span, plaintext: &span, at: &offset) } catch { failure = error }
      plaintext += buffer[..<offset]
      if let failure { throw failure }
      switch progress {
      case .plaintextFull(let consumed), .earlyDataEnded(let consumed): rest.removeFirst(consumed)
      case .handshaking, .open, .closed: return progress
      }
    }
  }

  mutating func feed(_ bytes: [UInt8]) throws(TLSError) -> TLSProgress {
    var plaintext: [UInt8] = []
    let progress = try feed(bytes, into: &plaintext)
    #expect(plaintext.isEmpty)
    return progress
  }

  mutating func takeOutput() -> [UInt8] {
    var bytes: [UInt8] = []
    drainOutput(into: &bytes)
    return bytes
  }
}

/// A gateway and a device, joined by arrays.
struct Pair: ~Copyable {
  var server: TLSEngine
  var client: TLSEngine
  /// What the ticket carries that the device gets once both are through, as from a gateway that has welcomed it.
  var carried: [UInt8]? = []

  init(
    server: TLSServerContext, client: TLSClientContext, name: String = "localhost", ticket: [UInt8]? = nil,
    earlyData: [UInt8] = []
  ) throws(TLSError) {
    let gateway = try TLSEngine(server: server)
    let device = try TLSEngine(client: client, serverName: name, ticket: ticket, earlyData: earlyData)
    self.server = gateway
    self.client = device
  }

  init() throws(TLSError) { try self.init(server: Fixture.server(), client: Fixture.client()) }

  /// Hands bytes over until neither side has any, then gives a ticket.
  mutating func settle() throws(TLSError) {
    try exchange()
    guard let carried, server.isEstablished else { return }
    try server.issueTicket(carrying: carried)
    try exchange()
  }

  mutating func exchange() throws(TLSError) {
    while client.outputCount > 0 || server.outputCount > 0 {
      if client.outputCount > 0 { _ = try server.feed(client.takeOutput()) }
      if server.outputCount > 0 { _ = try client.feed(server.takeOutput()) }
    }
  }

  /// What the device can resume with.
  borrowing func ticket() throws -> [UInt8] {
    let ticket = client.sessionTicket
    return try #require(ticket)
  }

  /// The certificate that the device has shown.
  borrowing func peer(_ authorities: ClientAuthorities) throws -> PeerCertificate {
    let peer = server.peerCertificate(authorities)
    return try #require(peer)
  }

  static func established() throws(TLSError) -> Pair {
    var pair = try Pair()
    try pair.settle()
    return pair
  }
}

extension Result {
  init(_ body: () throws(Failure) -> Success) {
    do throws(Failure) { self = .success(try body()) } catch { self = .failure(error) }
  }
}
