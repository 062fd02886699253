import GateTLS
import Testing

/// Connections that libssl has opened and let go, against libssl at the other end.
@Suite struct TLSTakeoverTests {
  private let cipher: ThreadCipher
  init() throws { cipher = try ThreadCipher() }

  /// A gateway whose libssl is let go as soon as the handshake is done.
  private func gateway(_ peer: LibsslStream, _ context: TLSServerContext? = nil) throws -> TLSEngine {
    var engine = try TLSEngine(server: context ?? Fixture.server(ownRecords: true))
    peer.receive()
    while !engine.isEstablished {
      #expect(try engine.letGo(to: cipher) == false)
      _ = try engine.feed(peer.takeOutput())
      if engine.isEstablished { #expect(try engine.letGo(to: cipher)) }
      peer.receive(engine.takeOutput())
    }
    #expect(peer.isEstablished && engine.isEstablished)
    return engine
  }

  /// Data of every size both ways, keys changed by either side, and close_notify.
  private func converse(_ engine: inout TLSEngine, _ peer: LibsslStream) throws {
    for (turn, count) in [1, 2, 15, 16, 17, 100, 1_000, 16_383, 16_384, 16_385, 40_000].enumerated() {
      let content = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7 &+ turn) }
      peer.write(content)
      var plaintext: [UInt8] = []
      #expect(try engine.feed(peer.takeOutput(), into: &plaintext) == .open)
      #expect(plaintext == content)
      try engine.say(content)
      peer.receive(engine.takeOutput())
      #expect(peer.takeReceived() == content)
      switch turn % 4 {
      case 0: peer.updateKeys(requesting: true)
      case 1: try engine.updateKeys()
      case 2:
        for request in [true, false, true, true, false] { peer.updateKeys(requesting: request) }
      default:
        // Both at the same time.
        for _ in 0..<3 { try engine.updateKeys() }
        peer.updateKeys(requesting: true)
      }
      plaintext = []
      let (up, down) = (peer.takeOutput(), engine.takeOutput())
      #expect(try engine.feed(up, into: &plaintext) == .open)
      peer.receive(down)
      #expect(plaintext.isEmpty && peer.received.isEmpty && peer.alert == nil)
    }
    peer.close()
    var plaintext: [UInt8] = []
    #expect(try engine.feed(peer.takeOutput(), into: &plaintext) == .closed)
    try engine.say(hello)
    engine.close()
    peer.receive(engine.takeOutput())
    #expect(plaintext.isEmpty && peer.takeReceived() == hello && peer.isClosed)
  }

  @Test(arguments: TLSSuite.allCases, [0, 512]) func gatewayAgainstLibssl(suite: TLSSuite, paddedTo: Int) throws {
    let peer = try LibsslStream(server: false, suite: suite, paddedTo: paddedTo)
    var engine = try gateway(peer)
    #expect(engine.version == .tls13 && engine.cipherName == suite.name && engine.isResumed == false)
    try converse(&engine, peer)
  }

  /// Whatever cuts TCP makes.
  @Test(arguments: TLSSuite.allCases) func everySplitAgainstLibssl(suite: TLSSuite) throws {
    let peer = try LibsslStream(server: false, suite: suite)
    var engine = try gateway(peer)
    for step in 1...120 {
      let content = (0..<step).map { UInt8(truncatingIfNeeded: $0 &+ step) }
      peer.write(content)
      if step % 10 == 0 { peer.updateKeys(requesting: true) }
      peer.write(content)
      let bytes = peer.takeOutput()
      var plaintext: [UInt8] = []
      for start in stride(from: 0, to: bytes.count, by: step) {
        #expect(try engine.feed(Array(bytes[start..<min(start + step, bytes.count)]), into: &plaintext) == .open)
      }
      #expect(plaintext == content + content, "in steps of \(step)")
      try engine.say(content)
      for byte in engine.takeOutput() { peer.receive([byte]) }
      #expect(peer.takeReceived() == content)
    }
  }

  /// Data that went through libssl counts: the sequences go on where they stand.
  @Test(arguments: [1, 2, 7]) func libsslMayServeFirst(records: Int) throws {
    let peer = try LibsslStream(server: false, suite: .aes128GCM)
    var engine = try TLSEngine(server: Fixture.server(ownRecords: true))
    peer.receive()
    _ = try engine.feed(peer.takeOutput())
    peer.receive(engine.takeOutput())
    // Finished and data in one flight.
    for i in 0..<records { peer.write([UInt8(i)]) }
    var plaintext: [UInt8] = []
    #expect(try engine.feed(peer.takeOutput(), into: &plaintext) == .open)
    for i in 0..<records * 3 { try engine.say([UInt8(i)]) }
    #expect(plaintext.count == records)
    #expect(try engine.letGo(to: cipher))
    peer.receive(engine.takeOutput())
    #expect(peer.takeReceived().count == records * 3)
    try converse(&engine, peer)
  }

  /// A device that lets go as well; the tickets come when libssl is gone.
  @Test(arguments: TLSSuite.allCases) func deviceAgainstLibssl(suite: TLSSuite) throws {
    let peer = try LibsslStream(server: true, suite: suite)
    var engine = try TLSEngine(client: Fixture.client(ownRecords: true), serverName: "localhost")
    peer.receive(engine.takeOutput())
    #expect(try engine.feed(peer.takeOutput()) == .open)
    #expect(try engine.letGo(to: cipher))
    peer.receive(engine.takeOutput())
    #expect(peer.isEstablished && engine.sessionTicket == nil)
    try converse(&engine, peer)
  }

  @Test func bothEndsLetGo() throws {
    var pair = try Pair(server: Fixture.server(ownRecords: true), client: Fixture.client(ownRecords: true))
    try pair.settle()
    let ticket = try pair.ticket()
    #expect(try pair.server.letGo(to: cipher) && pair.client.letGo(to: cipher))
    #expect(try pair.server.letGo(to: cipher))
    try converse(&pair)
    var again = try Pair(
      server: Fixture.server(ownRecords: true), client: Fixture.client(ownRecords: true), ticket: ticket)
    try again.settle()
    #expect(try again.server.letGo(to: cipher) && again.client.letGo(to: cipher))
    #expect(again.server.isResumed && again.client.isResumed)
  }

  /// Records both ways, and keys changed by either side.
  private func converse(_ pair: inout Pair) throws {
    for turn in 0..<6 {
      try pair.client.say(hello)
      var plaintext: [UInt8] = []
      #expect(try pair.server.feed(pair.client.takeOutput(), into: &plaintext) == .open)
      try pair.server.say(plaintext)
      var answer: [UInt8] = []
      #expect(try pair.client.feed(pair.server.takeOutput(), into: &answer) == .open)
      #expect(answer == hello)
      if turn % 2 == 0 { try pair.client.updateKeys() } else { try pair.server.updateKeys() }
    }
  }

  // MARK: Behind early data

  /// A device that was here before and comes again with `hello` as early data, which the gateway takes or skips.
  private func resumed(taken: Bool) throws -> Pair {
    let server = try TLSServerContext(
      identity: Fixture.identity.get(), ticketKeys: Fixture.ticketKeys, ownRecords: true,
      proof: ClientProof(earlyData: { carried, _ in carried == [7] && taken }))
    let client = try Fixture.client(ownRecords: true)
    var first = try Pair(server: server, client: client)
    first.carried = [7]
    try first.settle()
    return try Pair(server: server, client: client, ticket: first.ticket(), earlyData: hello)
  }

  /// Three keys one after the other protect what a device sends, and the gateway answers under its last one before Finished.
  @Test(arguments: [0, 1, 3], [true, false]) func earlyDataComesFirst(answers: Int, deviceLetsGo: Bool) throws {
    var pair = try resumed(taken: true)
    var early: [UInt8] = []
    #expect(try pair.server.feed(pair.client.takeOutput(), into: &early) == .handshaking)
    #expect(early == hello && pair.server.takesEarlyData)
    #expect(try pair.server.letGo(to: cipher) == false)
    for i in 0..<answers { try pair.server.say([UInt8(i)]) }
    #expect(try pair.server.letGo(to: cipher) == false)
    var answer: [UInt8] = []
    #expect(try pair.client.feed(pair.server.takeOutput(), into: &answer) == .open)
    #expect(answer.count == answers)
    // EndOfEarlyData, Finished, data.
    try pair.client.say(hello)
    var plaintext: [UInt8] = []
    for byte in pair.client.takeOutput() {
      _ = try pair.server.feed([byte], into: &plaintext)
      if !pair.server.isEstablished { #expect(try pair.server.letGo(to: cipher) == false) }
    }
    #expect(plaintext == hello && pair.server.carried == [7])
    try pair.server.issueTicket(carrying: [8])
    #expect(try pair.server.letGo(to: cipher))
    #expect(pair.server.isResumed && pair.server.earlyData == .accepted && !pair.server.takesEarlyData)
    // The ticket has gone along; there can be no other, and that is no error.
    let waiting = pair.server.outputCount
    #expect(waiting > 0)
    try pair.server.issueTicket(carrying: [9])
    #expect(pair.server.outputCount == waiting && pair.server.carried.isEmpty)
    #expect(try pair.client.feed(pair.server.takeOutput()) == .open)
    #expect(try TLSEngine.earlyDataBytesMax(of: pair.ticket(), to: "localhost") > 0)
    if deviceLetsGo {
      #expect(try pair.client.letGo(to: cipher))
      #expect(pair.client.earlyData == .accepted)
    }
    try converse(&pair)
  }

  /// The gateway lets go between Finished and the data behind it.
  @Test(arguments: [true, false]) func lettingGoRightBehindFinished(taken: Bool) throws {
    var pair = try resumed(taken: taken)
    var plaintext: [UInt8] = []
    _ = try pair.server.feed(pair.client.takeOutput(), into: &plaintext)
    #expect(plaintext == (taken ? hello : []))
    _ = try pair.client.feed(pair.server.takeOutput())
    let finished = pair.client.takeOutput()
    #expect(try pair.server.feed(finished) == .open)
    #expect(try pair.server.letGo(to: cipher))
    #expect(pair.server.earlyData == (taken ? .accepted : .rejected))
    try converse(&pair)
  }

  // MARK: When libssl stays

  @Test func tls12StaysWithLibssl() throws {
    var pair = try Pair(
      server: Fixture.server(allowTLS12: true, ownRecords: true), client: Fixture.client(version: .tls12))
    try pair.settle()
    #expect(try pair.server.letGo(to: cipher) == false)
    try pair.client.say(hello)
    var plaintext: [UInt8] = []
    #expect(try pair.server.feed(pair.client.takeOutput(), into: &plaintext) == .open)
    #expect(plaintext == hello)
  }

  @Test func contextsDecide() throws {
    var pair = try Pair.established()
    #expect(try pair.server.letGo(to: cipher) == false)
    #expect(try pair.client.letGo(to: cipher) == false)
  }

  /// The bytes of a record whose rest is on its way are libssl's.
  @Test func partialRecordsAreFinishedByLibssl() throws {
    var pair = try Pair(server: Fixture.server(ownRecords: true), client: Fixture.client())
    try pair.settle()
    try pair.client.say(hello)
    let record = pair.client.takeOutput()
    var plaintext: [UInt8] = []
    for (index, byte) in record.enumerated() {
      if index > 0 { #expect(try pair.server.letGo(to: cipher) == false, "\(index) bytes are there") }
      _ = try pair.server.feed([byte], into: &plaintext)
    }
    #expect(plaintext == hello)
    #expect(try pair.server.letGo(to: cipher))
    try pair.client.say(hello)
    _ = try pair.server.feed(pair.client.takeOutput(), into: &plaintext)
    #expect(plaintext == hello + hello)
  }

  /// Plaintext for which there was no room is libssl's too.
  @Test func unreadPlaintextIsReadFirst() throws {
    var pair = try Pair(server: Fixture.server(ownRecords: true), client: Fixture.client())
    try pair.settle()
    try pair.client.say(hello)
    let record = pair.client.takeOutput()
    var room = [UInt8](repeating: 0, count: 4)
    var offset = 0
    var span = room.mutableSpan
    #expect(try pair.server.receive(record.span, plaintext: &span, at: &offset) == .plaintextFull(consumed: record.count))
    #expect(try pair.server.letGo(to: cipher) == false)
    var rest: [UInt8] = []
    #expect(try pair.server.feed([], into: &rest) == .open)
    #expect(Array(room) + rest == hello)
    #expect(try pair.server.letGo(to: cipher))
  }

  @Test func keysThatLibsslHasChangedStayThere() throws {
    for byServer in [true, false] {
      var pair = try Pair(server: Fixture.server(ownRecords: true), client: Fixture.client())
      try pair.settle()
      if byServer { try pair.server.updateKeys() } else { try pair.client.updateKeys() }
      #expect(try pair.server.feed(pair.client.takeOutput()) == .open)
      #expect(try pair.server.letGo(to: cipher) == false)
      try pair.client.say(hello)
      var plaintext: [UInt8] = []
      #expect(try pair.server.feed(pair.client.takeOutput(), into: &plaintext) == .open)
      #expect(plaintext == hello)
      #expect(try pair.server.letGo(to: cipher) == false)
    }
  }

  @Test func closedConnectionsAreNotTakenOver() throws {
    var pair = try Pair(server: Fixture.server(ownRecords: true), client: Fixture.client())
    try pair.settle()
    pair.client.close()
    #expect(try pair.server.feed(pair.client.takeOutput()) == .closed)
    #expect(try pair.server.letGo(to: cipher) == false)
    pair.server.close()
    #expect(try pair.server.letGo(to: cipher) == false)
  }

  // MARK: What is asked afterwards

  @Test func identitiesOutliveLibssl() throws {
    let key = ExternalKey(identity: [7, 8, 9], secret: [UInt8](repeating: 5, count: ExternalKey.secretBytes))
    let server = try TLSServerContext(
      identity: Fixture.identity.get(), ticketKeys: Fixture.ticketKeys, ownRecords: true,
      proof: ClientProof(findKey: { $0 == key.identity ? key.secret : nil }))
    let client = try TLSClientContext(authorityPEM: Fixture.authority.get().certificatePEM, key: key)
    var pair = try Pair(server: server, client: client)
    try pair.settle()
    let ticket = try pair.ticket()
    #expect(try pair.server.letGo(to: cipher))
    #expect(pair.server.keyIdentity == key.identity)
    // libssl counts an external key as a resumption.
    let wasResumed = pair.server.isResumed
    var again = try Pair(server: server, client: client, ticket: ticket)
    try again.settle()
    #expect(try again.server.letGo(to: cipher))
    #expect(wasResumed && again.server.isResumed && again.server.keyIdentity == key.identity)
  }

  @Test func certificatesOutliveLibssl() throws {
    let authority = try DevelopmentCA.make(nowS: realNowS)
    let authorities = try ClientAuthorities([(tenant: "demo", pem: authority.certificatePEM)])
    let server = try TLSServerContext(
      identity: Fixture.identity.get(), ticketKeys: Fixture.ticketKeys, ownRecords: true,
      proof: ClientProof(authorities: authorities))
    let client = try TLSClientContext(
      authorityPEM: Fixture.authority.get().certificatePEM,
      identity: authority.deviceIdentity(tenant: "demo", device: "bike-1", nowS: realNowS))
    var pair = try Pair(server: server, client: client)
    try pair.settle()
    let before = try pair.peer(authorities)
    #expect(try pair.server.letGo(to: cipher))
    #expect(try pair.peer(authorities) == before && before.device == "bike-1" && before.tenants == ["demo"])
    // Judged by the authorities in force at the time of asking.
    let none = try ClientAuthorities([])
    #expect(try pair.peer(none).tenants == [])
  }

  // MARK: Hostile bytes

  @Test func theOtherEndHearsWhy() throws {
    let peer = try LibsslStream(server: false, suite: .aes128GCM)
    var engine = try gateway(peer)
    peer.write(hello)
    var record = peer.takeOutput()
    record[10] ^= 1
    #expect(throws: TLSError.record(.forged)) { _ = try engine.feed(record) }
    #expect(engine.isEstablished == false && engine.version == .tls13)
    #expect(throws: TLSError.notOpen) { try engine.say(hello) }
    peer.receive(engine.takeOutput())
    // bad_record_mac.
    #expect(peer.alert == 20)
  }

  @Test func replayedAndReorderedRecordsAreRefused() throws {
    for order in [[0, 0], [1, 0], [0, 2]] {
      let peer = try LibsslStream(server: false, suite: .chaCha20Poly1305)
      var engine = try gateway(peer)
      for i in 0..<3 { peer.write([UInt8(i)]) }
      let sent = try records(of: peer.takeOutput())
      var plaintext: [UInt8] = []
      #expect(throws: TLSError.record(.forged)) {
        for i in order { _ = try engine.feed(sent[i], into: &plaintext) }
      }
      #expect(plaintext == (order[0] == 0 ? [0] : []))
    }
  }

  @Test func agreedFragmentsAreKept() throws {
    // 1: 512 bytes (RFC 6066 section 4).
    let peer = try LibsslStream(server: false, suite: .aes128GCM, fragmentCode: 1)
    var engine = try gateway(peer)
    let content = [UInt8](repeating: 3, count: 2_000)
    try engine.say(content)
    let output = engine.takeOutput()
    #expect(try records(of: output).map(\.count) == [534, 534, 534, 464 + 22])
    peer.receive(output)
    #expect(peer.takeReceived() == content)
    peer.write(content)
    var plaintext: [UInt8] = []
    _ = try engine.feed(peer.takeOutput(), into: &plaintext)
    #expect(plaintext == content)
  }
}
