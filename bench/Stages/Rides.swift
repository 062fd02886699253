import BenchHarness
import GateCore

/// The bytes that stages work on: made-up rides of fixed seeds.
enum Rides {
  /// With all of the usual columns, from couriers of 300 fixes each; about `count`.
  static func fixes(_ count: Int) -> [Fix] {
    (0..<max(1, count / 300)).flatMap { seed in
      FixModel.fixes(
        .courier(seed: UInt64(seed), points: 300), firstSequence: 100_000 + UInt64(seed) * 300, full: true,
        seed: UInt64(seed))
    }
  }

  /// As `Intake` makes them, of devices that take turns.
  static func records(_ fixes: [Fix], devices: Int) -> [Record] {
    var next = [UInt64](repeating: 1, count: devices)
    return fixes.enumerated().map { i, fix in
      let device = i % devices
      var record = Record()
      (record.tenant, record.device, record.subject, record.stream) = (1, UInt32(device + 1), UInt32(device + 1), 7)
      record.transport = 1
      record.receiveTimeMs = fix.fixTimeMs + 500
      record.fix = fix
      record.fix.sequence = next[device]
      next[device] += 1
      return record
    }
  }

  /// The records behind each other.
  static func encoded(_ records: [Record]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: records.reduce(0) { $0 + $1.encodedBytes })
    write(records, into: &bytes)
    return bytes
  }

  static func write(_ records: [Record], into bytes: inout [UInt8]) {
    let none: [UInt8] = []
    var out = bytes.mutableSpan
    var at = 0
    for record in records { at = record.write(into: &out, at: at, from: none.span) }
  }
}
