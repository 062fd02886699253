import Foundation
import GateCore
import GateStore

/// A directory that goes when the test is over.
final class TemporaryDirectory {
  let path: String
  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/gatestore-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: false)
  }
  deinit { try? FileManager.default.removeItem(atPath: path) }
  func file(_ name: String) -> String { path + "/" + name }
}

/// Builds journal records one behind the other, as a batch of the journal holds them.
struct RecordBytes {
  var bytes: [UInt8] = []
  var count = 0

  mutating func append(_ record: Record, attributes: [UInt8] = [], work: [UInt8] = []) {
    var record = record
    let frame = attributes + work
    record.fix.attributes = Region(offset: 0, length: UInt32(attributes.count))
    record.fix.work = Region(offset: UInt32(attributes.count), length: UInt32(work.count))
    let start = bytes.count
    bytes += [UInt8](repeating: 0, count: record.encodedBytes)
    var span = bytes.mutableSpan
    _ = record.write(into: &span, at: start, from: frame.span)
    count += 1
  }
}

extension Record {
  /// A fix with time, position and no more.
  static func fix(
    device: UInt32 = 1, stream: UInt32 = 7, sequence: UInt64, timeMs: Int64, latitudeE7: Int32 = 525_200_066,
    longitudeE7: Int32 = 134_049_540, kind: RecordKind = .fix
  ) -> Record {
    var record = Record()
    record.kind = kind
    record.tenant = 1
    record.device = device
    record.stream = stream
    record.transport = 1
    record.receiveTimeMs = timeMs + 250
    record.fix.sequence = sequence
    record.fix.fixTimeMs = timeMs
    record.fix.latitudeE7 = latitudeE7
    record.fix.longitudeE7 = longitudeE7
    record.fix.present = [.time, .position]
    return record
  }
}

/// Tenant 1 `demo` with devices 1 `van-1` and 2 `van-2`, tenant 2 `other` with device 3 `van-1`; subject 1 `anna`.
func sampleRegistry() -> RegistrySnapshot {
  var builder = RegistrySnapshot.Builder()
  builder.addTenant(1, name: "demo")
  builder.addTenant(2, name: "other")
  builder.addSubject(1, name: "anna")
  builder.addDevice(1, tenant: 1, subject: 1, externalID: "van-1", revoked: false)
  builder.addDevice(2, tenant: 1, subject: 0, externalID: "van-2", revoked: false)
  builder.addDevice(3, tenant: 2, subject: 0, externalID: "van-1", revoked: false)
  return RegistrySnapshot(builder, generation: 1)
}

/// All columns of all rows, as text, NULL as "": what the shell would show.
func rows(_ path: String, _ sql: String) throws -> [[String]] {
  let connection = try SQLiteConnection(path: path, access: .readOnly)
  let statement = try SQLiteStatement(connection, sql)
  var rows: [[String]] = []
  while try statement.step() {
    rows.append((0..<statement.columnCount).map { statement.text($0) })
  }
  return rows
}
