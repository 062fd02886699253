import GateCore
import Testing

@Suite struct PrivacyTableTests {
  private static let device: UInt32 = 4
  private static let tenant: UInt32 = 2

  private func snapshot(_ build: (inout RegistrySnapshot.Builder) -> Void) -> PrivacyTable {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "other")
    builder.addTenant(2, name: "demo")
    builder.addDevice(3, tenant: 1, externalID: "a", revoked: false)
    builder.addDevice(Self.device, tenant: Self.tenant, externalID: "a", revoked: false)
    build(&builder)
    return RegistrySnapshot(builder, generation: 1).privacy
  }

  private func policy(_ version: UInt32, _ sinceMs: Int64, _ change: (inout Policy) -> Void = { _ in }) -> Policy {
    var policy = Policy()
    policy.version = version
    policy.sinceMs = sinceMs
    change(&policy)
    return policy
  }

  private func taken(
    _ timeMs: Int64?, device: UInt32 = device, tenant: UInt32 = tenant, by table: PrivacyTable,
    _ change: (inout Fix) -> Void = { _ in }
  ) -> Record {
    var record = Record()
    record.tenant = tenant
    record.device = device
    record.policyVersion = 99
    record.fix.present = [.position]
    if let timeMs {
      record.fix.present.insert(.time)
      record.fix.fixTimeMs = timeMs
    }
    change(&record.fix)
    var kept = [UInt8](repeating: 0, count: Minimiser.keptBytesMax)
    var room = kept.mutableSpan
    _ = table.apply(to: &record, from: Span(), keeping: &room)
    return record
  }

  private func verdict(_ timeMs: Int64?, by table: PrivacyTable, event: Int32? = nil) -> UInt16 {
    taken(timeMs, by: table) { $0[.event] = event }.code
  }

  @Test func aFixBelongsToWhoeverCarriedTheDeviceThen() {
    let table = snapshot {
      $0.assign(device: Self.device, subject: 8, sinceMs: 200, untilMs: nil)
      $0.assign(device: Self.device, subject: 7, sinceMs: 100, untilMs: 150)
      $0.assign(device: 3, subject: 1, sinceMs: 0, untilMs: nil)
    }
    let times: [(Int64?, UInt32)] = [(99, 0), (100, 7), (149, 7), (150, 0), (199, 0), (200, 8), (.max - 1, 8), (nil, 8)]
    for (timeMs, subject) in times { #expect(taken(timeMs, by: table).subject == subject, "\(timeMs ?? -1)") }
    #expect(taken(5, device: 3, tenant: 1, by: table).subject == 1)
    #expect(taken(5, device: 90, tenant: 1, by: table).subject == 0)
  }

  @Test func shiftsOpenTheGateByTheFixsOwnTime() {
    let table = snapshot {
      $0.addPolicy(policy(1, 0) { $0.duty = .shift }, tenant: Self.tenant)
      $0.assign(device: Self.device, subject: 7, sinceMs: 0, untilMs: 1_000)
      $0.addDuty(of: .subject(7), sinceMs: 100, untilMs: 200)
      $0.addDuty(of: .subject(7), sinceMs: 110, untilMs: 120)
      $0.addDuty(of: .subject(7), sinceMs: 300, untilMs: nil)
      $0.addDuty(of: .device(Self.device), sinceMs: 2_000, untilMs: 2_100)
    }
    let times: [(Int64?, Bool)] = [
      (99, false), (100, true), (150, true), (200, true), (201, false), (300, true), (999, true), (1_000, false),
      (2_050, true), (2_101, false), (nil, false), (-5, false),
    ]
    for (timeMs, isTaken) in times { #expect(verdict(timeMs, by: table) == (isTaken ? 0 : 60), "\(timeMs ?? -1)") }
    #expect(taken(150, by: table).policyVersion == 1)
    // Another tenant's devices know nothing of it, and keep what they say of their policy.
    let other = taken(99, device: 3, tenant: 1, by: table)
    #expect(other.code == 0 && other.policyVersion == 99)
    let refused = taken(99, by: table)
    #expect(refused.kind == .refused && refused.fix.present.isEmpty && refused.subject == 7 && refused.policyVersion == 1)
  }

  /// An SOS off duty is taken only where the policy says so; whoever has withdrawn is not followed even then.
  @Test func anSOSNeedsTheSwitch() {
    for isOn in [false, true] {
      let table = snapshot {
        $0.addPolicy(policy(1, 0) { $0.duty = .shift; $0.sosOffDuty = isOn }, tenant: Self.tenant)
      }
      #expect(verdict(5, by: table, event: 1) == (isOn ? 0 : 60))
      #expect(verdict(5, by: table, event: 2) == 60)
      let withdrawn = snapshot {
        $0.addPolicy(policy(1, 0) { $0.duty = .shift; $0.sosOffDuty = isOn }, tenant: Self.tenant)
        $0.withdraw(.device(Self.device))
      }
      #expect(verdict(5, by: withdrawn, event: 1) == 61)
    }
  }

  @Test func whoWithdrawsIsRefusedWhateverTheTime() {
    let table = snapshot {
      $0.assign(device: Self.device, subject: 7, sinceMs: 100, untilMs: 200)
      $0.assign(device: Self.device, subject: 8, sinceMs: 200, untilMs: nil)
      $0.withdraw(.subject(7))
    }
    #expect(verdict(150, by: table) == 61 && verdict(250, by: table) == 0)
    #expect(taken(150, by: table).fix.present.isEmpty)
    #expect(!table.mustStop(device: Self.device, tenant: Self.tenant, at: 250))
    #expect(table.mustStop(device: Self.device, tenant: Self.tenant, at: 150))
  }

  /// Duty goes by the version of the fix's time; of its content the older and the newest version must both agree.
  @Test func aPolicyHoldsFromItsTimeOn() {
    let table = snapshot {
      $0.addPolicy(policy(2, 1_000) { $0.duty = .shift; $0.gridM = 10 }, tenant: Self.tenant)
      $0.addPolicy(policy(1, 500) { $0.gridM = 100; $0.taken.columns = [] }, tenant: Self.tenant)
      $0.addPolicy(policy(3, 2_000) { $0.taken.columns = FixFields(.speedCmPerS) }, tenant: Self.tenant)
    }
    #expect([0, 500, 999].allSatisfy { taken($0, by: table).policyVersion == 1 }, "the first holds for all time before")
    #expect(verdict(1_000, by: table) == 60 && verdict(1_999, by: table) == 60 && verdict(2_000, by: table) == 0)
    func content(_ timeMs: Int64) -> Record {
      taken(timeMs, by: table) { $0[.speedCmPerS] = 5; $0[.batteryPercent] = 5 }
    }
    #expect(content(600).gridM == 100 && content(600).fix[.speedCmPerS] == nil)
    #expect(content(2_500).gridM == 0 && content(2_500).fix[.speedCmPerS] == 5 && content(2_500).fix[.batteryPercent] == nil)
    #expect(table.policy(ofTenant: Self.tenant).version == 3 && table.policy(ofTenant: 1) == Policy())
  }

  @Test func eventsOfDevicesChangeShiftsOnlyWhereTheyMay() {
    func change(_ table: PrivacyTable, _ event: Int32, _ timeMs: Int64) -> ShiftChange? {
      var record = Record()
      record.tenant = Self.tenant
      record.device = Self.device
      record.fix.present = [.time]
      record.fix.fixTimeMs = timeMs
      record.fix[.event] = event
      return table.change(by: record)
    }
    func table(_ deviceShifts: Bool, subject: Bool) -> PrivacyTable {
      snapshot {
        $0.addPolicy(policy(1, 0) { $0.duty = .shift; $0.deviceShifts = deviceShifts }, tenant: Self.tenant)
        if subject { $0.assign(device: Self.device, subject: 7, sinceMs: 0, untilMs: nil) }
        $0.addDuty(of: subject ? .subject(7) : .device(Self.device), sinceMs: 100, untilMs: 200)
        $0.addDuty(of: subject ? .subject(7) : .device(Self.device), sinceMs: 300, untilMs: nil)
      }
    }
    #expect(change(table(false, subject: true), 6, 50) == nil)
    for subject in [true, false] {
      let owner = subject ? DutyOwner.subject(7) : .device(Self.device)
      let known = table(true, subject: subject)
      #expect(change(known, 6, 50) == ShiftChange(owner: owner, opens: true, timeMs: 50))
      #expect(change(known, 6, 150) == nil && change(known, 6, 400) == nil && change(known, 5, 50) == nil)
      #expect(change(known, 7, 400) == ShiftChange(owner: owner, opens: false, timeMs: 400))
      #expect(change(known, 7, 200) == nil && change(known, 7, 250) == nil && change(known, 7, 50) == nil)
    }
  }
}
