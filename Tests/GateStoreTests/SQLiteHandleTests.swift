import Foundation
import GateStore
import Testing

@Suite struct SQLiteHandleTests {
  @Test func newerSchemaIsRefusedUntouched() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("a.db")
    do {
      let connection = try SQLiteConnection(path: path, access: .create)
      try connection.execute("PRAGMA user_version = 99; CREATE TABLE kept(x)")
    }
    let before = try Data(contentsOf: URL(filePath: path))
    #expect { _ = try SQLiteSink(path: path).cursor } throws: { isTooNew($0) }
    #expect { _ = try RegistryStore(path: path).generation() } throws: { isTooNew($0) }
    #expect { _ = try opens(HistoryReader(path: path)) } throws: { isTooNew($0) }
    #expect(try Data(contentsOf: URL(filePath: path)) == before)
  }

  private func isTooNew(_ error: any Error) -> Bool {
    if case .schemaTooNew(found: 99, _)? = error as? StoreError { true } else { false }
  }

  private func opens(_ reader: consuming HistoryReader) -> Bool { true }

  @Test func filesAreOursAlone() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("a.db")
    let store = try RegistryStore(path: path)
    _ = try store.createTenant("t", nowMs: 1)
    for name in [path, path + "-wal"] {
      let mode = try FileManager.default.attributesOfItem(atPath: name)[.posixPermissions] as? Int
      #expect(mode == 0o600)
    }
  }

  @Test func somethingElseIsNotADatabase() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("a.db")
    try Data(repeating: 0x41, count: 8_192).write(to: URL(filePath: path))
    #expect(throws: StoreError.notADatabase) { _ = try SQLiteSink(path: path).cursor }
  }

  @Test func missingDirectoryAndMissingFileCannotBeOpened() throws {
    let directory = try TemporaryDirectory()
    #expect(throws: StoreError.cannotOpen(code: 14)) { _ = try SQLiteSink(path: directory.file("no/a.db")).cursor }
    #expect(throws: StoreError.cannotOpen(code: 14)) {
      _ = try SQLiteConnection(path: directory.file("a.db"), access: .readOnly).changes
    }
  }

  @Test func aLockIsWaitedForAndThenReported() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("a.db")
    let holder = try SQLiteConnection(path: path, access: .create)
    try holder.execute("PRAGMA journal_mode = WAL; CREATE TABLE t(x)")
    let other = try SQLiteConnection(path: path, access: .readWrite, busyMs: 0)
    try holder.begin()
    #expect(throws: StoreError.locked(code: 5)) { try other.begin() }
    try holder.commit()
    try other.begin()
    try other.commit()
  }

  @Test(arguments: [
    (13, "free some disk space"), (5, "another process"), (26, "not an SQLite database"), (8, "owner and mode"),
    (11, "restore a backup"), (10, "check the disk"), (14, "directory exists"),
  ])
  func everyCodeSaysWhatToDo(_ code: Int32, _ text: String) {
    #expect(StoreError(code: code).description.contains(text))
    // Extended codes carry the primary one in their low byte.
    #expect(StoreError(code: code | 3 << 8).description.contains(text))
  }
}
