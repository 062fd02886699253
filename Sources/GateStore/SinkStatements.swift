internal import GateCore

/// The prepared statements of `SQLiteSink` for everything but the rows of `fix`.
struct SinkStatements: ~Copyable {
  private let latest, quarantined, refused, gap, aside, tenant, subject, device, cursor, sync: SQLiteStatement
  private let quarantineCount, refusedCount, quarantineAge, refusedAge: SQLiteStatement

  init(_ connection: borrowing SQLiteConnection) throws(StoreError) {
    let latest = try SQLiteStatement(
      connection,
      """
      INSERT INTO latest(device, tenant, subject, stream, sequence, fix_time_ms, receive_time_ms, latitude_e7, longitude_e7,
      horizontal_accuracy_dm, speed_cm_per_s, course_cdeg, battery_percent) VALUES (?,?,?,?,?,?,?,?,?,?,?,?,?)
      ON CONFLICT (device) DO UPDATE SET tenant = excluded.tenant, subject = excluded.subject, stream = excluded.stream,
      sequence = excluded.sequence, fix_time_ms = excluded.fix_time_ms, receive_time_ms = excluded.receive_time_ms,
      latitude_e7 = excluded.latitude_e7, longitude_e7 = excluded.longitude_e7,
      horizontal_accuracy_dm = excluded.horizontal_accuracy_dm, speed_cm_per_s = excluded.speed_cm_per_s,
      course_cdeg = excluded.course_cdeg, battery_percent = excluded.battery_percent
      WHERE (min(excluded.fix_time_ms, excluded.receive_time_ms), excluded.sequence)
      > (min(latest.fix_time_ms, latest.receive_time_ms), latest.sequence)
      """, persistent: true)
    let quarantined = try SQLiteStatement(
      connection,
      """
      INSERT OR IGNORE INTO quarantine(device, stream, sequence, tenant, code, receive_time_ms, record)
      VALUES (?,?,?,?,?,?,?)
      """, persistent: true)
    let refused = try SQLiteStatement(
      connection,
      "INSERT OR IGNORE INTO refused(device, stream, sequence, tenant, code, receive_time_ms) VALUES (?,?,?,?,?,?)",
      persistent: true)
    let gap = try SQLiteStatement(
      connection,
      """
      INSERT OR IGNORE INTO gap(device, stream, first, tenant, reason, receive_time_ms, count) VALUES (?,?,?,?,?,?,?)
      """, persistent: true)
    let aside = try SQLiteStatement(
      connection, "INSERT OR REPLACE INTO set_aside(lsn, count, reason, record) VALUES (?,?,?,?)", persistent: true)
    let tenant = try SQLiteStatement(connection, "INSERT OR IGNORE INTO tenant(idx, name) VALUES (?,?)", persistent: true)
    let subject = try SQLiteStatement(connection, "INSERT OR IGNORE INTO subject(idx, name) VALUES (?,?)", persistent: true)
    let device = try SQLiteStatement(
      connection, "INSERT OR IGNORE INTO device(idx, tenant, id) VALUES (?,?,?)", persistent: true)
    let cursor = try SQLiteStatement(connection, SinkStatements.cursorText("cursor.syncs"), persistent: true)
    let sync = try SQLiteStatement(connection, SinkStatements.cursorText("cursor.syncs + 1"), persistent: true)
    let quarantineCount = try SQLiteStatement(
      connection, "DELETE FROM quarantine WHERE id <= (SELECT max(id) FROM quarantine) - ?", persistent: true)
    let refusedCount = try SQLiteStatement(
      connection, "DELETE FROM refused WHERE id <= (SELECT max(id) FROM refused) - ?", persistent: true)
    let quarantineAge = try SQLiteStatement(
      connection, "DELETE FROM quarantine WHERE receive_time_ms < ?", persistent: true)
    let refusedAge = try SQLiteStatement(connection, "DELETE FROM refused WHERE receive_time_ms < ?", persistent: true)
    // All at once: a noncopyable value cannot be left half made.
    self.latest = latest
    self.quarantined = quarantined
    self.refused = refused
    self.gap = gap
    self.aside = aside
    self.tenant = tenant
    self.subject = subject
    self.device = device
    self.cursor = cursor
    self.sync = sync
    self.quarantineCount = quarantineCount
    self.refusedCount = refusedCount
    self.quarantineAge = quarantineAge
    self.refusedAge = refusedAge
  }

  private static func cursorText(_ syncs: String) -> String {
    """
    INSERT INTO cursor(id, next_lsn, syncs, stored, already_stored, held, refused, gaps, set_aside)
    VALUES (1, ?, 1, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO UPDATE SET next_lsn = excluded.next_lsn,
    syncs = \(syncs), stored = excluded.stored, already_stored = excluded.already_stored, held = excluded.held,
    refused = excluded.refused, gaps = excluded.gaps, set_aside = excluded.set_aside
    """
  }

  func setCursor(_ nextLSN: UInt64, _ totals: SinkCounts) throws(StoreError) {
    try SinkStatements.run(cursor, nextLSN, totals)
  }

  /// Writes the same cursor again, and a counter that makes it a change.
  func countSync(_ nextLSN: UInt64, _ totals: SinkCounts) throws(StoreError) {
    try SinkStatements.run(sync, nextLSN, totals)
  }

  private static func run(
    _ statement: borrowing SQLiteStatement, _ nextLSN: UInt64, _ totals: SinkCounts
  ) throws(StoreError) {
    statement.bind(Int64(bitPattern: nextLSN), at: 1)
    statement.bind(Int64(totals.stored), at: 2)
    statement.bind(Int64(totals.alreadyStored), at: 3)
    statement.bind(Int64(totals.held), at: 4)
    statement.bind(Int64(totals.refused), at: 5)
    statement.bind(Int64(totals.gaps), at: 6)
    statement.bind(Int64(totals.setAside), at: 7)
    try statement.run()
  }

  /// Makes `record` the device's latest, unless a newer one is known. It has time and position.
  func moveLatest(_ record: Record) throws(StoreError) {
    latest.bind(Int64(record.device), at: 1)
    latest.bind(Int64(record.tenant), at: 2)
    latest.bind(record.subject == 0 ? nil : Int64(record.subject), at: 3)
    latest.bind(Int64(record.stream), at: 4)
    latest.bind(Int64(record.fix.sequence), at: 5)
    latest.bind(record.fix.fixTimeMs, at: 6)
    latest.bind(record.receiveTimeMs, at: 7)
    latest.bind(Int64(record.fix.latitudeE7), at: 8)
    latest.bind(Int64(record.fix.longitudeE7), at: 9)
    latest.bind(unsigned(record.fix[.horizontalAccuracyDm]), at: 10)
    latest.bind(unsigned(record.fix[.speedCmPerS]), at: 11)
    latest.bind(unsigned(record.fix[.courseCdeg]), at: 12)
    latest.bind(unsigned(record.fix[.batteryPercent]), at: 13)
    try latest.run()
  }

  private func unsigned(_ value: Int32?) -> Int64? { value.map { Int64(UInt32(bitPattern: $0)) } }

  /// - Returns: whether it was not there yet. So do the next two.
  func quarantine(
    _ record: Record, _ bytes: Span<UInt8>, _ connection: borrowing SQLiteConnection
  ) throws(StoreError) -> Bool {
    bindIdentity(of: record, to: quarantined)
    quarantined.bind(bytes, at: 7)
    try quarantined.run()
    return connection.changes > 0
  }

  func refuse(_ record: Record, _ connection: borrowing SQLiteConnection) throws(StoreError) -> Bool {
    bindIdentity(of: record, to: refused)
    try refused.run()
    return connection.changes > 0
  }

  func insertGap(_ record: Record, _ connection: borrowing SQLiteConnection) throws(StoreError) -> Bool {
    bindIdentity(of: record, to: gap)
    gap.bind(record.fix.fixTimeMs, at: 7)
    try gap.run()
    return connection.changes > 0
  }

  private func bindIdentity(of record: Record, to statement: borrowing SQLiteStatement) {
    statement.bind(Int64(record.device), at: 1)
    statement.bind(Int64(record.stream), at: 2)
    statement.bind(Int64(record.fix.sequence), at: 3)
    statement.bind(Int64(record.tenant), at: 4)
    statement.bind(Int64(record.code), at: 5)
    statement.bind(record.receiveTimeMs, at: 6)
  }

  func setAside(lsn: UInt64, count: Int, reason: String, _ bytes: Span<UInt8>) throws(StoreError) {
    aside.bind(Int64(bitPattern: lsn), at: 1)
    aside.bind(Int64(count), at: 2)
    aside.bind(reason, at: 3)
    if bytes.isEmpty { aside.bindNull(at: 4) } else { aside.bind(bytes, at: 4) }
    try aside.run()
  }

  func nameTenant(_ index: UInt32, _ name: String) throws(StoreError) {
    tenant.bind(Int64(index), at: 1)
    tenant.bind(name, at: 2)
    try tenant.run()
  }

  func nameSubject(_ index: UInt32, _ name: String) throws(StoreError) {
    subject.bind(Int64(index), at: 1)
    subject.bind(name, at: 2)
    try subject.run()
  }

  func nameDevice(_ index: UInt32, _ tenant: UInt32, _ id: String) throws(StoreError) {
    device.bind(Int64(index), at: 1)
    device.bind(Int64(tenant), at: 2)
    device.bind(id, at: 3)
    try device.run()
  }

  func pruneByCount(_ rowsMax: Int64) throws(StoreError) {
    quarantineCount.bind(rowsMax, at: 1)
    try quarantineCount.run()
    refusedCount.bind(rowsMax, at: 1)
    try refusedCount.run()
  }

  func pruneByAge(before receiveMs: Int64) throws(StoreError) {
    quarantineAge.bind(receiveMs, at: 1)
    try quarantineAge.run()
    refusedAge.bind(receiveMs, at: 1)
    try refusedAge.run()
  }
}
