import BenchHarness
import GateCore

/// The sequences of many streams, a tenth of them out of order and a tenth twice, taken once each.
enum DedupeStage {
  static func make(_ setting: Stage.Setting) -> [Stage] {
    let streams = 1_000
    let length = 120 / min(setting.shrink, 2)
    var random = SplitMix(seed: 5)
    var events: [(stream: Int, sequence: UInt64)] = []
    for sequence in 1...UInt64(length) {
      for stream in 0..<streams { events.append((stream, sequence)) }
    }
    for _ in 0..<events.count / 10 {
      let at = Int.random(in: 0..<events.count - streams, using: &random)
      events.swapAt(at, at + Int.random(in: 1..<streams, using: &random) / 2)
      events.append(events[at])
    }
    let ours = Contest.Entry("fixgate") {
      var ranges = [SequenceRanges](repeating: SequenceRanges(), count: streams)
      var fresh: UInt64 = 0
      for event in events where ranges[event.stream].insert(event.sequence) == .new { fresh += 1 }
      precondition(fresh == UInt64(streams * length))
      return fresh
    }
    let sets = Contest.Entry("Set<UInt64>") {
      var seen = [Set<UInt64>](repeating: [], count: streams)
      var fresh: UInt64 = 0
      for event in events where seen[event.stream].insert(event.sequence).inserted { fresh += 1 }
      precondition(fresh == UInt64(streams * length))
      return fresh
    }
    return [Stage("dedupe, \(streams) streams", item: "fix", items: events.count, [ours, sets])]
  }
}
