import GateCore
import GateProto
import GateStore
import GateTLS
import Gateway
import Testing

@Suite struct RotationTests {
  @Test func bothTokensWorkUntilTheOverlapEnds() throws {
    let fixture = try GatewayFixture()
    let client = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    let old = try fixture.enrol("bike-1")
    let fresh = try Credentials.make()
    try fixture.registry().rotate(
      tenant: "demo", id: "bike-1", to: .token(selector: fresh.selector, hash: fresh.hash), overlapMs: 86_400_000, nowMs: Now.ms)
    #expect(try fixture.tell() == 0)
    var byOld = try Line.open(fixture.port, client)
    try byOld.hello(token: old)
    #expect(try byOld.next()?.welcome != nil)
    var byNew = try Line.open(fixture.port, client)
    try byNew.hello(token: fresh.token)
    #expect(try byNew.next()?.welcome != nil)

    // A rotation without overlap ends what was opened with the old tokens, and nothing else.
    let last = try Credentials.make()
    try fixture.registry().rotate(
      tenant: "demo", id: "bike-1", to: .token(selector: last.selector, hash: last.hash), overlapMs: 0, nowMs: Now.ms)
    // The second connection has taken the first one's place.
    #expect(try fixture.tell() == 1)
    #expect(try byNew.refusal() == .credentialExpired)
    var again = try Line.open(fixture.port, client)
    try again.hello(token: fresh.token)
    #expect(try again.refusal() == .credentialExpired)
    var byLast = try Line.open(fixture.port, client)
    try byLast.hello(token: last.token)
    #expect(try byLast.next()?.welcome != nil)
  }

  @Test func anOpenSessionEndsWithItsToken() throws {
    let fixture = try GatewayFixture()
    let client = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    let old = try fixture.enrol("bike-1")
    var line = try Line.open(fixture.port, client)
    try line.hello(token: old)
    #expect(try line.next()?.welcome != nil)
    let fresh = try Credentials.make()
    try fixture.registry().rotate(
      tenant: "demo", id: "bike-1", to: .token(selector: fresh.selector, hash: fresh.hash), overlapMs: 300, nowMs: Now.ms)
    _ = try fixture.tell()
    #expect(try line.refusal() == .credentialExpired)
  }

  @Test func aTokenOfAnotherKindOrContentIsUnknown() throws {
    let secret = try Credentials.make()
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "t")
    builder.addDevice(1, tenant: 1, subject: 4, externalID: "d", revoked: false)
    builder.addCredential(
      selector: secret.selector, .init(device: 1, kind: .token, secretHash: secret.hash, revoked: false, expiresMs: 50))
    let key = try Credentials.make()
    builder.addCredential(selector: key.selector, .init(device: 1, kind: .key, secretHash: key.hash, revoked: false))
    let registry = RegistrySnapshot(builder, generation: 1)
    let identity = DeviceIdentity(device: 1, tenant: 1, subject: 4)
    let reference = CredentialReference(kind: .token, selector: secret.selector)
    func prove(_ token: [UInt8], _ ms: Int64) -> Session.Proof {
      Credentials.prove(token: token, registry: registry, wallMs: ms)
    }
    #expect(prove(secret.token, 49) == .device(identity, by: reference, untilMs: 50))
    #expect(prove(secret.token, 50) == .expired)
    #expect(prove(key.token, 0) == .unknown)
    #expect(prove(Array(secret.token.dropLast()), 0) == .unknown)
    #expect(prove(secret.token.dropLast() + [secret.token[31] ^ 1], 0) == .unknown)
    #expect(prove([], 0) == .unknown)
  }
}
