import Foundation
import GateCore
@testable import GateStore
import Testing

/// A registry that is carried to another gateway.
@Suite struct RegistryTransferTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func hash(_ byte: UInt8) -> SecretHash { SecretHash(InlineArray<32, UInt8>(repeating: byte)) }

  /// Tenant demo with two devices, a subject that carries one, and a policy.
  private func here() throws -> RegistryStore {
    let store = try RegistryStore(path: directory.file("here.db"))
    _ = try store.createTenant("demo", nowMs: 1)
    _ = try store.addDevice(tenant: "demo", id: "van-1", tokenSelector: 1, tokenHash: hash(1), nowMs: 2)
    let key = NewCredential.key(selector: 2, hash: hash(2), sealed: [9, 9])
    _ = try store.addDevice(tenant: "demo", id: "van-2", credential: key, nowMs: 2)
    try store.addSubject(tenant: "demo", name: "c-1", nowMs: 3)
    try store.assign(tenant: "demo", id: "van-1", subject: "c-1", sinceMs: 100)
    return store
  }

  /// Another gateway's, where other tenants and devices have the numbers.
  private func there(_ file: String = "there.db") throws -> RegistryStore {
    let store = try RegistryStore(path: directory.file(file))
    _ = try store.createTenant("own", nowMs: 1)
    _ = try store.createTenant("demo", nowMs: 1)
    _ = try store.addDevice(tenant: "own", id: "van-1", tokenSelector: 7, tokenHash: hash(7), nowMs: 2)
    return store
  }

  private func carry(
    _ from: borrowing RegistryStore, _ to: borrowing RegistryStore, devicesMax: Int = 100,
    reseal: (UInt64, [UInt8]) -> [UInt8]? = { _, sealed in sealed.map { $0 + 1 } }, check: () throws -> Void = {}
  ) throws -> RegistryStore.Imported {
    let file = directory.file("carried-\(UUID().uuidString)")
    try from.export(to: file)
    return try to.take(from: file, devicesMax: devicesMax, nowMs: 1_000, reseal: reseal, check: check)
  }

  @Test func whatAnotherHasIsTakenOnce() throws {
    let here = try here(), there = try there()
    #expect(try carry(here, there) == RegistryStore.Imported(devices: 2, credentials: 2, revoked: 0))
    let snapshot = try there.loadSnapshot()
    let index = try there.device(tenant: "demo", id: "van-1")
    let candidate = try #require(snapshot.lookup(selector: 1))
    #expect(candidate.device == index && candidate.kind == .token && !candidate.revoked)
    #expect(snapshot.tenantName(snapshot.tenant(ofDevice: index)) == "demo" && index == 2)
    #expect(try there.sealedKeys(nowMs: 5).map(\.sealed) == [[10, 10]])
    #expect(snapshot.subjectName(snapshot.privacy.subject(ofDevice: index, at: 150)) == "c-1")
    #expect(try there.device(tenant: "own", id: "van-1") == 1)
    // Once more: nothing changes, and no key is sealed anew.
    #expect(try carry(here, there, reseal: { _, _ in nil }) == RegistryStore.Imported(devices: 0, credentials: 0, revoked: 0))
    #expect(try there.loadSnapshot().lookup(selector: 1) != nil)
    try here.export(to: directory.file("export"))
    let attributes = try FileManager.default.attributesOfItem(atPath: directory.file("export"))
    #expect(attributes[.posixPermissions] as? Int == 0o600)
  }

  /// What has ended on either side has ended, in whatever order it is carried.
  @Test func endsAreTakenOverAndNeverTakenBack() throws {
    let here = try here(), there = try there()
    _ = try carry(here, there)
    _ = try there.revokeDevice(tenant: "demo", id: "van-2", nowMs: 50)
    try here.rotate(tenant: "demo", id: "van-1", to: .token(selector: 3, hash: hash(3)), overlapMs: 10, nowMs: 60)
    try here.assign(tenant: "demo", id: "van-1", subject: nil, sinceMs: 200)
    #expect(try carry(here, there) == RegistryStore.Imported(devices: 0, credentials: 1, revoked: 0))
    var snapshot = try there.loadSnapshot()
    #expect(snapshot.lookup(selector: 1)?.expiresMs == 70 && snapshot.lookup(selector: 3)?.expiresMs == .max)
    #expect(snapshot.lookup(selector: 2)?.revoked == true)
    #expect(try there.listAssignments(tenant: "demo").map(\.untilMs) == [200])
    #expect(try carry(there, here) == RegistryStore.Imported(devices: 1, credentials: 1, revoked: 1))
    snapshot = try here.loadSnapshot()
    #expect(snapshot.lookup(selector: 2)?.revoked == true && snapshot.lookup(selector: 7) != nil)
  }

  /// Who may be followed, when, and where the data may go.
  @Test func policiesAndEgressTravel() throws {
    let here = try here(), there = try there()
    var policy = Policy()
    policy.gridM = 100
    _ = try here.setPolicy(tenant: "demo", policy, nowMs: 70)
    try here.openDuty(tenant: "demo", .subject("c-1"), atMs: 80)
    try here.setEgress(TenantEgress(region: "kz", sinks: ["sqlite", "warehouse"]), tenant: "demo")
    _ = try carry(here, there)
    try here.closeDuty(tenant: "demo", .subject("c-1"), atMs: 90)
    _ = try carry(here, there)
    #expect(try there.policies(tenant: "demo").map(\.gridM) == [100])
    #expect(try there.listDuties(tenant: "demo", sinceMs: 0).map(\.closedMs) == [90])
    #expect(try there.egress(tenant: "demo").map(\.egress.region) == ["kz"])
    // Its own stays.
    try there.setEgress(TenantEgress(region: "de", sinks: ["sqlite"]), tenant: "demo")
    _ = try carry(here, there)
    #expect(try there.egress(tenant: "demo").map(\.egress) == [TenantEgress(region: "de", sinks: ["sqlite"])])
  }

  @Test func whatCannotBeTakenChangesNothing() throws {
    let here = try here()
    struct Objection: Error {}
    func isUntouched(_ store: borrowing RegistryStore) throws -> Bool { try store.listDevices(tenant: nil).allSatisfy { $0.id != "van-2" } }

    let full = try there("full.db")
    #expect(throws: RegistryError.devicesFull(max: 2)) { try carry(here, full, devicesMax: 2) }
    #expect(try isUntouched(full))
    let keyless = try there("keyless.db")
    #expect(throws: RegistryError.unopenedKey(tenant: "demo", id: "van-2")) { try carry(here, keyless, reseal: { _, _ in nil }) }
    #expect(try isUntouched(keyless))
    let opposed = try there("opposed.db")
    #expect(throws: Objection.self) { try carry(here, opposed, check: { throw Objection() }) }
    #expect(try isUntouched(opposed))
    let taken = try there("taken.db")
    _ = try taken.addDevice(tenant: "demo", id: "other", tokenSelector: 1, tokenHash: hash(8), nowMs: 2)
    #expect(throws: RegistryError.selectorTaken) { try carry(here, taken) }
    #expect(try isUntouched(taken))
    let assigned = try there("assigned.db")
    _ = try assigned.addDevice(tenant: "demo", id: "van-1", tokenSelector: 4, tokenHash: hash(4), nowMs: 2)
    try assigned.addSubject(tenant: "demo", name: "c-2", nowMs: 3)
    try assigned.assign(tenant: "demo", id: "van-1", subject: "c-2", sinceMs: 101)
    #expect(throws: RegistryError.diverged("a device was given to one subject here, to another there")) {
      try carry(here, assigned)
    }
    #expect(try isUntouched(assigned))
    let governed = try there("governed.db")
    _ = try here.setPolicy(tenant: "demo", Policy(), nowMs: 70)
    _ = try governed.setPolicy(tenant: "demo", Policy(), nowMs: 71)
    #expect(throws: RegistryError.diverged("a tenant's policy was set on both")) { try carry(here, governed) }
    #expect(try isUntouched(governed))
    let file = directory.file("no-registry")
    _ = try SQLiteConnection(path: file, access: .create)
    #expect(throws: RegistryError.otherVersion) {
      try full.take(from: file, devicesMax: 9, nowMs: 1, reseal: { _, _ in nil })
    }
  }
}
