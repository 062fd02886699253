import GateCore
import GateProto
import GateStore
import GateTLS
import Gateway
import Testing

@Suite struct ReloadTests {
  @Test func aNewCertificateIsForNewConnectionsAndDropsNone() throws {
    let fixture = try GatewayFixture()
    let token = try fixture.enrol("bike-1")
    let old = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    var line = try Line.open(fixture.port, old)
    try line.hello(token: token)
    #expect(try line.next()?.welcome != nil)

    let successor = try DevelopmentCA.make(nowS: Now.s)
    try GatewayFixture.writeServer(successor, fixture.folder)
    fixture.gateway.reload()
    // The open connection goes on; a new one sees the new certificate.
    #expect(try line.isAlive(1))
    #expect(throws: TLSError.self) { _ = try Line.open(fixture.port, old) }
    var fresh = try Line.open(fixture.port, TLSClientContext(authorityPEM: successor.certificatePEM))
    // Of another device: a second connection of the same one would take the first one's place.
    try fresh.hello(token: try fixture.enrol("bike-2"))
    #expect(try fresh.next()?.welcome != nil)
    #expect(try line.isAlive(2))
  }

  @Test(arguments: ["garbage", "other key", "missing"])
  func aBadCertificateLeavesTheOldInForce(_ fault: String) throws {
    let fixture = try GatewayFixture()
    let client = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    let path = fixture.folder + "/server.crt"
    switch fault {
    case "garbage": try GatewayFixture.write([1, 2, 3], path)
    case "other key":
      try GatewayFixture.write(fixture.authority.serverIdentity(nowS: Now.s).certificatePEM, path)
    default: try GatewayFixture.write([], fixture.folder + "/ticket.keys")
    }
    fixture.gateway.reload()
    #expect(fixture.logged.all.contains { $0.hasPrefix("error: not reloaded, the old certificate") })
    let line = try Line.open(fixture.port, client)
    let isUp = line.engine.isEstablished
    #expect(isUp)
  }

  private static func expire(_ authority: DevelopmentCA, _ folder: String) throws {
    let ended = try authority.serverIdentity(nowS: Now.s - 2_000 * 86_400)
    try GatewayFixture.write(ended.certificatePEM, folder + "/server.crt")
    try GatewayFixture.write(ended.keyPEM, folder + "/server.key")
  }

  /// The same words as at the start, and all but the certificate is taken.
  @Test func anExpiredCertificateTakesThePlaceOfNoGoodOne() throws {
    let fixture = try GatewayFixture { configuration, _, _ in configuration.tls.clientAuthority = ["ca.crt"] }
    try Self.expire(fixture.authority, fixture.folder)
    _ = try fixture.enrol("bike-1")
    let identity = try fixture.authority.deviceIdentity(tenant: "demo", device: "bike-1", nowS: Now.s)
    var line = try Line.open(
      fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM, identity: identity))
    try line.hello()
    #expect(try line.next()?.welcome != nil)
    // An authority that is no more ends its sessions, whatever the server's own certificate is worth.
    let old = fixture.authority.certificatePEM
    try GatewayFixture.write(try DevelopmentCA.make(nowS: Now.s).certificatePEM, fixture.folder + "/ca.crt")
    fixture.gateway.reload()
    #expect(try line.refusal() == .revoked)
    #expect(fixture.logged.all.contains { $0.hasPrefix("error: the certificate in server.crt expired") })
    #expect(fixture.logged.all.contains("error: the certificate that was in force stays"))
    let client = try TLSClientContext(authorityPEM: old)
    let other = try Line.open(fixture.port, client)
    let isUp = other.engine.isEstablished
    #expect(isUp)
  }

  @Test func aGatewayStartsWithAnExpiredCertificateAndSaysSo() throws {
    let fixture = try GatewayFixture { _, folder, authority in try Self.expire(authority, folder) }
    func said() -> Int { fixture.logged.all.count { $0.hasPrefix("error: the certificate in server.crt expired") } }
    #expect(said() == 1)
    fixture.gateway.reload()
    #expect(said() == 2)
    #expect(!fixture.logged.all.contains { $0.contains("stays") })
    try GatewayFixture.writeServer(fixture.authority, fixture.folder)
    fixture.gateway.reload()
    let line = try Line.open(fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM))
    let isUp = line.engine.isEstablished
    #expect(isUp)
  }

  @Test func ticketsOfTheOldKeyAreTakenAfterARotation() throws {
    let fixture = try GatewayFixture()
    let token = try fixture.enrol("bike-1")
    let client = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    var first = try Line.open(fixture.port, client)
    try first.hello(token: token)
    #expect(try first.next()?.welcome != nil)
    let ticket = first.engine.sessionTicket
    try GatewayFixture.write(try randomBytes(TLSServerContext.ticketKeyBytes), fixture.folder + "/ticket.keys")
    fixture.gateway.reload()
    let second = try Line.open(fixture.port, client, ticket: ticket)
    let isResumed = second.engine.isResumed
    #expect(isResumed)
  }

  @Test func revocationsAreReadToo() throws {
    let fixture = try GatewayFixture()
    let token = try fixture.enrol("bike-1")
    let client = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    var line = try Line.open(fixture.port, client)
    try line.hello(token: token)
    #expect(try line.next()?.welcome != nil)
    _ = try fixture.registry().revokeDevice(tenant: "demo", id: "bike-1", nowMs: Now.ms)
    fixture.gateway.reload()
    #expect(try line.refusal() == .revoked)
  }
}
