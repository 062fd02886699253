import Foundation
import GateCore
import GateProto
import GateStore
import GateTLS
import Gateway
import Testing

@Suite struct RekeyTests {
  private struct Crash: Error {}

  private static let first = [UInt8](repeating: 3, count: Seal.keyBytes)

  /// A gateway with a registry key and one device that has an external key.
  private func fixture() throws -> (fixture: GatewayFixture, key: ExternalKey) {
    let fixture = try GatewayFixture { _, folder, _ in try GatewayFixture.write(Self.first, folder + "/registry.key") }
    let made = try Credentials.makeKey(sealedUnder: Self.first)
    _ = try fixture.registry().addDevice(tenant: "demo", id: "bike-1", credential: made.credential, nowMs: Now.ms)
    _ = try fixture.tell()
    return (fixture, made.key)
  }

  private func comesIn(_ fixture: GatewayFixture, _ key: ExternalKey) throws -> Bool {
    var line = try Line.open(fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM, key: key))
    try line.hello()
    return try line.next()?.welcome != nil
  }

  /// What a gateway that starts now could open.
  private func opens(_ fixture: GatewayFixture, _ key: ExternalKey) throws -> Bool {
    let keys = try RegistryKeys.read(fixture.folder + "/registry.key")
    return KeyIdentity.secret(of: key.identity, in: try fixture.registry().loadSnapshot(), under: keys) == key.secret
  }

  @Test func devicesNoticeNothing() throws {
    let (fixture, key) = try fixture()
    let path = fixture.folder + "/registry.key"
    let before = try #require(try fixture.registry().loadSnapshot().sealedKey(selector: KeyIdentity.selector(key.identity)!))
    let count = try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {
      let isThere = try opens(fixture, key)
      #expect(isThere)
      fixture.gateway.reload()
      let isIn = try comesIn(fixture, key)
      #expect(isIn)
    }
    #expect(count == 1)
    let after = try RegistryKeys.read(path)
    #expect(after.count == Seal.keyBytes && after != Self.first)
    #expect(try opens(fixture, key))
    // The dropped key opens what was sealed before, and nothing that is there now.
    let context = key.identity
    #expect(RegistryKeys.open(before, keys: Self.first, context: context) == key.secret)
    let now = try #require(try fixture.registry().loadSnapshot().sealedKey(selector: KeyIdentity.selector(key.identity)!))
    #expect(RegistryKeys.open(now, keys: Self.first, context: context) == nil)
    fixture.gateway.reload()
    #expect(try comesIn(fixture, key))
    let attributes = try FileManager.default.attributesOfItem(atPath: path)
    #expect(attributes[.posixPermissions] as? Int == 0o600)
  }

  /// Cut short at either of its two pauses, the file opens all keys, and the next run goes through.
  @Test(arguments: [1, 2])
  func aCrashLosesNoKey(pause: Int) throws {
    let (fixture, key) = try fixture()
    let path = fixture.folder + "/registry.key"
    var pauses = 0
    #expect(throws: Crash.self) {
      try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {
        pauses += 1
        if pauses == pause { throw Crash() }
      }
    }
    #expect(try opens(fixture, key))
    #expect(try RegistryKeys.read(path).count == 2 * Seal.keyBytes)
    // A key that is made in between is sealed under the fresh one.
    let made = try Credentials.makeKey(sealedUnder: RegistryKeys.read(path))
    _ = try fixture.registry().addDevice(tenant: "demo", id: "bike-2", credential: made.credential, nowMs: Now.ms)
    #expect(try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {} == 2)
    #expect(try opens(fixture, key) && opens(fixture, made.key))
    #expect(try RegistryKeys.read(path).count == Seal.keyBytes)
  }

  @Test func twoAtATimeLoseNothing() throws {
    let (fixture, key) = try fixture()
    let path = fixture.folder + "/registry.key"
    var pauses = 0
    _ = try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {
      pauses += 1
      if pauses == 2 { _ = try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {} }
    }
    #expect(try opens(fixture, key))
  }

  @Test func aKeyThatNothingOpensStopsItBeforeItBegins() throws {
    let (fixture, key) = try fixture()
    let path = fixture.folder + "/registry.key"
    let other = [UInt8](repeating: 4, count: Seal.keyBytes)
    try GatewayFixture.write(other, path)
    #expect(throws: RegistryKeys.RekeyError.unopened(["demo/bike-1"])) {
      try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {}
    }
    #expect(try RegistryKeys.read(path) == other)
    // The older file helps.
    #expect(try RegistryKeys.rekey(path, older: Self.first, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {} == 1)
    #expect(try opens(fixture, key))
    // One that is revoked stands in nobody's way; the keys of subjects do.
    let kept = try RegistryKeys.read(path)
    try GatewayFixture.write(other, path)
    #expect(throws: RegistryKeys.RekeyError.unopened(["demo/bike-1"])) {
      try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {}
    }
    _ = try fixture.registry().revokeDevice(tenant: "demo", id: "bike-1", nowMs: Now.ms)
    #expect(throws: RegistryKeys.RekeyError.unopenedSubjects) {
      try RegistryKeys.rekey(path, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {}
    }
    let zero = try RegistryKeys.rekey(path, older: kept, in: fixture.registry(), bookPath: fixture.bookPath, nowMs: Now.ms) {}
    #expect(zero == 0)
  }

  @Test func keysRotateWithAnOverlap() throws {
    let (fixture, old) = try fixture()
    let fresh = try Credentials.makeKey(sealedUnder: Self.first)
    try fixture.registry().rotate(
      tenant: "demo", id: "bike-1", to: fresh.credential, overlapMs: 3_600_000, nowMs: Now.ms)
    _ = try fixture.tell()
    #expect(try comesIn(fixture, old))
    #expect(try comesIn(fixture, fresh.key))
    let last = try Credentials.makeKey(sealedUnder: Self.first)
    try fixture.registry().rotate(tenant: "demo", id: "bike-1", to: last.credential, overlapMs: 0, nowMs: Now.ms)
    _ = try fixture.tell()
    for key in [old, fresh.key] {
      var line = try Line.open(fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM, key: key))
      try line.hello()
      #expect(try line.refusal() == .credentialExpired)
    }
    #expect(try comesIn(fixture, last.key))
  }
}
