import GateCore
import GateTLS
import Testing

/// A device and a gateway in memory, no network between them.
private struct ClientWorld: ~Copyable {
  static let binding = [UInt8](repeating: 7, count: Digest.sha256Bytes)

  var endpoint: DTLSEndpoint
  var client: DTLSClient
  var now = Instant(ns: 50_000_000_000)
  var address = PeerAddress(high: 0, low: 0x7F00_0001, port: 4_000, scope: 0, isIPv6: false)
  /// What either side was told.
  var atGateway: [[UInt8]] = []
  var atDevice: [[UInt8]] = []
  var session: UInt64?

  init(_ suite: DTLSSuite) throws {
    let endpoint = try DTLSEndpoint(
      context: DTLSFixture.server(), cookieKey: DTLSFixture.cookieKey, node: 1, shards: [0], sessionsMax: 10,
      handshakesMax: 10)
    let client = try DTLSClient(
      context: DTLSFixture.client(suite), serverName: "gateway.example", at: Instant(ns: 50_000_000_000))
    self.endpoint = endpoint
    self.client = client
  }

  /// Carries datagrams until none waits.
  mutating func run() throws {
    while client.hasOutput || endpoint.hasOutput {
      for datagram in sent() { deliver(datagram) }
      var answers: [[UInt8]] = []
      _ = endpoint.drain { datagram, _ in
        answers.append(DTLSFixture.bytes(datagram))
        return true
      }
      for datagram in answers { try hear(datagram) }
    }
  }

  /// Takes the client's datagrams.
  mutating func sent() -> [[UInt8]] {
    var datagrams: [[UInt8]] = []
    _ = client.drain { datagram in
      datagrams.append(DTLSFixture.bytes(datagram))
      return true
    }
    return datagrams
  }

  mutating func deliver(_ datagram: [UInt8]) {
    var room = [UInt8](repeating: 0, count: 8_192)
    var span = room.mutableSpan
    endpoint.receive(datagram.span, from: address, at: now, plaintext: &span)
    for event in endpoint.events {
      switch event {
      case .opened(let session, _, _): self.session = session
      case .data(_, _, let range, _): atGateway.append(Array(room[range]))
      case .closed: session = nil
      }
    }
  }

  mutating func hear(_ datagram: [UInt8]) throws {
    var messages: [[UInt8]] = []
    try client.receive(datagram.span, at: now) { messages.append(DTLSFixture.bytes($0)) }
    atDevice += messages
  }

  /// One message down.
  mutating func answer(_ message: [UInt8]) throws -> [UInt8] {
    var datagram = [UInt8](repeating: 0, count: 1_400)
    var room = datagram.mutableSpan
    var offset = 0
    let open = session
    let session = try #require(open)
    _ = try endpoint.seal(message.span, for: session, into: &room, at: &offset)
    return Array(datagram[..<offset])
  }

  mutating func say(_ message: [UInt8]) throws {
    try client.seal(message.span)
    try run()
  }

  /// The process ends without a word, and another one goes on with what was saved.
  mutating func restart(from saved: [UInt8]) throws {
    client = try DTLSClient(resuming: saved.span, boundTo: ClientWorld.binding.span)
  }

  mutating func save() throws -> [UInt8] {
    let saved = client.save(boundTo: ClientWorld.binding.span)
    return try #require(saved)
  }
}

private func sequence(of datagram: [UInt8]) throws -> UInt64 {
  try DTLSRecord.next(in: datagram.span, from: 0).sequence
}

@Suite struct DTLSClientTests {
  @Test(arguments: DTLSSuite.allCases) func talks(suite: DTLSSuite) throws {
    var world = try ClientWorld(suite)
    #expect(!world.client.isEstablished && world.client.deadline != nil)
    try world.run()
    #expect(world.client.isEstablished && world.client.deadline == nil)
    #expect(world.client.agreed?.suite == suite && world.client.agreed?.hasConnectionID == true)
    try world.say([1, 2])
    try world.hear(world.answer([3]))
    #expect(world.atGateway == [[1, 2]] && world.atDevice == [[3]])
  }

  @Test(arguments: DTLSSuite.allCases) func goesOnWhereItWasSaved(suite: DTLSSuite) throws {
    var world = try ClientWorld(suite)
    try world.run()
    let saved = try world.save()
    try world.say([1])
    let late = try world.answer([9])
    try world.restart(from: saved)
    _ = try world.save()
    world.address = PeerAddress(high: 0, low: 0x7F00_0001, port: 4_001, scope: 0, isIPv6: false)
    try world.say([2])
    try world.hear(late)
    #expect(world.atGateway == [[1], [2]] && world.atDevice == [[9]])
    #expect(world.endpoint.counters.handshakesDone == 1 && world.endpoint.counters.addressChanges == 1)
  }

  /// Whatever moment a process dies at, the next one uses none of its numbers: the gateway takes every record.
  @Test func noNumberIsUsedTwice() throws {
    var world = try ClientWorld(.pskAES128CCM8)
    try world.run()
    var numbers: Set<UInt64> = []
    var saved = try world.save()
    for round in 0..<4 {
      var used = 0
      while true {
        if world.client.needsSaving, round.isMultiple(of: 2), used < 10_000 { saved = try world.save() }
        let message: [UInt8] = [UInt8(round)]
        do throws(DTLSError) { try world.client.seal(message.span) } catch {
          #expect(error == .notOpen)
          break
        }
        for datagram in world.sent() { #expect(numbers.insert(try sequence(of: datagram)).inserted) }
        used += 1
      }
      #expect(used >= Int(DTLSClient.reservedNumbers))
      try world.restart(from: saved)
      // Not even one before it was saved again.
      #expect(throws: DTLSError.notOpen) { try world.client.seal([UInt8]().span) }
      saved = try world.save()
    }
  }

  /// What was read before the session was saved is not taken again.
  @Test func anOldAnswerIsARepeat() throws {
    var world = try ClientWorld(.pskAES128GCM)
    try world.run()
    let first = try world.answer([1])
    try world.hear(first)
    let saved = try world.save()
    try world.restart(from: saved)
    try world.hear(first)
    #expect(world.atDevice == [[1]])
    try world.hear(world.answer([2]))
    #expect(world.atDevice == [[1], [2]])
  }

  @Test func aSavedSessionOpensWhereItBelongs() throws {
    var world = try ClientWorld(.pskChaCha20Poly1305)
    try world.run()
    let saved = try world.save()
    let other = [UInt8](repeating: 8, count: Digest.sha256Bytes)
    #expect(throws: DTLSError.malformed(offset: 72)) { _ = try DTLSClient(resuming: saved.span, boundTo: other.span) }
    for at in saved.indices {
      var bad = saved
      bad[at] ^= 1
      #expect(throws: DTLSError.self) { try world.restart(from: bad) }
    }
    for count in 0..<saved.count {
      #expect(throws: DTLSError.self) { try world.restart(from: Array(saved[..<count])) }
    }
  }

  @Test func aSessionThatTheGatewayEndsIsOver() throws {
    var world = try ClientWorld(.ecdheECDSAAES128GCM)
    try world.run()
    let open = world.session
    let session = try #require(open)
    world.endpoint.close(session)
    try world.run()
    #expect(world.client.isClosed && !world.client.isEstablished && !world.client.needsSaving)
    #expect(throws: DTLSError.notOpen) { try world.client.seal([1].span) }
    #expect(world.client.save(boundTo: ClientWorld.binding.span) == nil)
  }

  @Test func aGatewayThatIsNotThereIsAskedAgainAndGivenUp() throws {
    var world = try ClientWorld(.pskAES128CCM8)
    var hellos = 0
    while true {
      hellos += world.sent().count
      let deadline = world.client.deadline
      world.now = try #require(deadline)
      do throws(DTLSError) { try world.client.expire(at: world.now) } catch {
        #expect(error == .timedOut)
        break
      }
    }
    #expect(hellos > 5 && hellos < 15)
  }
}
