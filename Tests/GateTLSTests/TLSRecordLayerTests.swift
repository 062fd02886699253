import GateTLS
import Testing

/// Two ends of one connection, with made-up secrets.
private struct LayerPair: ~Copyable {
  var client: TLSRecordLayer
  var server: TLSRecordLayer

  init(_ suite: TLSSuite, contentBytesMax: Int = TLSRecordLayer.plaintextBytesMax) throws(TLSError) {
    let (ofClient, ofServer) = (
      [UInt8](repeating: 1, count: suite.secretBytes), [UInt8](repeating: 2, count: suite.secretBytes)
    )
    let client = try TLSRecordLayer(
      suite: suite, readSecret: ofServer.span, writeSecret: ofClient.span, contentBytesMax: contentBytesMax)
    let server = try TLSRecordLayer(
      suite: suite, readSecret: ofClient.span, writeSecret: ofServer.span, contentBytesMax: contentBytesMax)
    self.client = client
    self.server = server
  }
}

@Suite struct TLSRecordLayerTests {
  @Test func rfc8448() throws {
    let cipher = try RecordCipher()
    // The server's first record is its ticket.
    var client = try RFC8448.layer(ofServer: false, readSequence: 1)
    var server = try RFC8448.layer(ofServer: true, writeSequence: 1)
    #expect(try client.seal(RFC8448.data, with: cipher) == RFC8448.clientData)
    #expect(try server.seal(RFC8448.data, with: cipher) == RFC8448.serverData)
    #expect(try client.seal(.alert, [1, 0], with: cipher) == RFC8448.clientClose)
    #expect(try server.seal(.alert, [1, 0], with: cipher) == RFC8448.serverClose)
    let data = OpenedRecord(type: .applicationData, content: RFC8448.data)
    let close = OpenedRecord(type: .alert, content: [1, 0])
    #expect(try client.open(RFC8448.serverData, with: cipher) == data)
    #expect(try server.open(RFC8448.clientData, with: cipher) == data)
    #expect(try client.open(RFC8448.serverClose, with: cipher) == close)
    #expect(try server.open(RFC8448.clientClose, with: cipher) == close)
    #expect(client.readSequence == 3 && client.writeSequence == 2)
  }

  @Test(arguments: TLSSuite.allCases) func recordsOfAllSizesAndGenerations(suite: TLSSuite) throws {
    let cipher = try RecordCipher()
    var pair = try LayerPair(suite)
    for generation in 0..<3 {
      for count in [0, 1, 15, 16, 17, 1_000, 16_384] {
        let content = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 7) }
        let up = try pair.client.seal(content, with: cipher)
        #expect(up.count == count + TLSRecordLayer.overheadBytes)
        #expect(try pair.server.open(up, with: cipher) == OpenedRecord(type: .applicationData, content: content))
        let down = try pair.server.seal(.handshake, content, with: cipher)
        #expect(try pair.client.open(down, with: cipher) == OpenedRecord(type: .handshake, content: content))
      }
      #expect(pair.client.writeSequence == (generation == 0 ? 7 : 8))
      var update = [UInt8](repeating: 0, count: TLSRecordLayer.keyUpdateRecordBytes)
      var offset = 0
      var span = update.mutableSpan
      try pair.client.sealKeyUpdate(requesting: generation == 1, into: &span, at: &offset, with: cipher)
      #expect(offset == update.count && pair.client.writeSequence == 0)
      // Under the old key still; only behind it the next one is in force.
      let said = try pair.server.open(update, with: cipher)
      #expect(said == OpenedRecord(type: .handshake, content: [24, 0, 0, 1, generation == 1 ? 1 : 0]))
      let early = try pair.client.seal([1], with: cipher)
      #expect(throws: TLSError.record(.forged)) { _ = try pair.server.open(early, with: cipher) }
      try pair.server.advanceReading()
      #expect(pair.server.readSequence == 0)
      #expect(try pair.server.open(early, with: cipher).content == [1])
    }
  }

  @Test(arguments: TLSSuite.allCases) func everyBrokenBitIsRefused(suite: TLSSuite) throws {
    let cipher = try RecordCipher()
    var pair = try LayerPair(suite)
    let record = try pair.client.seal(hello, with: cipher)
    for bit in 0..<record.count * 8 {
      var bad = record
      bad[bit / 8] ^= 1 << UInt8(bit % 8)
      // A record of another length is another record: what there is of it.
      #expect(throws: TLSError.record(.forged), "bit \(bit)") { _ = try pair.server.open(bad, with: cipher) }
    }
    #expect(pair.server.readSequence == 0)
    #expect(try pair.server.open(record, with: cipher).content == hello)
  }

  @Test func neitherAgainNorInAnotherOrder() throws {
    let cipher = try RecordCipher()
    var pair = try LayerPair(.aes128GCM)
    let records = try [[1], [2], [3]].map { try pair.client.seal($0, with: cipher) }
    #expect(throws: TLSError.record(.forged)) { _ = try pair.server.open(records[1], with: cipher) }
    #expect(try pair.server.open(records[0], with: cipher).content == [1])
    #expect(throws: TLSError.record(.forged)) { _ = try pair.server.open(records[0], with: cipher) }
    #expect(throws: TLSError.record(.forged)) { _ = try pair.server.open(records[2], with: cipher) }
    #expect(try pair.server.open(records[1], with: cipher).content == [2])
    // Nor back to whence it came.
    #expect(throws: TLSError.record(.forged)) { _ = try pair.client.open(records[2], with: cipher) }
  }

  @Test func headers() throws {
    func bytes(_ header: [UInt8]) throws(TLSError) -> Int? { try TLSRecordLayer.recordBytes(at: 1, of: ([9] + header).span) }
    for count in 0..<5 { #expect(try bytes(Array([23, 3, 3, 0x41, 0x00][..<count])) == nil) }
    #expect(try bytes([23, 3, 3, 0x41, 0x00]) == 5 + 16_640)
    #expect(try bytes([23, 3, 3, 0, 0]) == 5)
    #expect(throws: TLSError.record(.oversize(bytes: 16_641))) { _ = try bytes([23, 3, 3, 0x41, 0x01]) }
    #expect(throws: TLSError.record(.forged)) { _ = try bytes([23, 3, 1, 0, 20]) }
    #expect(throws: TLSError.record(.forged)) { _ = try bytes([23, 0xFE, 3, 0, 20]) }
    // Behind the handshake neither plaintext alerts nor change_cipher_spec (RFC 8446 section 5).
    for type in [0, 20, 21, 22, 24, 255] as [UInt8] {
      #expect(throws: TLSError.record(.unexpected(contentType: type))) { _ = try bytes([type, 3, 3, 0, 2, 1, 0]) }
    }
    let layer = try RFC8448.layer(ofServer: true)
    for count in 0...21 { #expect(throws: TLSError.record(.forged)) { _ = try layer.innerBytes(recordBytes: count) } }
    #expect(try layer.innerBytes(recordBytes: 22) == 1)
    #expect(try layer.innerBytes(recordBytes: 5 + 16_385 + 16) == 16_385)
    #expect(throws: TLSError.record(.oversize(bytes: 16_386))) { _ = try layer.innerBytes(recordBytes: 5 + 16_386 + 16) }
  }

  @Test func paddingIsStripped() throws {
    let cipher = try RecordCipher()
    var client = RFC8448.client
    var server = try RFC8448.layer(ofServer: true)
    for padding in [0, 1, 15, 16, 4_000, 16_384 - hello.count] {
      let record = client.seal(hello + [23] + [UInt8](repeating: 0, count: padding))
      #expect(try server.open(record, with: cipher) == OpenedRecord(type: .applicationData, content: hello))
    }
    // Zeros of the content are no padding.
    #expect(try server.open(client.seal([7, 0, 0, 23, 0]), with: cipher).content == [7, 0, 0])
    #expect(try server.open(client.seal([UInt8](repeating: 0, count: 16_384) + [23]), with: cipher).content.count == 16_384)
    for inner in [[0], [UInt8](repeating: 0, count: 16_385)] {
      #expect(throws: TLSError.record(.unexpected(contentType: 0))) {
        _ = try server.open(client.seal(inner), with: cipher)
      }
    }
    for type in [20, 24, 255] as [UInt8] {
      #expect(throws: TLSError.record(.unexpected(contentType: type))) {
        _ = try server.open(client.seal([1, type]), with: cipher)
      }
    }
  }

  @Test func agreedLengthsHold() throws {
    let cipher = try RecordCipher()
    let (ofClient, ofServer) = (RFC8448.clientSecret, RFC8448.serverSecret)
    var server = try TLSRecordLayer(
      suite: .aes128GCM, readSecret: ofClient.span, writeSecret: ofServer.span, contentBytesMax: 512)
    var client = RFC8448.client
    let content = [UInt8](repeating: 3, count: 513)
    #expect(try server.open(client.seal(content[..<512] + [23, 0, 0]), with: cipher).content.count == 512)
    #expect(throws: TLSError.record(.oversize(bytes: 513))) { _ = try server.open(client.seal(content + [23]), with: cipher) }
  }

  @Test func wornOutKeysOpenNothing() throws {
    let cipher = try RecordCipher()
    var client = try RFC8448.layer(ofServer: false, writeSequence: TLSRecordLayer.recordsPerKeyMax - 1)
    var server = try RFC8448.layer(ofServer: true, readSequence: TLSRecordLayer.recordsPerKeyMax - 1)
    let last = try client.seal(hello, with: cipher)
    #expect(try server.open(last, with: cipher).content == hello)
    #expect(throws: TLSError.record(.keyWornOut)) { _ = try server.open(last, with: cipher) }
  }

  // A nonce that comes twice gives the keys away: better no gateway.

  @Test func sealingWithAWornOutKeyTraps() async {
    await #expect(processExitsWith: .failure) {
      let cipher = try RecordCipher()
      var server = try RFC8448.layer(ofServer: true, writeSequence: TLSRecordLayer.recordsPerKeyMax)
      _ = try server.seal(hello, with: cipher)
    }
  }

  @Test func sealingAtTheEndOfSequencesTraps() async {
    await #expect(processExitsWith: .failure) {
      let cipher = try RecordCipher()
      var server = try RFC8448.layer(ofServer: true, writeSequence: .max)
      _ = try server.seal(hello, with: cipher)
    }
  }

  @Test func secretsOfAnotherLengthTrap() async {
    await #expect(processExitsWith: .failure) {
      let secret = RFC8448.clientSecret
      _ = try TLSRecordLayer(suite: .aes256GCM, readSecret: secret.span, writeSecret: secret.span)
    }
  }
}
