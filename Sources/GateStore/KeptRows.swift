internal import GateCore

extension SQLiteSubjectRows {
  /// Tables that keep records as bytes.
  package enum KeptTable: String, CaseIterable, Sendable { case quarantine, set_aside }

  private static let keptAtOnce = 1_000

  /// Brings some of what a table keeps under the keys that are in force now: what was sealed under older ones, which can be
  /// shredded then, and what can be read.
  ///
  /// - Parameter start: look at rows behind this one; 0 = from the front.
  /// - Returns: rows changed, durably, and the row to go on behind; `nil` = the walk is over.
  package mutating func renewKept(
    _ table: KeptTable, behind start: Int64
  ) throws(StoreError) -> (rows: Int, next: Int64?) {
    guard let cipher else { return (0, nil) }
    // Whoever took his keys before they changed has written by now, and is seen; whoever comes later takes the new ones.
    if start == 0 {
      try connection.begin()
      connection.rollBack()
      cipher.refresh()
    }
    // Looked for before the lock is taken: most need nothing.
    let window = try kept(table, behind: start)
    guard let end = window.last?.id else { return (0, nil) }
    var random = SystemRandomNumberGenerator()
    guard window.contains(where: { KeptRecord.renewed($0.bytes, with: cipher, using: &random) != nil }) else { return (0, end) }
    var changed = 0
    try connection.begin()
    do throws(StoreError) {
      let update = try SQLiteStatement(connection, "UPDATE \(table.rawValue) SET record = ?1 WHERE rowid = ?2")
      for row in try kept(table, behind: start) where row.id <= end {
        guard let sealed = KeptRecord.renewed(row.bytes, with: cipher, using: &random) else { continue }
        update.bind(sealed.span, at: 1)
        update.bind(row.id, at: 2)
        try update.run()
        changed += 1
      }
      try connection.commit()
    } catch {
      connection.rollBack()
      throw error
    }
    return (changed, end)
  }

  private func kept(_ table: KeptTable, behind start: Int64) throws(StoreError) -> [(id: Int64, bytes: [UInt8])] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT rowid, record FROM \(table.rawValue) WHERE rowid > ?1 AND record IS NOT NULL ORDER BY rowid
      LIMIT \(SQLiteSubjectRows.keptAtOnce)
      """)
    statement.bind(start, at: 1)
    var rows: [(id: Int64, bytes: [UInt8])] = []
    while try statement.step() {
      rows.append((statement.int64(0), statement.withBytes(1) { bytes in bytes.indices.map { bytes[$0] } }))
    }
    return rows
  }
}
