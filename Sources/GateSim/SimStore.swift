import Foundation
import GateCore
import GateStore

/// The default store itself in a folder of its own, beside `SimTable`, which says what it must hold. Only in some worlds: making
/// a file's schema takes longer than a whole world does without.
final class SimStore {
  /// A file that the store keeps: the database, its write-ahead log.
  private static let names = ["fixes.db", "fixes.db-wal"]
  private let folder = FileManager.default.temporaryDirectory.path + "/fixgate-sim-" + UUID().uuidString
  /// What a power cut leaves at least. The file's index (-shm) is made anew from the log.
  private var durable: [Data?] = [nil, nil]

  init() throws { try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true) }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  func open() throws(StoreError) -> SQLiteSink { try SQLiteSink(path: path(SimStore.names[0])) }

  func makeDurable() { durable = SimStore.names.map { FileManager.default.contents(atPath: path($0)) } }

  /// Nobody has the store open. Takes back what was not made durable.
  func cutPower() throws {
    for name in try FileManager.default.contentsOfDirectory(atPath: folder) {
      try FileManager.default.removeItem(atPath: path(name))
    }
    for (name, data) in zip(SimStore.names, durable) { try data?.write(to: URL(fileURLWithPath: path(name))) }
  }

  func erase(_ target: SubjectRange) throws {
    var rows = try SQLiteSubjectRows(path: path(SimStore.names[0]))
    while try rows.erase(target) {}
    try rows.overwriteDeleted()
    makeDurable()
  }

  private func path(_ name: String) -> String { folder + "/" + name }

  // MARK: - What it holds

  struct Place: Equatable {
    var latitudeE7: Int64
    var longitudeE7: Int64
  }

  func fixes() throws(StoreError) -> [SimTable.Key: Place] {
    let connection = try SQLiteConnection(path: path(SimStore.names[0]), access: .readOnly)
    let statement = try SQLiteStatement(
      connection, "SELECT device, stream, sequence, latitude_e7, longitude_e7 FROM fix")
    var fixes: [SimTable.Key: Place] = [:]
    while try statement.step() {
      let key = SimTable.Key(
        device: UInt32(statement.int64(0)), stream: UInt32(statement.int64(1)), sequence: UInt64(statement.int64(2)))
      fixes[key] = Place(latitudeE7: statement.int64(3), longitudeE7: statement.int64(4))
    }
    return fixes
  }

  /// By device.
  func latest() throws(StoreError) -> [UInt32: LatestPosition] {
    let connection = try SQLiteConnection(path: path(SimStore.names[0]), access: .readOnly)
    let statement = try SQLiteStatement(
      connection, "SELECT device, sequence, fix_time_ms, receive_time_ms, latitude_e7, longitude_e7 FROM latest")
    var latest: [UInt32: LatestPosition] = [:]
    while try statement.step() {
      latest[UInt32(statement.int64(0))] = LatestPosition(
        fixTimeMs: statement.int64(2), receiveTimeMs: statement.int64(3), latitudeE7: Int32(statement.int64(4)),
        longitudeE7: Int32(statement.int64(5)), sequence: UInt64(statement.int64(1)))
    }
    return latest
  }
}
