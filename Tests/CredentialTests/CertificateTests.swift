import GateCore
import GateProto
import GateStore
import GateTLS
import Gateway
import Testing

@Suite struct CertificateTests {
  /// A gateway that takes certificates of its own authority for tenant demo only.
  private func fixture() throws -> GatewayFixture {
    try GatewayFixture { configuration, folder, authority in
      configuration.tls.clientAuthority = ["demo=ca.crt"]
    }
  }

  private func client(_ fixture: GatewayFixture, _ tenant: String, _ device: String) throws -> (TLSClientContext, SecretHash) {
    let identity = try fixture.authority.deviceIdentity(tenant: tenant, device: device, nowS: Now.s)
    let print = try PeerCertificate.leaf(of: identity.certificatePEM).fingerprint
    return (
      try TLSClientContext(authorityPEM: fixture.authority.certificatePEM, identity: identity), SecretHash(print.span)
    )
  }

  private func refusal(_ fixture: GatewayFixture, _ client: TLSClientContext) throws -> RefusalCode? {
    var line = try Line.open(fixture.port, client)
    try line.hello()
    return try line.refusal()
  }

  @Test func aCertificateOpensASessionAndItsRevocationEndsIt() throws {
    let fixture = try fixture()
    _ = try fixture.enrol("bike-1")
    let (client, print) = try client(fixture, "demo", "bike-1")
    var line = try Line.open(fixture.port, client)
    try line.hello()
    #expect(try line.next()?.welcome != nil)
    let ticket = line.engine.sessionTicket
    try fixture.registry().revokeCertificate(tenant: "demo", id: "bike-1", fingerprint: print, nowMs: Now.ms)
    #expect(try fixture.tell() == 1)
    #expect(try line.refusal() == .revoked)
    // Another certificate of the same device is as good as before.
    var other = try Line.open(fixture.port, self.client(fixture, "demo", "bike-1").0)
    try other.hello()
    #expect(try other.next()?.welcome != nil)
    // Neither a new handshake nor a ticket from before brings it back.
    #expect(try refusal(fixture, client) == .revoked)
    var resumed = try Line.open(fixture.port, client, ticket: ticket)
    let isResumed = resumed.engine.isResumed
    #expect(isResumed)
    try resumed.hello()
    #expect(try resumed.refusal() == .revoked)
  }

  @Test func tenantsAreWalls() throws {
    let fixture = try fixture()
    _ = try fixture.registry().createTenant("other", nowMs: Now.ms)
    let secret = try Credentials.make()
    _ = try fixture.registry().addDevice(
      tenant: "other", id: "bike-1", tokenSelector: secret.selector, tokenHash: secret.hash, nowMs: Now.ms)
    _ = try fixture.tell()
    // The authority vouches for demo only, whatever it writes into a certificate.
    let (client, print) = try client(fixture, "other", "bike-1")
    #expect(try refusal(fixture, client) == .unknownCredential)
    // Not even entered by hand.
    try fixture.registry().addCredential(
      tenant: "other", id: "bike-1", credential: .certificate(fingerprint: print), nowMs: Now.ms)
    _ = try fixture.tell()
    #expect(try refusal(fixture, client) == .unknownCredential)
  }

  @Test func whoIsNotEnrolledIsUnknown() throws {
    let fixture = try fixture()
    let (client, print) = try client(fixture, "demo", "bike-9")
    #expect(try refusal(fixture, client) == .unknownCredential)
    // A certificate that names nobody known can be entered for a device by its fingerprint.
    _ = try fixture.registry().addDevice(
      tenant: "demo", id: "bike-2", credential: .certificate(fingerprint: print), nowMs: Now.ms)
    _ = try fixture.tell()
    var line = try Line.open(fixture.port, client)
    try line.hello()
    #expect(try line.next()?.welcome != nil)
    _ = try fixture.registry().revokeDevice(tenant: "demo", id: "bike-2", nowMs: Now.ms)
    #expect(try fixture.tell() == 1)
    #expect(try line.refusal() == .revoked)
  }

  @Test func withoutCertificateAndTokenNobodyIsKnown() throws {
    let fixture = try fixture()
    #expect(
      try refusal(fixture, TLSClientContext(authorityPEM: fixture.authority.certificatePEM)) == .unknownCredential)
  }

  @Test func anAuthorityThatIsNoMoreEndsItsSessions() throws {
    let fixture = try fixture()
    _ = try fixture.enrol("bike-1")
    var line = try Line.open(fixture.port, client(fixture, "demo", "bike-1").0)
    try line.hello()
    #expect(try line.next()?.welcome != nil)
    // The file is the authority's; the server's certificate is checked against what the device has.
    try GatewayFixture.write(try DevelopmentCA.make(nowS: Now.s).certificatePEM, fixture.folder + "/ca.crt")
    fixture.gateway.reload()
    #expect(try line.refusal() == .revoked)
  }
}
