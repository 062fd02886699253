/// Days after which each kind of a tenant's data goes, as its policy says; `nil` = it is kept.
package struct RetentionDays: Equatable, Sendable {
  package var positions: Int64?
  package var events: Int64?
  package var quarantine: Int64?
  /// How old the key may become that what lies in the journal is sealed under.
  package var journal: Int64?

  package init(positions: Int64? = nil, events: Int64? = nil, quarantine: Int64? = nil, journal: Int64? = nil) {
    self.positions = positions
    self.events = events
    self.quarantine = quarantine
    self.journal = journal
  }
}

extension RegistryStore {
  /// Of every tenant: what the newest version of its policy says, nothing where it has none.
  package func retention() throws(StoreError) -> [(tenant: UInt32, name: String, days: RetentionDays)] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT t.idx, t.name, p.positions_days, p.events_days, p.quarantine_days, p.journal_days FROM tenant t
      LEFT JOIN policy p ON p.tenant = t.idx AND p.version = (SELECT max(version) FROM policy WHERE tenant = t.idx)
      ORDER BY t.name
      """)
    var rules: [(tenant: UInt32, name: String, days: RetentionDays)] = []
    while try statement.step() {
      rules.append(
        (
          UInt32(clamping: statement.int64(0)), statement.text(1),
          RetentionDays(
            positions: statement.optional(2), events: statement.optional(3), quarantine: statement.optional(4),
            journal: statement.optional(5))
        ))
    }
    return rules
  }
}
