import GateCore
import GateNet
import Testing

@testable import Gateway

/// When others may wake a thread. `EventFD.clear` tells whether it was signalled.
@Suite struct SleeperTests {
  @Test func anAwakeThreadIsLeftAlone() throws {
    let sleeper = try Sleeper()
    sleeper.wake(pressing: true)
    #expect(!sleeper.event.clear())
  }

  @Test func aSleepingThreadIsWokenOnce() throws {
    let sleeper = try Sleeper()
    sleeper.prepare()
    sleeper.wake()
    #expect(sleeper.event.clear())
    sleeper.wake()
    #expect(!sleeper.event.clear())
  }

  @Test func aDozingThreadIsWokenByWhatPressesOnly() throws {
    let sleeper = try Sleeper()
    sleeper.prepare(dozing: true)
    sleeper.wake()
    #expect(!sleeper.event.clear())
    sleeper.wake(pressing: true)
    #expect(sleeper.event.clear())
  }

  /// A wait is not rounded up to a millisecond. The shortest of ten, whatever else the machine does.
  @Test func aShortSleepEndsInTime() throws {
    let sleeper = try Sleeper()
    var least = UInt64.max
    for _ in 0..<10 {
      let start = SystemClock.now()
      try sleeper.sleep(until: start.advanced(byNs: 100_000))
      least = min(least, SystemClock.now().since(start))
    }
    #expect(least >= 100_000)
    #expect(least < 1_000_000)
  }
}
