import GateTLS
import Testing

/// A real ClientHello.
func clientHello() throws -> [UInt8] {
  var engine = try TLSEngine(client: Fixture.client(), serverName: "gateway.example")
  return engine.takeOutput()
}

@Test func everyPrefixOfAClientHelloWaits() throws {
  let hello = try clientHello()
  for count in 0..<hello.count {
    guard case .needMore(let total) = ClientHelloGate.examine(Array(hello[..<count]).span) else {
      Issue.record("\(count) bytes")
      return
    }
    #expect(total == (count < 5 ? 5 : hello.count))
  }
  #expect(ClientHelloGate.examine(hello.span) == .clientHello)
  #expect(ClientHelloGate.examine((hello + [1, 2, 3]).span) == .clientHello)
}

@Test func aClientHelloInPiecesPassesWithTheFirst() throws {
  let hello = try clientHello()
  for size in [1, 3, 4, 5, 6, 50] {
    let record = [22, 3, 1, 0, UInt8(size)] + hello[5..<5 + size]
    #expect(ClientHelloGate.examine(record.span) == .clientHello)
    #expect(ClientHelloGate.examine(Array(record.dropLast()).span) == .needMore(totalBytes: 5 + size))
  }
}

@Test(arguments: [
  ("GET / HTTP/1.1\r\n", .http), ("POST /x", .http), ("PRI * HTTP/2.0", .http), ("OPTIONS *", .http),
  ("SSH-2.0-OpenSSH_9.2\r\n", .plainText), ("$GPRMC,", .plainText), ("##,imei:123456,A;", .plainText),
] as [(String, ClientHelloGate.Refusal)])
func textIsNamed(text: String, refusal: ClientHelloGate.Refusal) {
  #expect(ClientHelloGate.examine(Array(text.utf8).span) == .refused(refusal))
}

@Test(arguments: [
  ([0x80, 0x2E, 1, 0, 2, 0], .sslv2),
  ([22, 0xFE, 0xFD, 0, 0, 0], .dtls), ([23, 0xFE, 0xFD, 0, 0, 0], .dtls),
  ([23, 3, 3, 0, 40], .unexpectedRecord(contentType: 23)), ([21, 3, 3, 0, 2, 2, 40], .unexpectedRecord(contentType: 21)),
  ([22, 3, 1, 0x40, 0x01], .tooLarge(bytes: 16_385)), ([22, 3, 1, 0xFF, 0xFF], .tooLarge(bytes: 65_535)),
  ([22, 3, 1, 0, 100, 1, 1, 0, 0], .tooLarge(bytes: 65_540)),
  ([22, 3, 1, 0, 0], .malformed), ([22, 3, 1, 0, 50, 2], .malformed), ([22, 2, 1, 0, 50, 1], .malformed),
  ([22, 3, 1, 0, 50, 1, 0, 0, 40], .malformed), ([22, 3, 1, 0, 60, 1, 0, 0, 45], .malformed),
  ([22, 3, 0, 0, 49, 1, 0, 0, 45, 3, 0], .oldVersion(0x0300)),
  ([22, 3, 1, 0, 49, 1, 0, 0, 45, 3, 1], .oldVersion(0x0301)),
  ([22, 3, 1, 0, 49, 1, 0, 0, 45, 3, 2], .oldVersion(0x0302)),
  ([0, 0, 0, 0, 0], .other), ([0x7E, 0x7E, 0xFF, 1, 2], .other), ([0x0A, 0x24, 8, 1, 0x12], .other),
] as [([UInt8], ClientHelloGate.Refusal)])
func whatIsNoClientHelloIsNamed(bytes: [UInt8], refusal: ClientHelloGate.Refusal) {
  #expect(ClientHelloGate.examine(bytes.span) == .refused(refusal))
}

@Test func refusalIsNeverTakenBack() throws {
  // Any byte of a good start replaced: once refused, refused with every longer prefix.
  let hello = try clientHello()
  for index in 0..<20 {
    for value in stride(from: 0, through: 255, by: 5) {
      var bytes = Array(hello[..<60])
      bytes[index] = UInt8(value)
      var refused = false
      for count in 0...bytes.count {
        switch ClientHelloGate.examine(Array(bytes[..<count]).span) {
        case .refused: refused = true
        case .needMore, .clientHello: #expect(!refused)
        }
      }
    }
  }
}

@Test func theLargestRecordFits() {
  let bytes = [22, 3, 1, 0x40, 0, 1, 0, 0x3F, 0xFC, 3, 3] + [UInt8](repeating: 0, count: 16_378)
  #expect(bytes.count == ClientHelloGate.firstRecordBytesMax)
  #expect(ClientHelloGate.examine(bytes.span) == .clientHello)
}

@Test func aTicketIsSeenInTheClientHello() throws {
  let first = try clientHello()
  let isSeen = ClientHelloGate.offersResumption(first.span)
  #expect(!isSeen)
  let pair = try Pair.established()
  let offered = pair.client.sessionTicket
  let ticket = try #require(offered)
  var engine = try TLSEngine(client: Fixture.client(), serverName: "localhost", ticket: ticket)
  let hello = engine.takeOutput()
  let isSeenNow = ClientHelloGate.offersResumption(hello.span)
  #expect(isSeenNow)
  // Any prefix, and any byte of the lengths, only gives another answer.
  for count in 0..<hello.count { _ = ClientHelloGate.offersResumption(Array(hello[..<count]).span) }
  for index in 0..<hello.count {
    var bytes = hello
    bytes[index] = 0xFF
    _ = ClientHelloGate.offersResumption(bytes.span)
  }
}
