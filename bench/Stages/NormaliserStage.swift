import BenchHarness
import GateCore

/// The stateless rules over records of fixes that nothing is wrong with, as most are.
enum NormaliserStage {
  static func make(_ setting: Stage.Setting) -> [Stage] {
    let records = Rides.records(Rides.fixes(6_000), devices: 100)
    let normaliser = Normaliser(NormalisingRules())
    let repeats = max(1, 10 / setting.shrink)
    let wallMs = (records.map(\.receiveTimeMs).max() ?? 0) + 1_000
    let ours = Contest.Entry("fixgate") {
      var sum: UInt64 = 0
      for _ in 0..<repeats {
        for i in records.indices {
          var record = records[i]
          normaliser.normalise(&record, at: wallMs)
          sum &+= UInt64(record.code) &+ record.fix.sequence
        }
      }
      return sum
    }
    let copy = Contest.Entry("copy of the record") {
      var sum: UInt64 = 0
      for _ in 0..<repeats {
        for i in records.indices {
          var record = records[i]
          touch(&record)
          sum &+= record.fix.sequence
        }
      }
      return sum
    }
    return [Stage("normaliser", item: "fix", items: records.count * repeats, [ours, copy])]
  }

  @inline(never) private static func touch(_ record: inout Record) { record.code &+= 1 }
}
