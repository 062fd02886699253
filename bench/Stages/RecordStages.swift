import BenchHarness
import BenchReport
import CRivals
import Foundation
import GateCore

/// A fix as a journal record, and the checksum over a batch of them.
enum RecordStages {
  static func make(_ setting: Stage.Setting) -> [Stage] {
    let records = Rides.records(Rides.fixes(6_000), devices: 100)
    let encoded = Rides.encoded(records)
    let repeats = max(1, 10 / setting.shrink)
    var out = [UInt8](repeating: 0, count: encoded.count)
    let write = Contest.Entry("fixgate") {
      for _ in 0..<repeats { Rides.write(records, into: &out) }
      return UInt64(out[out.count - 80])
    }
    var copied = [UInt8](repeating: 0, count: encoded.count)
    let copy = Contest.Entry("memcpy of the bytes") {
      for _ in 0..<repeats { unsafe memcpy(&copied, encoded, encoded.count) }
      return UInt64(copied[copied.count - 80])
    }
    let bytes = Double(encoded.count) / Double(records.count)
    return [
      Stage("record", item: "fix", items: records.count * repeats, bytesWritten: bytes, [write, copy]),
      checksum(setting),
    ]
  }

  private static func checksum(_ setting: Stage.Setting) -> Stage {
    let bytes = Array(Rides.encoded(Rides.records(Rides.fixes(900), devices: 100)).prefix(65_536))
    let repeats = max(1, 64 / setting.shrink)
    func entry(_ name: String, _ sum: @escaping () -> UInt32) -> Contest.Entry {
      Contest.Entry(name, outcome: { UInt64(sum()) }) {
        var all: UInt64 = 0
        for _ in 0..<repeats { all &+= UInt64(sum()) }
        return all
      }
    }
    var copied = [UInt8](repeating: 0, count: bytes.count)
    return Stage(
      "CRC32C", item: "KiB", items: bytes.count / 1_024 * repeats,
      [
        entry("fixgate") { CRC32C.of(bytes.span, in: 0..<bytes.count) },
        entry("C, the CPU's instruction") { unsafe rival_crc32c(bytes, bytes.count) },
        entry("C, one table") { unsafe rival_crc32c_table(bytes, bytes.count) },
        Contest.Entry("memcpy") {
          for _ in 0..<repeats { unsafe memcpy(&copied, bytes, bytes.count) }
          return UInt64(copied[1])
        },
      ])
  }
}
