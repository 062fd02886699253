package import GateCore

/// Whose data, and of which time: what an erasure, a hold or an export is about.
package struct SubjectRange: Equatable, Sendable {
  /// Dense index.
  package var tenant: UInt32
  package var owner: KeyOwner
  /// Fix times, ms since 1970-01-01 UTC, both ends included.
  package var times: ClosedRange<Int64>

  package static let always: ClosedRange<Int64> = .min ... .max

  package init(tenant: UInt32, owner: KeyOwner, times: ClosedRange<Int64> = always) {
    self.tenant = tenant
    self.owner = owner
    self.times = times
  }

  /// The owner as a whole, whatever the time; fixes without a time too.
  package var isWhole: Bool { times == SubjectRange.always }
}

/// Why the book of subjects did not do what was asked. Nothing was changed.
package enum SubjectBookError: Error, Equatable, Sendable {
  /// Holds with these numbers forbid the erasure.
  case held([Int64])
  case unknownHold(Int64)
  /// The erasure of that number is under way.
  case beingErased(Int64)
  case store(StoreError)
}

extension SubjectBookError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .held(let numbers):
      "a legal hold forbids it (\(numbers.map { "\($0)" }.joined(separator: ", "))): nothing was erased; see 'fixgate hold list', and "
        + "'fixgate hold remove' once the ground for it has gone"
    case .unknownHold(let number): "there is no hold \(number) on the tenant's subjects; see 'fixgate hold list'"
    case .beingErased(let number): "erasure \(number) of this is under way: there is nothing left to hold"
    case .store(let error): error.description
    }
  }
}

/// The book of subjects on disk: their keys, what was erased, what is held. Gateway and command line open it at the same time.
///
/// It is a file of its own so that it can be backed up for a shorter time than the rest: whoever has an old copy of it, an
/// old journal and the registry's key reads what was erased since. What is deleted from it is overwritten.
package struct SubjectBook: ~Copyable {
  package static let name = "subjects.db"

  let connection: SQLiteConnection

  /// Opens the file, creating it (mode 0600) or bringing it to today's schema.
  package init(path: String, busyMs: Int32 = 5_000) throws(StoreError) {
    connection = try SubjectBook.open(path, busyMs)
  }

  private static func open(_ path: String, _ busyMs: Int32) throws(StoreError) -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path, access: .create, busyMs: busyMs)
    try connection.checkVersion(supported: migrations.count)
    try connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL; PRAGMA secure_delete = ON")
    try connection.migrate(migrations)
    return connection
  }

  /// `owner`: `KeyOwner.raw`. A key is sealed under its tenant's, that under the registry's. `retired`: newer records are
  /// sealed under another key; it goes when the journal begins at `retired_lsn` or above. Times: both ends included.
  private static let migrations = [
    """
    CREATE TABLE tenant_key(tenant INTEGER PRIMARY KEY, sealed BLOB NOT NULL) STRICT;
    CREATE TABLE subject_key(
      number INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL, owner INTEGER NOT NULL, sealed BLOB NOT NULL,
      created_ms INTEGER NOT NULL, retired INTEGER NOT NULL DEFAULT 0, retired_lsn INTEGER) STRICT;
    CREATE UNIQUE INDEX subject_key_in_force ON subject_key(owner) WHERE retired = 0;
    CREATE TABLE erasure(
      number INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL, owner INTEGER NOT NULL, from_ms INTEGER NOT NULL,
      to_ms INTEGER NOT NULL, asked_ms INTEGER NOT NULL, is_sealed_off INTEGER NOT NULL DEFAULT 0, found TEXT,
      done_ms INTEGER, receipt TEXT) STRICT;
    CREATE UNIQUE INDEX erasure_once ON erasure(owner, from_ms, to_ms);
    CREATE TABLE hold(
      number INTEGER PRIMARY KEY AUTOINCREMENT, tenant INTEGER NOT NULL, owner INTEGER NOT NULL, from_ms INTEGER NOT NULL,
      to_ms INTEGER NOT NULL, reason TEXT NOT NULL, placed_ms INTEGER NOT NULL, lifted_ms INTEGER) STRICT;
    """
  ]

  /// Makes sure that nothing of what was deleted is left in the file and its log.
  /// - Throws: `.locked` while another process reads; try again.
  package func overwriteDeleted() throws(StoreError) { try connection.overwriteDeleted() }

  func run(_ sql: String, _ numbers: Int64?...) throws(StoreError) {
    let statement = try SQLiteStatement(connection, sql)
    for (i, number) in numbers.enumerated() { statement.bind(number, at: Int32(i) + 1) }
    try statement.run()
  }
}

// MARK: - Keys

/// One key as it is stored, without itself.
package struct SubjectKeyRow: Equatable, Sendable, BitwiseCopyable {
  package var number: UInt64
  package var tenant: UInt32
  package var owner: KeyOwner
  package var isRetired: Bool
}

extension SubjectBook {
  /// By tenant.
  package func tenantKeys() throws(StoreError) -> [UInt32: [UInt8]] {
    let statement = try SQLiteStatement(connection, "SELECT tenant, sealed FROM tenant_key")
    var keys: [UInt32: [UInt8]] = [:]
    while try statement.step() {
      keys[UInt32(clamping: statement.int64(0))] = statement.withBytes(1) { bytes in bytes.indices.map { bytes[$0] } }
    }
    return keys
  }

  /// Sets tenants' keys, new ones or in a new seal.
  package func setTenantKeys(_ keys: [UInt32: [UInt8]]) throws(StoreError) {
    try connection.begin()
    defer { connection.rollBack() }
    let statement = try SQLiteStatement(
      connection, "INSERT INTO tenant_key VALUES (?1, ?2) ON CONFLICT (tenant) DO UPDATE SET sealed = excluded.sealed")
    for (tenant, sealed) in keys {
      statement.bind(Int64(tenant), at: 1)
      statement.bind(sealed.span, at: 2)
      try statement.run()
    }
    try connection.commit()
  }

  /// Hands out all keys, or a tenant's, in the order of their numbers.
  package func forEachKey(
    tenant: UInt32? = nil, _ body: (SubjectKeyRow, _ sealed: Span<UInt8>) throws -> Void
  ) throws {
    let statement = try SQLiteStatement(
      connection,
      "SELECT number, tenant, owner, retired, sealed FROM subject_key WHERE ?1 IS NULL OR tenant = ?1 ORDER BY number")
    statement.bind(tenant.map { Int64($0) }, at: 1)
    while try statement.step() {
      let key = SubjectKeyRow(
        number: UInt64(statement.int64(0)), tenant: UInt32(clamping: statement.int64(1)),
        owner: KeyOwner(raw: UInt64(bitPattern: statement.int64(2))), isRetired: statement.int64(3) != 0)
      try statement.withBytes(4) { sealed in try body(key, sealed) }
    }
  }

  /// - Parameter tenant: `nil` = of all.
  package func keyCount(tenant: UInt32? = nil) throws(StoreError) -> Int {
    let statement = try SQLiteStatement(connection, "SELECT count(*) FROM subject_key WHERE ?1 IS NULL OR tenant = ?1")
    statement.bind(tenant.map { Int64($0) }, at: 1)
    return try statement.step() ? Int(clamping: statement.int64(0)) : 0
  }

  /// The highest number that any key was ever given.
  package func highestKey() throws(StoreError) -> UInt64 {
    UInt64(clamping: try connection.integer("SELECT seq FROM sqlite_sequence WHERE name = 'subject_key'"))
  }

  /// A key to be stored: sealed by one who has its tenant's.
  package struct NewKey: Sendable {
    package var tenant: UInt32
    package var owner: KeyOwner
    package var sealed: [UInt8]

    package init(tenant: UInt32, owner: KeyOwner, sealed: [UInt8]) {
      self.tenant = tenant
      self.owner = owner
      self.sealed = sealed
    }
  }

  /// Gives owners new keys: all of them or none.
  /// - Parameter replacing: they take the place of those that the owners have; else no owner has any.
  /// - Returns: number of the first key; the others follow it.
  package func giveKeys(_ keys: [NewKey], replacing: Bool, nowMs: Int64) throws(StoreError) -> UInt64 {
    try connection.begin()
    defer { connection.rollBack() }
    if replacing {
      let retire = try SQLiteStatement(connection, "UPDATE subject_key SET retired = 1 WHERE owner = ?1 AND retired = 0")
      for key in keys {
        retire.bind(Int64(key.owner.raw), at: 1)
        try retire.run()
      }
    }
    let whole = keys.count - keys.count % SubjectBook.keysPerInsert
    if whole > 0 { try insert(keys[..<whole], perInsert: SubjectBook.keysPerInsert, nowMs: nowMs) }
    if whole < keys.count { try insert(keys[whole...], perInsert: 1, nowMs: nowMs) }
    let first = UInt64(connection.lastInsertRowID) + 1 - UInt64(keys.count)
    try connection.commit()
    return first
  }

  /// A statement looks up and writes back the table's highest number, so one for many rows takes half the time.
  private static let keysPerInsert = 64

  /// - Parameter perInsert: divides the number of keys.
  private func insert(_ keys: ArraySlice<NewKey>, perInsert: Int, nowMs: Int64) throws(StoreError) {
    let rows = repeatElement("(?, ?, ?, ?)", count: perInsert).joined(separator: ", ")
    let statement = try SQLiteStatement(
      connection, "INSERT INTO subject_key(tenant, owner, sealed, created_ms) VALUES \(rows)")
    var at: Int32 = 0
    for key in keys {
      statement.bind(Int64(key.tenant), at: at + 1)
      statement.bind(Int64(key.owner.raw), at: at + 2)
      statement.bind(key.sealed.span, at: at + 3)
      statement.bind(nowMs, at: at + 4)
      at += 4
      guard at == 4 * perInsert else { continue }
      try statement.run()
      at = 0
    }
  }

  /// Everything that is sealed under a retired key lies below this LSN.
  package func setRetired(at lsn: UInt64) throws(StoreError) {
    try run("UPDATE subject_key SET retired_lsn = ?1 WHERE retired = 1 AND retired_lsn IS NULL", Int64(bitPattern: lsn))
  }

  /// Whether it is not known of a retired key what is sealed under it.
  package func hasRetiredWithoutLSN() throws(StoreError) -> Bool {
    try connection.integer("SELECT EXISTS (SELECT 1 FROM subject_key WHERE retired = 1 AND retired_lsn IS NULL)") != 0
  }

  package func hasRetired() throws(StoreError) -> Bool {
    try connection.integer("SELECT EXISTS (SELECT 1 FROM subject_key WHERE retired = 1)") != 0
  }

  /// Whether there are retired keys that nothing in the journal needs.
  /// - Parameter lsn: the journal begins here.
  package func hasRetired(below lsn: UInt64) throws(StoreError) -> Bool {
    let statement = try SQLiteStatement(connection, "SELECT EXISTS (SELECT 1 FROM subject_key WHERE retired_lsn <= ?1)")
    statement.bind(Int64(bitPattern: lsn), at: 1)
    return try statement.step() && statement.int64(0) != 0
  }

  /// Shreds retired keys that nothing in the journal needs.
  /// - Parameter lsn: the journal begins here.
  /// - Returns: whether there were any.
  package func shredRetired(below lsn: UInt64) throws(StoreError) -> Bool {
    let before = connection.totalChanges
    try run("DELETE FROM subject_key WHERE retired_lsn <= ?1", Int64(bitPattern: lsn))
    return connection.totalChanges > before
  }

  /// Number of an owner's retired keys.
  package func retiredKeys(of owner: KeyOwner) throws(StoreError) -> Int64 {
    try connection.integer("SELECT count(*) FROM subject_key WHERE retired = 1 AND owner = \(owner.raw)")
  }

  /// When the tenant's oldest key in force was made; `nil` = it has none.
  package func oldestKeyMs(tenant: UInt32) throws(StoreError) -> Int64? {
    let statement = try SQLiteStatement(
      connection, "SELECT min(created_ms) FROM subject_key WHERE retired = 0 AND tenant = ?1")
    statement.bind(Int64(tenant), at: 1)
    return try statement.step() ? statement.optional(0) : nil
  }
}
