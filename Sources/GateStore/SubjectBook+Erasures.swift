internal import GateCore

/// One erasure, asked for or done.
package struct Erasure: Equatable, Sendable {
  package var number: Int64
  package var target: SubjectRange
  package var askedMs: Int64
  /// No key opens any of it in the journal, and the gateway takes no more of it.
  package var isSealedOff: Bool
  /// What was found to delete, as JSON, once it was counted.
  package var found: String?
  package var doneMs: Int64?
  /// JSON.
  package var receipt: String?
}

extension SubjectBook {
  /// Writes down that something is to be erased; the same again is the same erasure.
  /// - Returns: its number.
  /// - Throws: `.held`.
  package func ask(_ target: SubjectRange, nowMs: Int64) throws(SubjectBookError) -> Int64 {
    do throws(StoreError) {
      try connection.begin()
    } catch { throw .store(error) }
    defer { connection.rollBack() }
    let held = try holds(on: target)
    guard held.isEmpty else { throw .held(held) }
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        INSERT INTO erasure(tenant, owner, from_ms, to_ms, asked_ms) VALUES (?1, ?2, ?3, ?4, ?5)
        ON CONFLICT (owner, from_ms, to_ms) DO UPDATE SET owner = owner RETURNING number
        """)
      SubjectBook.bind(target, to: statement)
      statement.bind(nowMs, at: 5)
      _ = try statement.step()
      let number = statement.int64(0)
      statement.reset()
      try connection.commit()
      return number
    } catch { throw .store(error) }
  }

  static func bind(_ target: SubjectRange, to statement: borrowing SQLiteStatement) {
    statement.bind(Int64(target.tenant), at: 1)
    statement.bind(Int64(target.owner.raw), at: 2)
    statement.bind(target.times.lowerBound, at: 3)
    statement.bind(target.times.upperBound, at: 4)
  }

  /// - Parameter pending: only those that are not done.
  package func erasures(tenant: UInt32? = nil, pending: Bool = false) throws(StoreError) -> [Erasure] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT number, tenant, owner, from_ms, to_ms, asked_ms, is_sealed_off, found, done_ms, receipt FROM erasure
      WHERE (?1 IS NULL OR tenant = ?1) AND (?2 = 0 OR done_ms IS NULL) ORDER BY number
      """)
    statement.bind(tenant.map { Int64($0) }, at: 1)
    statement.bind(pending ? 1 : 0, at: 2)
    var erasures: [Erasure] = []
    while try statement.step() {
      erasures.append(
        Erasure(
          number: statement.int64(0),
          target: SubjectRange(
            tenant: UInt32(clamping: statement.int64(1)), owner: KeyOwner(raw: UInt64(bitPattern: statement.int64(2))),
            times: statement.int64(3)...statement.int64(4)),
          askedMs: statement.int64(5), isSealedOff: statement.int64(6) != 0,
          found: statement.isNull(7) ? nil : statement.text(7), doneMs: statement.optional(8),
          receipt: statement.isNull(9) ? nil : statement.text(9)))
    }
    return erasures
  }

  /// Shreds the keys of one who is erased as a whole, in the transaction that says so. Of a range nothing is shredded: `giveKeys`
  /// has retired the key that it lies under.
  package func sealOff(_ erasure: Erasure) throws(StoreError) {
    try connection.begin()
    defer { connection.rollBack() }
    if erasure.target.isWhole { try run("DELETE FROM subject_key WHERE owner = ?1", Int64(erasure.target.owner.raw)) }
    try run("UPDATE erasure SET is_sealed_off = 1 WHERE number = ?1", erasure.number)
    try connection.commit()
  }

  package func note(found: String, of erasure: Int64) throws(StoreError) {
    let statement = try SQLiteStatement(connection, "UPDATE erasure SET found = ?1 WHERE number = ?2 AND found IS NULL")
    statement.bind(found, at: 1)
    statement.bind(erasure, at: 2)
    try statement.run()
  }

  package func finish(_ erasure: Int64, receipt: String, nowMs: Int64) throws(StoreError) {
    let statement = try SQLiteStatement(connection, "UPDATE erasure SET done_ms = ?1, receipt = ?2 WHERE number = ?3")
    statement.bind(nowMs, at: 1)
    statement.bind(receipt, at: 2)
    statement.bind(erasure, at: 3)
    try statement.run()
  }
}
