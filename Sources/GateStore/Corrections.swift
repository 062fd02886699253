/// What somebody says about a stored fix that is wrong. `nil` = as in the fix.
package struct Correction: Equatable, Sendable {
  /// Dense indexes.
  package var tenant: UInt32
  package var device: UInt32
  package var stream: UInt32
  package var sequence: UInt64
  package var fixTimeMs: Int64?
  package var position: TrackPoint.Position?
  /// Why, in words without names.
  package var reason: String

  package init(
    tenant: UInt32, device: UInt32, stream: UInt32, sequence: UInt64, fixTimeMs: Int64?,
    position: TrackPoint.Position?, reason: String
  ) {
    self.tenant = tenant
    self.device = device
    self.stream = stream
    self.sequence = sequence
    self.fixTimeMs = fixTimeMs
    self.position = position
    self.reason = reason
  }
}

extension SQLiteSubjectRows {
  /// Links a correction to a fix, which stays as it is.
  /// - Returns: the correction's number; `nil` = no such fix of the tenant is stored.
  package func correct(_ correction: Correction, nowMs: Int64) throws(StoreError) -> Int64? {
    let statement = try SQLiteStatement(
      connection,
      """
      INSERT INTO correction(tenant, device, stream, sequence, made_ms, fix_time_ms, latitude_e7, longitude_e7, reason)
      SELECT tenant, device, stream, sequence, ?5, ?6, ?7, ?8, ?9 FROM fix
      WHERE tenant = ?1 AND device = ?2 AND stream = ?3 AND sequence = ?4
      """)
    statement.bind(Int64(correction.tenant), at: 1)
    statement.bind(Int64(correction.device), at: 2)
    statement.bind(Int64(correction.stream), at: 3)
    statement.bind(Int64(bitPattern: correction.sequence), at: 4)
    statement.bind(nowMs, at: 5)
    statement.bind(correction.fixTimeMs, at: 6)
    statement.bind(correction.position?.latitudeE7, at: 7)
    statement.bind(correction.position?.longitudeE7, at: 8)
    statement.bind(correction.reason, at: 9)
    try statement.run()
    return connection.changes > 0 ? connection.lastInsertRowID : nil
  }
}
