package import GateCore

/// Whom a shift, a ground or a withdrawal is about, by the name that its tenant knows.
package enum FollowedName: Equatable, Sendable {
  case subject(String)
  case device(String)
}

/// One row of `listSubjects`. Times are ms since 1970-01-01 UTC.
package struct SubjectEntry: Equatable, Sendable {
  package var name: String
  package var createdMs: Int64
  /// What they carry now, by id.
  package var devices: [String]
  /// `contract` or `consent`, where one is recorded and has not ended.
  package var ground: String?
  package var isWithdrawn: Bool
}

/// Who carried a device, for a time.
package struct AssignmentEntry: Equatable, Sendable {
  package var device: String
  package var subject: String
  package var sinceMs: Int64
  /// Not included; `nil` = still.
  package var untilMs: Int64?
}

/// A subject and all that it has ever carried, by dense index.
package struct SubjectDevices: Equatable, Sendable {
  package var subject: UInt32
  package var devices: [UInt32]
}

/// Why somebody may be followed.
package enum LegalGround: String, CaseIterable, Sendable { case contract, consent }

/// Subjects are the people who carry devices: ids that say nothing about them, and what belongs to them over time.
extension RegistryStore {
  /// - Throws: `.notOpaque` for what looks like an e-mail address or a phone number.
  package func addSubject(tenant: String, name: String, nowMs: Int64) throws(RegistryError) {
    try RegistryStore.checkOpaque(name)
    try change { () throws(RegistryError) in
      let owner = try knownTenant(tenant)
      if try subjectIndex(owner, name) != nil { throw .subjectExists(tenant: tenant, name: name) }
      _ = try insert("INSERT INTO subject(tenant, name, created_ms) VALUES (?3, ?1, ?2)", name, nowMs, Int64(owner))
    }
  }

  /// Says who carries a device from a time on, until it is said otherwise.
  /// - Parameters:
  ///   - subject: `nil` = nobody.
  ///   - sinceMs: not before the device's last change.
  package func assign(tenant: String, id: String, subject: String?, sinceMs: Int64) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let device = try knownDevice(tenant, id)
      let last = try numbers(
        "SELECT max(max(since_ms), max(coalesce(until_ms, since_ms))) FROM assignment WHERE device = ?1", Int64(device))
      if let lastMs = last.first ?? nil, sinceMs < lastMs { throw .beforeLast(sinceMs: lastMs) }
      try run("UPDATE assignment SET until_ms = ?1 WHERE device = ?2 AND until_ms IS NULL", sinceMs, Int64(device))
      guard let subject else { return }
      let index = try knownSubject(tenant, subject)
      // Two changes within one millisecond: the later one holds.
      try run(
        "INSERT OR REPLACE INTO assignment(device, subject, since_ms) VALUES (?2, ?3, ?1)", sinceMs, Int64(device),
        Int64(index))
    }
  }

  package func listSubjects(tenant: String) throws(RegistryError) -> [SubjectEntry] {
    let owner = try knownTenant(tenant)
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT s.name, s.created_ms,
          (SELECT group_concat(d.id, ' ') FROM assignment a JOIN device d ON d.idx = a.device
           WHERE a.subject = s.idx AND a.until_ms IS NULL),
          (SELECT kind FROM ground WHERE subject = s.idx AND ended_ms IS NULL ORDER BY number DESC),
          EXISTS (SELECT 1 FROM ground WHERE subject = s.idx)
            AND NOT EXISTS (SELECT 1 FROM ground WHERE subject = s.idx AND ended_ms IS NULL)
        FROM subject s WHERE s.tenant = ?1 ORDER BY s.name
        """)
      statement.bind(Int64(owner), at: 1)
      var entries: [SubjectEntry] = []
      while try statement.step() {
        entries.append(
          SubjectEntry(
            name: statement.text(0), createdMs: statement.int64(1),
            devices: statement.isNull(2) ? [] : statement.text(2).split(separator: " ").map(String.init).sorted(),
            ground: statement.isNull(3) ? nil : statement.text(3), isWithdrawn: statement.int64(4) != 0))
      }
      return entries
    } catch {
      throw .store(error)
    }
  }

  /// All assignments of a subject, or of a tenant, by time.
  package func listAssignments(tenant: String, subject: String? = nil) throws(RegistryError) -> [AssignmentEntry] {
    let owner = try knownTenant(tenant)
    let index = if let subject { Optional(try knownSubject(tenant, subject)) } else { UInt32?.none }
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT d.id, s.name, a.since_ms, a.until_ms FROM assignment a JOIN device d ON d.idx = a.device
        JOIN subject s ON s.idx = a.subject WHERE d.tenant = ?1 AND (?2 IS NULL OR a.subject = ?2)
        ORDER BY a.since_ms, d.id
        """)
      statement.bind(Int64(owner), at: 1)
      statement.bind(index.map { Int64($0) }, at: 2)
      var entries: [AssignmentEntry] = []
      while try statement.step() {
        entries.append(
          AssignmentEntry(
            device: statement.text(0), subject: statement.text(1), sinceMs: statement.int64(2),
            untilMs: statement.optional(3)))
      }
      return entries
    } catch {
      throw .store(error)
    }
  }

  /// What a subject has ever carried.
  package func devices(ofSubject name: String, tenant: String) throws(RegistryError) -> SubjectDevices {
    let subject = try knownSubject(tenant, name)
    let devices = try numbers("SELECT DISTINCT device FROM assignment WHERE subject = ?1", Int64(subject))
    return SubjectDevices(subject: subject, devices: devices.compactMap { $0.map { UInt32(clamping: $0) } })
  }

  // MARK: Grounds

  /// Records why somebody may be followed. It ends a withdrawal.
  package func recordGround(
    tenant: String, _ name: FollowedName, _ ground: LegalGround, nowMs: Int64
  ) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let owner = try owner(tenant, name)
      try endGrounds(of: owner, nowMs: nowMs)
      let (column, index) = owner.column
      do throws(StoreError) {
        let statement = try SQLiteStatement(
          connection, "INSERT INTO ground(\(column), kind, since_ms) VALUES (?1, ?2, ?3)")
        statement.bind(Int64(index), at: 1)
        statement.bind(ground.rawValue, at: 2)
        statement.bind(nowMs, at: 3)
        try statement.run()
      } catch {
        throw .store(error)
      }
    }
  }

  /// Consent is withdrawn, or the ground has ended: nothing more is taken, whatever its time. Doing so twice changes nothing.
  package func withdraw(tenant: String, _ name: FollowedName, nowMs: Int64) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let owner = try owner(tenant, name)
      try endGrounds(of: owner, nowMs: nowMs)
      let (column, index) = owner.column
      try run(
        """
        INSERT INTO ground(\(column), since_ms, ended_ms) SELECT ?1, ?2, ?2
        WHERE NOT EXISTS (SELECT 1 FROM ground WHERE \(column) = ?1)
        """, Int64(index), nowMs)
    }
  }

  private func endGrounds(of owner: DutyOwner, nowMs: Int64) throws(RegistryError) {
    let (column, index) = owner.column
    try run("UPDATE ground SET ended_ms = ?1 WHERE \(column) = ?2 AND ended_ms IS NULL", nowMs, Int64(index))
  }

  // MARK: Steps

  /// An id that says nothing about anybody: 9 digits without a letter are a phone number more often than not.
  static func checkOpaque(_ name: String) throws(RegistryError) {
    let letters = name.contains { $0.isLetter }
    if name.contains("@") || !letters && name.count(where: { $0.isNumber }) >= 9 { throw .notOpaque(name) }
    try check(name)
  }

  func subjectIndex(_ tenant: UInt32, _ name: String) throws(RegistryError) -> UInt32? {
    try find("SELECT idx FROM subject WHERE tenant = ?2 AND name = ?1", name, Int64(tenant))
  }

  /// - Throws: `.unknownTenant`, `.unknownSubject`, each with the names that come near.
  func knownSubject(_ tenant: String, _ name: String) throws(RegistryError) -> UInt32 {
    let owner = try knownTenant(tenant)
    if let index = try subjectIndex(owner, name) { return index }
    let others = try names("SELECT name FROM subject WHERE tenant = ?1", Int64(owner))
    throw .unknownSubject(tenant: tenant, name: name, nearest: nearestNames(to: name, among: others))
  }

  /// Whom a name means.
  package func owner(_ tenant: String, _ name: FollowedName) throws(RegistryError) -> DutyOwner {
    switch name {
    case .subject(let name): .subject(try knownSubject(tenant, name))
    case .device(let id): .device(try knownDevice(tenant, id))
    }
  }

  /// The first column of each row.
  func numbers(_ sql: String, _ arguments: Int64...) throws(RegistryError) -> [Int64?] {
    do throws(StoreError) {
      let statement = try SQLiteStatement(connection, sql)
      for (i, argument) in arguments.enumerated() { statement.bind(argument, at: Int32(i) + 1) }
      var numbers: [Int64?] = []
      while try statement.step() { numbers.append(statement.optional(0)) }
      return numbers
    } catch {
      throw .store(error)
    }
  }
}

extension DutyOwner {
  /// Its column in `duty` and `ground`.
  var column: (name: String, index: UInt32) {
    switch self {
    case .subject(let index): ("subject", index)
    case .device(let index): ("device", index)
    }
  }
}
