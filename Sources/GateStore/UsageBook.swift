package import GateCore

/// What a tenant has used in one month, by the time at which the gateway received it (UTC).
package struct UsageRow: Equatable, Sendable {
  package var tenant: String
  package var month: YearMonth
  /// Those of which something came.
  package var devices: Int64
  /// In the track,
  package var fixes: Int64
  /// in quarantine,
  package var held: Int64
  /// and refused for good.
  package var refused: Int64
  /// Of journal records.
  package var bytes: Int64
}

/// Counts usage in the transaction that moves the sink's cursor: each journal record counts once, whatever is killed when.
final class UsageBook {
  private struct Key: Hashable {
    var tenant: UInt32
    var month: Int64
  }

  private struct Sum {
    var fixes: Int64 = 0
    var held: Int64 = 0
    var refused: Int64 = 0
    var bytes: Int64 = 0
  }

  private var sums: [Key: Sum] = [:]
  /// What is being added to, not in `sums` meanwhile: records come in runs of a tenant, and of a device.
  private var run: (key: Key, sum: Sum)?
  private var lastDevice: (device: UInt32, month: Int64)?
  /// Devices of `seenMonth` that are in the file; and those that will be if the transaction succeeds.
  private var seen: Set<UInt32> = []
  private var seenMonth: Int64 = 0
  private var fresh: [(device: UInt32, tenant: UInt32, month: Int64)] = []

  /// Counts one record. Calls between two `write` belong to one transaction.
  func count(_ bytes: Span<UInt8>, at: Int) {
    guard let kind = RecordKind(rawValue: bytes[at + 4]), kind != .gap else { return }
    let (tenant, device) = (bytes.load32(at: at + 8), bytes.load32(at: at + 12))
    let month = YearMonth(ms: Int64(bitPattern: bytes.load64(at: at + 32))).number
    let key = Key(tenant: tenant, month: month)
    var sum = take(key)
    switch kind {
    case .fix: sum.fixes += 1
    case .held: sum.held += 1
    case .refused: sum.refused += 1
    case .gap: break
    }
    sum.bytes += Int64(bytes.load32(at: at))
    run = (key, sum)
    if let lastDevice, lastDevice == (device, month) { return }
    lastDevice = (device, month)
    if month != seenMonth || !seen.contains(device) { fresh.append((device, tenant, month)) }
  }

  private func take(_ key: Key) -> Sum {
    if let run, run.key == key { return run.sum }
    endRun()
    return sums[key] ?? Sum()
  }

  private func endRun() {
    if let run { sums[run.key] = run.sum }
    run = nil
  }

  func write(_ connection: borrowing SQLiteConnection) throws(StoreError) {
    endRun()
    if !sums.isEmpty {
      let usage = try SQLiteStatement(
        connection,
        """
        INSERT INTO usage(tenant, month, fixes, held, refused, bytes) VALUES (?, ?, ?, ?, ?, ?) ON CONFLICT DO UPDATE SET
        fixes = fixes + excluded.fixes, held = held + excluded.held, refused = refused + excluded.refused,
        bytes = bytes + excluded.bytes
        """)
      for (key, sum) in sums {
        for (i, value) in [Int64(key.tenant), key.month, sum.fixes, sum.held, sum.refused, sum.bytes].enumerated() {
          usage.bind(value, at: Int32(i + 1))
        }
        try usage.run()
      }
    }
    if !fresh.isEmpty {
      let device = try SQLiteStatement(
        connection, "INSERT OR IGNORE INTO usage_device(month, tenant, device) VALUES (?, ?, ?)")
      for each in fresh {
        device.bind(each.month, at: 1)
        device.bind(Int64(each.tenant), at: 2)
        device.bind(Int64(each.device), at: 3)
        try device.run()
      }
    }
  }

  /// The transaction has succeeded.
  func committed() {
    for each in fresh {
      if each.month > seenMonth {
        seenMonth = each.month
        seen.removeAll()
      }
      if each.month == seenMonth { seen.insert(each.device) }
    }
    discard()
  }

  /// The transaction was undone.
  func discard() {
    run = nil
    lastDevice = nil
    sums.removeAll()
    fresh.removeAll()
  }
}

/// Reads usage out of the default sink's file, read-only.
package struct UsageReader: ~Copyable {
  private let connection: SQLiteConnection

  package init(path: String, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    self.connection = connection
  }

  /// - Parameters: `nil` = of all tenants, of all months.
  package func read(tenant: String?, month: YearMonth?) throws(StoreError) -> [UsageRow] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT t.name, u.month, (SELECT count(*) FROM usage_device d WHERE d.month = u.month AND d.tenant = u.tenant), u.fixes,
      u.held, u.refused, u.bytes FROM usage u JOIN tenant t ON t.idx = u.tenant
      WHERE (?1 IS NULL OR t.name = ?1) AND (?2 IS NULL OR u.month = ?2) ORDER BY t.name, u.month
      """)
    if let tenant { statement.bind(tenant, at: 1) }
    statement.bind(month?.number, at: 2)
    var rows: [UsageRow] = []
    while try statement.step() {
      rows.append(
        UsageRow(
          tenant: statement.text(0), month: YearMonth(number: statement.int64(1)), devices: statement.int64(2),
          fixes: statement.int64(3), held: statement.int64(4), refused: statement.int64(5), bytes: statement.int64(6)))
    }
    return rows
  }
}
