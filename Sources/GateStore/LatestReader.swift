package import GateCore

/// The latest position of one device, as stored or as the gateway has it. Units as in `latest`.
package struct LatestRow: Equatable, Sendable {
  package var device: String
  /// When the gateway got it.
  package var receiveTimeMs: Int64
  package var sequence: UInt64
  package var timeMs: Int64
  package var latitudeE7: Int64
  package var longitudeE7: Int64
  package var horizontalAccuracyDm: Int64?
  package var speedCmPerS: Int64?
  package var courseCdeg: Int64?
  package var batteryPercent: Int64?

  package static let header = "device,time,lat,lon,accuracy_m,speed_m_per_s,course_deg,battery_percent\n"

  /// Moves a device's row to where the gateway has seen it since. What was not said of that place is unknown.
  package static func move(_ row: inout LatestRow?, to position: LatestPosition, of device: String) {
    if let row, !position.isNewer(than: row.position) { return }
    row = LatestRow(
      device: device, receiveTimeMs: position.receiveTimeMs, sequence: position.sequence, timeMs: position.fixTimeMs,
      latitudeE7: Int64(position.latitudeE7), longitudeE7: Int64(position.longitudeE7))
  }

  private var position: LatestPosition {
    LatestPosition(
      fixTimeMs: timeMs, receiveTimeMs: receiveTimeMs, latitudeE7: Int32(clamping: latitudeE7),
      longitudeE7: Int32(clamping: longitudeE7), sequence: sequence)
  }

  /// One line; an unknown value is an empty field. Device ids need no quotes.
  package var csv: String { ([device, time] + values.map { $0.value ?? "" }).joined(separator: ",") + "\n" }

  /// One object a line; an unknown value is left out.
  package var json: String {
    "{\"device\":\"\(device)\",\"time\":\"\(time)\""
      + values.compactMap { field in field.value.map { ",\"\(field.name)\":\($0)" } }.joined() + "}\n"
  }

  private var time: String { LatestRow.text { $0.append(time: timeMs) } }

  private var values: [(name: String, value: String?)] {
    func fixed(_ value: Int64?, _ places: Int) -> String? {
      value.map { value in LatestRow.text { $0.append(fixed: value, places: places) } }
    }
    return [
      ("lat", fixed(latitudeE7, 7)), ("lon", fixed(longitudeE7, 7)), ("accuracy_m", fixed(horizontalAccuracyDm, 1)),
      ("speed_m_per_s", fixed(speedCmPerS, 2)), ("course_deg", fixed(courseCdeg, 2)),
      ("battery_percent", fixed(batteryPercent, 0)),
    ]
  }

  private static func text(_ write: (inout [UInt8]) -> Void) -> String {
    var bytes: [UInt8] = []
    write(&bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}

/// Reads the latest positions of a tenant out of the default sink's file, read-only.
package struct LatestReader: ~Copyable {
  private let connection: SQLiteConnection

  package init(path: String, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    self.connection = connection
  }

  /// - Parameter device: `nil` = all of the tenant's.
  /// - Returns: by device.
  package func read(tenant: String, device: String?) throws(HistoryError) -> [LatestRow] {
    let tenantIndex: Int64
    var deviceIndex: Int64?
    if let device {
      (tenantIndex, deviceIndex) = try connection.locate(tenant: tenant, device: device)
    } else {
      tenantIndex = try connection.locate(tenant: tenant)
    }
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT d.id, l.fix_time_ms, l.latitude_e7, l.longitude_e7, l.horizontal_accuracy_dm, l.speed_cm_per_s, l.course_cdeg,
        l.battery_percent, l.receive_time_ms, l.sequence FROM latest l JOIN device d ON d.idx = l.device
        WHERE l.tenant = ?1 AND d.tenant = ?1 AND (?2 IS NULL OR l.device = ?2) ORDER BY d.id
        """)
      statement.bind(tenantIndex, at: 1)
      statement.bind(deviceIndex, at: 2)
      var rows: [LatestRow] = []
      while try statement.step() {
        rows.append(
          LatestRow(
            device: statement.text(0), receiveTimeMs: statement.int64(8), sequence: UInt64(clamping: statement.int64(9)),
            timeMs: statement.int64(1), latitudeE7: statement.int64(2),
            longitudeE7: statement.int64(3), horizontalAccuracyDm: statement.optional(4),
            speedCmPerS: statement.optional(5), courseCdeg: statement.optional(6), batteryPercent: statement.optional(7)))
      }
      return rows
    } catch {
      throw .store(error)
    }
  }
}
