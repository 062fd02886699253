import GateCore
@testable import GateStore
import Testing

@Suite struct RegistryStoreTests {
  private func hash(_ byte: UInt8) -> SecretHash { SecretHash(InlineArray<32, UInt8>(repeating: byte)) }

  @Test func snapshotHoldsWhatWasEnrolled() throws {
    let directory = try TemporaryDirectory()
    let store = try RegistryStore(path: directory.file("registry.db"))
    #expect(try store.loadSnapshot().deviceCount == 0)
    let demo = try store.createTenant("demo", nowMs: 1)
    let other = try store.createTenant("other", nowMs: 2)
    let first = try store.addDevice(tenant: "demo", id: "van-1", tokenSelector: 11, tokenHash: hash(1), nowMs: 3)
    let second = try store.addDevice(tenant: "other", id: "van-1", tokenSelector: .max, tokenHash: hash(2), nowMs: 4)
    #expect((demo, other, first, second) == (1, 2, 1, 2))
    try store.addSubject(tenant: "demo", name: "c-1", nowMs: 5)
    try store.addSubject(tenant: "demo", name: "c-2", nowMs: 5)
    try store.assign(tenant: "demo", id: "van-1", subject: "c-1", sinceMs: 5)
    try store.assign(tenant: "demo", id: "van-1", subject: "c-2", sinceMs: 6)
    try store.addToken(tenant: "demo", id: "van-1", tokenSelector: 12, tokenHash: hash(3), nowMs: 7)

    let snapshot = try store.loadSnapshot()
    #expect(snapshot.deviceCount == 2)
    #expect(snapshot.maxDeviceIndex == 2)
    #expect(snapshot.tenantName(snapshot.tenant(ofDevice: 2)) == "other")
    #expect(snapshot.externalID(ofDevice: 2) == "van-1")
    #expect(snapshot.subjectName(snapshot.subject(ofDevice: 1)) == "c-2")
    #expect(snapshot.subject(ofDevice: 2) == 0)
    #expect(snapshot.lookup(selector: 11) == .init(device: 1, secretHash: hash(1), revoked: false))
    #expect(snapshot.lookup(selector: 12) == .init(device: 1, secretHash: hash(3), revoked: false))
    #expect(snapshot.lookup(selector: .max)?.device == 2)
    #expect(snapshot.lookup(selector: 0) == nil)
    #expect(snapshot.tenant(ofDevice: 0) == 0 && snapshot.tenant(ofDevice: 3) == 0)
    #expect(snapshot.isRevoked(device: 3))
  }

  @Test func revokedDevicesStayKnown() throws {
    let directory = try TemporaryDirectory()
    let store = try RegistryStore(path: directory.file("registry.db"))
    _ = try store.createTenant("demo", nowMs: 1)
    _ = try store.addDevice(tenant: "demo", id: "a", tokenSelector: 1, tokenHash: hash(1), nowMs: 2)
    #expect(try store.revokeDevice(tenant: "demo", id: "a", nowMs: 3) == 1)
    let generation = try store.generation()
    #expect(try store.revokeDevice(tenant: "demo", id: "a", nowMs: 4) == 1)
    #expect(try store.generation() == generation)
    let snapshot = try store.loadSnapshot()
    #expect(snapshot.isRevoked(device: 1))
    #expect(snapshot.lookup(selector: 1)?.revoked == true)
    let listed = try store.listDevices(tenant: "demo")
    #expect(listed.map(\.index) == [1] && listed.map(\.createdMs) == [2] && listed.map(\.revokedMs) == [3])
    // The name stays taken, the index is never given again.
    #expect(throws: RegistryError.deviceExists(tenant: "demo", id: "a")) {
      try store.addDevice(tenant: "demo", id: "a", tokenSelector: 2, tokenHash: hash(1), nowMs: 5)
    }
    #expect(try store.addDevice(tenant: "demo", id: "b", tokenSelector: 2, tokenHash: hash(1), nowMs: 5) == 2)
  }

  @Test func rotationEndsTheOldToken() throws {
    let directory = try TemporaryDirectory()
    let store = try RegistryStore(path: directory.file("registry.db"))
    _ = try store.createTenant("demo", nowMs: 1)
    _ = try store.addDevice(tenant: "demo", id: "a", tokenSelector: 1, tokenHash: hash(1), nowMs: 2)
    try store.rotate(
      tenant: "demo", id: "a", to: .token(selector: 2, hash: hash(2)), overlapMs: 100, nowMs: 10)
    // A later rotation never prolongs what ends already.
    try store.rotate(
      tenant: "demo", id: "a", to: .token(selector: 3, hash: hash(3)), overlapMs: 500, nowMs: 20)
    let snapshot = try store.loadSnapshot()
    func standing(_ selector: UInt64, _ ms: Int64) -> RegistrySnapshot.Standing {
      snapshot.standing(of: CredentialReference(kind: .token, selector: selector), wallMs: ms)
    }
    #expect(standing(1, 109) == .good(untilMs: 110) && standing(1, 110) == .expired)
    #expect(standing(2, 519) == .good(untilMs: 520) && standing(2, 520) == .expired)
    #expect(standing(3, .max - 1) == .good(untilMs: .max))
    #expect(standing(4, 0) == .unknown)
    #expect(snapshot.standing(of: CredentialReference(kind: .key, selector: 3), wallMs: 0) == .unknown)
    #expect(try store.listTenants() == [.init(name: "demo", createdMs: 1, activeDevices: 1)])
    _ = try store.revokeDevice(tenant: "demo", id: "a", nowMs: 30)
    #expect(throws: RegistryError.deviceRevoked(tenant: "demo", id: "a")) {
      try store.rotate(
      tenant: "demo", id: "a", to: .token(selector: 5, hash: hash(5)), overlapMs: 0, nowMs: 40)
    }
    let after = try store.loadSnapshot()
    #expect(after.standing(of: CredentialReference(kind: .token, selector: 3), wallMs: 40) == .revoked)
    #expect(try store.listTenants().map(\.activeDevices) == [0])
  }

  @Test func tokensOfTheFirstVersionAreKept() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("registry.db")
    do {
      let old = try SQLiteConnection(path: path, access: .create)
      try old.migrate(Array(RegistryStore.migrations.prefix(1)))
      try old.execute(
        """
        INSERT INTO tenant VALUES (1, 'demo', 1); INSERT INTO device VALUES (1, 1, 'a', 1, NULL);
        INSERT INTO token VALUES (x'0700000000000000', zeroblob(32), 1, 1, NULL),
          (x'0800000000000000', zeroblob(32), 1, 1, 2);
        """)
    }
    let snapshot = try RegistryStore(path: path).loadSnapshot()
    #expect(snapshot.lookup(selector: 7) == .init(device: 1, secretHash: hash(0), revoked: false))
    #expect(snapshot.lookup(selector: 8)?.revoked == true)
  }

  @Test func anotherProcessSeesTheGenerationMove() throws {
    let directory = try TemporaryDirectory()
    let gateway = try RegistryStore(path: directory.file("registry.db"))
    let commandLine = try RegistryStore(path: directory.file("registry.db"))
    let before = try gateway.generation()
    _ = try commandLine.createTenant("demo", nowMs: 1)
    #expect(try gateway.generation() == before + 1)
    #expect(throws: RegistryError.tenantExists("demo")) { try gateway.createTenant("demo", nowMs: 2) }
    #expect(try commandLine.generation() == before + 1)
    #expect(try gateway.loadSnapshot().generation == before + 1)
  }

  @Test func refusalsNameWhatIsNear() throws {
    let directory = try TemporaryDirectory()
    let store = try RegistryStore(path: directory.file("registry.db"))
    for name in ["demo", "depot", "zebra"] { _ = try store.createTenant(name, nowMs: 1) }
    _ = try store.addDevice(tenant: "demo", id: "van-1", tokenSelector: 1, tokenHash: hash(1), nowMs: 2)
    #expect(throws: RegistryError.unknownTenant("dem0", nearest: ["demo"])) {
      try store.addDevice(tenant: "dem0", id: "x", tokenSelector: 2, tokenHash: hash(1), nowMs: 2)
    }
    #expect(throws: RegistryError.unknownDevice(tenant: "demo", id: "van-2", nearest: ["van-1"])) {
      try store.revokeDevice(tenant: "demo", id: "van-2", nowMs: 2)
    }
    // A wall: the device is the tenant's own or it is not there.
    #expect(throws: RegistryError.unknownDevice(tenant: "depot", id: "van-1", nearest: [])) {
      try store.revokeDevice(tenant: "depot", id: "van-1", nowMs: 2)
    }
    #expect(throws: RegistryError.selectorTaken) {
      try store.addDevice(tenant: "demo", id: "van-3", tokenSelector: 1, tokenHash: hash(1), nowMs: 2)
    }
    // The refused change left nothing behind.
    #expect(try store.listDevices(tenant: nil).map(\.id) == ["van-1"])
    #expect(RegistryError.unknownTenant("dem0", nearest: ["demo"]).description.contains("did you mean 'demo'?"))
  }

  @Test(arguments: ["", "a b", "ä", "a/b", "a\n", String(repeating: "x", count: 65)])
  func namesOutsideTheAlphabetAreRefused(_ name: String) throws {
    let directory = try TemporaryDirectory()
    let store = try RegistryStore(path: directory.file("registry.db"))
    #expect(throws: RegistryError.invalidName(name)) { try store.createTenant(name, nowMs: 1) }
    let longest = String(repeating: "x", count: 64)
    #expect(try store.createTenant(longest, nowMs: 1) == 1)
  }

  @Test func aThousandSelectorsAreFound() {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "t")
    builder.addDevice(1, tenant: 1, subject: 0, externalID: "d", revoked: false)
    // Neighbours, which a weak hash would put in one chain.
    for i in 0..<1_000 { builder.addToken(selector: UInt64(i), hash: hash(UInt8(i & 255)), device: 1, revoked: i % 7 == 0) }
    let snapshot = RegistrySnapshot(builder, generation: 9)
    for i in 0..<1_000 {
      #expect(
        snapshot.lookup(selector: UInt64(i))
          == .init(device: 1, secretHash: hash(UInt8(i & 255)), revoked: i % 7 == 0))
    }
    #expect(snapshot.lookup(selector: 1_000) == nil)
  }

  @Test func hashesGoThereAndBack() {
    let bytes = InlineArray<32, UInt8> { UInt8($0 * 7) }
    let hash = SecretHash(bytes)
    let back = hash.bytes
    for i in 0..<32 { #expect(back[i] == bytes[i]) }
    #expect(hash != SecretHash(InlineArray<32, UInt8> { UInt8($0 * 7) ^ ($0 == 31 ? 1 : 0) }))
  }
}
