import CSQLite
import Foundation
import NIOCore

/// The rows of one message.
struct Job: Sendable {
  var device: Int64
  var rows: [Row]
  var channel: any Channel
}

/// One thread that commits what has come meanwhile in one transaction, then answers.
final class RowWriter: @unchecked Sendable {
  private let condition = NSCondition()
  private var jobs: [Job] = []
  private var isStopping = false
  private var hasStopped = false
  private var database: OpaquePointer?
  private var insert: OpaquePointer?
  private(set) var rows = 0

  init(path: String) throws {
    guard sqlite3_open(path, &database) == SQLITE_OK else { throw RowError.database }
    try execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = FULL")
    try execute(
      """
      CREATE TABLE fix(device INTEGER, sequence INTEGER, time_ms INTEGER, latitude_e7 INTEGER, longitude_e7 INTEGER,
        accuracy_dm INTEGER, speed_cm_per_s INTEGER, course_cdeg INTEGER, battery_percent INTEGER)
      """)
    guard sqlite3_prepare_v2(database, "INSERT INTO fix VALUES(?,?,?,?,?,?,?,?,?)", -1, &insert, nil) == SQLITE_OK else {
      throw RowError.database
    }
    Thread.detachNewThread { [self] in run() }
  }

  func add(_ job: Job) {
    condition.withLock {
      jobs.append(job)
      if jobs.count == 1 { condition.signal() }
    }
  }

  /// Returns once all is committed.
  func stop() {
    condition.lock()
    isStopping = true
    condition.signal()
    while !hasStopped { condition.wait() }
    condition.unlock()
  }

  private func run() {
    var taken: [Job] = []
    while true {
      condition.lock()
      while jobs.isEmpty, !isStopping { condition.wait() }
      swap(&jobs, &taken)
      condition.unlock()
      if taken.isEmpty { break }
      guard commit(taken) else { fatalError("SQLite: \(String(cString: sqlite3_errmsg(database)))") }
      answer(taken)
      taken.removeAll(keepingCapacity: true)
    }
    condition.withLock {
      hasStopped = true
      condition.broadcast()
    }
  }

  private func commit(_ taken: [Job]) -> Bool {
    guard (try? execute("BEGIN")) != nil else { return false }
    for job in taken {
      for row in job.rows {
        let values = [
          job.device, Int64(row.sequence), row.timeMs, Int64(row.latitudeE7), Int64(row.longitudeE7), Int64(row.accuracyDm),
          Int64(row.speedCmPerS), Int64(row.courseCdeg), Int64(row.batteryPercent),
        ]
        for (i, value) in values.enumerated() { sqlite3_bind_int64(insert, Int32(i + 1), value) }
        guard sqlite3_step(insert) == SQLITE_DONE else { return false }
        sqlite3_reset(insert)
      }
      rows += job.rows.count
    }
    return (try? execute("COMMIT")) != nil
  }

  /// One hand-over to the event loop a commit, and one answer a connection.
  private func answer(_ taken: [Job]) {
    taken[0].channel.eventLoop.execute {
      var counts: [ObjectIdentifier: (channel: any Channel, count: Int)] = [:]
      for job in taken { counts[ObjectIdentifier(job.channel), default: (job.channel, 0)].count += 1 }
      for (channel, count) in counts.values { FixHandler.answer(count, channel) }
    }
  }

  private func execute(_ sql: String) throws {
    guard sqlite3_exec(database, sql, nil, nil, nil) == SQLITE_OK else { throw RowError.database }
  }
}

enum RowError: Error { case database }
