package import GateCore

/// What a store holds about one owner, in rows.
package struct SubjectCounts: Codable, Equatable, Sendable {
  package var fixes = 0
  /// Latest positions.
  package var latest = 0
  package var held = 0
  /// Records that the store could not take, and kept as they were.
  package var set_aside = 0

  package init() {}

  package var isEmpty: Bool { self == SubjectCounts() }
}

/// What erasure and retention ask of a store. Each call is a slice: a short transaction, so that the sink's own wait for no
/// longer than that, and done for good when it returns. Its caller has a connection of its own.
package protocol SubjectRows: ~Copyable {
  /// What there is of the target.
  mutating func count(_ target: SubjectRange) throws(StoreError) -> SubjectCounts
  /// Deletes some of it.
  /// - Returns: whether there may be more.
  mutating func erase(_ target: SubjectRange) throws(StoreError) -> Bool
  /// Makes sure that nothing of what was deleted is left in the store's files, free pages and logs included.
  /// It may take as long as writing the store anew.
  mutating func overwriteDeleted() throws(StoreError)
}

/// As above, of the default sink's file.
package struct SQLiteSubjectRows: ~Copyable, SubjectRows {
  let connection: SQLiteConnection
  let cipher: (any SubjectCipher)?
  /// The owner whose rows are being deleted, and the row to go on from.
  private var walk: (target: SubjectRange, next: Int64)?

  /// Rows looked at in one slice, and deleted at most.
  static let rowsAtOnce: Int64 = 20_000

  /// - Parameter cipher: opens what is held back or set aside: where a range is asked for, that says what lies in it.
  package init(path: String, cipher: (any SubjectCipher)? = nil, busyMs: Int32 = 5_000) throws(StoreError) {
    self.cipher = cipher
    connection = try SQLiteSubjectRows.open(path, busyMs)
  }

  private static func open(_ path: String, _ busyMs: Int32) throws(StoreError) -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path, access: .readWrite, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    // The gateway's sink moves the log into the file itself, and must hear of it when that fails.
    try connection.execute("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = ON")
    return connection
  }

  /// A condition on tables that have the columns `subject` and `device`, and with a range on `fix_time_ms`.
  static func condition(_ target: SubjectRange) -> String {
    let index = target.owner.index
    let owner = target.owner.isDevice ? "device = \(index) AND subject IS NULL" : "subject = \(index)"
    return "tenant = \(target.tenant) AND \(owner)"
      + (target.isWhole ? "" : " AND fix_time_ms BETWEEN \(target.times.lowerBound) AND \(target.times.upperBound)")
  }

  package mutating func count(_ target: SubjectRange) throws(StoreError) -> SubjectCounts {
    let condition = SQLiteSubjectRows.condition(target)
    var counts = SubjectCounts()
    counts.fixes = Int(try connection.integer("SELECT count(*) FROM fix WHERE \(condition)"))
    counts.latest = Int(try connection.integer("SELECT count(*) FROM latest WHERE \(condition)"))
    counts.held = try blobs("quarantine", of: target).count
    counts.set_aside = try blobs("set_aside", of: target).count
    return counts
  }

  package mutating func erase(_ target: SubjectRange) throws(StoreError) -> Bool {
    let condition = SQLiteSubjectRows.condition(target)
    var start: Int64 = 0
    if let walk, walk.target == target { start = walk.next }
    let end = start + SQLiteSubjectRows.rowsAtOnce
    let last = try connection.integer("SELECT coalesce(max(rowid), 0) FROM fix")
    // Looked for before the lock is taken: most windows have nothing of one owner.
    let any = try connection.integer(
      "SELECT EXISTS (SELECT 1 FROM fix WHERE rowid > \(start) AND rowid <= \(end) AND \(condition))")
    if any != 0 {
      let rows = "FROM fix WHERE rowid > \(start) AND rowid <= \(end) AND \(condition)"
      try connection.execute(
        "DELETE FROM correction WHERE (device, stream, sequence) IN (SELECT device, stream, sequence \(rows)); DELETE \(rows)")
    }
    if end < last {
      walk = (target, end)
      return true
    }
    walk = nil
    let held = try blobs("quarantine", of: target)
    let aside = try blobs("set_aside", of: target)
    try connection.begin()
    do throws(StoreError) {
      try connection.execute("DELETE FROM latest WHERE \(condition)")
      for id in held { try connection.execute("DELETE FROM quarantine WHERE id = \(id)") }
      for lsn in aside { try connection.execute("UPDATE set_aside SET record = NULL WHERE lsn = \(lsn)") }
      if target.isWhole, !target.owner.isDevice {
        try connection.execute("DELETE FROM subject WHERE idx = \(target.owner.index)")
      }
      try connection.commit()
    } catch {
      connection.rollBack()
      throw error
    }
    return false
  }

  /// Row ids of records kept as bytes that are the target's; of what nobody can read also that in which the target is named.
  private func blobs(_ table: String, of target: SubjectRange) throws(StoreError) -> [Int64] {
    var ids: [Int64] = []
    let statement = try SQLiteStatement(connection, "SELECT rowid, record FROM \(table) WHERE record IS NOT NULL")
    while try statement.step() {
      let kept = statement.withBytes(1) { bytes in bytes.indices.map { bytes[$0] } }
      if target.contains(kept, with: cipher) { ids.append(statement.int64(0)) }
    }
    return ids
  }

  package mutating func overwriteDeleted() throws(StoreError) { try connection.overwriteDeleted() }
}

extension SubjectRange {
  /// - Parameter kept: as in a row of quarantine, or set aside.
  package func contains(_ kept: [UInt8], with cipher: (any SubjectCipher)?) -> Bool {
    if let bytes = KeptRecord.open(kept, with: cipher), let record = try? Record.read(bytes.span, at: 0).record {
      return contains(record)
    }
    // Several records may lie in it, one behind the other; all of them name whose they are in the same way.
    let span = kept.span
    return stride(from: 0, through: kept.count - 12, by: 1).contains { at in
      span.load32(at: at) == tenant && KeyOwner(subject: span.load32(at: at + 8), device: span.load32(at: at + 4)) == owner
    }
  }

  func contains(_ record: Record) -> Bool {
    guard record.tenant == tenant, KeyOwner(subject: record.subject, device: record.device) == owner else { return false }
    return isWhole || (record.fix.present.contains(.time) && times.contains(record.fix.fixTimeMs))
  }
}

extension SubjectCounts {
  package static func += (a: inout SubjectCounts, b: SubjectCounts) {
    a.fixes += b.fixes
    a.latest += b.latest
    a.held += b.held
    a.set_aside += b.set_aside
  }
}
