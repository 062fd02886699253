package import GateCore

/// A shift. Times are ms since 1970-01-01 UTC.
package struct DutyEntry: Equatable, Sendable {
  package var of: FollowedName
  package var openedMs: Int64
  /// `nil` = open.
  package var closedMs: Int64?
  /// Opened by an event of the device, not by the dispatcher.
  package var byDevice: Bool
}

extension RegistryStore {
  /// Opens a shift: from then on, fixes are taken.
  /// - Throws: `.onDuty` if one is open, `.beforeLast` if another ended later.
  package func openDuty(tenant: String, _ name: FollowedName, atMs: Int64) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let owner = try owner(tenant, name)
      let (column, index) = owner.column
      let open = try numbers("SELECT opened_ms FROM duty WHERE \(column) = ?1 AND closed_ms IS NULL", Int64(index))
      if let sinceMs = open.first ?? nil { throw .onDuty(sinceMs: sinceMs) }
      let last = try numbers("SELECT max(closed_ms) FROM duty WHERE \(column) = ?1", Int64(index))
      if let lastMs = last.first ?? nil, atMs <= lastMs { throw .beforeLast(sinceMs: lastMs) }
      try openDuty(of: owner, atMs: atMs, byDevice: false)
    }
  }

  /// Closes the open shift: fixes up to then are taken still, however late they come.
  /// - Throws: `.notOnDuty`, `.beforeLast` if it was opened later.
  package func closeDuty(tenant: String, _ name: FollowedName, atMs: Int64) throws(RegistryError) {
    try change { () throws(RegistryError) in
      let owner = try owner(tenant, name)
      let (column, index) = owner.column
      let open = try numbers("SELECT opened_ms FROM duty WHERE \(column) = ?1 AND closed_ms IS NULL", Int64(index))
      guard let sinceMs = open.first ?? nil else { throw .notOnDuty }
      if atMs < sinceMs { throw .beforeLast(sinceMs: sinceMs) }
      try closeDuty(of: owner, atMs: atMs)
    }
  }

  /// What devices' events say. A change that has been made already, or that the dispatcher has overtaken, changes nothing. Of
  /// the shifts that devices have opened only as many are kept as a snapshot holds: devices must not fill the registry.
  package func take(_ changes: [ShiftChange]) throws(RegistryError) {
    try change { () throws(RegistryError) in
      for change in changes {
        if change.opens {
          try openDuty(of: change.owner, atMs: change.timeMs, byDevice: true)
          let (column, index) = change.owner.column
          try run(
            """
            DELETE FROM duty WHERE \(column) = ?1 AND by_device AND number NOT IN
            (SELECT number FROM duty WHERE \(column) = ?1 ORDER BY opened_ms DESC LIMIT ?2)
            """, Int64(index), Int64(Limits.dutiesMax))
        } else {
          try closeDuty(of: change.owner, atMs: change.timeMs)
        }
      }
    }
  }

  private func openDuty(of owner: DutyOwner, atMs: Int64, byDevice: Bool) throws(RegistryError) {
    let (column, index) = owner.column
    // An event may come late: the shift that it opens ends where the next one has begun.
    try run(
      """
      INSERT OR IGNORE INTO duty(\(column), opened_ms, closed_ms, by_device)
      SELECT ?1, ?2, (SELECT min(opened_ms) FROM duty WHERE \(column) = ?1 AND opened_ms > ?2), ?3
      WHERE NOT EXISTS (SELECT 1 FROM duty WHERE \(column) = ?1 AND opened_ms <= ?2 AND coalesce(closed_ms, ?2) >= ?2)
      """, Int64(index), atMs, byDevice ? 1 : 0)
  }

  private func closeDuty(of owner: DutyOwner, atMs: Int64) throws(RegistryError) {
    let (column, index) = owner.column
    try run(
      "UPDATE duty SET closed_ms = ?2 WHERE \(column) = ?1 AND closed_ms IS NULL AND opened_ms <= ?2", Int64(index), atMs)
  }

  /// Shifts that are open or have ended since, newest first.
  package func listDuties(tenant: String, sinceMs: Int64) throws(RegistryError) -> [DutyEntry] {
    let owner = try knownTenant(tenant)
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT s.name, d.id, opened_ms, closed_ms, by_device FROM duty LEFT JOIN subject s ON s.idx = duty.subject
        LEFT JOIN device d ON d.idx = duty.device
        WHERE coalesce(s.tenant, d.tenant) = ?1 AND (closed_ms IS NULL OR closed_ms >= ?2) ORDER BY opened_ms DESC
        """)
      statement.bind(Int64(owner), at: 1)
      statement.bind(sinceMs, at: 2)
      var entries: [DutyEntry] = []
      while try statement.step() {
        entries.append(
          DutyEntry(
            of: statement.isNull(0) ? .device(statement.text(1)) : .subject(statement.text(0)),
            openedMs: statement.int64(2), closedMs: statement.optional(3), byDevice: statement.int64(4) != 0))
      }
      return entries
    } catch {
      throw .store(error)
    }
  }
}
