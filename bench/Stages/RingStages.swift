import BenchHarness
import BenchReport
import CRivals
import GateCore
import GateMemory
import GateNet

/// Messages of one record each through the ring: both ends on one thread, by 64, and on two.
enum RingStages {
  private static let capacity = 1 << 20
  private static let batch = 64

  static func make(_ setting: Stage.Setting) -> [Stage] {
    let record = Rides.encoded(Array(Rides.records(Rides.fixes(300), devices: 1).prefix(1)))
    let messages = 640_000 / setting.shrink
    let target = [StageResult.Target.speed(of: "C", least: 0.8)]
    let (ours, theirs) = (ByteRing(capacity: capacity), RivalRing(capacity))
    return [
      Stage(
        "ring, one thread", item: "message", items: messages, bytesWritten: Double(record.count + 8), targets: target,
        [
          Contest.Entry("fixgate") {
            var sum: UInt64 = 0
            for _ in 0..<messages / batch {
              produce(ours, batch, record)
              sum &+= consume(ours, batch)
            }
            return sum
          },
          Contest.Entry("C") {
            var sum: UInt64 = 0
            for _ in 0..<messages / batch {
              unsafe rival_ring_produce(theirs.raw, batch, record, record.count)
              sum &+= unsafe rival_ring_consume(theirs.raw, batch)
            }
            return sum
          },
        ]),
      Stage(
        "ring, two threads", item: "message", items: messages, bytesWritten: Double(record.count + 8), targets: target,
        clock: .wall,
        [
          Contest.Entry("fixgate") {
            onTwoThreads({ produce(ours, messages, record) }, { consume(ours, messages) })
          },
          Contest.Entry("C") {
            onTwoThreads(
              { unsafe rival_ring_produce(theirs.raw, messages, record, record.count) },
              { unsafe rival_ring_consume(theirs.raw, messages) })
          },
        ]),
    ]
  }

  private static func produce(_ ring: ByteRing, _ count: Int, _ record: [UInt8]) {
    var left = count
    while left > 0 {
      guard ring.hasRoom(for: record.count) else { continue }
      ring.push(atMost: record.count, items: 1) { out in
        out.copy(record.span, 0..<record.count, to: 0)
        return record.count
      }
      left -= 1
    }
  }

  private static func consume(_ ring: ByteRing, _ count: Int) -> UInt64 {
    var sum: UInt64 = 0
    var left = count
    while left > 0 {
      if ring.pop({ sum &+= $0.load64(at: 0) }) { left -= 1 }
    }
    return sum
  }

  private static func onTwoThreads(_ produce: @escaping @Sendable () -> Void, _ consume: () -> UInt64) -> UInt64 {
    guard let thread = try? OSThread("produce", produce) else { preconditionFailure("no thread") }
    let sum = consume()
    thread.join()
    return sum
  }

  /// Sendable: its two ends are used as the ring wants it.
  @safe private final class RivalRing: @unchecked Sendable {
    let raw: OpaquePointer
    init(_ capacity: Int) { unsafe raw = unsafe rival_ring_make(capacity) }
    deinit { unsafe rival_ring_free(raw) }
  }
}
