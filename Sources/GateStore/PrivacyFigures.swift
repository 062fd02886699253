/// What the default sink's file holds of one tenant, as measured.
package struct PrivacyFigures: Equatable, Sendable {
  /// Rows of one kind, and the times of the oldest and newest in ms.
  package struct Kind: Equatable, Sendable {
    package var name: String
    package var count: Int64
    package var oldestMs: Int64?
    package var newestMs: Int64?
  }

  /// Positions, held fixes, refused fixes, latest positions.
  package var kinds: [Kind] = []
  /// Names of the columns of `fix` that hold something, with how many rows do.
  package var fields: [(name: String, count: Int64)] = []
  /// Policy versions under which fixes were taken.
  package var policies: [Int64] = []

  package static func == (a: PrivacyFigures, b: PrivacyFigures) -> Bool {
    a.kinds == b.kinds && a.policies == b.policies && a.fields.elementsEqual(b.fields, by: ==)
  }

  package init() {}

  /// - Parameter tenant: its index in the registry.
  package init(path: String, tenant: UInt32, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    for (name, table, time) in [
      ("positions", "fix", "fix_time_ms"), ("held fixes", "quarantine", "receive_time_ms"),
      ("refused fixes, without position", "refused", "receive_time_ms"), ("latest positions", "latest", "fix_time_ms"),
    ] {
      let statement = try SQLiteStatement(
        connection, "SELECT count(*), min(\(time)), max(\(time)) FROM \(table) WHERE tenant = ?")
      statement.bind(Int64(tenant), at: 1)
      _ = try statement.step()
      kinds.append(
        Kind(name: name, count: statement.int64(0), oldestMs: statement.optional(1), newestMs: statement.optional(2)))
    }
    let columns = ["latitude_e7"] + FixTable.columnNames + ["monotonic_ms", "work_subject", "task", "stop", "originals", "attributes"]
    let counts = try SQLiteStatement(
      connection, "SELECT \(columns.map { "count(\($0))" }.joined(separator: ", ")) FROM fix WHERE tenant = ?")
    counts.bind(Int64(tenant), at: 1)
    _ = try counts.step()
    for (i, column) in columns.enumerated() where counts.int64(Int32(i)) > 0 {
      fields.append((column == "latitude_e7" ? "position" : column, counts.int64(Int32(i))))
    }
    let versions = try SQLiteStatement(
      connection, "SELECT DISTINCT coalesce(policy_version, 0) FROM fix WHERE tenant = ? ORDER BY 1")
    versions.bind(Int64(tenant), at: 1)
    while try versions.step() { policies.append(versions.int64(0)) }
  }
}
