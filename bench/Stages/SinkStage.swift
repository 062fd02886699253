import BenchHarness
import BenchReport
import CSQLite
import Foundation
import GateCore
import GateStore
import Gateway

/// Records carried from the journal into the SQLite store, beside bare inserts of the same fixes into a table without a key.
enum SinkStage {
  private static let batchRows = 20_000

  static func make(_ setting: Stage.Setting) throws -> [Stage] {
    let folder = try Scratch(in: setting.folder)
    let count = 200_000 / setting.shrink
    let records = Array(Rides.records(Rides.fixes(count + 300), devices: 100).prefix(count))
    let end = try journal(records, in: folder.path)
    let gate = Gate(folder, end: end)
    let bare = BareTable(folder.path)
    return [Stage(
      "SQLite drain, transactions of \(batchRows) rows", item: "row", items: count,
      targets: [.ns(most: 1e9 / 500_000)],
      [
        Contest.Entry("fixgate", prepare: { gate.begin() }) { gate.drain(rows: UInt64(count)) },
        Contest.Entry("bare inserts, no key", prepare: { bare.begin() }) { bare.insert(records, batchRows) },
      ])]
  }

  /// - Returns: LSN behind the last record.
  private static func journal(_ records: [Record], in folder: String) throws -> UInt64 {
    var file = try JournalFile.open(directory: folder + "/journal", durableFloor: 0)
    for start in stride(from: 0, to: records.count, by: 1_000) {
      let some = Array(records[start..<min(records.count, start + 1_000)])
      let bytes = Rides.encoded(some)
      try file.commit(bytes.span, count: some.count)
    }
    return file.endLSN
  }

  private final class Gate {
    private let scratch: Scratch
    private var folder: String { scratch.path }
    private let end: UInt64
    private var drain: SinkDrain<SQLiteSink>?

    init(_ scratch: Scratch, end: UInt64) { (self.scratch, self.end) = (scratch, end) }

    func begin() {
      drain = nil
      for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: folder + "/fixes.db" + suffix) }
      do {
        drain = SinkDrain(
          batchRows: SinkStage.batchRows, sink: try SQLiteSink(path: folder + "/fixes.db"),
          reader: try JournalReader.open(directory: folder + "/journal", from: 0))
      } catch { preconditionFailure("\(error)") }
    }

    func drain(rows: UInt64) -> UInt64 {
      let names = RegistrySnapshot(RegistrySnapshot.Builder(), generation: 1)
      do { while try drain?.step(upTo: end, names: names) ?? false {} } catch { preconditionFailure("\(error)") }
      precondition(drain?.progress.stored == rows)
      return rows
    }
  }

  /// What SQLite takes at most, row by row.
  @safe private final class BareTable {
    private let path: String
    private var database: OpaquePointer? = nil
    private var statement: OpaquePointer? = nil

    init(_ folder: String) { path = folder + "/bare.db" }

    deinit { end() }

    func begin() {
      end()
      for suffix in ["", "-wal", "-shm"] { try? FileManager.default.removeItem(atPath: path + suffix) }
      precondition(unsafe sqlite3_open(path, &database) == SQLITE_OK)
      execute("PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL; PRAGMA cache_size = -65536")
      execute("CREATE TABLE fix(\((0..<14).map { "c\($0) INTEGER" }.joined(separator: ", ")))")
      let insert = "INSERT INTO fix VALUES(\((0..<14).map { _ in "?" }.joined(separator: ",")))"
      precondition(unsafe sqlite3_prepare_v2(database, insert, -1, &statement, nil) == SQLITE_OK)
    }

    func insert(_ records: [Record], _ batchRows: Int) -> UInt64 {
      for start in stride(from: 0, to: records.count, by: batchRows) {
        execute("BEGIN")
        for i in start..<min(records.count, start + batchRows) {
          let fix = records[i].fix
          bind(1, Int64(records[i].device))
          bind(2, Int64(records[i].stream))
          bind(3, Int64(fix.sequence))
          bind(4, fix.fixTimeMs)
          bind(5, records[i].receiveTimeMs)
          bind(6, Int64(fix.latitudeE7))
          bind(7, Int64(fix.longitudeE7))
          for column in 0..<7 { bind(Int32(8 + column), Int64(fix.values[column])) }
          precondition(unsafe sqlite3_step(statement) == SQLITE_DONE)
          unsafe sqlite3_reset(statement)
        }
        execute("COMMIT")
      }
      return UInt64(records.count)
    }

    private func bind(_ place: Int32, _ value: Int64) { unsafe sqlite3_bind_int64(statement, place, value) }

    private func execute(_ sql: String) { precondition(unsafe sqlite3_exec(database, sql, nil, nil, nil) == SQLITE_OK) }

    private func end() {
      unsafe sqlite3_finalize(statement)
      unsafe sqlite3_close(database)
      unsafe (statement, database) = (nil, nil)
    }
  }
}
