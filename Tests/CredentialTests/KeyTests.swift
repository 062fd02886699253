import GateCore
import GateProto
import GateStore
import GateTLS
import Gateway
import Testing

@Suite struct KeyTests {
  @Test func identitiesGoThereAndBack() {
    for selector: UInt64 in [0, 1, 0x0123_4567_89ab_cdef, .max] {
      #expect(KeyIdentity.selector(KeyIdentity.bytes(selector)) == selector)
    }
    #expect(KeyIdentity.bytes(0xab) == Array("fixgate-00000000000000ab".utf8))
    for text in ["", "fixgate-", "fixgate-00000000000000AB", "fixgate-+0000000000000ab", "fixgatf-00000000000000ab"] {
      #expect(KeyIdentity.selector(Array(text.utf8)) == nil)
    }
  }

  @Test func aKeyOpensASessionAndIsSealedOnDisk() throws {
    let sealer = [UInt8](repeating: 3, count: Seal.keyBytes)
    let fixture = try GatewayFixture { _, folder, _ in try GatewayFixture.write(sealer, folder + "/registry.key") }
    let made = try Credentials.makeKey(sealedUnder: sealer)
    _ = try fixture.registry().addDevice(tenant: "demo", id: "bike-1", credential: made.credential, nowMs: Now.ms)
    _ = try fixture.tell()
    let client = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM, key: made.key)
    var line = try Line.open(fixture.port, client)
    try line.hello()
    #expect(try line.next()?.welcome != nil)
    let ticket = line.engine.sessionTicket
    var resumed = try Line.open(
      fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM), ticket: ticket)
    try resumed.hello()
    #expect(try resumed.next()?.welcome != nil)

    let sealed = try #require(try fixture.registry().loadSnapshot().sealedKey(selector: made.selector))
    #expect(!sealed.windows(of: 32).contains { $0.elementsEqual(made.key.secret) })
    // Nobody without the key file reads it, and it fits no other identity.
    let snapshot = try fixture.registry().loadSnapshot()
    let identity = KeyIdentity.bytes(made.selector)
    #expect(KeyIdentity.secret(of: identity, in: snapshot, under: sealer) == made.key.secret)
    #expect(KeyIdentity.secret(of: identity, in: snapshot, under: [UInt8](repeating: 4, count: 32)) == nil)

    _ = try fixture.registry().revokeDevice(tenant: "demo", id: "bike-1", nowMs: Now.ms)
    // The resumed connection has taken the first one's place.
    #expect(try fixture.tell() == 1)
    #expect(try resumed.refusal() == .revoked)
    var again = try Line.open(fixture.port, client)
    try again.hello()
    #expect(try again.refusal() == .revoked)
  }

  @Test func withoutItsFileNoKeyIsTaken() throws {
    let fixture = try GatewayFixture()
    let made = try Credentials.makeKey(sealedUnder: [UInt8](repeating: 3, count: Seal.keyBytes))
    _ = try fixture.registry().addDevice(tenant: "demo", id: "bike-1", credential: made.credential, nowMs: Now.ms)
    _ = try fixture.tell()
    var line = try Line.open(
      fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM, key: made.key))
    try line.hello()
    #expect(try line.refusal() == .unknownCredential)
  }
}

extension Array {
  fileprivate func windows(of size: Int) -> [ArraySlice<Element>] {
    count < size ? [] : (0...count - size).map { self[$0..<$0 + size] }
  }
}
