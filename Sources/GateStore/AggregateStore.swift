package import GateCore

/// Why there are no aggregates to give.
package enum AggregateError: Error, Equatable, Sendable {
  /// The tenant's aggregates are cut in another way.
  case otherGrid(AggregateGrid)
  /// More groups and subjects than fit in memory.
  case tooMuch
  /// More slots than one output may have.
  case tooManySlots
  case store(StoreError)
}

extension AggregateError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .otherGrid(let grid):
      "the aggregates of this tenant are cut by --cell \(grid.cellLength) --slot \(grid.slotMs / 1_000)s --k \(grid.k) --delay "
        + "\(grid.delayMs / 1_000)s, chosen when the first were made: another cut could be held against it, and a few people be told apart. Leave these options out"
    case .tooMuch: "there is too much between --from and --to for one run: take a shorter time first, then the next"
    case .tooManySlots: "there are more than \(Limits.aggregateSlotsMax) slots between --from and --to: take a shorter time"
    case .store(let error): error.description
    }
  }
}

/// The aggregates that were given out, in a file of their own (`aggregates.db`). A slot is made once, when it is closed and old
/// enough, and then told as it is for ever, whatever comes late, expires or is erased: two outputs never differ in a group, so there
/// is nothing between them to learn from. A group is of k subjects at least, and no longer about any of them.
package struct AggregateStore: ~Copyable {
  package static let name = "aggregates.db"

  private let connection: SQLiteConnection

  private static let migrations = [
    """
    CREATE TABLE grid(
      tenant INTEGER PRIMARY KEY, cell INTEGER NOT NULL, slot_ms INTEGER NOT NULL, k INTEGER NOT NULL,
      delay_ms INTEGER NOT NULL) STRICT;
    CREATE TABLE made(tenant INTEGER NOT NULL, slot_ms INTEGER NOT NULL, PRIMARY KEY (tenant, slot_ms)) STRICT, WITHOUT ROWID;
    CREATE TABLE cell(
      tenant INTEGER NOT NULL, slot_ms INTEGER NOT NULL, cell INTEGER NOT NULL, subjects INTEGER NOT NULL,
      fixes INTEGER NOT NULL, speed_km_h INTEGER, dwell_min INTEGER NOT NULL,
      PRIMARY KEY (tenant, slot_ms, cell)) STRICT, WITHOUT ROWID;
    """
  ]

  /// Opens the file, creating it (mode 0600) or bringing it to today's schema.
  package init(path: String, busyMs: Int32 = 30_000) throws(StoreError) {
    connection = try AggregateStore.open(path, busyMs)
  }

  private static func open(_ path: String, _ busyMs: Int32) throws(StoreError) -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path, access: .create, busyMs: busyMs)
    try connection.checkVersion(supported: migrations.count)
    try connection.execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    try connection.migrate(migrations)
    return connection
  }

  /// The cut that was chosen for a tenant (its index in the registry); `nil` = none yet.
  package func grid(tenant: UInt32) throws(StoreError) -> AggregateGrid? {
    let statement = try SQLiteStatement(connection, "SELECT cell, slot_ms, k, delay_ms FROM grid WHERE tenant = ?")
    statement.bind(Int64(tenant), at: 1)
    guard try statement.step() else { return nil }
    return AggregateGrid(
      cellLength: Int(statement.int64(0)), slotMs: statement.int64(1), k: Int(statement.int64(2)), delayMs: statement.int64(3))
  }

  /// The groups of all slots that lie between the two times and are old enough. Slots that nobody has asked for yet are made
  /// now, all of them or none.
  ///
  /// - Parameter source: hands the tenant's fixes of a time, its end not included, to the aggregator, device by device, by time.
  package func rows(
    tenant: UInt32, grid: AggregateGrid, fromMs: Int64, toMs: Int64, nowMs: Int64,
    source: (Range<Int64>, inout Aggregator) throws(AggregateError) -> Void
  ) throws(AggregateError) -> [AggregateRow] {
    let slots = grid.slots(fromMs: fromMs, toMs: toMs, nowMs: nowMs)
    var count = 0
    for _ in slots {
      count += 1
      if count > Limits.aggregateSlotsMax { throw .tooManySlots }
    }
    try AggregateStore.stored { () throws(StoreError) in try connection.begin() }
    do throws(AggregateError) {
      try fix(grid, tenant)
      try make(Array(slots), tenant, grid, source)
      let rows = try AggregateStore.stored { () throws(StoreError) in try read(tenant, Array(slots)) }
      try AggregateStore.stored { () throws(StoreError) in try connection.commit() }
      return rows
    } catch {
      connection.rollBack()
      throw error
    }
  }

  private func fix(_ grid: AggregateGrid, _ tenant: UInt32) throws(AggregateError) {
    try AggregateStore.stored { () throws(StoreError) in
      let statement = try SQLiteStatement(
        connection, "INSERT OR IGNORE INTO grid(tenant, cell, slot_ms, k, delay_ms) VALUES (?, ?, ?, ?, ?)")
      for (i, value) in [Int64(tenant), Int64(grid.cellLength), grid.slotMs, Int64(grid.k), grid.delayMs].enumerated() {
        statement.bind(value, at: Int32(i + 1))
      }
      try statement.run()
    }
    let chosen = try AggregateStore.stored { () throws(StoreError) in try self.grid(tenant: tenant) }
    if let chosen, chosen != grid { throw .otherGrid(chosen) }
  }

  private func make(
    _ slots: [Int64], _ tenant: UInt32, _ grid: AggregateGrid,
    _ source: (Range<Int64>, inout Aggregator) throws(AggregateError) -> Void
  ) throws(AggregateError) {
    var fresh: Set<Int64> = []
    try AggregateStore.stored { () throws(StoreError) in
      let mark = try SQLiteStatement(connection, "INSERT OR IGNORE INTO made(tenant, slot_ms) VALUES (?, ?)")
      for slot in slots {
        mark.bind(Int64(tenant), at: 1)
        mark.bind(slot, at: 2)
        try mark.run()
        if connection.changes > 0 { fresh.insert(slot) }
      }
    }
    guard let first = fresh.min(), let last = fresh.max() else { return }
    var aggregator = Aggregator(grid)
    try source(first..<last + grid.slotMs, &aggregator)
    let rows = aggregator.rows().filter { fresh.contains($0.slotMs) }
    try AggregateStore.stored { () throws(StoreError) in
      let statement = try SQLiteStatement(
        connection,
        "INSERT INTO cell(tenant, slot_ms, cell, subjects, fixes, dwell_min, speed_km_h) VALUES (?, ?, ?, ?, ?, ?, ?)")
      for row in rows {
        let values = [
          Int64(tenant), row.slotMs, Int64(bitPattern: row.cell), Int64(row.subjects), Int64(row.fixes), Int64(row.dwellMinutes),
        ]
        for (i, value) in values.enumerated() { statement.bind(value, at: Int32(i + 1)) }
        statement.bind(row.speedKmH.map { Int64($0) }, at: 7)
        try statement.run()
      }
    }
  }

  private func read(_ tenant: UInt32, _ slots: [Int64]) throws(StoreError) -> [AggregateRow] {
    guard let first = slots.first, let last = slots.last else { return [] }
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT slot_ms, cell, subjects, fixes, speed_km_h, dwell_min FROM cell
      WHERE tenant = ? AND slot_ms BETWEEN ? AND ? ORDER BY slot_ms, cell
      """)
    statement.bind(Int64(tenant), at: 1)
    statement.bind(first, at: 2)
    statement.bind(last, at: 3)
    var rows: [AggregateRow] = []
    while try statement.step() {
      rows.append(
        AggregateRow(
          slotMs: statement.int64(0), cell: UInt64(bitPattern: statement.int64(1)), subjects: Int(statement.int64(2)),
          fixes: Int(statement.int64(3)), speedKmH: statement.optional(4).map { Int($0) },
          dwellMinutes: Int(statement.int64(5))))
    }
    return rows
  }

  private static func stored<R>(_ body: () throws(StoreError) -> R) throws(AggregateError) -> R {
    do throws(StoreError) { return try body() } catch { throw .store(error) }
  }
}

/// Reads a tenant's fixes for aggregates out of the default sink's file, read-only.
package struct AggregateReader: ~Copyable {
  private let connection: SQLiteConnection

  package init(path: String, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    self.connection = connection
  }

  /// - Parameter times: fix times in ms.
  package func read(
    tenant: UInt32, _ times: Range<Int64>, into aggregator: inout Aggregator
  ) throws(AggregateError) {
    do throws(StoreError) {
      let statement = try SQLiteStatement(
        connection,
        """
        SELECT device, subject, fix_time_ms, latitude_e7, longitude_e7, speed_cm_per_s FROM fix
        WHERE tenant = ? AND fix_time_ms >= ? AND fix_time_ms < ? AND latitude_e7 IS NOT NULL AND longitude_e7 IS NOT NULL
        ORDER BY device, fix_time_ms
        """)
      statement.bind(Int64(tenant), at: 1)
      statement.bind(times.lowerBound, at: 2)
      statement.bind(times.upperBound, at: 3)
      while try statement.step() {
        let fits = aggregator.add(
          device: UInt32(clamping: statement.int64(0)), subject: statement.optional(1).map { UInt32(clamping: $0) },
          timeMs: statement.int64(2), latitudeE7: statement.int64(3), longitudeE7: statement.int64(4),
          speedCmPerS: statement.optional(5))
        if !fits { break }
      }
    } catch {
      throw .store(error)
    }
    if aggregator.isFull { throw .tooMuch }
  }
}
