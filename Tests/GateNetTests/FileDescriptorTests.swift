import GateCore
import GateNet
import Glibc
import Testing

/// Two ends of a connection over loopback.
struct Ends: ~Copyable {
  let listener: TCPListener
  let client: TCPStream
  let server: TCPStream

  init(on address: SocketAddress = .loopback(port: 0)) throws {
    let listener = try TCPListener(on: address)
    let client = try TCPStream.connect(to: listener.address, until: soon())
    try listener.descriptor.wait(readable: true, writable: false, until: soon())
    guard let server = try listener.accept() else { throw NetError.timedOut }
    self.listener = listener
    self.client = client
    self.server = server
  }
}

/// A deadline that only a hang reaches.
func soon() -> Instant { SystemClock.now().advanced(byNs: 20_000_000_000) }

func read(_ descriptor: borrowing FileDescriptor, upTo count: Int = 4_096) throws -> [UInt8]? {
  try descriptor.wait(readable: true, writable: false, until: soon())
  var bytes = [UInt8](repeating: 0, count: count)
  var offset = 0
  var span = bytes.mutableSpan
  let result = try descriptor.read(into: &span, at: &offset)
  if result == .closed { return nil }
  return Array(bytes[..<offset])
}

@Test func readAppendsAtItsOffset() throws {
  let ends = try Ends()
  var bytes = [UInt8](repeating: 9, count: 8)
  var offset = 3
  var span = bytes.mutableSpan
  #expect(try ends.server.read(into: &span, at: &offset) == .wouldBlock)
  #expect(offset == 3)
  #expect(try ends.client.write([1, 2, 3].span) == .bytes(3))
  try ends.server.descriptor.wait(readable: true, writable: false, until: soon())
  span = bytes.mutableSpan
  #expect(try ends.server.read(into: &span, at: &offset) == .bytes(3))
  #expect(offset == 6)
  #expect(bytes == [9, 9, 9, 1, 2, 3, 9, 9])
}

@Test func writingStopsWhenTheSocketIsFull() throws {
  let ends = try Ends()
  let block = [UInt8](repeating: 1, count: 65_536)
  var sent = 0
  while case .bytes(let count) = try ends.client.write(block.span) { sent += count }
  #expect(sent > 0)
  #expect(try ends.client.write(block.span) == .wouldBlock)
  var received = 0
  while received < sent { received += try read(ends.server.descriptor, upTo: 65_536)?.count ?? 0 }
  #expect(received == sent)
}

@Test func endsAreValuesNotErrors() throws {
  let ends = try Ends()
  ends.client.shutdownWrite()
  #expect(try read(ends.server.descriptor) == nil)
  // The other direction goes on.
  #expect(try ends.server.write([1].span) == .bytes(1))
  #expect(try read(ends.client.descriptor) == [1])
}

@Test func resetIsAnEnd() throws {
  let listener = try TCPListener(on: .loopback(port: 0))
  func connectAndClose() throws -> TCPStream? {
    let client = try TCPStream.connect(to: listener.address, until: soon())
    try listener.descriptor.wait(readable: true, writable: false, until: soon())
    #expect(client.peer == listener.address)
    return try listener.accept()
  }
  let accepted = try connectAndClose()
  guard let server = accepted else { throw NetError.timedOut }
  // The client is closed whole, so that its kernel answers what is written now with RST.
  _ = try server.write([1, 2].span)
  var results: [WriteResult] = []
  for _ in 0..<3 {
    try server.descriptor.wait(readable: true, writable: false, until: soon())
    results.append(try server.write([3].span))
  }
  // No SIGPIPE on the way.
  #expect(results.last == .closed)
}

@Test func waitingEnds() throws {
  let ends = try Ends()
  #expect(throws: NetError.timedOut) {
    try ends.server.descriptor.wait(readable: true, writable: false, until: SystemClock.now())
  }
}

@Test func aClosedNumberTraps() async {
  await #expect(processExitsWith: .failure) {
    let one = FileDescriptor(taking: dup(1))
    Glibc.close(one.raw)
    var room: [UInt8] = [0]
    var offset = 0
    var span = room.mutableSpan
    _ = try one.read(into: &span, at: &offset)
  }
}
