import GateCore
import Testing
import WireVectors

@Suite struct StoredBatchTests {
  /// Records as the journal has them, of a few devices of one tenant.
  private static func records(_ seed: UInt64) -> (records: [Record], source: [UInt8]) {
    var fixes = RandomFixes(seed: seed)
    let run = fixes.run(40)
    var source = fixes.source
    var random = SeededRandom(seed: seed)
    var records: [Record] = []
    for fix in run {
      var record = Record()
      record.fix = fix
      record.kind = [.fix, .fix, .held, .refused, .gap].randomElement(using: &random)!
      record.code = .random(in: 0...100, using: &random)
      record.tenant = 4
      record.device = .random(in: 11...13, using: &random)
      record.subject = .random(in: 0...2, using: &random)
      record.stream = .random(in: .min ... .max, using: &random)
      record.policyVersion = .random(in: 0...2, using: &random)
      record.lane = .random(in: 0...2, using: &random)
      record.transport = .random(in: 1...2, using: &random)
      record.gridM = .random(in: 0...1 as ClosedRange<UInt16>, using: &random) * 500
      record.receiveTimeMs = .random(in: 0 ... .max, using: &random)
      if random.next() % 4 == 0 {
        let work: [UInt8] = [0xF2, 0x01, 4, 0x12, 2, 0x54, 0x31]
        record.fix.work = Region(offset: UInt32(source.count), length: UInt32(work.count))
        source += work
      }
      record.originalCount = .random(in: 0...Limits.originalsPerFixMax, using: &random)
      for i in 0..<record.originalCount {
        record.originals[i] = Original(field: UInt32(i + 2), value: .random(in: .min ... .max, using: &random))
      }
      if record.kind == .gap || record.kind == .refused {
        record.fix = Fix()
        record.fix.sequence = fix.sequence
        if record.kind == .gap { record.fix.fixTimeMs = .random(in: 1...1_000, using: &random) }
      }
      records.append(record)
    }
    return (records, source)
  }

  private static func encoded(_ record: Record, from source: Span<UInt8>) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: record.encodedBytes)
    var out = bytes.mutableSpan
    _ = record.write(into: &out, at: 0, from: source)
    return bytes
  }

  private static func message(_ records: [Record], _ source: Span<UInt8>) -> [UInt8] {
    var writer = StoredBatchWriter(gateway: "aa", tenant: "demo")
    for (index, record) in records.enumerated() {
      let canWrite = StoredBatchWriter.canWrite(record, from: source)
      #expect(canWrite)
      writer.append(
        record, lsn: 100 + UInt64(index) * 2, device: "van-\(record.device)",
        subject: record.subject == 0 ? "" : "anna-\(record.subject)", from: source)
    }
    return writer.finish()
  }

  /// Values that are not there have no meaning, so they are not carried.
  private static func withoutTheAbsent(_ record: Record) -> Record {
    var record = record
    if record.kind == .gap { return record }
    if !record.fix.present.contains(.time) { record.fix.fixTimeMs = 0 }
    if !record.fix.present.contains(.monotonic) { record.fix.monotonicMs = 0 }
    if !record.fix.present.contains(.position) { (record.fix.latitudeE7, record.fix.longitudeE7) = (0, 0) }
    return record
  }

  @Test(arguments: Array(UInt64(1)...60)) func readsBackWhatItWrote(seed: UInt64) throws {
    let (records, source) = Self.records(seed)
    let bytes = Self.message(records, source.span)
    let batch = try StoredBatch(decoding: bytes.span)
    #expect(batch.gateway == "aa" && batch.tenant == "demo" && batch.records.count == records.count)
    #expect(batch.firstLSN == 100 && batch.lastLSN == 100 + UInt64(records.count - 1) * 2)
    #expect(Set(batch.devices).count == batch.devices.count && batch.devices.count <= 3)
    for (index, record) in records.enumerated() {
      let named = try batch.record(index, of: bytes.span)
      #expect(named.device == "van-\(record.device)")
      #expect(named.subject == (record.subject == 0 ? nil : "anna-\(record.subject)"))
      var read = named.record
      (read.tenant, read.device, read.subject) = (record.tenant, record.device, record.subject)
      let (back, wanted) = (Self.encoded(read, from: bytes.span), Self.encoded(Self.withoutTheAbsent(record), from: source.span))
      #expect(back == wanted, "\(record.kind) \(index)")
    }
  }

  /// Every message of a stream is somebody's: none may bring a reader down, or make a record beyond the bounds.
  @Test(arguments: Array(UInt64(1)...300)) func damagedMessagesAreReadOrRefused(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let (records, source) = Self.records(seed)
    var bytes = Self.message(records, source.span)
    for _ in 0...Int.random(in: 0...8, using: &random) {
      let at = Int.random(in: bytes.indices, using: &random)
      switch random.next() % 3 {
      case 0: bytes[at] = .random(in: 0...255, using: &random)
      case 1: bytes.remove(at: at)
      default: bytes.insert(.random(in: 0...255, using: &random), at: at)
      }
    }
    guard let batch = try? StoredBatch(decoding: bytes.span) else { return }
    for index in batch.records.indices {
      guard let named = try? batch.record(index, of: bytes.span) else { continue }
      let encoded = Self.encoded(named.record, from: bytes.span)
      #expect(encoded.count <= Limits.recordBytesMax)
    }
  }

  @Test func whatIsNotTextIsNotWritten() {
    for bad in [[0xF2, 0x01, 4, 0x12, 2, 0xC3, 0x28], [0xF2, 0x01, 9, 0x12], [0xFF]] as [[UInt8]] {
      var record = Record()
      record.fix.work = Region(offset: 0, length: UInt32(bad.count))
      let canWrite = StoredBatchWriter.canWrite(record, from: bad.span)
      #expect(!canWrite)
    }
  }

  @Test func asidesAndCursors() throws {
    let asides = [
      StoredAside(lsn: 7, count: 1, reason: "unreadable", record: [1, 2, 3]),
      StoredAside(lsn: 9, count: 40, reason: "lost by the journal", record: nil),
    ]
    let batch = try StoredBatch(decoding: StoredBatchWriter.asides(gateway: "aa", asides).span)
    #expect(batch.asides == asides && batch.gateway == "aa" && batch.records.isEmpty && batch.nextLSN == nil)
    let cursor = try StoredBatch(decoding: StoredBatchWriter.cursor(gateway: "bb", nextLSN: 1 << 40).span)
    #expect(cursor.nextLSN == 1 << 40 && cursor.gateway == "bb")
  }
}
