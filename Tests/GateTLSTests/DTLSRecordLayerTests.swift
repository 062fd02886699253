import GateCore
import GateTLS
import Testing
import WireVectors

/// What one datagram of one record came to.
struct OpenedDatagram: Equatable {
  var content: DTLSContent
  var isNewest: Bool
  var data: [UInt8]
}

extension ConnectionID {
  init?(bytes: [UInt8]) { self.init(bytes.span) }
}

extension DTLSSession {
  /// Opens a datagram of one record.
  mutating func open(
    _ datagram: [UInt8], room: Int = 2_000, with cipher: borrowing RecordCipher
  ) -> Result<OpenedDatagram, DTLSError> {
    var buffer = [UInt8](repeating: 0, count: room)
    var offset = 0
    do throws(DTLSError) {
      let record = try DTLSRecord.next(in: datagram.span, from: 0, connectionIDBytes: readConnectionID.count)
      var span = buffer.mutableSpan
      let opened = try open(record, of: datagram.span, into: &span, at: &offset, with: cipher)
      return .success(OpenedDatagram(
          content: opened.content, isNewest: opened.isNewest, data: Array(buffer[..<offset])))
    } catch { return .failure(error) }
  }

  mutating func seal(_ plaintext: [UInt8], with cipher: borrowing RecordCipher) throws(DTLSError) -> [UInt8] {
    try seal(.applicationData, plaintext, with: cipher)
  }

  mutating func seal(
    _ type: DTLSContentType, _ plaintext: [UInt8], with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> [UInt8] {
    var buffer = [UInt8](repeating: 0, count: recordBytes(plaintextBytes: plaintext.count))
    var offset = 0
    var span = buffer.mutableSpan
    try seal(type, plaintext.span, into: &span, at: &offset, with: cipher)
    #expect(offset == buffer.count)
    return buffer
  }
}

/// Two ends with made-up keys.
struct SessionPair: ~Copyable {
  var server: DTLSSession
  var client: DTLSSession

  init(
    _ suite: DTLSSuite, serverCID: ConnectionID = ConnectionID(), clientCID: ConnectionID = ConnectionID(),
    writeSequence: UInt64 = 0
  ) throws(DTLSError) {
    let block = (0..<suite.keyBlockBytes).map { UInt8($0) }
    let server = try DTLSSession(
      suite: suite, role: .server, keyBlock: block.span, readConnectionID: serverCID, writeConnectionID: clientCID,
      writeSequence: writeSequence)
    let client = try DTLSSession(
      suite: suite, role: .client, keyBlock: block.span, readConnectionID: clientCID, writeConnectionID: serverCID,
      writeSequence: writeSequence)
    self.server = server
    self.client = client
  }
}

private let someCID = ConnectionID(node: 1, shard: 2, random: 3)

@Suite struct DTLSRecordLayerTests {
  @Test(arguments: DTLSVector.all) func capturedSessions(vector: DTLSVector) throws {
    let suite = try #require(vector.agreedSuite)
    let cipher = try RecordCipher()
    let serverCID = try #require(ConnectionID(bytes: vector.serverCID))
    let clientCID = try #require(ConnectionID(bytes: vector.clientCID))
    var server = try DTLSSession(
      suite: suite, role: .server, keyBlock: vector.keyBlock.span, readConnectionID: serverCID,
      writeConnectionID: clientCID)
    var client = try DTLSSession(
      suite: suite, role: .client, keyBlock: vector.keyBlock.span, readConnectionID: clientCID,
      writeConnectionID: serverCID)
    var compared = 0
    for record in vector.records {
      let opened =
        record.isFromServer ? client.open(record.bytes, with: cipher) : server.open(record.bytes, with: cipher)
      let again =
        record.isFromServer ? client.open(record.bytes, with: cipher) : server.open(record.bytes, with: cipher)
      switch record.type {
      case 23:
        #expect(
          opened
            == .success(
              OpenedDatagram(
                content: .applicationData(bytes: record.content.count), isNewest: true, data: record.content)))
      default: #expect(try opened.get().content == .finished)
      }
      #expect(again == .failure(.replayed))

      // Sealed by us the same record comes out, unless its sealer pads or draws its explicit nonces.
      let header = try DTLSRecord.next(
        in: record.bytes.span, from: 0, connectionIDBytes: record.isFromServer ? clientCID.count : serverCID.count)
      let padded = !record.isFromServer && vector.client.hasPrefix("mbedTLS")
      let nonce = record.bytes[header.fragment].prefix(8)
      let drawn = !suite.name.contains("CHACHA20") && nonce != record.bytes[3..<11]
      guard !padded, !drawn else { continue }
      compared += 1
      var sealer = try DTLSSession(
        suite: suite, role: record.isFromServer ? .server : .client, keyBlock: vector.keyBlock.span,
        writeConnectionID: record.isFromServer ? clientCID : serverCID, writeSequence: header.sequence)
      let type = try #require(DTLSContentType(rawValue: record.type))
      #expect(try sealer.seal(type, record.content, with: cipher) == record.bytes)
    }
    #expect(compared >= 2)
  }

  @Test(arguments: DTLSSuite.allCases, [ConnectionID(), someCID]) func bothWays(suite: DTLSSuite, cid: ConnectionID) throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(suite, serverCID: cid)
    for count in [0, 1, 40, 1_200] {
      let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0) }
      let up = try pair.client.seal(plaintext, with: cipher)
      #expect(up[0] == (cid.isEmpty ? 23 : 25) && up.count == pair.client.recordBytes(plaintextBytes: count))
      #expect(try pair.server.open(up, with: cipher).get().data == plaintext)
      let down = try pair.server.seal(plaintext, with: cipher)
      #expect(down[0] == 23)
      #expect(try pair.client.open(down, with: cipher).get().data == plaintext)
    }
    #expect(pair.client.writeSequence == 4 && pair.server.window.next == 4)
  }

  /// What research counts on the wire: 40 bytes of application data.
  @Test(arguments: [
    (.pskAES128CCM8, 69, 78), (.pskAES128GCM, 77, 86), (.pskChaCha20Poly1305, 69, 78),
  ] as [(DTLSSuite, Int, Int)])
  func recordSizes(suite: DTLSSuite, classic: Int, withCID: Int) throws {
    let cipher = try RecordCipher()
    var one = try SessionPair(suite)
    var two = try SessionPair(suite, serverCID: someCID)
    let plaintext = [UInt8](repeating: 1, count: 40)
    #expect(try one.client.seal(plaintext, with: cipher).count == classic)
    #expect(try two.client.seal(plaintext, with: cipher).count == withCID)
  }

  @Test(arguments: DTLSSuite.allCases, [ConnectionID(), someCID])
  func everyBitCounts(suite: DTLSSuite, cid: ConnectionID) throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(suite, serverCID: cid)
    let good = try pair.client.seal([UInt8](repeating: 7, count: 30), with: cipher)
    for used in [false, true] {
      if used { _ = try pair.server.open(good, with: cipher).get() }
      let before = pair.server.window
      for bit in 0..<good.count * 8 {
        var bad = good
        bad[bit / 8] ^= 1 << UInt8(bit % 8)
        let result = pair.server.open(bad, with: cipher)
        #expect(throws: DTLSError.self, "bit \(bit)") { try result.get() }
      }
      #expect(pair.server.window == before)
    }
  }

  @Test(arguments: DTLSSuite.allCases) func truncated(suite: DTLSSuite) throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(suite, serverCID: someCID)
    let good = try pair.client.seal([UInt8](repeating: 7, count: 30), with: cipher)
    for count in good.indices {
      var cut = Array(good[..<count])
      let plain = pair.server.open(cut, with: cipher)
      #expect(throws: DTLSError.self) { try plain.get() }
      guard count >= 21 else { continue }
      // With a length that fits what is left.
      cut[19] = UInt8((count - 21) >> 8)
      cut[20] = UInt8((count - 21) & 255)
      let fitting = pair.server.open(cut, with: cipher)
      #expect(throws: DTLSError.self) { try fitting.get() }
    }
    let intact = pair.server.open(good, with: cipher)
    #expect(throws: Never.self) { try intact.get() }
  }

  @Test func windowMoves() throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(.pskAES128CCM8, serverCID: someCID)
    var sent: [[UInt8]] = []
    for i in 0..<200 as Range<UInt8> { sent.append(try pair.client.seal([i], with: cipher)) }
    #expect(try pair.server.open(sent[1], with: cipher).get().isNewest)
    #expect(try !pair.server.open(sent[0], with: cipher).get().isNewest)
    #expect(pair.server.open(sent[1], with: cipher) == .failure(.replayed))
    #expect(try pair.server.open(sent[199], with: cipher).get().isNewest)
    #expect(try pair.server.open(sent[140], with: cipher).get().data == [140])
    #expect(pair.server.open(sent[2], with: cipher) == .failure(.tooOld))
  }

  @Test func refusedBeforeAnyKey() throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(.pskAES128GCM, serverCID: someCID)
    let good = try pair.client.seal([1], with: cipher)
    var other = good
    other[11] ^= 1
    #expect(pair.server.open(other, with: cipher) == .failure(.wrongConnectionID))
    for epoch in [0, 2] as [UInt8] {
      other = good
      other[4] = epoch
      #expect(pair.server.open(other, with: cipher) == .failure(.wrongEpoch(UInt16(epoch))))
    }
    // A session with connection IDs takes no classic record, though its keys are right.
    var classic = try SessionPair(.pskAES128GCM)
    #expect(pair.server.open(try classic.client.seal([1], with: cipher), with: cipher) == .failure(.wrongConnectionID))
    #expect(pair.server.open(good, room: 1, with: cipher) == .failure(.oversize(bytes: 2)))
    #expect(try pair.server.open(good, room: 2, with: cipher).get().data == [1])
  }

  @Test func alertsAndHandshakes() throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(.pskAES128CCM8, serverCID: someCID)
    let cases: [(DTLSContentType, [UInt8], DTLSContent?)] = [
      (.alert, [1, 0], .alert(level: 1, description: 0)), (.alert, [2, 40], .alert(level: 2, description: 40)),
      (.alert, [1], nil), (.handshake, [20] + [UInt8](repeating: 0, count: 23), .finished),
      (.handshake, [1] + [UInt8](repeating: 0, count: 60), .renegotiation), (.handshake, [20], nil),
      (.handshake, [2] + [UInt8](repeating: 0, count: 60), nil), (.changeCipherSpec, [1], nil),
    ]
    for (type, bytes, content) in cases {
      let result = pair.server.open(try pair.client.seal(type, bytes, with: cipher), with: cipher)
      if let content {
        #expect(try result.get() == OpenedDatagram(content: content, isNewest: true, data: []))
      } else {
        #expect(result == .failure(.unknownContent))
      }
    }
  }

  @Test func exhaustion() throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(.pskAES128CCM8, writeSequence: DTLSSession.sequencesMax - 1)
    _ = try pair.client.seal([1], with: cipher)
    #expect(throws: DTLSError.sequenceExhausted) { try pair.client.seal([1], with: cipher) }
    #expect(pair.client.writeSequence == DTLSSession.sequencesMax)
  }

  @Test func noRoomUsesNoNumber() throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(.pskAES128CCM8, serverCID: someCID)
    var buffer = [UInt8](repeating: 0, count: pair.client.recordBytes(plaintextBytes: 5) - 1)
    let plaintext: [UInt8] = [1, 2, 3, 4, 5]
    #expect(throws: DTLSError.noRoom) {
      var offset = 0
      var span = buffer.mutableSpan
      try pair.client.seal(.applicationData, plaintext.span, into: &span, at: &offset, with: cipher)
    }
    #expect(throws: DTLSError.noRoom) {
      try pair.client.seal([UInt8](repeating: 0, count: DTLSSession.plaintextBytesMax + 1), with: cipher)
    }
    #expect(pair.client.writeSequence == 0)
  }

  @Test func keyBlockAndPlaceComeBack() throws {
    let cipher = try RecordCipher()
    var pair = try SessionPair(.pskChaCha20Poly1305, serverCID: someCID)
    let first = try pair.client.seal([1], with: cipher)
    _ = try pair.server.open(first, with: cipher).get()
    let block = pair.server.withKeyBlock { span in span.indices.map { span[$0] } }
    var restored = try DTLSSession(
      suite: pair.server.suite, role: .server, keyBlock: block.span, readConnectionID: pair.server.readConnectionID,
      writeSequence: pair.server.writeSequence + 1 << 20, window: pair.server.window)
    #expect(restored.open(first, with: cipher) == .failure(.replayed))
    let second = try pair.client.seal([2], with: cipher)
    #expect(try restored.open(second, with: cipher).get().data == [2])
    #expect(try pair.client.open(restored.seal([3], with: cipher), with: cipher).get().data == [3])
  }

  @Test func size() { #expect(MemoryLayout<DTLSSession>.size <= 104) }
}
