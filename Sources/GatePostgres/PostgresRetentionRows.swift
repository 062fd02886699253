#if PostgreSQL
import GateCore
package import GateStore

/// Each statement is a transaction that changes some thousand rows at most, and goes around those that somebody else has locked:
/// it waits for no sink, and a sink for no longer than that.
extension PostgresSubjectRows {
  private static let firstSliceMs: Int64 = 3_600_000

  /// One tenant's rows, in SQL.
  private struct Scope {
    var tenant: String
    /// Rows of `fix` and `latest` that no hold is on; begins with AND.
    var unheld = ""
    /// The same of `quarantine`. Whose a record there is can be told of this gateway's own only, so a hold keeps all that came
    /// from a device that it is about.
    var unheldRecords = ""
  }

  /// - Returns: `nil` = the database has nothing of the tenant.
  private func scope(_ rule: RetentionRule) throws(PostgresError) -> Scope? {
    let row = try connection.query("SELECT idx FROM fixgate.tenant WHERE name = $1", [rule.tenant]).first ?? []
    guard let index = row.first?.flatMap({ Int($0) }) else { return nil }
    var scope = Scope(tenant: "tenant = \(index)")
    for (hold, names) in zip(rule.cut.holds, rule.held) {
      for device in try devices(names) {
        scope.unheldRecords += " AND device <> \(device.device)"
        if let held = try condition(hold, names, device) { scope.unheld += " AND (\(held)) IS NOT TRUE" }
      }
    }
    return scope
  }

  /// Deletes what has had its time: fixes, the places of events, events, held and refused fixes, latest positions.
  ///
  /// - Parameter pause: called between two transactions; false = stop.
  /// - Returns: rows changed.
  package func prune(_ rule: RetentionRule, pause: () -> Bool) throws(PostgresError) -> Int {
    let cut = rule.cut
    guard !cut.isEmpty, let scope = try scope(rule) else { return 0 }
    let delete = "DELETE FROM fixgate.fix"
    let forget = "UPDATE fixgate.fix SET " + RetentionCut.placeColumns.map { "\($0) = NULL" }.joined(separator: ", ")
    let key = "tenant, device, stream, sequence"
    var changed = 0
    for (change, rows, beforeMs) in [
      (delete, cut.position, cut.positionsMs), (delete, cut.event, cut.eventsMs), (forget, cut.place, cut.positionsMs),
    ] {
      guard let rows, let beforeMs else { continue }
      let due = "\(scope.tenant) AND \(rows)\(scope.unheld)"
      guard var startMs = try oldest("fix", due) else { continue }
      // A slice of time is as wide as holds about as many rows as one transaction may change, so that none looks again at what
      // those before it have deleted.
      var widthMs = PostgresSubjectRows.firstSliceMs
      while startMs < beforeMs {
        let endMs = min(startMs + widthMs, beforeMs)
        let count = try apply(change, "fix", key, "\(due) AND receive_time_ms >= \(startMs) AND receive_time_ms < \(endMs)")
        changed += count
        if count < PostgresSubjectRows.rowsAtOnce {
          startMs = endMs
          if count < PostgresSubjectRows.rowsAtOnce / 4 { widthMs *= 2 }
        } else {
          widthMs = max(widthMs / 2, 1)
        }
        if count > 0, !pause() { return changed }
      }
    }
    for (table, key, beforeMs, unheld) in [
      ("quarantine", "id", cut.quarantineMs, scope.unheldRecords), ("refused", key, cut.quarantineMs, ""),
      ("latest", "device", cut.positionsMs, scope.unheld),
    ] {
      guard let beforeMs else { continue }
      let due = "\(scope.tenant) AND receive_time_ms < \(beforeMs)\(unheld)"
      while case let count = try apply("DELETE FROM fixgate.\(table)", table, key, due), count > 0 {
        changed += count
        guard pause() else { return changed }
      }
    }
    return changed
  }

  /// - Returns: rows changed.
  private func apply(
    _ change: String, _ table: String, _ key: String, _ rows: String
  ) throws(PostgresError) -> Int {
    try connection.run(
      """
      \(change) WHERE (\(key)) IN (SELECT \(key) FROM fixgate.\(table) WHERE \(rows)
      LIMIT \(PostgresSubjectRows.rowsAtOnce) FOR UPDATE SKIP LOCKED)
      """)
  }

  private func oldest(_ table: String, _ rows: String) throws(PostgresError) -> Int64? {
    try connection.query("SELECT min(receive_time_ms) FROM fixgate.\(table) WHERE \(rows)").first?.first?.flatMap { Int64($0) }
  }

  /// How old the oldest of each kind is, and what lies beyond its time.
  package func states(_ rule: RetentionRule) throws(PostgresError) -> RetentionStates {
    let cut = rule.cut
    guard let scope = try scope(rule) else { return RetentionStates() }
    func state(_ table: String, _ rows: String, _ beforeMs: Int64?, _ unheld: String) throws(PostgresError) -> RetentionState {
      var state = RetentionState()
      let mine = "\(scope.tenant) AND \(rows)"
      state.oldest_ms = try oldest(table, mine)
      guard let beforeMs else { return state }
      let counts = try connection.query(
        """
        SELECT count(*), count(*) FILTER (WHERE TRUE\(unheld)) FROM fixgate.\(table)
        WHERE \(mine) AND receive_time_ms < \(beforeMs)
        """
      ).first?.compactMap { $0.flatMap { Int($0) } } ?? []
      guard counts.count == 2 else { return state }
      state.overdue = counts[1]
      state.held = counts[0] - counts[1]
      return state
    }
    return RetentionStates(
      positions: try state("fix", "latitude_e7 IS NOT NULL", cut.positionsMs, scope.unheld),
      events: try state("fix", "event IS NOT NULL", cut.eventsMs, scope.unheld),
      quarantine: try state("quarantine", "TRUE", cut.quarantineMs, scope.unheldRecords))
  }
}
#endif
