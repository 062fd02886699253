import GateSim
import Glibc

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

var sum = Tally()
var events = 0
for seed in from..<from + count {
  var world = World(seed: seed)
  world.tells = count == 1
  let outcome = world.run()
  if let violation = outcome.violation {
    print("FIXGATE_SEED=\(seed) \(violation)")
    exit(1)
  }
  sum += outcome.tally
  events += outcome.events
  if count == 1 { print("seed \(seed): trace \(String(outcome.trace, radix: 16)), \(outcome.events) events, \(outcome.tally)") }
  if (seed - from + 1) % 10_000 == 0 {
    print("\(seed - from + 1) seeds, \(events) events")
    fflush(nil)
  }
}
print("\(count) seeds from \(from): no promise broken; \(events) events, \(sum)")
