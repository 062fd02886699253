import Foundation
import GateNet
import Testing

@Test func signalsAddUpToOneWakeUp() throws {
  let event = try EventFD()
  #expect(event.clear() == false)
  event.signal()
  event.signal()
  #expect(event.clear() == true)
  #expect(event.clear() == false)
}

@Test func anotherThreadWakesThePoller() throws {
  let event = try EventFD()
  Thread.detachNewThread { event.signal() }
  var poller = try Poller()
  try poller.add(event.descriptor, token: 42, for: .read)
  #expect(try poller.wait(timeoutNs: 20_000_000_000) == 1)
  #expect(poller.event(at: 0).token == 42)
}
