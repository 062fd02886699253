#if PostgreSQL
import CCopyLoop
import GateCore
import GatePostgres
import GateStore

/// Fixes as the journal has them, and the same as rows for C.
struct CopyLoad {
  let rows: [copy_fix]
  private let batches: [[UInt8]]
  private let batchRows: Int
  private let names: RegistrySnapshot

  private static let recordsPerBatch = 1_000

  init(fixes: Int, devices: Int, batchRows: Int) {
    var batches: [[UInt8]] = []
    var rows: [copy_fix] = []
    for index in 0..<fixes {
      let record = CopyLoad.record(index, devices: devices)
      if index % CopyLoad.recordsPerBatch == 0 { batches.append([]) }
      let start = batches[batches.count - 1].count
      batches[batches.count - 1] += [UInt8](repeating: 0, count: record.encodedBytes)
      var out = batches[batches.count - 1].mutableSpan
      _ = record.write(into: &out, at: start, from: Span())
      rows.append(CopyLoad.row(record))
    }
    // In the order of the key, as the sink sorts them while it is timed.
    for start in stride(from: 0, to: fixes, by: batchRows) {
      rows[start..<min(start + batchRows, fixes)].sort { ($0.device, $0.sequence) < ($1.device, $1.sequence) }
    }
    (self.rows, self.batches, self.batchRows) = (rows, batches, batchRows)
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "bench")
    for device in 1...UInt32(devices) {
      // The database numbers them as their names are ordered.
      builder.addDevice(device, tenant: 1, subject: 0, externalID: "device-\(1_000_000 + device)", revoked: false)
    }
    names = RegistrySnapshot(builder, generation: 1)
  }

  /// Stores all of it as a gateway does that has just started.
  func store(in server: PostgresServer) throws(PostgresError) {
    var sink = try PostgresSink(PostgresSink.Options(server: server, gateway: "bench"))
    let count = UInt64(rows.count)
    var lsn = sink.cursor
    for bytes in batches {
      try sink.write(bytes.span, records: 0..<bytes.count, skip: 0, firstLSN: lsn, names: names)
      lsn = min(lsn + UInt64(CopyLoad.recordsPerBatch), count)
      if lsn % UInt64(batchRows) == 0 || lsn == count { _ = try sink.commit(nextLSN: lsn) }
    }
  }

  private static func record(_ index: Int, devices: Int) -> Record {
    var record = Record()
    record.tenant = 1
    record.device = UInt32(index % devices) + 1
    record.stream = 7
    record.transport = 1
    record.fix.sequence = UInt64(index / devices) + 1
    record.fix.fixTimeMs = 1_750_000_000_000 + Int64(index / devices) * 1_000
    record.receiveTimeMs = record.fix.fixTimeMs + 250
    record.fix.latitudeE7 = 525_200_066 + Int32(index % 10_000)
    record.fix.longitudeE7 = 134_049_540 - Int32(index % 7_000)
    record.fix.present = [.time, .position]
    let values: [(Column, Int32)] = [
      (.horizontalAccuracyDm, 45), (.speedCmPerS, 1_250), (.courseCdeg, 9_000), (.batteryPercent, 71),
    ]
    for (column, value) in values { record.fix[column] = value }
    return record
  }

  private static func row(_ record: Record) -> copy_fix {
    copy_fix(
      tenant: 1, device: Int32(record.device), stream: Int64(record.stream), sequence: Int64(record.fix.sequence),
      receive_time_ms: record.receiveTimeMs, fix_time_ms: record.fix.fixTimeMs, latitude_e7: record.fix.latitudeE7,
      longitude_e7: record.fix.longitudeE7, horizontal_accuracy_dm: Int64(record.fix.values[Column.horizontalAccuracyDm.index]),
      speed_cm_per_s: Int64(record.fix.values[Column.speedCmPerS.index]),
      course_cdeg: Int64(record.fix.values[Column.courseCdeg.index]),
      battery_percent: Int64(record.fix.values[Column.batteryPercent.index]))
  }
}
#endif
