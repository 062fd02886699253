import GateNet
import Glibc
import Testing

@Test func signalsArriveAsValues() throws {
  let signals = try Signals()
  #expect(try signals.next() == nil)
  // To this thread alone: others of the test runner have not blocked them.
  for (number, expected) in [(SIGHUP, ProcessSignal.reload), (SIGTERM, .terminate), (SIGINT, .terminate)] {
    pthread_kill(pthread_self(), number)
    #expect(try signals.next() == expected)
  }
  #expect(try signals.next() == nil)
}
