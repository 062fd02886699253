package import GateCore

/// The registry on disk: who may send. The gateway and the command line open it at the same time; every change is one
/// short transaction that also counts `generation` up, so that the other side can tell.
///
/// WAL with full sync: a change that returned is on disk. Times are ms since 1970-01-01 UTC, handed in by the caller.
package struct RegistryStore: ~Copyable {
  /// One row of `listDevices`.
  package struct DeviceEntry: Equatable, Sendable {
    package var index: UInt32
    package var tenant: String
    package var id: String
    /// Who carries it now.
    package var subject: String?
    package var createdMs: Int64
    package var revokedMs: Int64?
  }

  let connection: SQLiteConnection

  /// Opens the file, creating it (mode 0600) or bringing it to today's schema.
  package init(path: String, busyMs: Int32 = 5_000) throws(StoreError) {
    connection = try RegistryStore.open(path, busyMs)
  }

  private static func open(_ path: String, _ busyMs: Int32) throws(StoreError) -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path, access: .create, busyMs: busyMs)
    try connection.checkVersion(supported: migrations.count)
    try connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA foreign_keys = ON")
    try connection.migrate(migrations)
    return connection
  }

  static let migrations = [
    """
    CREATE TABLE tenant(
      idx INTEGER PRIMARY KEY AUTOINCREMENT, name TEXT NOT NULL UNIQUE, created_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE subject(
      idx INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL REFERENCES tenant, name TEXT NOT NULL,
      created_ms INTEGER NOT NULL, UNIQUE (tenant, name)) STRICT;
    CREATE TABLE device(
      idx INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL REFERENCES tenant, id TEXT NOT NULL,
      created_ms INTEGER NOT NULL, revoked_ms INTEGER, UNIQUE (tenant, id)) STRICT;
    CREATE TABLE token(
      selector BLOB PRIMARY KEY CHECK (length(selector) = 8), secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
      device INTEGER NOT NULL REFERENCES device, created_ms INTEGER NOT NULL, revoked_ms INTEGER) STRICT;
    CREATE TABLE assignment(
      device INTEGER NOT NULL REFERENCES device, subject INTEGER NOT NULL REFERENCES subject,
      since_ms INTEGER NOT NULL, until_ms INTEGER, PRIMARY KEY (device, since_ms)) STRICT;
    CREATE TABLE generation(id INTEGER PRIMARY KEY CHECK (id = 1), value INTEGER NOT NULL) STRICT;
    INSERT INTO generation VALUES (1, 1);
    """,
    // Tokens become one kind of credential, each with an end. `sealed`: the encrypted key of kind 3, else NULL.
    """
    CREATE TABLE credential(
      selector BLOB PRIMARY KEY CHECK (length(selector) = 8), kind INTEGER NOT NULL CHECK (kind BETWEEN 1 AND 3),
      secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32), sealed BLOB, device INTEGER NOT NULL REFERENCES device,
      created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER, CHECK ((sealed IS NOT NULL) = (kind = 3))) STRICT;
    CREATE INDEX credential_device ON credential(device);
    INSERT INTO credential(selector, kind, secret_hash, device, created_ms, revoked_ms)
      SELECT selector, 1, secret_hash, device, created_ms, revoked_ms FROM token;
    DROP TABLE token;
    """,
    // `selector` of an enrolment: of the credential that it gave last, as a signed number.
    """
    CREATE TABLE enrolment_window(
      number INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL REFERENCES tenant,
      code_hash BLOB NOT NULL CHECK (length(code_hash) = 32), name_prefix TEXT NOT NULL, devices_max INTEGER NOT NULL,
      opened_ms INTEGER NOT NULL, ends_ms INTEGER NOT NULL, closed_ms INTEGER) STRICT;
    CREATE TABLE enrolment(
      window INTEGER NOT NULL REFERENCES enrolment_window, key_hash BLOB NOT NULL CHECK (length(key_hash) = 32),
      device INTEGER NOT NULL REFERENCES device, selector INTEGER NOT NULL, enrolled_ms INTEGER NOT NULL,
      PRIMARY KEY (window, key_hash)) STRICT;
    """,
    // Who may be followed, when, and what is taken of it. Versions of a policy, grounds and duties are kept for good: they say
    // why a fix was taken or refused. `columns`: bits of `FixFields`; `attributes`: ids, or the ids that are left out.
    // A `day` counts from 1970-01-01 in the zone, a minute from midnight (of Monday for a slot). Days of retention: NULL = for good.
    """
    CREATE TABLE policy(
      tenant INTEGER NOT NULL REFERENCES tenant, version INTEGER NOT NULL CHECK (version > 0), since_ms INTEGER NOT NULL,
      duty INTEGER NOT NULL CHECK (duty BETWEEN 0 AND 2), device_shifts INTEGER NOT NULL, sos_off_duty INTEGER NOT NULL,
      zone TEXT, columns INTEGER NOT NULL, attributes TEXT NOT NULL, only_listed INTEGER NOT NULL, work INTEGER NOT NULL,
      grid_m INTEGER NOT NULL CHECK (grid_m BETWEEN 0 AND 65535),
      positions_days INTEGER, events_days INTEGER, quarantine_days INTEGER, journal_days INTEGER,
      PRIMARY KEY (tenant, version)) STRICT;
    CREATE TABLE policy_slot(
      tenant INTEGER NOT NULL, version INTEGER NOT NULL, first_minute INTEGER NOT NULL, end_minute INTEGER NOT NULL,
      FOREIGN KEY (tenant, version) REFERENCES policy) STRICT;
    CREATE TABLE policy_day(
      tenant INTEGER NOT NULL, version INTEGER NOT NULL, day INTEGER NOT NULL, first_minute INTEGER NOT NULL,
      end_minute INTEGER NOT NULL, FOREIGN KEY (tenant, version) REFERENCES policy) STRICT;
    CREATE TABLE policy_offset(
      tenant INTEGER NOT NULL, version INTEGER NOT NULL, since_ms INTEGER NOT NULL, offset_s INTEGER NOT NULL,
      FOREIGN KEY (tenant, version) REFERENCES policy) STRICT;
    CREATE TABLE duty(
      number INTEGER PRIMARY KEY AUTOINCREMENT, subject INTEGER REFERENCES subject, device INTEGER REFERENCES device,
      opened_ms INTEGER NOT NULL, closed_ms INTEGER, by_device INTEGER NOT NULL,
      CHECK ((subject IS NULL) <> (device IS NULL)), CHECK (closed_ms >= opened_ms)) STRICT;
    CREATE UNIQUE INDEX duty_of_subject ON duty(subject, opened_ms) WHERE subject IS NOT NULL;
    CREATE UNIQUE INDEX duty_of_device ON duty(device, opened_ms) WHERE device IS NOT NULL;
    CREATE TABLE ground(
      number INTEGER PRIMARY KEY AUTOINCREMENT, subject INTEGER REFERENCES subject, device INTEGER REFERENCES device,
      kind TEXT CHECK (kind IN ('contract', 'consent')), since_ms INTEGER NOT NULL, ended_ms INTEGER,
      CHECK ((subject IS NULL) <> (device IS NULL))) STRICT;
    CREATE INDEX ground_of_subject ON ground(subject) WHERE subject IS NOT NULL;
    CREATE INDEX ground_of_device ON ground(device) WHERE device IS NOT NULL;
    """,
    // Who may read: `roles` are bits of `ReadRoles`. Where data may go: without a row of `egress` only to the embedded store.
    """
    CREATE TABLE read_token(
      number INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL REFERENCES tenant,
      roles INTEGER NOT NULL CHECK (roles BETWEEN 1 AND 15), secret_hash BLOB NOT NULL CHECK (length(secret_hash) = 32),
      created_ms INTEGER NOT NULL, expires_ms INTEGER, revoked_ms INTEGER) STRICT;
    CREATE TABLE egress(tenant INTEGER PRIMARY KEY REFERENCES tenant, region TEXT NOT NULL) STRICT;
    CREATE TABLE egress_sink(
      tenant INTEGER NOT NULL REFERENCES tenant, sink TEXT NOT NULL, PRIMARY KEY (tenant, sink)) STRICT, WITHOUT ROWID;
    """,
  ]

  /// Counts changes. A snapshot whose `generation` differs is out of date.
  package func generation() throws(StoreError) -> UInt64 {
    UInt64(clamping: try connection.integer("SELECT value FROM generation"))
  }

  // MARK: Changes

  /// - Returns: the tenant's dense index.
  package func createTenant(_ name: String, nowMs: Int64) throws(RegistryError) -> UInt32 {
    try RegistryStore.check(name)
    return try change { () throws(RegistryError) in
      if try tenantIndex(name) != nil { throw .tenantExists(name) }
      return try insert("INSERT INTO tenant(name, created_ms) VALUES (?1, ?2)", name, nowMs)
    }
  }

  /// Adds a device and its first token.
  /// - Parameter tokenSelector: 8 random bytes as a little-endian number; `tokenHash`: SHA-256 of the secret.
  /// - Returns: the device's dense index.
  package func addDevice(
    tenant: String, id: String, tokenSelector: UInt64, tokenHash: SecretHash, nowMs: Int64
  ) throws(RegistryError) -> UInt32 {
    try addDevice(tenant: tenant, id: id, credential: .token(selector: tokenSelector, hash: tokenHash), nowMs: nowMs)
  }

  /// Gives a device one more token; older ones go on working until they are revoked.
  package func addToken(
    tenant: String, id: String, tokenSelector: UInt64, tokenHash: SecretHash, nowMs: Int64
  ) throws(RegistryError) {
    try addCredential(
      tenant: tenant, id: id, credential: .token(selector: tokenSelector, hash: tokenHash), nowMs: nowMs)
  }

  /// Revokes a device and with it all its credentials, for good. Doing so twice changes nothing.
  /// - Returns: the device's dense index.
  package func revokeDevice(tenant: String, id: String, nowMs: Int64) throws(RegistryError) -> UInt32 {
    try change { () throws(RegistryError) in
      let device = try knownDevice(tenant, id)
      try run("UPDATE device SET revoked_ms = ?1 WHERE idx = ?2 AND revoked_ms IS NULL", nowMs, Int64(device))
      try run("UPDATE credential SET revoked_ms = ?1 WHERE device = ?2 AND revoked_ms IS NULL", nowMs, Int64(device))
      return device
    }
  }

  // MARK: Reading

  /// One row of `listTenants`.
  package struct TenantEntry: Equatable, Sendable {
    package var name: String
    package var createdMs: Int64
    /// Devices that are not revoked.
    package var activeDevices: Int
  }

  package func listTenants() throws(StoreError) -> [TenantEntry] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT name, created_ms, (SELECT count(*) FROM device WHERE tenant = t.idx AND revoked_ms IS NULL)
      FROM tenant t ORDER BY name
      """)
    var entries: [TenantEntry] = []
    while try statement.step() {
      entries.append(
        TenantEntry(
          name: statement.text(0), createdMs: statement.int64(1), activeDevices: Int(clamping: statement.int64(2))))
    }
    return entries
  }

  /// - Parameter tenant: `nil` = of all tenants.
  package func listDevices(tenant: String?) throws(RegistryError) -> [DeviceEntry] {
    if let tenant { _ = try knownTenant(tenant) }
    do {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT d.idx, t.name, d.id, s.name, d.created_ms, d.revoked_ms FROM device d JOIN tenant t ON t.idx = d.tenant
        LEFT JOIN assignment a ON a.device = d.idx AND a.until_ms IS NULL LEFT JOIN subject s ON s.idx = a.subject
        WHERE ?1 IS NULL OR t.name = ?1 ORDER BY t.name, d.id
        """)
      if let tenant { statement.bind(tenant, at: 1) }
      var entries: [DeviceEntry] = []
      while try statement.step() {
        entries.append(
          DeviceEntry(
            index: UInt32(clamping: statement.int64(0)), tenant: statement.text(1), id: statement.text(2),
            subject: statement.isNull(3) ? nil : statement.text(3), createdMs: statement.int64(4),
            revokedMs: statement.optional(5)))
      }
      return entries
    } catch {
      throw .store(error)
    }
  }

  /// - Returns: the dense index of a tenant's device.
  package func device(tenant: String, id: String) throws(RegistryError) -> UInt32 { try knownDevice(tenant, id) }

  /// All of the registry as it is at one moment.
  package func loadSnapshot() throws(StoreError) -> RegistrySnapshot {
    try connection.execute("BEGIN")
    defer { connection.rollBack() }
    var builder = RegistrySnapshot.Builder()
    let tenants = try SQLiteStatement(connection, "SELECT idx, name FROM tenant")
    while try tenants.step() { builder.addTenant(UInt32(clamping: tenants.int64(0)), name: tenants.text(1)) }
    let subjects = try SQLiteStatement(connection, "SELECT idx, name FROM subject")
    while try subjects.step() { builder.addSubject(UInt32(clamping: subjects.int64(0)), name: subjects.text(1)) }
    let devices = try SQLiteStatement(connection, "SELECT idx, tenant, id, revoked_ms IS NOT NULL FROM device")
    while try devices.step() {
      builder.addDevice(
        UInt32(clamping: devices.int64(0)), tenant: UInt32(clamping: devices.int64(1)),
        externalID: devices.text(2), revoked: devices.int64(3) != 0)
    }
    try loadPrivacy(into: &builder)
    let credentials = try SQLiteStatement(
      connection, "SELECT selector, secret_hash, device, revoked_ms IS NOT NULL, kind, expires_ms, sealed FROM credential")
    while try credentials.step() {
      let selector = credentials.withBytes(0) { $0.load64(at: 0) }
      let hash = credentials.withBytes(1) { SecretHash($0) }
      guard let kind = CredentialKind(rawValue: UInt8(clamping: credentials.int64(4))) else { continue }
      builder.addCredential(
        selector: selector,
        RegistrySnapshot.Candidate(
          device: UInt32(clamping: credentials.int64(2)), kind: kind, secretHash: hash,
          revoked: credentials.int64(3) != 0, expiresMs: credentials.optional(5) ?? .max))
      if kind == .key {
        builder.addSealedKey(
          selector: selector, credentials.withBytes(6) { bytes in bytes.indices.map { bytes[$0] } })
      }
    }
    return RegistrySnapshot(builder, generation: try generation())
  }

  // MARK: Steps of a change

  /// Runs several changes as one: all or none of them, and no other writer in between.
  package func together<R>(_ body: () throws -> R) throws -> R {
    try connection.begin()
    do {
      let result = try body()
      try connection.commit()
      return result
    } catch {
      connection.rollBack()
      throw error
    }
  }

  /// Runs `body` in a transaction, counting the generation up when something changed.
  func change<R>(_ body: () throws(RegistryError) -> R) throws(RegistryError) -> R {
    if connection.isInTransaction { return try counted(body) }
    do throws(StoreError) { try connection.begin() } catch { throw .store(error) }
    do throws(RegistryError) {
      let result = try counted(body)
      do { try connection.commit() } catch { throw .store(error) }
      return result
    } catch {
      connection.rollBack()
      throw error
    }
  }

  private func counted<R>(_ body: () throws(RegistryError) -> R) throws(RegistryError) -> R {
    let before = connection.totalChanges
    let result = try body()
    if connection.totalChanges != before {
      do { try connection.execute("UPDATE generation SET value = value + 1") } catch { throw .store(error) }
    }
    return result
  }

  static func check(_ name: String) throws(RegistryError) {
    let bytes = name.utf8
    let fits = (1...64).contains(bytes.count) && bytes.allSatisfy { byte in
      switch byte {
      case UInt8(ascii: "a")...UInt8(ascii: "z"), UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "0")...UInt8(ascii: "9"),
        UInt8(ascii: "."), UInt8(ascii: "_"), UInt8(ascii: "-"):
        true
      default: false
      }
    }
    if !fits { throw .invalidName(name) }
  }

  func knownTenant(_ name: String) throws(RegistryError) -> UInt32 {
    if let index = try tenantIndex(name) { return index }
    throw .unknownTenant(name, nearest: nearestNames(to: name, among: try names("SELECT name FROM tenant")))
  }

  func knownDevice(_ tenant: String, _ id: String) throws(RegistryError) -> UInt32 {
    let owner = try knownTenant(tenant)
    if let index = try deviceIndex(owner, id) { return index }
    let others = try names("SELECT id FROM device WHERE tenant = ?1", Int64(owner))
    throw .unknownDevice(tenant: tenant, id: id, nearest: nearestNames(to: id, among: others))
  }

  func tenantIndex(_ name: String) throws(RegistryError) -> UInt32? {
    try find("SELECT idx FROM tenant WHERE name = ?1", name)
  }

  func deviceIndex(_ tenant: UInt32, _ id: String) throws(RegistryError) -> UInt32? {
    try find("SELECT idx FROM device WHERE tenant = ?2 AND id = ?1", id, Int64(tenant))
  }

  func find(_ sql: String, _ name: String, _ number: Int64? = nil) throws(RegistryError) -> UInt32? {
    do throws(StoreError) {
      let statement = try SQLiteStatement(connection, sql)
      statement.bind(name, at: 1)
      if let number { statement.bind(number, at: 2) }
      return try statement.step() ? UInt32(clamping: statement.int64(0)) : nil
    } catch {
      throw .store(error)
    }
  }

  func names(_ sql: String, _ number: Int64? = nil) throws(RegistryError) -> [String] {
    do throws(StoreError) {
      let statement = try SQLiteStatement(connection, sql)
      if let number { statement.bind(number, at: 1) }
      var names: [String] = []
      while try statement.step() { names.append(statement.text(0)) }
      return names
    } catch {
      throw .store(error)
    }
  }

  /// - Returns: the index that the new row was given.
  func insert(_ sql: String, _ name: String, _ nowMs: Int64, _ owner: Int64? = nil) throws(RegistryError) -> UInt32 {
    do throws(StoreError) {
      let statement = try SQLiteStatement(connection, sql)
      statement.bind(name, at: 1)
      statement.bind(nowMs, at: 2)
      if let owner { statement.bind(owner, at: 3) }
      try statement.run()
    } catch {
      throw .store(error)
    }
    // 2^32 enrolments: the table can take no more.
    guard let index = UInt32(exactly: connection.lastInsertRowID) else { throw .store(.full(code: 0)) }
    return index
  }

  func run(_ sql: String, _ numbers: Int64?...) throws(RegistryError) {
    do throws(StoreError) {
      let statement = try SQLiteStatement(connection, sql)
      for (i, number) in numbers.enumerated() { statement.bind(number, at: Int32(i) + 1) }
      try statement.run()
    } catch {
      throw .store(error)
    }
  }
}
