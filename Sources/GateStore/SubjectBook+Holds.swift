internal import GateCore

/// A legal hold: neither retention nor erasure touches what it is about.
package struct Hold: Equatable, Sendable {
  package var number: Int64
  package var target: SubjectRange
  package var reason: String
  package var placedMs: Int64
  package var liftedMs: Int64?
}

extension SubjectBook {
  /// - Returns: the hold's number.
  package func hold(_ target: SubjectRange, reason: String, nowMs: Int64) throws(SubjectBookError) -> Int64 {
    var tooLate: Int64?
    do throws(StoreError) {
      // One that comes too late is told so: what is half erased cannot be held.
      try connection.begin()
    } catch { throw .store(error) }
    defer { connection.rollBack() }
    do throws(StoreError) {
      let pending = try erasures(tenant: target.tenant, pending: true)
      if let erasure = pending.first(where: { $0.target.owner == target.owner && $0.target.times.overlaps(target.times) }) {
        tooLate = erasure.number
      }
    } catch { throw .store(error) }
    if let tooLate { throw .beingErased(tooLate) }
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        INSERT INTO hold(tenant, owner, from_ms, to_ms, reason, placed_ms) VALUES (?1, ?2, ?3, ?4, ?6, ?5) RETURNING number
        """)
      SubjectBook.bind(target, to: statement)
      statement.bind(nowMs, at: 5)
      statement.bind(reason, at: 6)
      _ = try statement.step()
      let number = statement.int64(0)
      statement.reset()
      try connection.commit()
      return number
    } catch { throw .store(error) }
  }

  package func lift(_ number: Int64, tenant: UInt32, nowMs: Int64) throws(SubjectBookError) {
    let before = connection.totalChanges
    do throws(StoreError) {
      try run(
        "UPDATE hold SET lifted_ms = ?1 WHERE number = ?2 AND tenant = ?3 AND lifted_ms IS NULL", nowMs, number,
        Int64(tenant))
    } catch { throw .store(error) }
    if connection.totalChanges == before { throw .unknownHold(number) }
  }

  /// Numbers of the holds in force that have a moment in common with `target`.
  package func holds(on target: SubjectRange) throws(SubjectBookError) -> [Int64] {
    do throws(StoreError) {
      return try holds(tenant: target.tenant).filter { hold in
        hold.target.owner == target.owner && hold.target.times.overlaps(target.times)
      }.map(\.number)
    } catch { throw .store(error) }
  }

  /// - Parameter lifted: those that were lifted too.
  package func holds(tenant: UInt32, lifted: Bool = false) throws(StoreError) -> [Hold] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT number, owner, from_ms, to_ms, reason, placed_ms, lifted_ms FROM hold
      WHERE tenant = ?1 AND (?2 = 1 OR lifted_ms IS NULL) ORDER BY number
      """)
    statement.bind(Int64(tenant), at: 1)
    statement.bind(lifted ? 1 : 0, at: 2)
    var holds: [Hold] = []
    while try statement.step() {
      holds.append(
        Hold(
          number: statement.int64(0),
          target: SubjectRange(
            tenant: tenant, owner: KeyOwner(raw: UInt64(bitPattern: statement.int64(1))),
            times: statement.int64(2)...statement.int64(3)),
          reason: statement.text(4), placedMs: statement.int64(5), liftedMs: statement.optional(6)))
    }
    return holds
  }
}
