internal import GateCore

/// What of one tenant's data has had its time.
package struct RetentionCut: Equatable, Sendable {
  package static let dayMs: Int64 = 86_400_000

  package var tenant: UInt32
  /// Received before these moments, ms since 1970-01-01 UTC; `nil` = kept.
  package var positionsMs: Int64?
  package var eventsMs: Int64?
  package var quarantineMs: Int64?
  /// What is kept nevertheless.
  package var holds: [SubjectRange]

  package init(tenant: UInt32, days: RetentionDays, holds: [SubjectRange], nowMs: Int64) {
    func cut(_ days: Int64?) -> Int64? { days.map { nowMs - $0 * RetentionCut.dayMs } }
    self.tenant = tenant
    positionsMs = cut(days.positions)
    eventsMs = cut(days.events)
    quarantineMs = cut(days.quarantine)
    self.holds = holds
  }

  package var isEmpty: Bool { positionsMs == nil && eventsMs == nil && quarantineMs == nil }

  /// Columns that say where somebody was; without them an event is what it is called.
  package static let placeColumns = [
    "latitude_e7", "longitude_e7", "altitude_ellipsoid_dm", "altitude_msl_dm", "course_cdeg", "odometer_m", "originals",
    "attributes",
  ]

  /// SQL for rows that no hold is on, in the embedded store.
  fileprivate var unheld: String {
    holds.map { " AND (\(SQLiteSubjectRows.condition($0))) IS NOT TRUE" }.joined()
  }

  /// SQL of either store for a fix without an event, before its time.
  package var position: String? { positionsMs.map { "event IS NULL AND receive_time_ms < \($0)" } }
  /// An event's place, before its time.
  package var place: String? {
    positionsMs.map { "event IS NOT NULL AND latitude_e7 IS NOT NULL AND receive_time_ms < \($0)" }
  }
  package var event: String? { eventsMs.map { "event IS NOT NULL AND receive_time_ms < \($0)" } }
}

extension SQLiteSubjectRows {
  /// Deletes what has had its time among some rows: fixes, the places of events, events. Rows lie in the order in which they
  /// were stored, so a walk from the front ends where all are too young.
  ///
  /// - Parameter start: look at rows behind this one; 0 = from the front.
  /// - Returns: rows changed, and the row to go on behind; `nil` = the walk is over.
  package mutating func prune(
    _ cut: RetentionCut, behind start: Int64
  ) throws(StoreError) -> (rows: Int, next: Int64?) {
    guard let youngest = [cut.positionsMs, cut.eventsMs].compactMap({ $0 }).max() else { return (0, nil) }
    let window = try SQLiteStatement(
      connection,
      """
      SELECT max(rowid), min(receive_time_ms) FROM
      (SELECT rowid, receive_time_ms FROM fix WHERE rowid > ?1 ORDER BY rowid LIMIT \(SQLiteSubjectRows.rowsAtOnce))
      """)
    window.bind(start, at: 1)
    guard try window.step(), let end = window.optional(0), window.int64(1) < youngest else { return (0, nil) }
    window.reset()
    let before = connection.totalChanges
    for (condition, change) in [
      (cut.position, "DELETE FROM fix"), (cut.event, "DELETE FROM fix"),
      (cut.place, "UPDATE fix SET " + RetentionCut.placeColumns.map { "\($0) = NULL" }.joined(separator: ", ")),
    ] {
      guard let condition else { continue }
      let rows = "rowid > \(start) AND rowid <= \(end) AND tenant = \(cut.tenant) AND \(condition)\(cut.unheld)"
      // Looked for before the lock is taken.
      guard try connection.integer("SELECT EXISTS (SELECT 1 FROM fix WHERE \(rows))") != 0 else { continue }
      try connection.execute("\(change) WHERE \(rows)")
    }
    return (connection.totalChanges - before, end)
  }

  /// Deletes some held and refused records that have had their time.
  /// - Returns: rows deleted; none = there are no more.
  package mutating func pruneQuarantine(_ cut: RetentionCut) throws(StoreError) -> Int {
    guard let beforeMs = cut.quarantineMs else { return 0 }
    var ids: [Int64] = []
    let held = try SQLiteStatement(
      connection, "SELECT id, record FROM quarantine WHERE receive_time_ms < ?1 AND tenant = ?2 ORDER BY receive_time_ms")
    held.bind(beforeMs, at: 1)
    held.bind(Int64(cut.tenant), at: 2)
    while ids.count < SQLiteSubjectRows.rowsAtOnce, try held.step() {
      let kept = held.withBytes(1) { bytes in bytes.indices.map { bytes[$0] } }
      if !cut.holds.contains(where: { $0.contains(kept, with: cipher) }) { ids.append(held.int64(0)) }
    }
    held.reset()
    let before = connection.totalChanges
    if !ids.isEmpty {
      let delete = try SQLiteStatement(connection, "DELETE FROM quarantine WHERE id = ?1")
      try connection.begin()
      do throws(StoreError) {
        for id in ids {
          delete.bind(id, at: 1)
          try delete.run()
        }
        try connection.commit()
      } catch {
        connection.rollBack()
        throw error
      }
    }
    try connection.execute(
      """
      DELETE FROM refused WHERE id IN (SELECT id FROM refused WHERE receive_time_ms < \(beforeMs) AND tenant = \(cut.tenant)
      LIMIT \(SQLiteSubjectRows.rowsAtOnce))
      """)
    return connection.totalChanges - before
  }

  /// Devices whose latest position has had its time.
  package func overdueLatest(_ cut: RetentionCut) throws(StoreError) -> [UInt32] {
    guard let overdue = SQLiteSubjectRows.overdueLatest(cut) else { return [] }
    let statement = try SQLiteStatement(connection, "SELECT device FROM latest WHERE \(overdue)")
    var devices: [UInt32] = []
    while try statement.step() { devices.append(UInt32(clamping: statement.int64(0))) }
    return devices
  }

  /// Deletes latest positions that have had their time, and corrections of what is gone.
  package mutating func pruneLatest(_ cut: RetentionCut) throws(StoreError) {
    guard let overdue = SQLiteSubjectRows.overdueLatest(cut) else { return }
    try connection.execute(
      """
      DELETE FROM correction WHERE tenant = \(cut.tenant) AND NOT EXISTS (SELECT 1 FROM fix f WHERE f.device = correction.device
      AND f.stream = correction.stream AND f.sequence = correction.sequence AND f.latitude_e7 IS NOT NULL)
      """)
    try connection.execute("DELETE FROM latest WHERE \(overdue)")
  }

  private static func overdueLatest(_ cut: RetentionCut) -> String? {
    cut.positionsMs.map { "tenant = \(cut.tenant) AND receive_time_ms < \($0)\(cut.unheld)" }
  }

  /// How old the oldest of each kind is, and what lies beyond its time. `nil` in `cut` = nothing is ever overdue.
  package func states(_ cut: RetentionCut) throws(StoreError) -> RetentionStates {
    func state(_ table: String, _ rows: String, _ overdue: String?, unheld: String) throws(StoreError) -> RetentionState {
      let mine = "tenant = \(cut.tenant) AND \(rows)"
      var state = RetentionState()
      let oldest = try SQLiteStatement(connection, "SELECT min(receive_time_ms) FROM \(table) WHERE \(mine)")
      if try oldest.step() { state.oldest_ms = oldest.optional(0) }
      guard let overdue else { return state }
      let all = Int(try connection.integer("SELECT count(*) FROM \(table) WHERE \(mine) AND \(overdue)"))
      state.overdue = Int(try connection.integer("SELECT count(*) FROM \(table) WHERE \(mine) AND \(overdue)\(unheld)"))
      state.held = all - state.overdue
      return state
    }
    let young = cut.quarantineMs.map { "receive_time_ms < \($0)" }
    return RetentionStates(
      positions: try state(
        "fix", "latitude_e7 IS NOT NULL", cut.positionsMs.map { "receive_time_ms < \($0)" }, unheld: cut.unheld),
      events: try state("fix", "event IS NOT NULL", cut.event, unheld: cut.unheld),
      quarantine: try state("quarantine", "TRUE", young, unheld: ""))
  }
}
