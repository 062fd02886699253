import COpenSSL
import GateCore
import GateTLS
import Testing

/// libssl alone, as either end of a DTLS 1.2 connection, over memory: what `DTLSHandshake` and `DTLSSession` are held against.
@safe final class LibsslPeer {
  private let context: OpaquePointer
  private let ssl: OpaquePointer
  private let incoming: OpaquePointer
  private let outgoing: OpaquePointer
  private(set) var isEstablished = false
  private(set) var received: [[UInt8]] = []
  private(set) var closed = false

  init(server: Bool, suite: DTLSSuite) throws {
    let identity = try Fixture.identity.get()
    let context = unsafe SSL_CTX_new(server ? DTLS_server_method() : DTLS_client_method())!
    unsafe SSL_CTX_set_cipher_list(context, suite.name)
    unsafe SSL_CTX_set_options(context, gate_SSL_OP_NO_QUERY_MTU())
    if server {
      unsafe identity.certificatePEM.withUnsafeBytes { bytes in
        let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count))
        let certificate = unsafe PEM_read_bio_X509(bio, nil, nil, nil)
        unsafe SSL_CTX_use_certificate(context, certificate)
        unsafe X509_free(certificate)
        unsafe BIO_free(bio)
      }
      unsafe identity.keyPEM.withUnsafeBytes { bytes in
        let bio = unsafe BIO_new_mem_buf(bytes.baseAddress, Int32(bytes.count))
        let key = unsafe PEM_read_bio_PrivateKey(bio, nil, nil, nil)
        unsafe SSL_CTX_use_PrivateKey(context, key)
        unsafe EVP_PKEY_free(key)
        unsafe BIO_free(bio)
      }
      unsafe SSL_CTX_set_psk_server_callback(context) { _, _, key, _ in
        for i in DTLSFixture.key.indices { unsafe key![i] = DTLSFixture.key[i] }
        return UInt32(DTLSFixture.key.count)
      }
    } else {
      unsafe SSL_CTX_set_psk_client_callback(context) { _, _, identity, _, key, _ in
        for i in DTLSFixture.identity.indices { unsafe identity![i] = CChar(bitPattern: DTLSFixture.identity[i]) }
        unsafe identity![DTLSFixture.identity.count] = 0
        for i in DTLSFixture.key.indices { unsafe key![i] = DTLSFixture.key[i] }
        return UInt32(DTLSFixture.key.count)
      }
    }
    unsafe self.context = context
    unsafe ssl = SSL_new(context)!
    unsafe incoming = BIO_new(BIO_s_mem())!
    unsafe outgoing = BIO_new(BIO_s_mem())!
    unsafe SSL_set_bio(ssl, incoming, outgoing)
    unsafe gate_SSL_set_mtu(ssl, 1_200)
    if server { unsafe SSL_set_accept_state(ssl) } else { unsafe SSL_set_connect_state(ssl) }
  }

  deinit {
    unsafe SSL_free(ssl)
    unsafe SSL_CTX_free(context)
  }

  /// Takes a datagram, or begins.
  func receive(_ datagram: [UInt8] = []) {
    if !datagram.isEmpty { unsafe BIO_write(incoming, datagram, Int32(datagram.count)) }
    ERR_clear_error()
    if !isEstablished { isEstablished = unsafe SSL_do_handshake(ssl) == 1 }
    guard isEstablished else { return }
    while true {
      var buffer = [UInt8](repeating: 0, count: 2_000)
      let count = unsafe SSL_read(ssl, &buffer, Int32(buffer.count))
      guard count > 0 else { break }
      received.append(Array(buffer[..<Int(count)]))
    }
    closed = unsafe SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0
  }

  func write(_ plaintext: [UInt8]) { unsafe SSL_write(ssl, plaintext, Int32(plaintext.count)) }
  func close() { unsafe SSL_shutdown(ssl) }
  func renegotiate() {
    unsafe SSL_renegotiate(ssl)
    unsafe SSL_do_handshake(ssl)
  }

  /// What libssl wrote, a record each.
  func takeOutput() throws -> [[UInt8]] {
    var bytes = [UInt8](repeating: 0, count: 40_000)
    let count = unsafe BIO_read(outgoing, &bytes, Int32(bytes.count))
    guard count > 0 else { return [] }
    var records: [[UInt8]] = []
    var at = 0
    while at < Int(count) {
      let record = try DTLSRecord.next(in: bytes.span, from: at)
      records.append(Array(bytes[record.whole]))
      at = record.whole.upperBound
    }
    return records
  }
}

@Suite struct DTLSOracleTests {
  /// libssl as the device.
  @Test(arguments: DTLSSuite.allCases) func device(suite: DTLSSuite) throws {
    let cipher = try RecordCipher()
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    let now = Instant(ns: 100_000_000_000)
    let address = DTLSFixture.address
    let peer = try LibsslPeer(server: false, suite: suite)
    peer.receive()
    var handshake: DTLSHandshake? = nil
    var progress = DTLSProgress.handshaking
    var early: [[UInt8]] = []
    while progress == .handshaking {
      let records = try peer.takeOutput()
      guard !records.isEmpty else { break }
      for record in records {
        if handshake != nil {
          progress = try handshake?.receive(record.span, at: now, with: cipher) ?? .handshaking
          continue
        }
        var reply = [UInt8](repeating: 0, count: CookieGate.replyBytes)
        var span = reply.mutableSpan
        switch gate.examine(record.span, from: address.span, at: now, reply: &span) {
        case .refused: Issue.record("refused")
        case .verify: peer.receive(reply)
        case .proven(let range):
          handshake = try DTLSHandshake(
            server: DTLSFixture.server(), hello: record.span.extracting(range), connectionID: DTLSFixture.serverCID,
            at: now, with: cipher)
        }
      }
      for datagram in handshake?.takeOutput() ?? [] { peer.receive(datagram) }
    }
    guard progress == .done, let established = handshake.take()?.finish() else {
      Issue.record("not done")
      return
    }
    early = established.early
    #expect(early.isEmpty && peer.isEstablished)
    try exchange(established.takeSession(), peer, cipher: cipher)
  }

  /// libssl as the gateway.
  @Test(arguments: DTLSSuite.allCases) func gateway(suite: DTLSSuite) throws {
    let cipher = try RecordCipher()
    let now = Instant(ns: 100_000_000_000)
    let peer = try LibsslPeer(server: true, suite: suite)
    var handshake: DTLSHandshake? = try DTLSHandshake(
      client: DTLSFixture.client(suite), serverName: "gateway.example", at: now, with: cipher)
    var progress = DTLSProgress.handshaking
    while progress == .handshaking {
      let datagrams = handshake?.takeOutput() ?? []
      guard !datagrams.isEmpty else { break }
      for datagram in datagrams { peer.receive(datagram) }
      for record in try peer.takeOutput() {
        progress = try handshake?.receive(record.span, at: now, with: cipher) ?? .handshaking
      }
    }
    guard progress == .done, let established = handshake.take()?.finish() else {
      Issue.record("not done")
      return
    }
    #expect(peer.isEstablished)
    try exchange(established.takeSession(), peer, cipher: cipher)
  }

  /// Records of every size both ways, then alerts and renegotiation.
  private func exchange(
    _ session: consuming DTLSSession, _ peer: LibsslPeer, cipher: borrowing RecordCipher
  ) throws {
    for count in [1, 2, 15, 16, 17, 64, 500, 1_100] {
      let plaintext = (0..<count).map { UInt8(truncatingIfNeeded: $0 * 7) }
      peer.receive(try session.seal(plaintext, with: cipher))
      #expect(peer.received.last == plaintext)
      peer.write(plaintext)
      let records = try peer.takeOutput()
      #expect(records.count == 1)
      #expect(try session.open(records[0], with: cipher).get().data == plaintext)
      #expect(session.open(records[0], with: cipher) == .failure(.replayed))
      // The same record twice is data once for libssl too.
      let received = peer.received.count
      var forged = try session.seal(plaintext, with: cipher)
      forged[forged.count - 1] ^= 1
      peer.receive(forged)
      #expect(peer.received.count == received)
    }
    peer.close()
    let bye = try peer.takeOutput()
    #expect(try session.open(bye[0], with: cipher).get().content == .alert(level: 1, description: 0))
    peer.receive(try session.seal(.alert, [1, 0], with: cipher))
    #expect(peer.closed)
  }
}
