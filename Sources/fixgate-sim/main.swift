import Dispatch
import Foundation
import GateSim
import Glibc
import Synchronization

// fixgate-sim [--seeds N] [--from SEED]; FIXGATE_SEED=S runs that one.

var from: UInt64 = 1
var count: UInt64 = 1_000
var arguments = CommandLine.arguments.dropFirst()
while let name = arguments.popFirst() {
  guard let value = arguments.popFirst().flatMap({ UInt64($0) }) else {
    print("usage: fixgate-sim [--seeds N] [--from SEED]\nFIXGATE_SEED=SEED runs that one")
    exit(2)
  }
  switch name {
  case "--seeds": count = value
  case "--from": from = value
  default:
    print("fixgate-sim: unknown option \(name)")
    exit(2)
  }
}
if let seed = Seeds.fromEnvironment {
  from = seed
  count = 1
}

/// What the worlds of one lane came to.
struct Share: Sendable {
  var sum = Tally()
  var events = 0
  /// The first that broke a promise; nothing behind it has run.
  var failure: Outcome?

  /// Runs every `step`th seed.
  init(seeds: Range<UInt64>, from first: UInt64, step: UInt64) {
    for seed in stride(from: first, to: seeds.upperBound, by: Int(step)) {
      var world = World(seed: seed)
      world.tells = seeds.count == 1
      let outcome = world.run()
      sum += outcome.tally
      events += outcome.events
      if outcome.violation != nil {
        failure = outcome
        return
      }
      if seeds.count == 1 {
        print("seed \(seed): trace \(String(outcome.trace, radix: 16)), \(events) events, \(outcome.tally)")
      }
    }
  }
}

var sum = Tally()
var events = 0
let lanes = ProcessInfo.processInfo.activeProcessorCount
let end = from + count
for first in stride(from: from, to: end, by: 1_000) {
  let seeds = first..<min(first + 1_000, end)
  let shares = Mutex<[Share]>([])
  DispatchQueue.concurrentPerform(iterations: lanes) { lane in
    let share = Share(seeds: seeds, from: seeds.lowerBound + UInt64(lane), step: UInt64(lanes))
    shares.withLock { $0.append(share) }
  }
  let done = shares.withLock { $0 }
  for share in done {
    sum += share.sum
    events += share.events
  }
  if let failed = done.compactMap({ $0.failure }).min(by: { $0.seed < $1.seed }), let violation = failed.violation {
    print("FIXGATE_SEED=\(failed.seed) \(violation)")
    exit(1)
  }
  if (seeds.upperBound - from) % 10_000 == 0 {
    print("\(seeds.upperBound - from) seeds, \(events) events")
    fflush(nil)
  }
}
print("\(count) seeds from \(from): no promise broken; \(events) events, \(sum)")
