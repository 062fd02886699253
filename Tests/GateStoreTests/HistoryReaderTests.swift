import GateCore
import GateStore
import Testing

@Suite struct HistoryReaderTests {
  private let directory: TemporaryDirectory
  private var path: String { directory.file("fixes.db") }

  init() throws {
    directory = try TemporaryDirectory()
    var records = RecordBytes()
    for sequence in [3, 1, 2] as [UInt64] {
      var record = Record.fix(device: 1, sequence: sequence, timeMs: Int64(sequence) * 1_000)
      record.fix[.speedCmPerS] = Int32(sequence)
      records.append(record)
    }
    // Recorded last but older: order is by fix time.
    records.append(.fix(device: 1, stream: 1, sequence: 9, timeMs: 500, latitudeE7: -1))
    var foreign = Record.fix(device: 3, sequence: 1, timeMs: 1_000, latitudeE7: 99)
    foreign.tenant = 2
    records.append(foreign)
    records.append(.fix(device: 2, sequence: 1, timeMs: 1_000))
    var sink = try SQLiteSink(path: path)
    try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: 0, names: sampleRegistry())
    _ = try sink.commit(nextLSN: UInt64(records.count))
  }

  private func read(
    _ tenant: String, _ device: String, _ range: ClosedRange<Int64> = .min ... .max
  ) throws -> [TrackPoint] {
    let reader = try HistoryReader(path: path)
    var points: [TrackPoint] = []
    try reader.read(tenant: tenant, device: device, range: range) {
      points.append($0)
      return true
    }
    return points
  }

  @Test func rowsComeByFixTime() throws {
    let points = try read("demo", "van-1")
    #expect(points.map(\.timeMs) == [500, 1_000, 2_000, 3_000])
    #expect(points.map { $0[.speedCmPerS] } == [nil, 1, 2, 3])
    #expect(points[0].position == .init(latitudeE7: -1, longitudeE7: 134_049_540))
    #expect(try read("demo", "van-1", 1_000...2_000).map(\.sequence) == [1, 2])
  }

  @Test func theSameNameInTwoTenantsIsTwoDevices() throws {
    #expect(try read("other", "van-1").map(\.position?.latitudeE7) == [99])
    #expect(throws: HistoryError.unknownDevice(tenant: "other", id: "van-2", nearest: ["van-1"])) { try read("other", "van-2") }
    #expect(throws: HistoryError.unknownTenant("Demo", nearest: ["demo"])) { try read("Demo", "van-1") }
  }

  @Test func theReaderMayStop() throws {
    let reader = try HistoryReader(path: path)
    var seen = 0
    try reader.read(tenant: "demo", device: "van-1") { _ in
      seen += 1
      return seen < 2
    }
    #expect(seen == 2)
  }

  @Test func storedRowsBecomeATrack() throws {
    let csv = write(try read("demo", "van-1"), as: .csv).split(separator: "\n")
    #expect(csv.count == 5)
    #expect(csv[2].hasPrefix("1970-01-01T00:00:01.000Z,52.5200066,13.4049540,,0.01,"))
  }
}
