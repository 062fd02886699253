import GateCore
@testable import GateStore
import Testing

@Suite struct RegistryPrivacyTests {
  private let directory: TemporaryDirectory

  init() throws { directory = try TemporaryDirectory() }

  private func store() throws -> RegistryStore {
    let store = try RegistryStore(path: directory.file("registry.db"))
    for tenant in ["demo", "other"] { _ = try store.createTenant(tenant, nowMs: 1) }
    for (i, id) in ["van-1", "van-2"].enumerated() {
      let hash = SecretHash(InlineArray<32, UInt8>(repeating: UInt8(i)))
      _ = try store.addDevice(tenant: "demo", id: id, tokenSelector: UInt64(i), tokenHash: hash, nowMs: 2)
    }
    return store
  }

  @Test(arguments: ["anna@example.com", "+7 701 123 45 67", "7011234567", "870-112-345"])
  func idsThatNameSomebodyAreRefused(_ name: String) throws {
    let store = try store()
    #expect(throws: RegistryError.notOpaque(name)) { try store.addSubject(tenant: "demo", name: name, nowMs: 3) }
  }

  @Test func subjectsAreTheTenantsOwn() throws {
    let store = try store()
    try store.addSubject(tenant: "demo", name: "c-0042", nowMs: 3)
    try store.addSubject(tenant: "demo", name: "10482", nowMs: 3)
    #expect(throws: RegistryError.subjectExists(tenant: "demo", name: "c-0042")) {
      try store.addSubject(tenant: "demo", name: "c-0042", nowMs: 3)
    }
    #expect(throws: RegistryError.unknownSubject(tenant: "other", name: "c-0042", nearest: [])) {
      try store.withdraw(tenant: "other", .subject("c-0042"), nowMs: 4)
    }
    #expect(throws: RegistryError.unknownSubject(tenant: "demo", name: "c-0043", nearest: ["c-0042"])) {
      try store.assign(tenant: "demo", id: "van-1", subject: "c-0043", sinceMs: 4)
    }
    #expect(try store.listAssignments(tenant: "demo").isEmpty)
  }

  @Test func assignmentsAreAHistory() throws {
    let store = try store()
    for name in ["c-1", "c-2"] { try store.addSubject(tenant: "demo", name: name, nowMs: 3) }
    try store.assign(tenant: "demo", id: "van-1", subject: "c-1", sinceMs: 100)
    try store.assign(tenant: "demo", id: "van-1", subject: "c-2", sinceMs: 200)
    try store.assign(tenant: "demo", id: "van-1", subject: nil, sinceMs: 300)
    #expect(throws: RegistryError.beforeLast(sinceMs: 300)) {
      try store.assign(tenant: "demo", id: "van-1", subject: "c-1", sinceMs: 299)
    }
    try store.assign(tenant: "demo", id: "van-1", subject: "c-1", sinceMs: 400)
    #expect(
      try store.listAssignments(tenant: "demo").map { [$0.sinceMs, $0.untilMs ?? -1] }
        == [[100, 200], [200, 300], [400, -1]])
    let privacy = try store.loadSnapshot().privacy
    #expect([99, 100, 200, 300, 400].map { privacy.subject(ofDevice: 1, at: $0) } == [0, 1, 2, 0, 1])
    #expect(try store.devices(ofSubject: "c-2", tenant: "demo") == SubjectDevices(subject: 2, devices: [1]))
    #expect(try store.listSubjects(tenant: "demo").map(\.devices) == [["van-1"], []])
  }

  @Test func aWithdrawalHoldsUntilThereIsANewGround() throws {
    let store = try store()
    try store.addSubject(tenant: "demo", name: "c-1", nowMs: 3)
    try store.assign(tenant: "demo", id: "van-1", subject: "c-1", sinceMs: 3)
    func isWithdrawn() throws -> [Bool] {
      let privacy = try store.loadSnapshot().privacy
      return [1, 2].map { privacy.mustStop(device: $0, tenant: 1, at: 10) }
    }
    #expect(try isWithdrawn() == [false, false])
    try store.recordGround(tenant: "demo", .subject("c-1"), .consent, nowMs: 4)
    try store.recordGround(tenant: "demo", .subject("c-1"), .contract, nowMs: 5)
    #expect(try isWithdrawn() == [false, false])
    try store.withdraw(tenant: "demo", .subject("c-1"), nowMs: 6)
    try store.withdraw(tenant: "demo", .device("van-2"), nowMs: 6)
    let generation = try store.generation()
    try store.withdraw(tenant: "demo", .subject("c-1"), nowMs: 7)
    #expect(try isWithdrawn() == [true, true] && store.generation() == generation)
    #expect(try store.listSubjects(tenant: "demo").map(\.isWithdrawn) == [true])
    try store.recordGround(tenant: "demo", .subject("c-1"), .consent, nowMs: 8)
    #expect(try isWithdrawn() == [false, true])
    #expect(try store.listSubjects(tenant: "demo").map(\.ground) == ["consent"])
  }

  @Test func shiftsAreOpenedAndClosedInOrder() throws {
    let store = try store()
    try store.addSubject(tenant: "demo", name: "c-1", nowMs: 3)
    let name = FollowedName.subject("c-1")
    #expect(throws: RegistryError.notOnDuty) { try store.closeDuty(tenant: "demo", name, atMs: 5) }
    try store.openDuty(tenant: "demo", name, atMs: 100)
    #expect(throws: RegistryError.onDuty(sinceMs: 100)) { try store.openDuty(tenant: "demo", name, atMs: 150) }
    #expect(throws: RegistryError.beforeLast(sinceMs: 100)) { try store.closeDuty(tenant: "demo", name, atMs: 99) }
    try store.closeDuty(tenant: "demo", name, atMs: 200)
    #expect(throws: RegistryError.beforeLast(sinceMs: 200)) { try store.openDuty(tenant: "demo", name, atMs: 200) }
    // Of a device: one that comes late ends where the next has begun, one that is known changes nothing.
    try store.openDuty(tenant: "demo", name, atMs: 500)
    try store.take([
      ShiftChange(owner: .subject(1), opens: true, timeMs: 300), ShiftChange(owner: .subject(1), opens: true, timeMs: 550),
      ShiftChange(owner: .subject(1), opens: true, timeMs: 150), ShiftChange(owner: .subject(1), opens: false, timeMs: 600),
      ShiftChange(owner: .subject(1), opens: false, timeMs: 700), ShiftChange(owner: .device(2), opens: true, timeMs: 5),
    ])
    let duties = try store.listDuties(tenant: "demo", sinceMs: 0)
    #expect(duties.map { [$0.openedMs, $0.closedMs ?? -1] } == [[500, 600], [300, 500], [100, 200], [5, -1]])
    #expect(duties.map(\.byDevice) == [false, true, false, true] && duties[3].of == .device("van-2"))
    #expect(try store.listDuties(tenant: "demo", sinceMs: 550).count == 2 && store.listDuties(tenant: "other", sinceMs: 0).isEmpty)
  }

  /// A device that opens shift upon shift fills nothing, and is not told to come again for ever.
  @Test func shiftsOfADeviceAreBounded() throws {
    let store = try store()
    var policy = Policy()
    policy.duty = .shift
    policy.deviceShifts = true
    _ = try store.setPolicy(tenant: "demo", policy, nowMs: 5)
    let owner = DutyOwner.device(1)
    try store.take(
      (1...Int64(Limits.dutiesMax) + 5).flatMap { i in
        [
          ShiftChange(owner: owner, opens: true, timeMs: 1_000 + 10 * i),
          ShiftChange(owner: owner, opens: false, timeMs: 1_005 + 10 * i),
        ]
      })
    #expect(try store.listDuties(tenant: "demo", sinceMs: 0).count == Limits.dutiesMax)
    let privacy = try store.loadSnapshot().privacy
    func change(_ timeMs: Int64) -> ShiftChange? {
      var record = Record()
      (record.tenant, record.device) = (1, 1)
      record.fix.present = [.time]
      record.fix.fixTimeMs = timeMs
      record.fix[.event] = 6
      return privacy.change(by: record)
    }
    #expect(change(1_010) == nil && change(1_069) != nil && change(2_000_000) != nil)
  }

  @Test func everyVersionOfAPolicyIsKept() throws {
    let store = try store()
    #expect(try store.policies(tenant: "demo").isEmpty)
    var policy = Policy()
    policy.duty = .calendar
    policy.calendar = DutyCalendar(
      zone: "Asia/Almaty", slots: [.init(firstMinute: 540, endMinute: 600)],
      days: [.init(day: 20_000, firstMinute: 0, endMinute: 0)], offsets: [.init(sinceMs: 5, offsetS: 18_000)])
    policy.sosOffDuty = true
    policy.taken.columns = [FixFields(.speedCmPerS), .monotonic]
    policy.taken.attributes = AttributeRule(only: [8, 4_000_000_000])
    policy.taken.work = false
    policy.gridM = 250
    policy.retention.positionsDays = 90
    policy.retention.journalDays = 0
    #expect(try store.setPolicy(tenant: "demo", policy, nowMs: 1_000) == 1)
    var second = Policy()
    second.duty = .shift
    second.deviceShifts = true
    // The clock was set back: the version does not slip in front of the one before.
    #expect(try store.setPolicy(tenant: "demo", second, nowMs: 900) == 2)
    #expect(try store.setPolicy(tenant: "other", Policy(), nowMs: 900) == 1)
    (policy.version, policy.sinceMs) = (1, 1_000)
    (second.version, second.sinceMs) = (2, 1_000)
    #expect(try store.policies(tenant: "demo") == [policy, second])
    #expect(try store.loadSnapshot().privacy.policy(ofTenant: 1) == second)
  }

  @Test func aPolicyHasBounds() throws {
    let store = try store()
    var policy = Policy()
    policy.taken.attributes = AttributeRule(only: Array(0...UInt32(Limits.policyAttributesMax)))
    #expect(throws: RegistryError.self) { try store.setPolicy(tenant: "demo", policy, nowMs: 5) }
    #expect(try store.policies(tenant: "demo").isEmpty)
  }

  /// However many versions and assignments there are, a snapshot holds the newest of them, and none is taken for no policy.
  @Test func aSnapshotIsBounded() throws {
    let store = try store()
    try store.addSubject(tenant: "demo", name: "c-1", nowMs: 3)
    try store.together {
      for i in 0...Limits.policiesPerTenantMax {
        var policy = Policy()
        policy.duty = i < 2 ? .shift : .always
        _ = try store.setPolicy(tenant: "demo", policy, nowMs: Int64(1_000 + i))
      }
      for i in 0...Limits.assignmentsPerDeviceMax {
        try store.assign(tenant: "demo", id: "van-1", subject: "c-1", sinceMs: Int64(1_000 + 2 * i))
        try store.assign(tenant: "demo", id: "van-1", subject: nil, sinceMs: Int64(1_001 + 2 * i))
      }
    }
    let privacy = try store.loadSnapshot().privacy
    #expect([1_000, 1_002, 1_004].map { privacy.subject(ofDevice: 1, at: $0) } == [0, 1, 1])
    // Version 1 is beyond the bound; version 2, of shifts, holds for what is older.
    #expect(privacy.mustStop(device: 1, tenant: 1, at: 0) && !privacy.mustStop(device: 1, tenant: 1, at: 1_002))
  }
}
