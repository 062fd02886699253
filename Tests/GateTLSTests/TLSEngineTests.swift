import GateTLS
import Testing

let hello = Array("hello and the first batch".utf8)

@Test func fullHandshakeTakesOneRoundTrip() throws {
  var pair = try Pair()
  #expect(pair.server.outputCount == 0)
  #expect(try pair.server.feed(pair.client.takeOutput()) == .handshaking)
  #expect(pair.server.isEstablished == false)
  #expect(try pair.client.feed(pair.server.takeOutput()) == .open)
  try pair.client.write(hello.span)
  var plaintext: [UInt8] = []
  // Finished and the data behind it, in one call.
  #expect(try pair.server.feed(pair.client.takeOutput(), into: &plaintext) == .open)
  #expect(plaintext == hello)
  #expect(pair.server.isEstablished && pair.client.isEstablished)
  #expect(!pair.server.isResumed && !pair.client.isResumed)
  #expect(pair.server.version == .tls13 && pair.client.version == .tls13)
  #expect(pair.server.cipherName == "TLS_AES_128_GCM_SHA256")
}

@Test func everySplitOfTheClientsFlight() throws {
  let (server, client) = try (Fixture.server(), Fixture.client())
  var split = 0
  while true {
    var pair = try Pair(server: server, client: client)
    let first = pair.client.takeOutput()
    let cut = min(split, first.count)
    #expect(try pair.server.feed(Array(first[..<cut])) == .handshaking)
    #expect(try pair.server.feed(Array(first[cut...])) == .handshaking)
    #expect(try pair.client.feed(pair.server.takeOutput()) == .open)
    try pair.client.write(hello.span)
    let second = pair.client.takeOutput()
    let cut2 = min(split, second.count)
    var plaintext: [UInt8] = []
    _ = try pair.server.feed(Array(second[..<cut2]), into: &plaintext)
    #expect(try pair.server.feed(Array(second[cut2...]), into: &plaintext) == .open)
    #expect(plaintext == hello, "cut at \(split)")
    if split >= max(first.count, second.count) { break }
    split += 1
  }
}

@Test func byteByByteBothWays() throws {
  var pair = try Pair()
  var sent = false
  var plaintext: [UInt8] = []
  var answer: [UInt8] = []
  while pair.client.outputCount > 0 || pair.server.outputCount > 0 {
    for byte in pair.client.takeOutput() { _ = try pair.server.feed([byte], into: &plaintext) }
    for byte in pair.server.takeOutput() { _ = try pair.client.feed([byte], into: &answer) }
    if pair.client.isEstablished, !sent {
      sent = true
      try pair.client.write(hello.span)
    }
  }
  #expect(plaintext == hello && answer.isEmpty && pair.server.isEstablished)
}

@Test func writeBeforeTheHandshakeIsRefused() throws {
  var pair = try Pair()
  #expect(throws: TLSError.notOpen) { try pair.server.write(hello.span) }
  #expect(throws: TLSError.notOpen) { try pair.client.write(hello.span) }
  #expect(throws: TLSError.notOpen) { try pair.client.updateKeys() }
  try pair.settle()
  try pair.server.write(hello.span)
  var plaintext: [UInt8] = []
  #expect(try pair.client.feed(pair.server.takeOutput(), into: &plaintext) == .open)
  #expect(plaintext == hello)
}

// MARK: Tickets

func ticket(from server: TLSServerContext, name: String = "localhost") throws -> [UInt8] {
  var pair = try Pair(server: server, client: Fixture.client(), name: name)
  try pair.settle()
  let saved = pair.client.sessionTicket
  return try #require(saved)
}

@Test func ticketResumesAlsoAfterARestart() throws {
  let before = try Fixture.server()
  let saved = try ticket(from: before)
  // A second context with the same keys is what a restarted gateway has.
  for server in [before, try Fixture.server()] {
    var pair = try Pair(server: server, client: Fixture.client(), ticket: saved)
    try pair.settle()
    #expect(pair.server.isResumed && pair.client.isResumed)
    let nextBytes = pair.client.sessionTicket
    let next = try #require(nextBytes)
    #expect(next != saved)
    var again = try Pair(server: server, client: Fixture.client(), ticket: next)
    try again.settle()
    #expect(again.server.isResumed == true)
  }
}

@Test func unusableTicketsMeanAFullHandshake() throws {
  let saved = try ticket(from: Fixture.server())
  let otherKeys = try Fixture.server(ticketKeys: [UInt8](repeating: 7, count: 80))
  var pair = try Pair(server: otherKeys, client: Fixture.client(), ticket: saved)
  try pair.settle()
  #expect(pair.server.isEstablished && !pair.server.isResumed)

  let otherName = try ticket(from: Fixture.server(), name: "gateway.example")
  var broken = saved
  broken[20] ^= 0xFF
  for bad in [[], [0], [9, 0], Array(saved.dropLast(9)), broken, otherName, [UInt8](repeating: 0xFF, count: 400)] {
    var pair = try Pair(server: Fixture.server(), client: Fixture.client(), ticket: bad)
    try pair.settle()
    #expect(pair.server.isEstablished && !pair.server.isResumed)
  }
}

@Test func everyBrokenBitOfATicketIsRefusedOrIgnored() throws {
  let (server, client) = try (Fixture.server(), Fixture.client())
  let saved = try ticket(from: server)
  for index in stride(from: 11, to: saved.count, by: 7) {
    var bad = saved
    bad[index] ^= 0x10
    // Any outcome but a crash: the bytes are the device's own.
    guard let made = try? Pair(server: server, client: client, ticket: bad) else { continue }
    var pair = made
    try? pair.settle()
  }
}

// MARK: Names and authorities

@Test(arguments: ["localhost", "127.0.0.1", "::1", "gateway.example", "192.0.2.7"])
func goodNames(name: String) throws {
  var pair = try Pair(server: Fixture.server(), client: Fixture.client(), name: name)
  try pair.settle()
  #expect(pair.client.isEstablished && pair.server.isEstablished)
}

@Test(arguments: ["other.example", "127.0.0.2", "::2", "example", "x.gateway.example"])
func wrongName(name: String) throws {
  var pair = try Pair(server: Fixture.server(), client: Fixture.client(), name: name)
  _ = try pair.server.feed(pair.client.takeOutput())
  let flight = pair.server.takeOutput()
  do {
    _ = try pair.client.feed(flight)
    Issue.record("no error")
  } catch {
    guard case .nameMismatch = error else { throw error }
  }
  // The alert reaches the gateway: bad_certificate or certificate_unknown.
  do {
    _ = try pair.server.feed(pair.client.takeOutput())
    Issue.record("no alert")
  } catch {
    guard case .alert = error else { throw error }
  }
}

@Test(arguments: ["", "a b", "a,DNS:b", ".", "a..b", "[::1]", String(repeating: "a", count: 64)])
func serverNamesThatAreNone(name: String) throws {
  let client = try Fixture.client()
  #expect(throws: TLSError.serverName) { _ = try TLSEngine(client: client, serverName: name).outputCount }
}

@Test func wrongAuthority() throws {
  let other = try DevelopmentCA.make(commonName: "another", nowS: realNowS)
  var pair = try Pair(server: Fixture.server(), client: TLSClientContext(authorityPEM: other.certificatePEM))
  _ = try pair.server.feed(pair.client.takeOutput())
  let flight = pair.server.takeOutput()
  do {
    _ = try pair.client.feed(flight)
    Issue.record("no error")
  } catch {
    guard case .certificateRefused = error else { throw error }
  }
  #expect(throws: TLSError.alert(48)) { _ = try pair.server.feed(pair.client.takeOutput()) }
  #expect(!pair.client.isEstablished && !pair.server.isEstablished)
}

@Test func expiredCertificate() throws {
  let authority = try Fixture.authority.get()
  let old = try authority.serverIdentity(nowS: realNowS - 900 * 86_400)
  var pair = try Pair(
    server: TLSServerContext(identity: old, ticketKeys: Fixture.ticketKeys), client: Fixture.client())
  _ = try pair.server.feed(pair.client.takeOutput())
  let flight = pair.server.takeOutput()
  // 10 = X509_V_ERR_CERT_HAS_EXPIRED.
  #expect(throws: TLSError.certificateRefused(result: 10)) { _ = try pair.client.feed(flight) }
}

// MARK: Versions

@Test func tls12IsRefusedByDefault() throws {
  var pair = try Pair(server: Fixture.server(), client: Fixture.client(version: .tls12))
  do {
    _ = try pair.server.feed(pair.client.takeOutput())
    Issue.record("no error")
  } catch {
    guard case .noSharedVersion = error else { throw error }
  }
  // 70 = protocol_version, so that the device knows.
  #expect(throws: TLSError.alert(70)) { _ = try pair.client.feed(pair.server.takeOutput()) }
}

@Test func tls12IsAcceptedWhenAllowed() throws {
  let server = try Fixture.server(allowTLS12: true)
  var pair = try Pair(server: server, client: Fixture.client(version: .tls12))
  try pair.settle()
  #expect(pair.server.version == .tls12 && pair.server.isEstablished && pair.client.isEstablished)
  #expect(pair.server.cipherName?.hasPrefix("TLS_ECDHE_ECDSA_WITH_") == true)
  try pair.client.write(hello.span)
  var plaintext: [UInt8] = []
  #expect(try pair.server.feed(pair.client.takeOutput(), into: &plaintext) == .open)
  #expect(plaintext == hello)
  let savedBytes = pair.client.sessionTicket
  let saved = try #require(savedBytes)
  var again = try Pair(server: server, client: Fixture.client(version: .tls12), ticket: saved)
  try again.settle()
  #expect(again.server.isResumed == true)
  // TLS 1.3 is still what a modern device gets.
  var modern = try Pair(server: server, client: Fixture.client())
  try modern.settle()
  #expect(modern.server.version == .tls13)
}

// MARK: Hostile bytes

@Test func garbageEndsTheConnection() throws {
  // libssl bears 32 of them.
  let emptyRecords: [UInt8] = Array([[UInt8]](repeating: [22, 3, 1, 0, 0], count: 40).joined())
  let server = try Fixture.server()
  for (index, bytes) in [
    [UInt8](repeating: 0, count: 64), Array("GET / HTTP/1.1\r\n\r\n".utf8), [22, 3, 1, 0, 4, 99, 0, 0, 0],
    [23, 3, 3, 0, 5, 1, 2, 3, 4, 5], emptyRecords,
  ].enumerated() {
    var engine = try TLSEngine(server: server)
    var failed = false
    do { _ = try engine.feed(bytes) } catch { failed = true }
    #expect(failed, "input \(index)")
    #expect(engine.isEstablished == false)
    #expect(throws: TLSError.notOpen) { _ = try engine.feed([1]) }
    #expect(throws: TLSError.notOpen) { try engine.write(hello.span) }
  }
}

@Test func everyCorruptedByteOfARecordIsCaught() throws {
  for index in 0..<(5 + hello.count + 17) {
    var pair = try Pair.established()
    try pair.client.write(hello.span)
    var record = pair.client.takeOutput()
    #expect(record.count == 5 + hello.count + 17)
    record[index] ^= 1
    var plaintext: [UInt8] = []
    do {
      let progress = try pair.server.feed(record, into: &plaintext)
      // A length that now asks for more bytes waits for them.
      #expect(progress == .open && (3...4).contains(index))
    } catch {}
    #expect(plaintext.isEmpty, "byte \(index)")
  }
}

@Test func truncatedFlightWaits() throws {
  var pair = try Pair()
  let first = pair.client.takeOutput()
  #expect(try pair.server.feed(Array(first.dropLast())) == .handshaking)
  #expect(pair.server.outputCount == 0)
  #expect(try pair.server.feed([]) == .handshaking)
  #expect(try pair.server.feed([first[first.count - 1]]) == .handshaking)
  #expect(pair.server.outputCount > 0)
}

@Test func hugeRecordIsRefusedByItsHeader() throws {
  var pair = try Pair.established()
  // RFC 8446 section 5.2: at most 2^14 + 256.
  #expect(throws: TLSError.self) { _ = try pair.server.feed([23, 3, 3, 0x41, 0x01] + [UInt8](repeating: 0, count: 64)) }
  #expect(throws: TLSError.notOpen) { _ = try pair.server.feed([]) }
}

@Test func endlessHandshakeIsRefused() throws {
  var engine = try TLSEngine(server: Fixture.server())
  // A ClientHello that says it has 131,000 bytes.
  var bytes: [UInt8] = [1, 0x01, 0xFF, 0xB8, 3, 3] + [UInt8](repeating: 0, count: 60_000)
  var records: [UInt8] = []
  while !bytes.isEmpty {
    let count = min(16_384, bytes.count)
    records += [22, 3, 1, UInt8(count >> 8), UInt8(count & 0xFF)] + bytes[..<count]
    bytes.removeFirst(count)
  }
  #expect(throws: TLSError.handshakeTooLarge) { _ = try engine.feed(records) }
}

/// Changes one to three places of the bytes: a byte, a cut, a repetition.
func mutated(_ bytes: [UInt8], _ state: inout UInt64) -> [UInt8] {
  func next(_ bound: Int) -> Int {
    state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
    return Int(state >> 33) % bound
  }
  var bytes = bytes
  for _ in 0...next(3) {
    guard bytes.count > 1 else { break }
    let at = next(bytes.count)
    switch next(4) {
    case 0: bytes.remove(at: at)
    case 1: bytes.insert(contentsOf: bytes[at...].prefix(next(40)), at: at)
    default: bytes[at] = UInt8(next(256))
    }
  }
  return bytes
}

@Test(arguments: [1, 2, 3, 4] as [UInt64]) func mutatedFlightsNeitherTrapNorPass(seed: UInt64) throws {
  let (server, client) = try (Fixture.server(), Fixture.client())
  var state = seed
  for _ in 0..<60 {
    var pair = try Pair(server: server, client: client)
    let first = pair.client.takeOutput()
    let hostile = mutated(first, &state)
    _ = try? pair.server.feed(hostile)
    #expect(pair.server.isEstablished == false)
    // A record that says it is longer than it is waits for more; one that was whole must fail by now or at Finished.
    var answer = pair.server.takeOutput()
    if hostile == first { continue }
    _ = try? pair.client.feed(answer)
    if pair.client.isEstablished { _ = try? pair.server.feed(pair.client.takeOutput()) }
    #expect((pair.client.isEstablished && pair.server.isEstablished) == false)

    var good = try Pair(server: server, client: client)
    _ = try good.server.feed(good.client.takeOutput())
    answer = good.server.takeOutput()
    let changed = mutated(answer, &state)
    _ = try? good.client.feed(changed)
    if changed != answer, good.client.isEstablished {
      // Only versions in record headers and the compatibility record, in front, are outside of what Finished covers.
      #expect(changed.suffix(answer.count - 140) == answer.suffix(answer.count - 140))
    }
  }
}

@Test func takingMoreThanThereIsTraps() async {
  await #expect(processExitsWith: .failure) {
    var engine = try TLSEngine(client: Fixture.client(), serverName: "localhost")
    _ = engine.drain { $0.count + 1 }
  }
}

@Test func ticketKeysOfAnotherLengthTrap() async {
  await #expect(processExitsWith: .failure) { _ = try Fixture.server(ticketKeys: [1, 2, 3]) }
}

// MARK: Closing

@Test func closeNotifyBothWays() throws {
  var pair = try Pair.established()
  try pair.client.write(hello.span)
  pair.client.close()
  #expect(throws: TLSError.notOpen) { try pair.client.write(hello.span) }
  var plaintext: [UInt8] = []
  #expect(try pair.server.feed(pair.client.takeOutput() + [1, 2, 3], into: &plaintext) == .closed)
  #expect(plaintext == hello)
  #expect(try pair.server.feed([9, 9]) == .closed)
  // The ack still goes out (RFC 8446 section 6.1: each direction closes by itself).
  try pair.server.write(hello.span)
  pair.server.close()
  pair.server.close()
  var answer: [UInt8] = []
  #expect(try pair.client.feed(pair.server.takeOutput(), into: &answer) == .closed)
  #expect(answer == hello)
  #expect(pair.server.outputCount == 0)
}

@Test func closeBeforeTheHandshakeSaysNothing() throws {
  var engine = try TLSEngine(server: Fixture.server())
  engine.close()
  #expect(engine.outputCount == 0)
}

// MARK: Volume

@Test(arguments: [1, 7, 1_000, 16_384, 70_000]) func largeTransferThroughSmallRooms(room: Int) throws {
  var pair = try Pair.established()
  let size = room < 100 ? 3_000 : 300_000
  let data = (0..<size).map { UInt8(truncatingIfNeeded: $0 &* 31 ^ $0 >> 8) }
  var received: [UInt8] = []
  var pending: [UInt8] = []
  var step = 1
  for start in stride(from: 0, to: size, by: 40_000) {
    try pair.client.write(Array(data[start..<min(size, start + 40_000)]).span)
    pending += pair.client.takeOutput()
    // Chunks of all sizes, as TCP would cut them.
    while pending.count > step {
      #expect(try pair.server.feed(Array(pending[..<step]), room: room, into: &received) == .open)
      pending.removeFirst(step)
      step = step &* 5 % 30_011
    }
  }
  #expect(try pair.server.feed(pending, room: room, into: &received) == .open)
  #expect(received == data)
}

@Test func outputBacklogIsBounded() throws {
  var pair = try Pair.established()
  let block = [UInt8](repeating: 5, count: 10_000)
  var accepted = 0
  var refused: TLSError? = nil
  while refused == nil {
    do throws(TLSError) {
      try pair.server.write(block.span)
      accepted += block.count
    } catch { refused = error }
    #expect(pair.server.outputCount <= TLSEngine.outputBytesMax)
  }
  #expect(refused == .outputFull(waitingBytes: pair.server.outputCount))
  #expect(accepted == 60_000)
  // A socket that takes little at a time; then there is room again, and nothing was lost.
  var wire: [UInt8] = []
  while true {
    let done = pair.server.drain { output in
      let count = min(output.count, 777)
      for i in 0..<count { wire.append(output[i]) }
      return count
    }
    if done { break }
  }
  try pair.server.write(block.span)
  wire += pair.server.takeOutput()
  var plaintext: [UInt8] = []
  #expect(try pair.client.feed(wire, into: &plaintext) == .open)
  #expect(plaintext == [UInt8](repeating: 5, count: 70_000))
  #expect(throws: TLSError.outputFull(waitingBytes: 0)) {
    try pair.server.write([UInt8](repeating: 0, count: TLSEngine.outputBytesMax).span)
  }
}

@Test func keyUpdatesWithoutReadingAreCutOff() throws {
  var pair = try Pair.established()
  var failure: TLSError? = nil
  var rounds = 0
  while failure == nil, rounds < 20_000 {
    try pair.client.updateKeys()
    try pair.client.write([1].span)
    var plaintext: [UInt8] = []
    do throws(TLSError) { _ = try pair.server.feed(pair.client.takeOutput(), room: 64, into: &plaintext) } catch {
      failure = error
    }
    rounds += 1
    #expect(pair.server.outputCount <= TLSEngine.outputBytesHardMax)
  }
  #expect(failure == .outputOverflow)
}

@Test func keyUpdatesGoOn() throws {
  var pair = try Pair.established()
  for _ in 0..<10 {
    try pair.client.updateKeys()
    try pair.client.write(hello.span)
    var plaintext: [UInt8] = []
    #expect(try pair.server.feed(pair.client.takeOutput(), into: &plaintext) == .open)
    #expect(plaintext == hello)
    try pair.server.write(hello.span)
    plaintext = []
    #expect(try pair.client.feed(pair.server.takeOutput(), into: &plaintext) == .open)
    #expect(plaintext == hello)
  }
}

@Test func oneContextServesManyThreads() async throws {
  let (server, client) = try (Fixture.server(), Fixture.client())
  try await withThrowingTaskGroup(of: Bool.self) { group in
    for _ in 0..<8 {
      group.addTask {
        for _ in 0..<5 {
          var pair = try Pair(server: server, client: client)
          try pair.settle()
          guard pair.server.isEstablished else { return false }
        }
        return true
      }
    }
    for try await good in group { #expect(good) }
  }
}
