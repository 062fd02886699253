import GateCore
import GateStore
import Testing

@Suite struct SettledReaderTests {
  @Test func runsComeByStreamAndSequence() throws {
    let directory = try TemporaryDirectory()
    let path = directory.file("fixes.db")
    var records = RecordBytes()
    func other(_ kind: RecordKind, _ code: UInt16, device: UInt32 = 1, stream: UInt32 = 7, _ sequences: ClosedRange<UInt64>) {
      for sequence in sequences {
        var record = Record.fix(device: device, stream: stream, sequence: sequence, timeMs: 1_000, kind: kind)
        record.code = code
        records.append(record)
      }
    }
    func gap(_ first: UInt64, _ count: Int64, reason: UInt16) {
      var record = Record.fix(sequence: first, timeMs: count, kind: .gap)
      record.code = reason
      record.fix.present = []
      record.receiveTimeMs = 9
      records.append(record)
    }
    for sequence in [1, 2, 6] as [UInt64] { records.append(.fix(sequence: sequence, timeMs: 1_000)) }
    records.append(.fix(stream: 3, sequence: 1, timeMs: 1_000))
    gap(4, 5, reason: 1)
    other(.held, 42, 10...12)
    other(.held, 44, 13...13)
    other(.held, 42, 14...14)
    other(.refused, 61, stream: 3, 2...3)
    other(.held, 42, device: 2, 1...9)
    var sink = try SQLiteSink(path: path)
    try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: 0, names: sampleRegistry())
    _ = try sink.commit(nextLSN: UInt64(records.count))

    let reader = try SettledReader(path: path)
    #expect(try reader.stored(device: 1) == [7: 3, 3: 1] && reader.stored(device: 5).isEmpty)
    func run(
      _ stream: UInt32, _ first: UInt64, _ count: UInt64, _ reason: SettledRun.Reason, at ms: Int64 = 1_250, stored: UInt64 = 0
    ) -> SettledRun {
      SettledRun(stream: stream, first: first, count: count, reason: reason, receiveTimeMs: ms, stored: stored)
    }
    #expect(
      try reader.runs(device: 1) == [
        run(3, 2, 2, .refused(61)), run(7, 4, 5, .gap(1), at: 9, stored: 1), run(7, 10, 3, .held(42)),
        run(7, 13, 1, .held(44)), run(7, 14, 1, .held(42)),
      ])
    #expect(try reader.runs(device: 5).isEmpty)
  }
}
