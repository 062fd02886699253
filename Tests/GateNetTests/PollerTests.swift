import GateNet
import Testing

@Test func pollerTellsTokensAndDirections() throws {
  let ends = try Ends()
  var poller = try Poller()
  let token = UInt64.max - 5
  try poller.add(ends.server.descriptor, token: token, for: .read)
  #expect(try poller.wait(timeoutNs: 0) == 0)
  _ = try ends.client.write([7].span)
  for _ in 0..<2 {
    // Level-triggered: told until it is read.
    #expect(try poller.wait(timeoutNs: nil) == 1)
    let event = poller.event(at: 0)
    #expect(event.token == token && event.readable && !event.writable && !event.hungUp)
  }
  #expect(try read(ends.server.descriptor) == [7])
  #expect(try poller.wait(timeoutNs: 0) == 0)
  try poller.modify(ends.server.descriptor, token: 3, for: [.read, .write])
  #expect(try poller.wait(timeoutNs: nil) == 1)
  #expect(poller.event(at: 0).token == 3)
  #expect(poller.event(at: 0).writable == true)
  try poller.modify(ends.server.descriptor, token: 3, for: .read)
  #expect(try poller.wait(timeoutNs: 0) == 0)
  // Bytes are not told to who waits for the end only.
  try poller.modify(ends.server.descriptor, token: 3, for: .end)
  _ = try ends.client.write([8].span)
  #expect(try poller.wait(timeoutNs: 20_000_000) == 0)
  ends.client.shutdownWrite()
  #expect(try poller.wait(timeoutNs: nil) == 1)
  #expect(poller.event(at: 0).ended == true)
  try poller.modify(ends.server.descriptor, token: 3, for: .read)
  #expect(try poller.wait(timeoutNs: nil) == 1)
  #expect(poller.event(at: 0).readable == true)
  try poller.remove(ends.server.descriptor)
  #expect(try poller.wait(timeoutNs: 0) == 0)
}

@Test func pollerHandsOutNoMoreThanItsCapacity() throws {
  let events = try (0..<5).map { _ in try EventFD() }
  var poller = try Poller(capacity: 2)
  for (index, event) in events.enumerated() {
    try poller.add(event.descriptor, token: UInt64(index), for: .read)
    event.signal()
  }
  var seen: Set<UInt64> = []
  while seen.count < events.count {
    let count = try poller.wait(timeoutNs: nil)
    #expect((1...2).contains(count))
    for i in 0..<count {
      let token = poller.event(at: i).token
      seen.insert(token)
      events[Int(token)].clear()
    }
  }
}

@Test func addingTwiceIsAnError() throws {
  let event = try EventFD()
  let poller = try Poller()
  try poller.add(event.descriptor, token: 1, for: .read)
  #expect(throws: NetError.self) { try poller.add(event.descriptor, token: 1, for: .read) }
}
