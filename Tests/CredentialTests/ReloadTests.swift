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

  @Test(arguments: ["garbage", "other key", "expired", "missing"])
  func aBadCertificateLeavesTheOldInForce(_ fault: String) throws {
    let fixture = try GatewayFixture()
    let client = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    let path = fixture.folder + "/server.crt"
    switch fault {
    case "garbage": try GatewayFixture.write([1, 2, 3], path)
    case "other key":
      try GatewayFixture.write(fixture.authority.serverIdentity(nowS: Now.s).certificatePEM, path)
    case "expired":
      let ended = try fixture.authority.serverIdentity(nowS: Now.s - 2_000 * 86_400)
      try GatewayFixture.write(ended.certificatePEM, path)
      try GatewayFixture.write(ended.keyPEM, fixture.folder + "/server.key")
    default: try GatewayFixture.write([], fixture.folder + "/ticket.keys")
    }
    fixture.gateway.reload()
    #expect(fixture.logged.all.contains { $0.hasPrefix("error: not reloaded, the old certificate") })
    let line = try Line.open(fixture.port, client)
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
