import CSQLite
import Glibc

/// Owns one `sqlite3` connection, opened without its mutex: used by one thread at a time.
@safe package struct SQLiteConnection: ~Copyable {
  package enum Access: Sendable {
    /// Creates the file with mode 0600 where it is missing.
    case create
    case readWrite
    case readOnly
  }

  /// Oldest library with all that the schemas use, as `sqlite3_libversion_number` counts.
  package static let versionMin: Int32 = 3_040_000

  fileprivate let raw: OpaquePointer

  /// - Parameter busyMs: how long a lock of another process is waited for.
  package init(path: String, access: Access, busyMs: Int32 = 5_000) throws(StoreError) {
    let version = sqlite3_libversion_number()
    guard version >= SQLiteConnection.versionMin else { throw .libraryTooOld(version: version) }
    if access == .create {
      // SQLite would create it with the umask; positions are nobody else's business. -wal and -shm take the same mode.
      // Only a new file may be opened here: closing any descriptor of a file drops all locks that this process holds on it.
      let descriptor = unsafe open(path, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0o600)
      let code = errno
      if descriptor >= 0 {
        close(descriptor)
      } else if code != EEXIST {
        throw .cannotOpen(code: SQLITE_CANTOPEN)
      }
    }
    var handle: OpaquePointer?
    let flags = access == .readOnly ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE
    let code = unsafe sqlite3_open_v2(path, &handle, flags | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_EXRESCODE, nil)
    guard code == SQLITE_OK, let handle = unsafe handle else {
      unsafe sqlite3_close_v2(handle)
      throw StoreError(code: code)
    }
    unsafe raw = handle
    unsafe sqlite3_busy_timeout(raw, busyMs)
  }

  deinit { unsafe sqlite3_close_v2(raw) }

  /// Runs statements that take no values; rows are thrown away.
  package borrowing func execute(_ sql: String) throws(StoreError) {
    let code = unsafe sqlite3_exec(raw, sql, nil, nil, nil)
    guard code == SQLITE_OK else { throw StoreError(code: code) }
  }

  /// The first column of the first row, 0 where there is none: for pragmas and counts.
  package borrowing func integer(_ sql: String) throws(StoreError) -> Int64 {
    let statement = try SQLiteStatement(self, sql)
    return try statement.step() ? statement.int64(0) : 0
  }

  /// Begins a transaction that holds the write lock from its start, so that it cannot fail halfway for a lock.
  package borrowing func begin() throws(StoreError) { try execute("BEGIN IMMEDIATE") }

  /// Ends the transaction; where that fails it is undone.
  package borrowing func commit() throws(StoreError) {
    do throws(StoreError) {
      try execute("COMMIT")
    } catch {
      rollBack()
      throw error
    }
  }

  /// Ends a transaction if one is open. SQLite may have ended it by itself after a full disk or a failed write.
  package borrowing func rollBack() {
    if unsafe sqlite3_get_autocommit(raw) == 0 { unsafe sqlite3_exec(raw, "ROLLBACK", nil, nil, nil) }
  }

  package var isInTransaction: Bool { unsafe sqlite3_get_autocommit(raw) == 0 }

  /// Rows that the last INSERT, UPDATE or DELETE changed.
  package var changes: Int { Int(unsafe sqlite3_changes64(raw)) }
  /// Rows changed since the connection was opened.
  package var totalChanges: Int { Int(unsafe sqlite3_total_changes64(raw)) }
  package var lastInsertRowID: Int64 { unsafe sqlite3_last_insert_rowid(raw) }

  /// Moves what the write-ahead log holds into the database file, as far as no reader needs the old pages; waits for nobody.
  package borrowing func checkpoint() throws(StoreError) {
    let code = unsafe sqlite3_wal_checkpoint_v2(raw, nil, SQLITE_CHECKPOINT_PASSIVE, nil, nil)
    guard code == SQLITE_OK else { throw StoreError(code: code) }
  }

  /// Leaves nothing in the files of what was deleted: the database is written anew, since with `secure_delete` alone copies of
  /// rows that have moved to another page would stay in the old one; then the write-ahead log is moved into it and emptied.
  /// Writers wait for as long as this takes.
  /// - Throws: `.locked` while a reader needs the old pages; `.full` without room for a second copy. Try again.
  package borrowing func overwriteDeleted() throws(StoreError) {
    try execute("VACUUM")
    try truncateLog()
  }

  private borrowing func truncateLog() throws(StoreError) {
    let code = unsafe sqlite3_wal_checkpoint_v2(raw, nil, SQLITE_CHECKPOINT_TRUNCATE, nil, nil)
    guard code == SQLITE_OK else { throw StoreError(code: code) }
  }

  /// Whether an error is about the values of one row, so that the others may go on.
  static func concernsOneRow(_ code: Int32) -> Bool {
    let primary = code & 0xff
    return primary == SQLITE_CONSTRAINT || primary == SQLITE_TOOBIG || primary == SQLITE_MISMATCH
  }

  /// The schema version of the file; 0 for an empty one.
  /// - Throws: `.schemaTooNew`; nothing was written.
  @discardableResult
  package borrowing func checkVersion(supported: Int) throws(StoreError) -> Int {
    let found = Int32(clamping: try integer("PRAGMA user_version"))
    guard found >= 0, found <= supported else { throw .schemaTooNew(found: found, supported: Int32(supported)) }
    return Int(found)
  }

  /// Brings an empty or older file to `version`; `migrations[i]` leads from version i to i + 1.
  /// - Throws: `.schemaTooNew`, before anything is written.
  package borrowing func migrate(_ migrations: [String]) throws(StoreError) {
    guard try checkVersion(supported: migrations.count) < migrations.count else { return }
    try begin()
    do throws(StoreError) {
      // Another process may have been faster.
      for step in try checkVersion(supported: migrations.count)..<migrations.count { try execute(migrations[step]) }
      try execute("PRAGMA user_version = \(migrations.count)")
      try commit()
    } catch {
      rollBack()
      throw error
    }
  }
}

/// Owns one prepared statement. Positions of parameters start at 1, those of columns at 0, as in SQLite.
@safe package struct SQLiteStatement: ~Copyable {
  let raw: OpaquePointer

  /// - Parameter persistent: the statement will be kept for long.
  package init(_ connection: borrowing SQLiteConnection, _ sql: String, persistent: Bool = false) throws(StoreError) {
    var handle: OpaquePointer?
    let flags = persistent ? UInt32(SQLITE_PREPARE_PERSISTENT) : 0
    let code = unsafe sqlite3_prepare_v3(connection.raw, sql, -1, flags, &handle, nil)
    guard code == SQLITE_OK else { throw StoreError(code: code) }
    // Only an empty text prepares to nothing.
    guard let handle = unsafe handle else { preconditionFailure("an SQL text without a statement") }
    unsafe raw = handle
  }

  deinit { unsafe sqlite3_finalize(raw) }

  package borrowing func bind(_ value: Int64, at index: Int32) {
    check(unsafe sqlite3_bind_int64(raw, index, value))
  }

  package borrowing func bind(_ value: Int64?, at index: Int32) {
    if let value { bind(value, at: index) } else { bindNull(at: index) }
  }

  package borrowing func bindNull(at index: Int32) {
    check(unsafe sqlite3_bind_null(raw, index))
  }

  /// SQLite takes a copy, which the next `bind` or `clear` frees.
  package borrowing func bind(_ text: String, at index: Int32) {
    var text = text
    text.withUTF8 {
      let bytes = UnsafeRawBufferPointer($0)
      check(unsafe gate_sqlite_bind_text(raw, index, bytes.baseAddress ?? emptyBytes, UInt64(bytes.count)))
    }
  }

  /// Binds a blob; SQLite takes a copy, which the next `bind` or `clear` frees.
  package borrowing func bind(_ blob: Span<UInt8>, at index: Int32) {
    unsafe blob.withUnsafeBytes {
      check(unsafe gate_sqlite_bind_blob(raw, index, $0.baseAddress ?? emptyBytes, UInt64($0.count)))
    }
  }

  /// Binds text that stays where it is until the statement is reset and bound anew or cleared. No copy.
  @unsafe borrowing func bindInPlace(text: UnsafeRawBufferPointer, at index: Int32) {
    check(unsafe gate_sqlite_bind_text_in_place(raw, index, text.baseAddress ?? emptyBytes, UInt64(text.count)))
  }

  /// Binds a blob that stays where it is until the statement is reset and bound anew or cleared. No copy.
  @unsafe borrowing func bindInPlace(blob: UnsafeRawBufferPointer, at index: Int32) {
    check(unsafe gate_sqlite_bind_blob_in_place(raw, index, blob.baseAddress ?? emptyBytes, UInt64(blob.count)))
  }

  /// Forgets all bound values.
  package borrowing func clear() { unsafe sqlite3_clear_bindings(raw) }

  /// - Returns: whether there is a row to read.
  package borrowing func step() throws(StoreError) -> Bool {
    let code = unsafe sqlite3_step(raw)
    if code == SQLITE_ROW { return true }
    if code == SQLITE_DONE { return false }
    unsafe sqlite3_reset(raw)
    throw StoreError(code: code)
  }

  /// Makes the statement ready to run again; bound values stay.
  package borrowing func reset() { unsafe sqlite3_reset(raw) }

  /// Runs a statement that gives no rows, and makes it ready to run again.
  package borrowing func run() throws(StoreError) {
    _ = try step()
    reset()
  }

  package var columnCount: Int32 { unsafe sqlite3_column_count(raw) }
  package borrowing func int64(_ column: Int32) -> Int64 { unsafe sqlite3_column_int64(raw, column) }
  package borrowing func isNull(_ column: Int32) -> Bool { unsafe sqlite3_column_type(raw, column) == SQLITE_NULL }
  package borrowing func optional(_ column: Int32) -> Int64? { isNull(column) ? nil : int64(column) }

  /// Text of a column as bytes, valid until the statement moves on.
  package borrowing func withBytes<R, E: Error>(
    _ column: Int32, _ body: (Span<UInt8>) throws(E) -> R
  ) throws(E) -> R {
    let start = unsafe sqlite3_column_blob(raw, column)
    let count = Int(unsafe sqlite3_column_bytes(raw, column))
    let bytes = unsafe UnsafeRawBufferPointer(start: start, count: start == nil ? 0 : count)
    return try unsafe bytes.withMemoryRebound(to: UInt8.self) { bytes throws(E) in try unsafe body(bytes.span) }
  }

  package borrowing func text(_ column: Int32) -> String {
    withBytes(column) { bytes in unsafe bytes.withUnsafeBufferPointer { unsafe String(decoding: $0, as: UTF8.self) } }
  }

  /// Binding fails for a wrong position, for a statement in the middle of its rows, and for want of memory.
  private borrowing func check(_ code: Int32) {
    precondition(code == SQLITE_OK, "a value could not be bound")
  }
}

/// An address for empty values: a nil pointer would bind NULL. It is never read.
private var emptyBytes: UnsafeRawPointer { unsafe UnsafeRawPointer(bitPattern: 1)! }
