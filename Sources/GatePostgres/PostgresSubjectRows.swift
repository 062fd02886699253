#if PostgreSQL
import GateCore
package import GateStore

/// What erasure and retention ask of a PostgreSQL database: rows are found by names, since its numbers are its own. Pages, logs
/// and backups of the server are out of reach.
package struct PostgresSubjectRows: ~Copyable {
  let connection: PostgresConnection
  private let gateway: String
  static let rowsAtOnce = 10_000

  /// - Parameters:
  ///   - gateway: names this gateway's journal among those of all gateways.
  ///   - isOver: asked while the server is waited for; true = give up.
  package init(
    _ server: PostgresServer, gateway: String, isOver: @escaping () -> Bool = { false }
  ) throws(PostgresError) {
    connection = try PostgresSubjectRows.open(server, isOver)
    self.gateway = gateway
  }

  private static func open(
    _ server: PostgresServer, _ isOver: @escaping () -> Bool
  ) throws(PostgresError) -> PostgresConnection {
    let connection = try PostgresConnection.open(server, isOver: isOver)
    try PostgresSchema.check(connection)
    // Or what was given up here would go on there, beside its next attempt.
    try connection.run("SET statement_timeout = '\(server.timeoutS)s'")
    return connection
  }

  /// Deletes all of it, a transaction for some thousand rows.
  package func erase(_ target: SubjectRange, _ names: OwnerNames) throws(PostgresError) {
    for device in try devices(names) {
      for id in try held(target, device) { try connection.run("DELETE FROM fixgate.quarantine WHERE id = \(id)") }
      guard let owner = try condition(target, names, device) else { continue }
      try connection.run("DELETE FROM fixgate.latest WHERE \(owner)")
      while try connection.run(
        """
        DELETE FROM fixgate.fix WHERE (tenant, device, stream, sequence) IN
        (SELECT tenant, device, stream, sequence FROM fixgate.fix WHERE \(owner) LIMIT \(PostgresSubjectRows.rowsAtOnce))
        """) > 0
      {}
    }
    for lsn in try aside(target) {
      _ = try connection.query("UPDATE fixgate.set_aside SET record = NULL WHERE gateway = $1 AND lsn = $2::bigint", [gateway, lsn])
    }
  }

  // MARK: Finding

  /// The database's numbers of tenant and device, for those that it knows.
  func devices(_ names: OwnerNames) throws(PostgresError) -> [(tenant: Int, device: Int)] {
    var found: [(tenant: Int, device: Int)] = []
    for id in names.devices {
      let row = try connection.query(
        "SELECT t.idx, d.idx FROM fixgate.tenant t JOIN fixgate.device d ON d.tenant = t.idx WHERE t.name = $1 AND d.id = $2",
        [names.tenant, id]
      ).first ?? []
      if row.count == 2, let tenant = row[0].flatMap({ Int($0) }), let device = row[1].flatMap({ Int($0) }) {
        found.append((tenant, device))
      }
    }
    return found
  }

  /// SQL for the owner's rows of one device in `fix` and `latest`; `nil` = there are none.
  func condition(
    _ target: SubjectRange, _ names: OwnerNames, _ device: (tenant: Int, device: Int)
  ) throws(PostgresError) -> String? {
    var owner = "subject IS NULL"
    if let name = names.subject {
      let row = try connection.query(
        "SELECT idx FROM fixgate.subject WHERE tenant = $1::integer AND name = $2", ["\(device.tenant)", name]
      ).first ?? []
      guard let index = row.first?.flatMap({ Int($0) }) else { return nil }
      owner = "subject = \(index)"
    }
    let times = target.times
    return "tenant = \(device.tenant) AND device = \(device.device) AND \(owner)"
      + (target.isWhole ? "" : " AND fix_time_ms BETWEEN \(times.lowerBound) AND \(times.upperBound)")
  }

  private func held(
    _ target: SubjectRange, _ device: (tenant: Int, device: Int)
  ) throws(PostgresError) -> [String] {
    try records(
      target, "SELECT id, encode(record, 'hex') FROM fixgate.quarantine WHERE tenant = \(device.tenant) AND device = \(device.device)")
  }

  private func aside(_ target: SubjectRange) throws(PostgresError) -> [String] {
    try records(
      target, "SELECT lsn, encode(record, 'hex') FROM fixgate.set_aside WHERE gateway = $1 AND record IS NOT NULL", [gateway])
  }

  /// Records lie there as this gateway's journal had them, under this gateway's numbers.
  private func records(
    _ target: SubjectRange, _ sql: String, _ parameters: [String] = []
  ) throws(PostgresError) -> [String] {
    var keys: [String] = []
    for row in try connection.query(sql, parameters) where row.count == 2 {
      guard let key = row[0], let text = row[1] else { continue }
      let digits = Array(text.utf8)
      if let bytes = Hex.bytes(digits.span), target.contains(bytes, with: nil) { keys.append(key) }
    }
    return keys
  }
}
#endif
