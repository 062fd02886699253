import Foundation
import GateCore
import GateMemory
import Testing

@Suite struct ByteRingTests {
  /// A seeded run of pushes and pops against an array, over many wraps.
  @Test(arguments: Array(UInt64(1)...20))
  func keepsOrderAndBytes(seed: UInt64) {
    var random = SeededRandom(seed: seed)
    let ring = ByteRing(capacity: 1_024)
    var model: [[UInt8]] = []
    var items: UInt64 = 0
    for _ in 0..<5_000 {
      if Bool.random(using: &random) {
        let message = (0..<Int.random(in: 1...200, using: &random)).map { _ in UInt8.random(in: 0...255, using: &random) }
        if ring.hasRoom(for: message.count) {
          ring.push(atMost: message.count, items: 3) { out in
            for i in message.indices { out[i] = message[i] }
            return message.count
          }
          model.append(message)
          items += 3
        } else {
          #expect(!model.isEmpty)
        }
      } else {
        var got: [UInt8]?
        let popped = ring.pop { span in got = (0..<span.count).map { span[$0] } }
        #expect(popped == !model.isEmpty)
        if popped { #expect(got == model.removeFirst()) }
      }
      #expect(ring.isEmpty == model.isEmpty)
      #expect(ring.itemsPublished == items)
    }
  }

  @Test func isFillingAboveHalf() {
    let ring = ByteRing(capacity: 1_024)
    func push() {
      ring.push(atMost: 120) { out in
        for i in 0..<120 { out[i] = 1 }
        return 120
      }
    }
    for _ in 0..<4 { push() }
    #expect(!ring.isFilling)
    push()
    #expect(ring.isFilling)
    #expect(ring.pop { _ in })
    #expect(!ring.isFilling)
  }

  /// Two threads: each message says its number and is filled with it.
  @Test func carriesBetweenThreads() {
    let ring = ByteRing(capacity: 4_096)
    let total = 100_000
    let producer = Thread {
      var random = SeededRandom(seed: 7)
      var n = 0
      while n < total {
        let length = 8 + Int.random(in: 0...120, using: &random)
        guard ring.hasRoom(for: length + 16) else { continue }
        // Less than was asked for: only what is used is published.
        ring.push(atMost: length + 16, items: 1) { out in
          out.store(UInt64(n), at: 0)
          for i in 8..<length { out[i] = UInt8(truncatingIfNeeded: n) }
          return length
        }
        n += 1
      }
    }
    producer.start()
    var next = 0
    var intact = true
    while next < total {
      _ = ring.pop { span in
        intact = intact && span.load64(at: 0) == UInt64(next)
        for i in 8..<span.count where span[i] != UInt8(truncatingIfNeeded: next) { intact = false }
        next += 1
      }
    }
    #expect(intact)
    #expect(ring.itemsPublished == UInt64(total))
  }

  @Test func wordsExchangeOnlyWhatIsExpected() {
    let words = AtomicWords(count: 4)
    while words.exchange(2, expected: 0, new: 9) == 0 {}
    #expect(words.load(2) == 9)
    #expect(words.exchange(2, expected: 1, new: 5) == 9)
  }
}
