import GateCore

/// Consecutive sequences of one stream that are settled without being in the track, for one reason.
package struct SettledRun: Equatable, Sendable {
  package enum Reason: Equatable, Sendable {
    /// Raw value of `GapReason`: the device has given them up.
    case gap(UInt16)
    /// Raw value of a `Verdict`.
    case held(UInt16)
    case refused(UInt16)
  }

  package var stream: UInt32
  package var first: UInt64
  package var count: UInt64
  package var reason: Reason
  /// When the first of them was settled, gateway's clock.
  package var receiveTimeMs: Int64
  /// Of `count`, those that are in the track after all: a gap may span fixes that had come.
  package var stored: UInt64 = 0

  package init(stream: UInt32, first: UInt64, count: UInt64, reason: Reason, receiveTimeMs: Int64, stored: UInt64 = 0) {
    self.stream = stream
    self.first = first
    self.count = count
    self.reason = reason
    self.receiveTimeMs = receiveTimeMs
    self.stored = stored
  }
}

/// Reads out of the default sink's file, read-only, what became of a device's sequences.
package struct SettledReader: ~Copyable {
  private let connection: SQLiteConnection

  package init(path: String, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    self.connection = connection
  }

  /// - Parameter device: dense index.
  /// - Returns: number of the device's rows in the track, by stream.
  package func stored(device: UInt32) throws(StoreError) -> [UInt32: UInt64] {
    let statement = try SQLiteStatement(connection, "SELECT stream, count(*) FROM fix WHERE device = ? GROUP BY stream")
    statement.bind(Int64(device), at: 1)
    var counts: [UInt32: UInt64] = [:]
    while try statement.step() { counts[UInt32(truncatingIfNeeded: statement.int64(0))] = UInt64(statement.int64(1)) }
    return counts
  }

  /// - Returns: by stream and first sequence.
  package func runs(device: UInt32) throws(StoreError) -> [SettledRun] {
    var runs = try gaps(device)
    runs += try singles(device, "quarantine") { .held($0) }
    runs += try singles(device, "refused") { .refused($0) }
    runs.sort { ($0.stream, $0.first) < ($1.stream, $1.first) }
    return runs
  }

  private func gaps(_ device: UInt32) throws(StoreError) -> [SettledRun] {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT stream, first, count, reason, receive_time_ms, (SELECT count(*) FROM fix f WHERE f.device = g.device AND
      f.stream = g.stream AND f.sequence BETWEEN g.first AND g.first + g.count - 1) FROM gap g WHERE device = ?
      """)
    statement.bind(Int64(device), at: 1)
    var runs: [SettledRun] = []
    while try statement.step() {
      runs.append(
        SettledRun(
          stream: UInt32(truncatingIfNeeded: statement.int64(0)), first: UInt64(bitPattern: statement.int64(1)),
          count: UInt64(bitPattern: statement.int64(2)), reason: .gap(UInt16(clamping: statement.int64(3))),
          receiveTimeMs: statement.int64(4), stored: UInt64(bitPattern: statement.int64(5))))
    }
    return runs
  }

  private func singles(
    _ device: UInt32, _ table: String, _ reason: (UInt16) -> SettledRun.Reason
  ) throws(StoreError) -> [SettledRun] {
    let statement = try SQLiteStatement(
      connection,
      "SELECT stream, sequence, code, receive_time_ms FROM \(table) WHERE device = ? ORDER BY stream, sequence")
    statement.bind(Int64(device), at: 1)
    var runs: [SettledRun] = []
    while try statement.step() {
      let stream = UInt32(truncatingIfNeeded: statement.int64(0))
      let sequence = UInt64(bitPattern: statement.int64(1))
      let reason = reason(UInt16(clamping: statement.int64(2)))
      if let last = runs.last, last.stream == stream, last.reason == reason, last.first + last.count == sequence {
        runs[runs.count - 1].count += 1
      } else {
        runs.append(
          SettledRun(stream: stream, first: sequence, count: 1, reason: reason, receiveTimeMs: statement.int64(3)))
      }
    }
    return runs
  }
}
