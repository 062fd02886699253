import GateCore

/// The registry carried to other gateways, so that a device may come to any of them.
///
/// What travels: tenants with their policies and where their data may go, subjects, devices with their credentials, who carried
/// what when, shifts and grounds. Credentials go as they are stored: hashes, and keys sealed under the first gateway's key file.
/// Read tokens and enrolment windows are each gateway's own.
extension RegistryStore {
  /// Writes what travels, as it is at one moment, into a registry of its own (mode 0600).
  /// - Parameter path: of a file that is not there.
  package func export(to path: String) throws(RegistryError) {
    do throws(StoreError) {
      let copy = try SQLiteConnection(path: path, access: .create)
      let statement = try SQLiteStatement(connection, "VACUUM INTO ?1")
      statement.bind(path, at: 1)
      try statement.run()
      try copy.execute("DELETE FROM read_token; DELETE FROM enrolment; DELETE FROM enrolment_window; VACUUM")
    } catch {
      throw .store(error)
    }
  }

  /// What an import brought.
  package struct Imported: Equatable, Sendable {
    /// New here.
    package var devices: Int
    /// New here, also of devices that were known.
    package var credentials: Int
    /// Devices that are revoked from now on.
    package var revoked: Int
  }

  /// Takes over what another gateway's registry has and this one has not: all of it, or nothing. What is here stays, and what has
  /// ended in either has ended: doing so again, or in another order, comes to the same.
  ///
  /// - Parameters:
  ///   - path: what `export` has written.
  ///   - reseal: a sealed key's selector and seal to this gateway's seal of it; `nil` if no key file at hand opens it.
  ///   - check: the last word; what it throws undoes everything.
  /// - Throws: `RegistryError`, or what the two closures throw.
  package func take(
    from path: String, devicesMax: Int, nowMs: Int64, reseal: (_ selector: UInt64, _ sealed: [UInt8]) throws -> [UInt8]?,
    check: () throws -> Void = {}
  ) throws -> Imported {
    // Attaching would make a file that is not there.
    let version = try SQLiteConnection(path: path, access: .readOnly).integer("PRAGMA user_version")
    guard version == RegistryStore.migrations.count else { throw RegistryError.otherVersion }
    try attach(path)
    defer { try? connection.execute("DETACH other") }
    return try together {
      let known = Set(try sealedKeys(nowMs: nowMs).map(\.selector))
      let imported = try change { () throws(RegistryError) in try merge(devicesMax: devicesMax) }
      for key in try sealedKeys(nowMs: nowMs) where !known.contains(key.selector) {
        if let sealed = try reseal(key.selector, key.sealed) {
          try self.reseal(selector: key.selector, sealed)
        } else if key.isLive {
          throw RegistryError.unopenedKey(tenant: key.tenant, id: key.id)
        }
      }
      try check()
      return imported
    }
  }

  private func attach(_ path: String) throws(StoreError) {
    let statement = try SQLiteStatement(connection, "ATTACH ?1 AS other")
    statement.bind(path, at: 1)
    try statement.run()
  }

  private func merge(devicesMax: Int) throws(RegistryError) -> Imported {
    let devices = "SELECT count(*) FROM main.device"
    let credentials = "SELECT count(*) FROM main.credential"
    let revoked = "SELECT count(*) FROM main.device WHERE revoked_ms IS NOT NULL"
    let before = (try count(devices), try count(credentials), try count(revoked))
    try execute(RegistryStore.mergeNames)
    if try count(RegistryStore.strangeCredentials) > 0 { throw .selectorTaken }
    if try count(RegistryStore.divergedPolicies) > 0 { throw .diverged("a tenant's policy was set on both") }
    try execute(RegistryStore.mergeRest)
    if try count(RegistryStore.sharedDevices) > 0 { throw .diverged("a device was given to one subject here, to another there") }
    try execute(RegistryStore.dropMaps)
    guard try count("SELECT max(idx) FROM main.device") <= devicesMax else { throw .devicesFull(max: devicesMax) }
    return Imported(
      devices: try count(devices) - before.0, credentials: try count(credentials) - before.1,
      revoked: try count(revoked) - before.2)
  }

  private func count(_ sql: String) throws(RegistryError) -> Int {
    do throws(StoreError) { return Int(clamping: try connection.integer(sql)) } catch { throw .store(error) }
  }

  private func execute(_ sql: String) throws(RegistryError) {
    do throws(StoreError) { try connection.execute(sql) } catch { throw .store(error) }
  }

  // MARK: - Statements

  /// What goes by a name in both registries, and the numbers that it has there (`other`) and here (`own`).
  private static let mergeNames = """
    INSERT INTO main.tenant(name, created_ms) SELECT name, created_ms FROM other.tenant
      WHERE name NOT IN (SELECT name FROM main.tenant) ORDER BY idx;
    CREATE TEMP TABLE tenant_of AS SELECT o.idx AS other, t.idx AS own
      FROM other.tenant o JOIN main.tenant t ON t.name = o.name;
    INSERT INTO main.subject(tenant, name, created_ms) SELECT t.own, o.name, o.created_ms
      FROM other.subject o JOIN temp.tenant_of t ON t.other = o.tenant
      WHERE NOT EXISTS (SELECT 1 FROM main.subject s WHERE s.tenant = t.own AND s.name = o.name) ORDER BY o.idx;
    CREATE TEMP TABLE subject_of AS SELECT o.idx AS other, s.idx AS own FROM other.subject o
      JOIN temp.tenant_of t ON t.other = o.tenant JOIN main.subject s ON s.tenant = t.own AND s.name = o.name;
    INSERT INTO main.device(tenant, id, created_ms) SELECT t.own, o.id, o.created_ms
      FROM other.device o JOIN temp.tenant_of t ON t.other = o.tenant
      WHERE NOT EXISTS (SELECT 1 FROM main.device d WHERE d.tenant = t.own AND d.id = o.id) ORDER BY o.idx;
    CREATE TEMP TABLE device_of AS SELECT o.idx AS other, d.idx AS own FROM other.device o
      JOIN temp.tenant_of t ON t.other = o.tenant JOIN main.device d ON d.tenant = t.own AND d.id = o.id;
    """

  private static let strangeCredentials = """
    SELECT count(*) FROM other.credential o JOIN temp.device_of d ON d.other = o.device
    JOIN main.credential c ON c.selector = o.selector WHERE c.secret_hash <> o.secret_hash OR c.device <> d.own
    """

  /// The moment at which a version was set tells it from another of the same number.
  private static let divergedPolicies = """
    SELECT count(*) FROM other.policy o JOIN temp.tenant_of t ON t.other = o.tenant
    JOIN main.policy p ON p.tenant = t.own AND p.version = o.version WHERE p.since_ms <> o.since_ms
    """

  private static let sharedDevices = """
    SELECT count(*) FROM (SELECT device FROM main.assignment WHERE until_ms IS NULL GROUP BY device HAVING count(*) > 1)
    """

  private static let mergeRest = """
    UPDATE main.device AS d SET revoked_ms = o.revoked_ms FROM other.device o JOIN temp.device_of m ON m.other = o.idx
      WHERE d.idx = m.own AND d.revoked_ms IS NULL AND o.revoked_ms IS NOT NULL;
    INSERT INTO main.credential(selector, kind, secret_hash, sealed, device, created_ms, expires_ms, revoked_ms)
      SELECT o.selector, o.kind, o.secret_hash, o.sealed, m.own, o.created_ms, o.expires_ms, o.revoked_ms
      FROM other.credential o JOIN temp.device_of m ON m.other = o.device
      WHERE o.selector NOT IN (SELECT selector FROM main.credential);
    UPDATE main.credential AS c SET revoked_ms = o.revoked_ms FROM other.credential o
      WHERE o.selector = c.selector AND c.revoked_ms IS NULL AND o.revoked_ms IS NOT NULL;
    UPDATE main.credential AS c SET expires_ms = o.expires_ms FROM other.credential o
      WHERE o.selector = c.selector AND (c.expires_ms IS NULL OR c.expires_ms > o.expires_ms) AND o.expires_ms IS NOT NULL;
    UPDATE main.credential AS c SET revoked_ms = d.revoked_ms FROM main.device d
      WHERE d.idx = c.device AND c.revoked_ms IS NULL AND d.revoked_ms IS NOT NULL;
    UPDATE main.assignment AS a SET until_ms = o.until_ms FROM other.assignment o
      JOIN temp.device_of d ON d.other = o.device JOIN temp.subject_of s ON s.other = o.subject
      WHERE a.device = d.own AND a.subject = s.own AND a.since_ms = o.since_ms AND a.until_ms IS NULL AND o.until_ms IS NOT NULL;
    INSERT OR IGNORE INTO main.assignment(device, subject, since_ms, until_ms)
      SELECT d.own, s.own, o.since_ms, o.until_ms FROM other.assignment o
      JOIN temp.device_of d ON d.other = o.device JOIN temp.subject_of s ON s.other = o.subject;
    CREATE TEMP TABLE new_policy AS SELECT o.tenant AS other, t.own, o.version FROM other.policy o
      JOIN temp.tenant_of t ON t.other = o.tenant
      WHERE NOT EXISTS (SELECT 1 FROM main.policy p WHERE p.tenant = t.own AND p.version = o.version);
    INSERT INTO main.policy(tenant, version, since_ms, duty, device_shifts, sos_off_duty, zone, columns, attributes, only_listed,
      work, grid_m, positions_days, events_days, quarantine_days, journal_days)
      SELECT n.own, o.version, o.since_ms, o.duty, o.device_shifts, o.sos_off_duty, o.zone, o.columns, o.attributes,
      o.only_listed, o.work, o.grid_m, o.positions_days, o.events_days, o.quarantine_days, o.journal_days
      FROM other.policy o JOIN temp.new_policy n ON n.other = o.tenant AND n.version = o.version;
    INSERT INTO main.policy_slot SELECT n.own, o.version, o.first_minute, o.end_minute
      FROM other.policy_slot o JOIN temp.new_policy n ON n.other = o.tenant AND n.version = o.version;
    INSERT INTO main.policy_day SELECT n.own, o.version, o.day, o.first_minute, o.end_minute
      FROM other.policy_day o JOIN temp.new_policy n ON n.other = o.tenant AND n.version = o.version;
    INSERT INTO main.policy_offset SELECT n.own, o.version, o.since_ms, o.offset_s
      FROM other.policy_offset o JOIN temp.new_policy n ON n.other = o.tenant AND n.version = o.version;
    CREATE TEMP TABLE duty_there AS SELECT s.own AS subject, d.own AS device, o.opened_ms, o.closed_ms, o.by_device
      FROM other.duty o LEFT JOIN temp.subject_of s ON s.other = o.subject LEFT JOIN temp.device_of d ON d.other = o.device;
    UPDATE main.duty AS m SET closed_ms = o.closed_ms FROM temp.duty_there o
      WHERE m.subject IS o.subject AND m.device IS o.device AND m.opened_ms = o.opened_ms AND m.closed_ms IS NULL
      AND o.closed_ms IS NOT NULL;
    INSERT OR IGNORE INTO main.duty(subject, device, opened_ms, closed_ms, by_device) SELECT * FROM temp.duty_there;
    CREATE TEMP TABLE ground_there AS SELECT s.own AS subject, d.own AS device, o.kind, o.since_ms, o.ended_ms
      FROM other.ground o LEFT JOIN temp.subject_of s ON s.other = o.subject LEFT JOIN temp.device_of d ON d.other = o.device;
    UPDATE main.ground AS m SET ended_ms = o.ended_ms FROM temp.ground_there o
      WHERE m.subject IS o.subject AND m.device IS o.device AND m.kind IS o.kind AND m.since_ms = o.since_ms
      AND m.ended_ms IS NULL AND o.ended_ms IS NOT NULL;
    INSERT INTO main.ground(subject, device, kind, since_ms, ended_ms) SELECT * FROM temp.ground_there o
      WHERE NOT EXISTS (SELECT 1 FROM main.ground m WHERE m.subject IS o.subject AND m.device IS o.device AND m.kind IS o.kind
      AND m.since_ms = o.since_ms);
    INSERT INTO main.egress_sink(tenant, sink) SELECT t.own, o.sink FROM other.egress_sink o
      JOIN temp.tenant_of t ON t.other = o.tenant WHERE t.own NOT IN (SELECT tenant FROM main.egress);
    INSERT INTO main.egress(tenant, region) SELECT t.own, o.region FROM other.egress o
      JOIN temp.tenant_of t ON t.other = o.tenant WHERE t.own NOT IN (SELECT tenant FROM main.egress);
    """

  private static let dropMaps = """
    DROP TABLE temp.tenant_of; DROP TABLE temp.subject_of; DROP TABLE temp.device_of; DROP TABLE temp.new_policy;
    DROP TABLE temp.duty_there; DROP TABLE temp.ground_there;
    """
}
