import Foundation
import GateNet
import Testing

@Test func monotonicNeverGoesBack() {
  var last = SystemClock.now()
  for _ in 0..<1_000 {
    let now = SystemClock.now()
    #expect(now >= last)
    last = now
  }
}

@Test func wallClockIsUnixTime() {
  let before = Int64(Date().timeIntervalSince1970 * 1_000)
  let wall = SystemClock.wallMs()
  let after = Int64(Date().timeIntervalSince1970 * 1_000)
  #expect(wall >= before - 1 && wall <= after + 1)
}
