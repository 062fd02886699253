// Writes rows to SQLite until it is killed, and says on standard output what is committed.
//
//   powercut-sqlite DATA SEED
//
// Lines: "durable N" (rows 1 to N are committed). Row n holds n and a blob whose length follows from it.
import Foundation
import GateStore

func run() throws(StoreError) {
  guard CommandLine.arguments.count == 3, var seed = UInt64(CommandLine.arguments[2]) else { exit(2) }
  let connection = try SQLiteConnection(path: CommandLine.arguments[1] + "/rows.db", access: .create)
  try connection.execute("PRAGMA journal_mode = WAL")
  try connection.execute("PRAGMA synchronous = FULL")
  try connection.execute("PRAGMA wal_autocheckpoint = 20")
  try connection.execute("CREATE TABLE IF NOT EXISTS row (n INTEGER PRIMARY KEY, filling BLOB NOT NULL)")
  var last = try connection.integer("SELECT coalesce(max(n), 0) FROM row")
  let insert = try SQLiteStatement(connection, "INSERT INTO row VALUES (?1, ?2)")
  while true {
    seed = seed &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    try connection.begin()
    for _ in 0...seed >> 59 {
      last += 1
      insert.bind(last, at: 1)
      insert.bind([UInt8](repeating: UInt8(truncatingIfNeeded: last), count: Int(last % 300)).span, at: 2)
      try insert.run()
    }
    try connection.commit()
    FileHandle.standardOutput.write(Data("durable \(last)\n".utf8))
  }
}

do {
  try run()
} catch {
  FileHandle.standardError.write(Data("\(error)\n".utf8))
  exit(1)
}
