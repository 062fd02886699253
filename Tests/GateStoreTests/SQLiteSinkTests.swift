import Foundation
import GateCore
import GateStore
import Testing

@Suite struct SQLiteSinkTests {
  private let directory: TemporaryDirectory
  private var path: String { directory.file("fixes.db") }

  init() throws { directory = try TemporaryDirectory() }

  /// Ten fixes each of devices 1 to 3, interleaved, newest first.
  private func sample() -> RecordBytes {
    var records = RecordBytes()
    for sequence in (1...10).reversed() {
      for device in 1...3 {
        records.append(
          .fix(device: UInt32(device), sequence: UInt64(sequence), timeMs: 1_700_000_000_000 + Int64(sequence) * 1_000))
      }
    }
    return records
  }

  @discardableResult
  private func write(
    _ records: RecordBytes, to sink: inout SQLiteSink, from lsn: UInt64 = 0, skip: Int = 0
  ) throws -> SinkCounts {
    try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: skip, firstLSN: lsn, names: sampleRegistry())
    return try sink.commit(nextLSN: lsn + UInt64(records.count))
  }

  @Test func everyFixIsOneRowHoweverOftenItComes() throws {
    var sink = try SQLiteSink(path: path)
    #expect(sink.cursor == 0 && sink.durableCursor == 0)
    #expect(try write(sample(), to: &sink) == counts(stored: 30))
    #expect(sink.cursor == 30)
    // The same fixes under new LSNs: sent twice, or the cursor was lost with the power.
    #expect(try write(sample(), to: &sink, from: 30) == counts(alreadyStored: 30))
    // The same LSNs: read once more.
    #expect(try write(sample(), to: &sink, from: 30) == counts())
    #expect(sink.totals == counts(stored: 30, alreadyStored: 30))
    #expect(try rows(path, "SELECT count(*), count(DISTINCT device) FROM fix") == [["30", "3"]])
    #expect(sink.durableCursor == 0)
    try sink.makeDurable()
    #expect(sink.durableCursor == 60)
  }

  private func counts(
    stored: Int = 0, alreadyStored: Int = 0, held: Int = 0, refused: Int = 0, gaps: Int = 0, setAside: Int = 0
  ) -> SinkCounts {
    var counts = SinkCounts()
    counts.stored = stored
    counts.alreadyStored = alreadyStored
    counts.held = held
    counts.refused = refused
    counts.gaps = gaps
    counts.setAside = setAside
    return counts
  }

  @Test func whatWasNotCommittedIsReadAgain() throws {
    let records = sample()
    do {
      var sink = try SQLiteSink(path: path)
      try write(records, to: &sink)
      try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: 30, names: .empty)
    }
    var sink = try SQLiteSink(path: path)
    #expect(sink.cursor == 30)
    #expect(sink.durableCursor == 0)
    #expect(sink.totals.stored == 30)
    try sink.makeDurable()
    #expect(sink.durableCursor == 30)
    // A batch that begins below the cursor: only what lies above is taken, told by LSN or by skip.
    #expect(try write(records, to: &sink, from: 25, skip: 5) == counts(alreadyStored: 25))
    #expect(try write(records, to: &sink, from: 40) == counts(alreadyStored: 15))
    #expect(sink.cursor == 70)
  }

  @Test func everyColumnLandsUnderItsName() throws {
    var records = RecordBytes()
    var record = Record.fix(sequence: 1 << 62, timeMs: 1_700_000_000_123)
    record.stream = .max
    record.subject = 1
    record.policyVersion = 3
    record.lane = 2
    record.code = Verdict.longitudeWrapped.rawValue
    for column in Column.allCases { record.fix[column] = Int32(100 + column.index) }
    record.fix[.odometerM] = -1
    record.fix[.altitudeMslDm] = -4_300
    record.fix.present.insert(.monotonic)
    record.fix.monotonicMs = .max
    record.originals[0] = Original(field: 4, value: -3_600_000_000)
    record.originals[1] = Original(field: 6, value: 12)
    record.originalCount = 2
    var attributes: [UInt8] = []
    func attribute(_ id: UInt64, _ write: (inout [UInt8]) -> Void) {
      var body: [UInt8] = []
      WireWriter.field(1, id, into: &body)
      write(&body)
      WireWriter.header(31, bytes: body.count, into: &attributes)
      attributes += body
    }
    attribute(7) { WireWriter.field(2, 3, into: &$0) }
    attribute(65_536) { $0 += [3 << 3 | 1, 0, 0, 0, 0, 0, 0, 0xf8, 0x3f] }
    attribute(8) { $0 += [4 << 3 | 2, 3, UInt8(ascii: "a"), 0x22, 0x0a] }
    attribute(9) { $0 += [5 << 3 | 2, 2, 0xde, 0x0f] }
    let work: [UInt8] = [0xf2, 0x01, 6, 2 << 3 | 2, 1, 0x74, 3 << 3 | 2, 1, 0x73]
    records.append(record, attributes: attributes, work: work)
    // A row without any of it, of another shape.
    records.append(.fix(sequence: 2, timeMs: 1_700_000_001_000))
    var sink = try SQLiteSink(path: path)
    #expect(try write(records, to: &sink) == counts(stored: 2))

    let all = try rows(path, "SELECT horizontal_accuracy_dm, signal_dbm, odometer_m, altitude_msl_dm, stream, sequence, lane, verdict, subject, policy_version, monotonic_ms, transport, latitude_e7, longitude_e7, fix_time_ms, receive_time_ms FROM fix ORDER BY sequence DESC")
    #expect(
      all[0] == [
        "100", "123", "4294967295", "-4300", "4294967295", "4611686018427387904", "2", "1", "1", "3",
        "9223372036854775807", "1", "525200066", "134049540", "1700000000123", "1700000000373",
      ])
    #expect(all[1][0] == "" && all[1][8] == "" && all[1][10] == "")
    let text = try rows(path, "SELECT originals, attributes, task, stop, work_subject FROM fix ORDER BY sequence DESC")
    #expect(text[0][0] == #"{"longitude_e7":-3600000000,"speed_cm_per_s":12}"#)
    #expect(text[0][1] == #"{"7":-2,"65536":1.5,"8":"a\"\u000a","9":"de0f"}"#)
    #expect(Array(text[0][2...]) == ["t", "s", ""])
    #expect(text[1] == ["", "", "", "", ""])
    #expect(try rows(path, "SELECT count(*) FROM fix WHERE json_valid(originals) AND json_valid(attributes)") == [["1"]])
    let track = try rows(path, "SELECT tenant, device, subject, time, latitude, longitude, accuracy_m FROM track ORDER BY sequence DESC")
    #expect(track[0] == ["demo", "van-1", "anna", "2023-11-14T22:13:20.123Z", "52.5200066", "13.404954", "10.0"])
  }

  @Test func heldRefusedAndGapsHaveTheirTables() throws {
    var records = RecordBytes()
    for (i, kind) in [RecordKind.held, .refused, .gap, .fix].enumerated() {
      var record = Record.fix(sequence: UInt64(i + 1), timeMs: 1_700_000_000_000, kind: kind)
      record.code = kind == .held ? Verdict.future.rawValue : kind == .gap ? 1 : 0
      if kind == .gap { record.fix.fixTimeMs = 40 }
      records.append(record)
    }
    var sink = try SQLiteSink(path: path)
    #expect(try write(records, to: &sink) == counts(stored: 1, held: 1, refused: 1, gaps: 1))
    #expect(try write(records, to: &sink, from: 4) == counts(alreadyStored: 4))
    #expect(try rows(path, "SELECT sequence, code, length(record) FROM quarantine") == [["1", "42", "72"]])
    #expect(try rows(path, "SELECT sequence FROM refused") == [["2"]])
    #expect(try rows(path, "SELECT first, count, reason FROM gap") == [["3", "40", "1"]])
  }

  @Test func latestIsTheNewestByFixTime() throws {
    var sink = try SQLiteSink(path: path)
    try write(sample(), to: &sink)
    var records = RecordBytes()
    // Device 1: backlog; device 2: a held fix from the future; device 3: an event without position, then a newer fix.
    records.append(.fix(device: 1, sequence: 11, timeMs: 1_600_000_000_000, latitudeE7: 1))
    records.append(.fix(device: 2, sequence: 11, timeMs: 1_900_000_000_000, latitudeE7: 2, kind: .held))
    var event = Record.fix(device: 3, sequence: 11, timeMs: 1_700_000_100_000)
    event.fix.present = [.time]
    event.fix[.event] = 1
    records.append(event)
    try write(records, to: &sink, from: 30)
    let before = try rows(path, "SELECT device, fix_time_ms, sequence FROM latest ORDER BY device")
    #expect(before == (1...3).map { ["\($0)", "1700000010000", "10"] })
    var newer = RecordBytes()
    newer.append(.fix(device: 3, stream: 6, sequence: 1, timeMs: 1_700_000_200_000, latitudeE7: 3))
    try write(newer, to: &sink, from: 33)
    #expect(try rows(path, "SELECT stream, latitude_e7 FROM latest WHERE device = 3") == [["6", "3"]])
  }

  @Test func poisonGoesAsideAndHoldsNothingUp() throws {
    var records = RecordBytes()
    records.append(.fix(sequence: 1, timeMs: 1))
    var beyond = Record.fix(sequence: 2, timeMs: 2)
    beyond.fix.sequence = .max
    records.append(beyond)
    records.append(.fix(sequence: 3, timeMs: 3), attributes: [0xfa, 0x01, 0x05, 0x08])
    records.append(.fix(sequence: 4, timeMs: 4))
    var sink = try SQLiteSink(path: path)
    #expect(try write(records, to: &sink) == counts(stored: 2, setAside: 2))
    #expect(
      try rows(path, "SELECT lsn, count, reason, length(record) FROM set_aside") == [
        ["1", "1", "sequence above 2^62", "72"], ["2", "1", "attributes or work unreadable", "80"],
      ])

    // A batch that breaks off: five records, the third cannot be read. Then a hole of ten.
    var broken = RecordBytes()
    for sequence in 5...9 { broken.append(.fix(sequence: UInt64(sequence), timeMs: Int64(sequence))) }
    broken.bytes[2 * 72 + 4] = 99
    let length = broken.bytes.count
    try sink.write(broken.bytes.span, records: 0..<length, skip: 0, firstLSN: 4, names: .empty)
    var after = RecordBytes()
    after.append(.fix(sequence: 10, timeMs: 10))
    try sink.write(after.bytes.span, records: 0..<after.bytes.count, skip: 0, firstLSN: 9, names: .empty)
    #expect(try sink.commit(nextLSN: 10) == counts(stored: 3, setAside: 3))
    try sink.write(after.bytes.span, records: 0..<after.bytes.count, skip: 0, firstLSN: 20, names: .empty)
    #expect(try sink.commit(nextLSN: 21) == counts(alreadyStored: 1, setAside: 10))
    #expect(
      try rows(path, "SELECT lsn, count, reason FROM set_aside WHERE lsn > 3") == [
        ["6", "3", "unreadable"], ["10", "10", "lost by the journal"],
      ])
    // Each LSN is one record, and each record is counted once.
    let totals = sink.totals
    #expect(totals.stored + totals.alreadyStored + totals.setAside == 21)
  }

  @Test func fullDiskWritesNothingAndLosesNothing() throws {
    var sink = try SQLiteSink(path: path)
    var records = RecordBytes()
    for sequence in 1...5_000 { records.append(.fix(sequence: UInt64(sequence), timeMs: Int64(sequence))) }
    try sink.limit(pages: 40)
    try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: 0, names: sampleRegistry())
    for _ in 0..<2 {
      #expect(throws: StoreError.full(code: 13)) { try sink.commit(nextLSN: 5_000) }
      #expect(sink.cursor == 0)
      #expect(try rows(path, "SELECT count(*) FROM fix") == [["0"]])
      #expect(try rows(path, "SELECT count(*) FROM device") == [["0"]])
    }
    try sink.limit(pages: 1_000_000)
    #expect(try sink.commit(nextLSN: 5_000) == counts(stored: 5_000))
    #expect(try rows(path, "SELECT count(*) FROM fix") == [["5000"]])
    #expect(try rows(path, "SELECT id FROM device") == [["van-1"]])
  }

  @Test func aLockedFileIsTriedAgain() throws {
    var options = SQLiteSink.Options()
    options.busyMs = 0
    var sink = try SQLiteSink(path: path, options: options)
    let holder = try SQLiteConnection(path: path, access: .readWrite)
    try holder.begin()
    #expect(throws: StoreError.locked(code: 5)) { try write(sample(), to: &sink) }
    try holder.commit()
    #expect(try sink.commit(nextLSN: 30) == counts(stored: 30))
  }

  @Test func readersSeeWholeCommitsAndHoldUpNobody() throws {
    var sink = try SQLiteSink(path: path)
    try write(sample(), to: &sink)
    let reader = try SQLiteConnection(path: path, access: .readOnly)
    try reader.execute("BEGIN")
    #expect(try reader.integer("SELECT count(*) FROM fix") == 30)
    var more = RecordBytes()
    for sequence in 11...20 { more.append(.fix(sequence: UInt64(sequence), timeMs: Int64(sequence))) }
    try write(more, to: &sink, from: 30)
    // The reader pins the log; the cursor becomes durable all the same.
    try sink.makeDurable()
    #expect(sink.durableCursor == 40)
    #expect(try reader.integer("SELECT count(*) FROM fix") == 30)
    try reader.execute("COMMIT")
    #expect(try reader.integer("SELECT count(*) FROM fix") == 40)
  }

  /// A write that fails is not a sync that fails: with room again everything becomes durable, without a restart.
  @Test func aDiskWithoutRoomIsForgiven() async {
    await #expect(processExitsWith: .success) {
      signal(SIGXFSZ, SIG_IGN)
      let directory = try TemporaryDirectory()
      var sink = try SQLiteSink(path: directory.file("fixes.db"))
      var records = RecordBytes()
      for sequence in 1...9 { records.append(.fix(sequence: UInt64(sequence), timeMs: 10_000)) }
      try sink.write(records.bytes.span, records: 0..<records.bytes.count, skip: 0, firstLSN: 0, names: sampleRegistry())
      _ = try sink.commit(nextLSN: 9)
      try limitFiles(toBytes: 4_096)
      guard (try? sink.makeDurable()) == nil, sink.durableCursor == 0 else { exit(1) }
      try limitFiles(toBytes: .max)
      try sink.makeDurable()
      exit(sink.durableCursor == 9 ? EXIT_SUCCESS : 2)
    }
  }

  @Test func quarantineIsBounded() throws {
    var options = SQLiteSink.Options()
    options.quarantineRowsMax = 5
    options.quarantineMs = 1_000
    var sink = try SQLiteSink(path: path, options: options)
    var records = RecordBytes()
    for sequence in 1...9 { records.append(.fix(sequence: UInt64(sequence), timeMs: 10_000, kind: .held)) }
    #expect(try write(records, to: &sink).held == 9)
    #expect(try rows(path, "SELECT sequence FROM quarantine") == [["5"], ["6"], ["7"], ["8"], ["9"]])
    var later = RecordBytes()
    later.append(.fix(sequence: 10, timeMs: 11_001))
    try write(later, to: &sink, from: 9)
    #expect(try rows(path, "SELECT count(*) FROM quarantine") == [["0"]])
  }

  @Test func shapesBeyondTheCacheAreStoredAlike() throws {
    var records = RecordBytes()
    for i in 0..<200 {
      var record = Record.fix(sequence: UInt64(i + 1), timeMs: Int64(i))
      for bit in 0..<8 where i >> bit & 1 == 1 { record.fix[Column.allCases[bit]] = Int32(i) }
      records.append(record, work: i % 3 == 0 ? [0xf2, 0x01, 3, 2 << 3 | 2, 1, 0x74] : [])
    }
    var sink = try SQLiteSink(path: path)
    #expect(try write(records, to: &sink) == counts(stored: 200))
    let names = "horizontal_accuracy_dm, speed_cm_per_s, course_cdeg, battery_percent, altitude_ellipsoid_dm, altitude_msl_dm, vertical_accuracy_dm, speed_accuracy_cm_per_s"
    for (i, row) in try rows(path, "SELECT task, \(names) FROM fix ORDER BY sequence").enumerated() {
      #expect(row == [i % 3 == 0 ? "t" : ""] + (0..<8).map { i >> $0 & 1 == 1 ? "\(i)" : "" })
    }
  }
}

/// Files of this process may not grow past this.
private func limitFiles(toBytes bytes: Int) throws {
  var limit = rlimit()
  guard unsafe getrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else { throw StoreError.io(code: 0) }
  limit.rlim_cur = min(rlim_t(bytes), limit.rlim_max)
  guard unsafe setrlimit(__rlimit_resource_t(RLIMIT_FSIZE.rawValue), &limit) == 0 else { throw StoreError.io(code: 0) }
}
