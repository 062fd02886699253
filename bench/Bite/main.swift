import Foundation
import GateNet
import GateStore
import GateTLS

// What the hook must see: on a thread that is named like a worker, so many objects, locks and hashes of ours, and on one like
// the sink's a SQLite file. The bench preloads the hook, runs this, and compares.

final class Box { var value = 0 }

func work(times: Int) {
  var boxes: [Box] = []
  boxes.reserveCapacity(times)
  let lock = NSLock()
  for _ in 0..<times { boxes.append(Box()) }
  for box in boxes { lock.withLock { box.value += 1 } }
  for i in 0..<times { boxes[i].value += Digest.sha256([UInt8(i & 0xFF)].span).count }
  precondition(boxes.allSatisfy { $0.value > 1 })
}

func run() throws {
  let file = CommandLine.arguments[1] + "/bite.db"
  try OSThread("fixgate-worker0") { work(times: 1_000) }.join()
  try OSThread("fixgate-sink") { precondition((try? RegistryStore(path: file)) != nil) }.join()
}

try run()
