import GateCore
import Testing

func randomRecord(_ random: inout SeededRandom, frame: inout [UInt8]) -> Record {
  var record = Record()
  record.kind = [.fix, .held, .refused, .gap].randomElement(using: &random)!
  record.code = .random(in: 0...100, using: &random)
  record.tenant = .random(in: 0...9, using: &random)
  record.device = .random(in: 0...99, using: &random)
  record.subject = .random(in: 0...9, using: &random)
  record.stream = .random(in: .min ... .max, using: &random)
  record.policyVersion = .random(in: 0...9, using: &random)
  record.lane = .random(in: 0...2, using: &random)
  record.transport = .random(in: 1...2, using: &random)
  record.receiveTimeMs = .random(in: .min ... .max, using: &random)
  record.fix.sequence = .random(in: 1...Limits.sequenceMax, using: &random)
  record.fix.fixTimeMs = .random(in: .min ... .max, using: &random)
  record.fix.latitudeE7 = .random(in: .min ... .max, using: &random)
  record.fix.longitudeE7 = .random(in: .min ... .max, using: &random)
  record.fix.present = [.time, .position]
  if Bool.random(using: &random) {
    record.fix.present.insert(.monotonic)
    record.fix.monotonicMs = .random(in: .min ... .max, using: &random)
  }
  for column in Column.allCases where Bool.random(using: &random) {
    record.fix[column] = .random(in: .min ... .max, using: &random)
  }
  record.originalCount = .random(in: 0...Limits.originalsPerFixMax, using: &random)
  for i in 0..<record.originalCount {
    record.originals[i] = Original(field: UInt32(i), value: .random(in: .min ... .max, using: &random))
  }
  record.fix.attributes = Region(offset: UInt32(frame.count), length: .random(in: 0...40, using: &random))
  for _ in 0..<record.fix.attributes.length { frame.append(.random(in: 0...255, using: &random)) }
  record.fix.work = Region(offset: UInt32(frame.count), length: .random(in: 0...40, using: &random))
  for _ in 0..<record.fix.work.length { frame.append(.random(in: 0...255, using: &random)) }
  return record
}

@Suite struct RecordTests {
  @Test(arguments: Array(UInt64(1)...30))
  func readsBackWhatItWrote(seed: UInt64) throws {
    var random = SeededRandom(seed: seed)
    var frame: [UInt8] = []
    let record = randomRecord(&random, frame: &frame)
    var bytes = [UInt8](repeating: 0xAA, count: 4_096)
    var out = bytes.mutableSpan
    let end = record.write(into: &out, at: 16, from: frame.span)
    #expect(end == 16 + record.encodedBytes && end % 8 == 0)
    let (back, backEnd) = try Record.read(bytes.span, at: 16)
    #expect(backEnd == end)
    #expect(back.kind == record.kind && back.code == record.code && back.device == record.device)
    #expect(back.tenant == record.tenant && back.subject == record.subject && back.stream == record.stream)
    #expect(back.policyVersion == record.policyVersion && back.lane == record.lane)
    #expect(back.receiveTimeMs == record.receiveTimeMs && back.transport == record.transport)
    #expect(back.fix.sequence == record.fix.sequence && back.fix.fixTimeMs == record.fix.fixTimeMs)
    #expect(back.fix.latitudeE7 == record.fix.latitudeE7 && back.fix.longitudeE7 == record.fix.longitudeE7)
    #expect(back.fix.present == record.fix.present)
    #expect(!record.fix.present.contains(.monotonic) || back.fix.monotonicMs == record.fix.monotonicMs)
    for column in Column.allCases { #expect(back.fix[column] == record.fix[column]) }
    for i in 0..<record.originalCount { #expect(back.originals[i] == record.originals[i]) }
    #expect(Array(bytes[back.fix.attributes.range]) == Array(frame[record.fix.attributes.range]))
    #expect(Array(bytes[back.fix.work.range]) == Array(frame[record.fix.work.range]))
  }

  /// Whatever the bytes, reading ends in a record or an error and never leaves the span.
  @Test(arguments: Array(UInt64(1)...20))
  func survivesAnyBytes(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    var frame: [UInt8] = []
    let record = randomRecord(&random, frame: &frame)
    var bytes = [UInt8](repeating: 0, count: record.encodedBytes)
    var out = bytes.mutableSpan
    _ = record.write(into: &out, at: 0, from: frame.span)
    for _ in 0..<2_000 {
      var damaged = Array(bytes.prefix(Int.random(in: 0...bytes.count, using: &random)))
      if !damaged.isEmpty {
        damaged[Int.random(in: 0..<min(72, damaged.count), using: &random)] = .random(in: 0...255, using: &random)
      }
      if let (_, end) = try? Record.read(damaged.span, at: 0) { #expect(end <= damaged.count) }
    }
  }
}
