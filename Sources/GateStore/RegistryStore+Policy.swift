package import GateCore

extension RegistryStore {
  /// Makes a tenant's policy a new version, in force for fixes from now on.
  /// - Throws: `.invalidPolicy` beyond `Limits`.
  /// - Returns: its number.
  package func setPolicy(tenant: String, _ policy: Policy, nowMs: Int64) throws(RegistryError) -> UInt32 {
    if let problem = policy.problem { throw .invalidPolicy(problem) }
    return try change { () throws(RegistryError) in
      let owner = Int64(try knownTenant(tenant))
      let last = try numbers("SELECT max(version) FROM policy WHERE tenant = ?1", owner)
      let lastMs = try numbers("SELECT max(since_ms) FROM policy WHERE tenant = ?1", owner)
      let version = ((last.first ?? nil) ?? 0) + 1
      // A clock that was set back must not put a version in front of an older one.
      let sinceMs = max(nowMs, ((lastMs.first ?? nil) ?? .min))
      do throws(StoreError) {
        let statement = try SQLiteStatement(
          connection,
          """
          INSERT INTO policy(tenant, version, since_ms, duty, device_shifts, sos_off_duty, zone, columns, attributes,
          only_listed, work, grid_m, positions_days, events_days, quarantine_days, journal_days)
          VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)
          """)
        let taken = policy.taken
        for (i, number) in [owner, version, sinceMs, Int64(policy.duty.rawValue)].enumerated() {
          statement.bind(number, at: Int32(i) + 1)
        }
        statement.bind(policy.deviceShifts ? 1 : 0 as Int64, at: 5)
        statement.bind(policy.sosOffDuty ? 1 : 0 as Int64, at: 6)
        if policy.duty == .calendar { statement.bind(policy.calendar.zone, at: 7) } else { statement.bindNull(at: 7) }
        statement.bind(Int64(taken.columns.rawValue), at: 8)
        statement.bind(taken.attributes.ids.map { "\($0)" }.joined(separator: ","), at: 9)
        statement.bind(taken.attributes.onlyListed ? 1 : 0 as Int64, at: 10)
        statement.bind(taken.work ? 1 : 0 as Int64, at: 11)
        statement.bind(Int64(policy.gridM), at: 12)
        let kept = policy.retention
        for (i, days) in [kept.positionsDays, kept.eventsDays, kept.quarantineDays, kept.journalDays].enumerated() {
          statement.bind(days.map { Int64($0) }, at: Int32(i) + 13)
        }
        try statement.run()
      } catch {
        throw .store(error)
      }
      guard policy.duty == .calendar else { return UInt32(clamping: version) }
      for slot in policy.calendar.slots {
        try run(
          "INSERT INTO policy_slot VALUES (?1, ?2, ?3, ?4)", owner, version, Int64(slot.firstMinute), Int64(slot.endMinute))
      }
      for day in policy.calendar.days {
        try run(
          "INSERT INTO policy_day VALUES (?1, ?2, ?3, ?4, ?5)", owner, version, Int64(day.day), Int64(day.firstMinute),
          Int64(day.endMinute))
      }
      for offset in policy.calendar.offsets {
        try run("INSERT INTO policy_offset VALUES (?1, ?2, ?3, ?4)", owner, version, offset.sinceMs, Int64(offset.offsetS))
      }
      return UInt32(clamping: version)
    }
  }

  /// All versions of a tenant's policy, oldest first; none where it has set none.
  package func policies(tenant: String) throws(RegistryError) -> [Policy] {
    let owner = try knownTenant(tenant)
    do throws(StoreError) { return try policies(ofTenant: owner).map(\.policy) } catch { throw .store(error) }
  }

  /// - Parameter only: of this tenant; `nil` = of all.
  private func policies(ofTenant only: UInt32?) throws(StoreError) -> [(tenant: UInt32, policy: Policy)] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT tenant, version, since_ms, duty, device_shifts, sos_off_duty, zone, columns, attributes, only_listed, work,
      grid_m, positions_days, events_days, quarantine_days, journal_days FROM policy
      WHERE ?1 IS NULL OR tenant = ?1 ORDER BY tenant, version
      """)
    statement.bind(only.map { Int64($0) }, at: 1)
    var policies: [(tenant: UInt32, policy: Policy)] = []
    while try statement.step() {
      var policy = Policy()
      policy.version = UInt32(clamping: statement.int64(1))
      policy.sinceMs = statement.int64(2)
      policy.duty = Policy.Duty(rawValue: UInt8(clamping: statement.int64(3))) ?? .shift
      policy.deviceShifts = statement.int64(4) != 0
      policy.sosOffDuty = statement.int64(5) != 0
      policy.taken.columns = FixFields(rawValue: UInt32(truncatingIfNeeded: statement.int64(7)))
      let ids = statement.text(8).split(separator: ",").compactMap { UInt32($0) }
      policy.taken.attributes = statement.int64(9) != 0 ? AttributeRule(only: ids) : AttributeRule(allBut: ids)
      policy.taken.work = statement.int64(10) != 0
      policy.gridM = UInt16(clamping: statement.int64(11))
      policy.retention.positionsDays = statement.optional(12).map { Int($0) }
      policy.retention.eventsDays = statement.optional(13).map { Int($0) }
      policy.retention.quarantineDays = statement.optional(14).map { Int($0) }
      policy.retention.journalDays = statement.optional(15).map { Int($0) }
      let tenant = UInt32(clamping: statement.int64(0))
      if policy.duty == .calendar {
        policy.calendar = try calendar(of: tenant, policy.version, zone: statement.isNull(6) ? "UTC" : statement.text(6))
      }
      policies.append((tenant, policy))
    }
    return policies
  }

  private func calendar(of tenant: UInt32, _ version: UInt32, zone: String) throws(StoreError) -> DutyCalendar {
    func rows<T>(_ columns: String, _ table: String, _ make: (borrowing SQLiteStatement) -> T) throws(StoreError) -> [T] {
      let statement = try SQLiteStatement(
        connection, "SELECT \(columns) FROM \(table) WHERE tenant = ?1 AND version = ?2")
      statement.bind(Int64(tenant), at: 1)
      statement.bind(Int64(version), at: 2)
      var rows: [T] = []
      while try statement.step() { rows.append(make(statement)) }
      return rows
    }
    return DutyCalendar(
      zone: zone,
      slots: try rows("first_minute, end_minute", "policy_slot") {
        DutyCalendar.Slot(firstMinute: Int32(clamping: $0.int64(0)), endMinute: Int32(clamping: $0.int64(1)))
      },
      days: try rows("day, first_minute, end_minute", "policy_day") {
        DutyCalendar.Day(
          day: Int32(clamping: $0.int64(0)), firstMinute: Int32(clamping: $0.int64(1)),
          endMinute: Int32(clamping: $0.int64(2)))
      },
      offsets: try rows("since_ms, offset_s", "policy_offset") {
        DutyCalendar.Offset(sinceMs: $0.int64(0), offsetS: Int32(clamping: $0.int64(1)))
      })
  }

  // MARK: The snapshot's part

  func loadPrivacy(into builder: inout RegistrySnapshot.Builder) throws(StoreError) {
    let assignments = try SQLiteStatement(
      connection,
      """
      SELECT device, subject, since_ms, until_ms FROM (SELECT *, row_number()
        OVER (PARTITION BY device ORDER BY since_ms DESC) AS age FROM assignment) WHERE age <= ?1
      """)
    assignments.bind(Int64(Limits.assignmentsPerDeviceMax), at: 1)
    while try assignments.step() {
      builder.assign(
        device: UInt32(clamping: assignments.int64(0)), subject: UInt32(clamping: assignments.int64(1)),
        sinceMs: assignments.int64(2), untilMs: assignments.optional(3))
    }
    let duties = try SQLiteStatement(
      connection,
      """
      SELECT subject, device, opened_ms, closed_ms FROM (SELECT *, row_number()
        OVER (PARTITION BY subject, device ORDER BY opened_ms DESC) AS age FROM duty) WHERE age <= ?1
      """)
    duties.bind(Int64(Limits.dutiesMax), at: 1)
    while try duties.step() {
      builder.addDuty(
        of: RegistryStore.owner(duties.optional(0), duties.int64(1)), sinceMs: duties.int64(2),
        untilMs: duties.optional(3))
    }
    let ended = try SQLiteStatement(
      connection, "SELECT subject, device FROM ground GROUP BY subject, device HAVING count(*) = count(ended_ms)")
    while try ended.step() { builder.withdraw(RegistryStore.owner(ended.optional(0), ended.int64(1))) }
    let byTenant = Dictionary(grouping: try policies(ofTenant: nil), by: \.tenant)
    for (tenant, versions) in byTenant {
      for version in versions.suffix(Limits.policiesPerTenantMax) { builder.addPolicy(version.policy, tenant: tenant) }
    }
  }

  private static func owner(_ subject: Int64?, _ device: Int64) -> DutyOwner {
    if let subject { .subject(UInt32(clamping: subject)) } else { .device(UInt32(clamping: device)) }
  }
}

extension Policy {
  /// What is beyond its bounds; `nil` = nothing.
  fileprivate var problem: String? {
    if calendar.slots.count > Limits.calendarSlotsMax {
      return "a calendar has at most \(Limits.calendarSlotsMax) slots a week; join those that touch"
    }
    if calendar.days.count > Limits.calendarDaysMax {
      return "a calendar has at most \(Limits.calendarDaysMax) days of its own; leave out those that are long over"
    }
    if calendar.offsets.count > Limits.calendarOffsetsMax {
      return "the time zone changes its offset more than \(Limits.calendarOffsetsMax) times; choose another"
    }
    if taken.attributes.ids.count > Limits.policyAttributesMax {
      return "a policy names at most \(Limits.policyAttributesMax) attributes"
    }
    return nil
  }
}
