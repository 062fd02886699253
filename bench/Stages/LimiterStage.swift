import BenchHarness
import BenchReport
import CRivals
import GateCore
import GateMemory

/// One fix each charged to devices in random order: so many that every word is a miss of the caches, and so few that none is.
enum LimiterStage {
  static func make(_ setting: Stage.Setting) -> [Stage] {
    [stage(devices: 1_000_000 / setting.shrink), stage(devices: 1_000)]
  }

  private static func stage(devices: Int) -> Stage {
    let rule = GCRA(perSecond: 1_000_000, burst: 1_000_000)
    let table = LimiterTable(settings: LimiterTable.Settings(lanes: [rule, rule, rule]), devices: devices, tenants: 1)
    let words = Words(3 * (devices + 1))
    var random = SplitMix(seed: 3)
    let order = (1...UInt32(devices)).shuffled(using: &random)
    let indexes = order.map { $0 * 3 }
    // Every run charges the same; the clock moves on so that all is granted.
    var ours: UInt64 = 1_000_000_000
    var theirs: UInt64 = 1_000_000_000
    let entries = [
      Contest.Entry("fixgate") {
        ours += 1_000_000_000
        let now = Instant(ns: ours)
        var granted: UInt64 = 0
        for device in order {
          if case .granted = table.charge(device: device, tenant: 1, lane: 0, units: 1, at: now) { granted += 1 }
        }
        precondition(granted == UInt64(devices))
        return granted
      },
      Contest.Entry("C") {
        theirs += 1_000_000_000
        let granted = unsafe rival_charge(words.start, indexes, indexes.count, rule.intervalNs, rule.burstNs, theirs)
        precondition(granted == devices)
        return UInt64(granted)
      },
    ]
    return Stage(
      "limiter, \(devices) devices in random order", item: "fix", items: devices, bytesWritten: 8,
      targets: [.speed(of: "C", least: 1 / 1.1)], entries)
  }

  @safe private final class Words {
    let start: OpaquePointer
    init(_ count: Int) { unsafe start = unsafe rival_words(count) }
    deinit { unsafe rival_words_free(start) }
  }
}
