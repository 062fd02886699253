import GateTLS
import Testing

@Suite struct ExternalKeyTests {
  private static let known = ExternalKey(identity: Array("fixgate-00112233".utf8), secret: [UInt8](0..<32))
  private static let find: ExternalKey.Lookup = { $0 == known.identity ? known.secret : nil }

  private func server(_ find: ExternalKey.Lookup?, keys: [UInt8] = Fixture.ticketKeys) throws -> TLSServerContext {
    try TLSServerContext(identity: Fixture.identity.get(), ticketKeys: keys, proof: ClientProof(findKey: find))
  }

  private func client(_ key: ExternalKey?) throws -> TLSClientContext {
    try TLSClientContext(authorityPEM: Fixture.authority.get().certificatePEM, key: key)
  }

  @Test func theKeyProvesBothSidesAndTravelsInTheTicket() throws {
    var pair = try Pair(server: server(ExternalKeyTests.find), client: client(ExternalKeyTests.known))
    try pair.settle()
    #expect(pair.server.keyIdentity == ExternalKeyTests.known.identity)
    #expect(pair.client.cipherName == "TLS_AES_128_GCM_SHA256")
    let ticket = try pair.ticket()
    // Resumed by the ticket alone: the identity is still known, and from nowhere but the sealed ticket.
    var resumed = try Pair(server: server(nil), client: client(nil), ticket: ticket)
    try resumed.settle()
    #expect(resumed.server.isResumed && resumed.server.keyIdentity == ExternalKeyTests.known.identity)
    let again = try resumed.ticket()
    var third = try Pair(server: server(nil), client: client(nil), ticket: again)
    try third.settle()
    #expect(third.server.keyIdentity == ExternalKeyTests.known.identity)
  }

  @Test func anUnknownKeyFallsBackToTheCertificate() throws {
    let other = ExternalKey(identity: Array("fixgate-other".utf8), secret: [UInt8](0..<32))
    var pair = try Pair(server: server(ExternalKeyTests.find), client: client(other))
    try pair.settle()
    #expect(pair.server.isEstablished && pair.server.keyIdentity == nil && !pair.server.isResumed)
  }

  @Test func aWrongSecretEndsTheHandshake() throws {
    let stolen = ExternalKey(identity: ExternalKeyTests.known.identity, secret: [UInt8](repeating: 9, count: 32))
    var pair = try Pair(server: server(ExternalKeyTests.find), client: client(stolen))
    #expect(throws: TLSError.self) { try pair.settle() }
    #expect(!pair.server.isEstablished && pair.server.keyIdentity == nil)
  }

  @Test func withoutAKeyThereIsNoIdentity() throws {
    var pair = try Pair(server: server(ExternalKeyTests.find), client: client(nil))
    try pair.settle()
    #expect(pair.server.keyIdentity == nil)
    var resumed = try Pair(
      server: server(ExternalKeyTests.find), client: client(nil), ticket: pair.ticket())
    try resumed.settle()
    #expect(resumed.server.isResumed && resumed.server.keyIdentity == nil)
  }
}
