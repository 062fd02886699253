package import GateCore

/// Why there is no history to give.
package enum HistoryError: Error, Equatable, Sendable {
  /// No fix of such a tenant is stored. `nearest`: names in the file that look most like it, at most three.
  case unknownTenant(String, nearest: [String])
  /// No fix of such a device of the tenant is stored. `nearest`: the tenant's devices that look most like it.
  case unknownDevice(tenant: String, id: String, nearest: [String])
  case store(StoreError)
}

extension HistoryError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .unknownTenant(let name, let nearest):
      "nothing is stored for a tenant '" + name + "'" + hint(nearest)
    case .unknownDevice(let tenant, let id, let nearest):
      "nothing is stored for a device '" + id + "' of tenant '" + tenant + "'" + hint(nearest)
    case .store(let error): error.description
    }
  }

  private func hint(_ names: [String]) -> String {
    names.isEmpty ? "" : "; did you mean " + names.map { "'\($0)'" }.joined(separator: " or ") + "?"
  }
}

/// One stored fix, as `TrackWriter` takes it. Unknown is `nil`; units as in `fix`.
package struct TrackPoint: Equatable, Sendable {
  package var timeMs: Int64
  package var position: Position?
  /// By `Column.index`.
  package var values = [Int64?](repeating: nil, count: Column.count)
  package var verdict: Int64
  package var stream: Int64
  package var sequence: Int64
  package var task: String?
  package var stop: String?

  /// WGS 84, 1e-7 degree.
  package struct Position: Equatable, Sendable {
    package var latitudeE7: Int64
    package var longitudeE7: Int64

    package init(latitudeE7: Int64, longitudeE7: Int64) {
      self.latitudeE7 = latitudeE7
      self.longitudeE7 = longitudeE7
    }
  }

  package init(timeMs: Int64, position: Position?, stream: Int64, sequence: Int64, verdict: Int64 = 0) {
    self.timeMs = timeMs
    self.position = position
    self.stream = stream
    self.sequence = sequence
    self.verdict = verdict
  }

  package subscript(column: Column) -> Int64? { values[column.index] }
}

/// Reads one device's fixes out of the default sink's file, read-only, while the gateway runs.
///
/// Tenants are walls: a device is looked for among its tenant's devices only.
package struct HistoryReader: ~Copyable {
  private let connection: SQLiteConnection

  package init(path: String, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    self.connection = connection
  }

  /// Hands each stored fix of a device to `body`, by time, then stream and sequence. Fixes without a time come never.
  ///
  /// - Parameter range: fix times in ms since 1970-01-01 UTC, its end included.
  /// - Parameter body: returns whether to go on.
  package func read(
    tenant: String, device: String, range: ClosedRange<Int64> = .min ... .max, _ body: (TrackPoint) -> Bool
  ) throws(HistoryError) {
    let (tenantIndex, deviceIndex) = try connection.locate(tenant: tenant, device: device)
    try read(tenantIndex, "device = \(deviceIndex)", range, body)
  }

  /// As above, of whoever carried the devices at the time of each fix.
  package func read(
    tenant: String, subject: SubjectDevices, range: ClosedRange<Int64> = .min ... .max, _ body: (TrackPoint) -> Bool
  ) throws(HistoryError) {
    let tenantIndex = try connection.locate(tenant: tenant)
    let devices = subject.devices.map { "\($0)" }.joined(separator: ", ")
    try read(tenantIndex, "device IN (\(devices)) AND subject = \(subject.subject)", range, body)
  }

  /// - Parameter whose: a condition on dense indexes.
  private func read(
    _ tenant: Int64, _ whose: String, _ range: ClosedRange<Int64>, _ body: (TrackPoint) -> Bool
  ) throws(HistoryError) {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT fix_time_ms, latitude_e7, longitude_e7, verdict, stream, sequence, task, stop,
        \(FixTable.columnNames.joined(separator: ", ")) FROM fix
        WHERE \(whose) AND tenant = ? AND fix_time_ms BETWEEN ? AND ? ORDER BY fix_time_ms, stream, sequence
        """)
      statement.bind(tenant, at: 1)
      statement.bind(range.lowerBound, at: 2)
      statement.bind(range.upperBound, at: 3)
      while try statement.step() {
        guard body(HistoryReader.point(statement)) else { return }
      }
    } catch {
      throw .store(error)
    }
  }

  private static func point(_ statement: borrowing SQLiteStatement) -> TrackPoint {
    var position: TrackPoint.Position?
    if let latitude = statement.optional(1), let longitude = statement.optional(2) {
      position = TrackPoint.Position(latitudeE7: latitude, longitudeE7: longitude)
    }
    var point = TrackPoint(
      timeMs: statement.int64(0), position: position, stream: statement.int64(4), sequence: statement.int64(5),
      verdict: statement.int64(3))
    for i in 0..<Column.count { point.values[i] = statement.optional(Int32(8 + i)) }
    if !statement.isNull(6) { point.task = statement.text(6) }
    if !statement.isNull(7) { point.stop = statement.text(7) }
    return point
  }
}
