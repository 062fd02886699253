import GateTLS
import Synchronization
import Testing

@Suite struct EarlyDataTests {
  private static let fixes = Array("fixes, and nothing else".utf8)

  private func server(
    keys: [UInt8] = Fixture.ticketKeys, authorities: ClientAuthorities? = nil,
    gate: EarlyDataGate? = { _, _ in true }
  ) throws -> TLSServerContext {
    try TLSServerContext(
      identity: Fixture.identity.get(), ticketKeys: keys, proof: ClientProof(authorities: authorities, earlyData: gate))
  }

  private func ticket(from server: TLSServerContext, carrying bytes: [UInt8] = [1, 2, 3]) throws -> [UInt8] {
    var pair = try Pair(server: server, client: Fixture.client())
    pair.carried = bytes
    try pair.settle()
    return try pair.ticket()
  }

  /// A device that has sent early data, and what the gateway made of it by then.
  private struct Resumption: ~Copyable {
    var pair: Pair
    var plaintext: [UInt8]
    var progress: TLSProgress
  }

  private func resume(
    _ server: TLSServerContext, _ ticket: [UInt8], early: [UInt8] = fixes
  ) throws -> Resumption {
    var pair = try Pair(server: server, client: Fixture.client(), ticket: ticket, earlyData: early)
    var plaintext: [UInt8] = []
    let progress = try pair.server.feed(pair.client.takeOutput(), into: &plaintext)
    return Resumption(pair: pair, plaintext: plaintext, progress: progress)
  }

  @Test func earlyDataIsThereBeforeFinishedAndAnswered() throws {
    let hello = GateTLSTests.hello
    let server = try server()
    let saved = try ticket(from: server)
    #expect(TLSEngine.earlyDataBytesMax(of: saved, to: "localhost") == 16_384)
    #expect(TLSEngine.earlyDataBytesMax(of: saved, to: "gateway.example") == 0)
    var resumed = try resume(server, saved)
    #expect(resumed.progress == .handshaking && resumed.plaintext == EarlyDataTests.fixes)
    #expect(resumed.pair.server.takesEarlyData && !resumed.pair.server.isEstablished)
    #expect(resumed.pair.server.carried == [1, 2, 3])
    // The answer travels with the server's first flight.
    try resumed.pair.server.write(hello.span)
    var answer: [UInt8] = []
    #expect(try resumed.pair.client.feed(resumed.pair.server.takeOutput(), into: &answer) == .open)
    #expect(answer == hello && resumed.pair.client.earlyData == .accepted)
    // EndOfEarlyData, Finished and what lies behind come as two.
    try resumed.pair.client.write(hello.span)
    let flight = resumed.pair.client.takeOutput()
    var room = [UInt8](repeating: 0, count: 1_000)
    var offset = 0
    var span = room.mutableSpan
    guard case .earlyDataEnded(let consumed) = try resumed.pair.server.receive(flight.span, plaintext: &span, at: &offset) else {
      Issue.record("early data does not end")
      return
    }
    #expect(offset == 0 && resumed.pair.server.isEstablished == false)
    var plaintext: [UInt8] = []
    #expect(try resumed.pair.server.feed(Array(flight[consumed...]), into: &plaintext) == .open)
    #expect(plaintext == hello && resumed.pair.server.isEstablished && !resumed.pair.server.takesEarlyData)
  }

  @Test func theSameFlightIsTakenAgain() throws {
    let server = try server()
    let client = try TLSEngine(
      client: Fixture.client(), serverName: "localhost", ticket: ticket(from: server), earlyData: EarlyDataTests.fixes)
    var device = client
    let flight = device.takeOutput()
    // Also by another gateway with the same keys: nothing is remembered anywhere.
    for context in [server, server, try self.server()] {
      var engine = try TLSEngine(server: context)
      var plaintext: [UInt8] = []
      #expect(try engine.feed(flight, into: &plaintext) == .handshaking)
      #expect(plaintext == EarlyDataTests.fixes)
      #expect(engine.isEstablished == false)
    }
  }

  @Test func everySplitOfTheFlights() throws {
    let hello = GateTLSTests.hello
    let server = try server()
    let saved = try ticket(from: server)
    for step in [1, 2, 7, 100, 301] {
      var pair = try Pair(server: server, client: Fixture.client(), ticket: saved, earlyData: EarlyDataTests.fixes)
      var (early, late): ([UInt8], [UInt8]) = ([], [])
      for isFirst in [true, false] {
        if !isFirst { try pair.client.write(hello.span) }
        let flight = pair.client.takeOutput()
        for start in stride(from: 0, to: flight.count, by: step) {
          var rest = Array(flight[start..<min(start + step, flight.count)])
          while true {
            var room = [UInt8](repeating: 0, count: 100)
            var offset = 0
            var span = room.mutableSpan
            let progress = try pair.server.receive(rest.span, plaintext: &span, at: &offset)
            if pair.server.isEstablished { late += room[..<offset] } else { early += room[..<offset] }
            guard case .earlyDataEnded(let consumed) = progress else { break }
            rest.removeFirst(consumed)
          }
        }
        if isFirst { _ = try pair.client.feed(pair.server.takeOutput()) }
      }
      #expect(early == EarlyDataTests.fixes && late == hello, "in steps of \(step)")
    }
  }

  @Test func whatTheGateRefusesIsSkippedUnread() throws {
    let hello = GateTLSTests.hello
    let seen = Mutex<[[UInt8]]>([])
    let asking = try server(gate: { carried, _ in
      seen.withLock { $0.append(carried) }
      return false
    })
    let refusing = try server(gate: nil)
    let otherKeys = try server(keys: [UInt8](repeating: 7, count: 80))
    let saved = try ticket(from: server(), carrying: [9])
    let large = [UInt8](repeating: 0x55, count: Int(TLSEngine.earlyDataBytesMax))
    for context in [asking, refusing, otherKeys] {
      for early in [EarlyDataTests.fixes, large] {
        var resumed = try resume(context, saved, early: early)
        #expect(resumed.progress == .handshaking && resumed.plaintext.isEmpty)
        #expect(throws: TLSError.notOpen) { try resumed.pair.server.write(hello.span) }
        try resumed.pair.settle()
        #expect(resumed.pair.client.earlyData == .rejected && resumed.pair.server.isEstablished)
        try resumed.pair.client.write(hello.span)
        var plaintext: [UInt8] = []
        #expect(try resumed.pair.server.feed(resumed.pair.client.takeOutput(), into: &plaintext) == .open)
        #expect(plaintext == hello)
      }
    }
    #expect(seen.withLock { $0 } == [[9], [9]])
    // A gateway that takes none gives tickets that allow none.
    #expect(try TLSEngine.earlyDataBytesMax(of: ticket(from: refusing), to: "localhost") == 0)
  }

  @Test func theGateSeesTheCertificateThatWasShown() throws {
    let authority = try DevelopmentCA.make(nowS: realNowS)
    let authorities = try ClientAuthorities([("demo", authority.certificatePEM)])
    let seen = Mutex<[PeerCertificate?]>([])
    let server = try server(authorities: authorities) { _, peer in
      seen.withLock { $0.append(peer) }
      return true
    }
    let identity = try authority.deviceIdentity(tenant: "demo", device: "bike-1", nowS: realNowS)
    var first = try Pair(
      server: server,
      client: TLSClientContext(authorityPEM: Fixture.authority.get().certificatePEM, identity: identity))
    try first.settle()
    let resumed = try resume(server, try first.ticket())
    #expect(resumed.plaintext == EarlyDataTests.fixes)
    let peer = try resumed.pair.peer(authorities)
    #expect(peer.device == "bike-1" && peer.tenants == ["demo"])
    #expect(seen.withLock { $0 } == [peer])
  }

  @Test func noMoreIsSentThanTheTicketAllows() throws {
    let server = try server()
    let saved = try ticket(from: server)
    let most = TLSEngine.earlyDataBytesMax(of: saved, to: "localhost")
    let resumed = try resume(server, saved, early: [UInt8](repeating: 1, count: most))
    #expect(resumed.plaintext.count == most)
    for (ticket, count) in [(saved, most + 1), (nil, 1)] as [([UInt8]?, Int)] {
      var pair = try Pair(
        server: server, client: Fixture.client(), ticket: ticket, earlyData: [UInt8](repeating: 1, count: count))
      try pair.settle()
      #expect(pair.client.isEstablished && pair.client.earlyData == .none)
    }
  }

  @Test func noTicketBeforeOneIsIssued() throws {
    var pair = try Pair(server: server(), client: Fixture.client())
    #expect(throws: TLSError.notOpen) { try pair.server.issueTicket(carrying: []) }
    try pair.exchange()
    #expect(pair.client.sessionTicket == nil)
    try pair.settle()
    let saved = try pair.ticket()
    // The ticket that a connection came with is not its newest one: it is used up.
    var resumed = try resume(server(), saved)
    _ = try resumed.pair.client.feed(resumed.pair.server.takeOutput())
    #expect(resumed.pair.client.isEstablished && resumed.pair.client.sessionTicket == nil)
    try resumed.pair.settle()
    #expect(try resumed.pair.ticket() != saved)
  }
}
