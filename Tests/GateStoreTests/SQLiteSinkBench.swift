import Foundation
import GateCore
import GateStore
import Testing

/// Rows a second into the default sink; on when FIXGATE_BENCH is set, in a release build:
/// `FIXGATE_BENCH=1 swift test -c release --filter SQLiteSinkBench`
@Suite(.enabled(if: ProcessInfo.processInfo.environment["FIXGATE_BENCH"] != nil), .serialized)
struct SQLiteSinkBench {
  @Test(arguments: [(10, 50_000, 4_096), (10, 50_000, 8_192), (10_000, 50_000, 4_096), (10_000, 50_000, 8_192), (10_000, 200_000, 8_192)])
  func drain(devices: Int, batch: Int, pageBytes: Int) throws {
    let batches = 1_000_000 / batch
    var state: UInt64 = 1
    // Arrival order: runs of ten fixes of a random device, as batches from trackers come.
    var next = [UInt64](repeating: 1, count: devices)
    var encoded: [RecordBytes] = []
    var fixes = 0
    for _ in 0..<batches {
      var records = RecordBytes()
      while records.count < batch {
        state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
        let device = Int(state >> 33) % devices
        for _ in 0..<10 {
          let n = Int64(next[device])
          var record = Record.fix(
            device: UInt32(device + 1), stream: UInt32(truncatingIfNeeded: device &* 2_654_435_761),
            sequence: next[device], timeMs: 1_700_000_000_000 + n * 1_000, latitudeE7: 525_200_066 + Int32(n * 37),
            longitudeE7: 134_049_540 - Int32(n * 41))
          record.fix[.horizontalAccuracyDm] = 35
          record.fix[.speedCmPerS] = Int32(n % 1_500)
          record.fix[.courseCdeg] = Int32(n * 7 % 36_000)
          record.fix[.batteryPercent] = 80
          records.append(record)
          next[device] += 1
        }
      }
      fixes += records.count
      encoded.append(records)
    }
    let directory = try TemporaryDirectory()
    var options = SQLiteSink.Options()
    options.pageBytes = pageBytes
    var sink = try SQLiteSink(path: directory.file("fixes.db"), options: options)
    let cpu = clock()
    let start = ContinuousClock.now
    var lsn: UInt64 = 0
    for (i, records) in encoded.enumerated() {
      try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: lsn, names: .empty)
      lsn += UInt64(records.count)
      let counts = try sink.commit(nextLSN: lsn)
      #expect(counts.stored == records.count)
      if (i + 1) * batch % 500_000 < batch { try sink.makeDurable() }
    }
    let wall = start.duration(to: .now) / .seconds(1)
    let cores = Double(clock() - cpu) / Double(CLOCKS_PER_SEC)
    let size = try FileManager.default.attributesOfItem(atPath: directory.file("fixes.db"))[.size] as? Int ?? 0
    print(
      "sqlite sink: \(devices) devices, batches of \(batch), page \(pageBytes), \(Int(Double(fixes) / wall)) rows/s wall,",
      "\(Int(Double(fixes) / cores)) rows/s and core, \(size / fixes) B a row")
  }
}
