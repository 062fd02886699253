import COpenSSL
import GateCore

/// Owns one `SSL` of a DTLS handshake and the cell that its BIO and callbacks use.
@safe struct HandshakeHandle: ~Copyable {
  /// libssl's largest datagram: ours, less what a connection ID and the type behind the content add.
  static let mtuBytes = DTLSHandshake.datagramBytesMax - ConnectionID.bytesMax - 1

  let ssl: OpaquePointer
  let cell: UnsafeMutablePointer<HandshakeCell>

  init(
    context: OpaquePointer, connectionID: ConnectionID?, preSharedKey: PreSharedKeyLookup?, identity: [UInt8]
  ) throws(DTLSError) {
    ErrorQueue.clear()
    guard let ssl = unsafe SSL_new(context) else { throw .library(code: ErrorQueue.drain()) }
    let cell = UnsafeMutablePointer<HandshakeCell>.allocate(capacity: 1)
    unsafe cell.initialize(
      to: HandshakeCell(ownConnectionID: connectionID, preSharedKey: preSharedKey, identity: identity))
    guard let bio = unsafe DatagramBIO.make(over: cell), unsafe SSL_set_ex_data(ssl, 0, cell) == 1 else {
      unsafe SSL_free(ssl)
      unsafe cell.pointee.release()
      unsafe cell.deinitialize(count: 1)
      unsafe cell.deallocate()
      throw .library(code: ErrorQueue.drain())
    }
    unsafe SSL_set_bio(ssl, bio, bio)
    unsafe gate_SSL_set_mtu(ssl, HandshakeHandle.mtuBytes)
    // Never by libssl's clock: we send again ourselves.
    unsafe DTLS_set_timer_cb(ssl) { _, _ in 4_000_000_000 }
    unsafe self.ssl = ssl
    unsafe self.cell = cell
  }

  deinit {
    unsafe SSL_free(ssl)
    unsafe cell.pointee.release()
    unsafe cell.deinitialize(count: 1)
    unsafe cell.deallocate()
  }

  var ownConnectionID: ConnectionID? { unsafe cell.pointee.ownConnectionID }

  /// Tells libssl that the cookie of this ClientHello is good, so that it numbers its messages from 1.
  func listen(_ hello: Span<UInt8>) -> Bool {
    ErrorQueue.clear()
    guard let peer = unsafe BIO_ADDR_new() else { return false }
    defer { unsafe BIO_ADDR_free(peer) }
    return unsafe hello.withUnsafeBufferPointer { bytes in
      unsafe cell.pointee.input = bytes.baseAddress
      unsafe cell.pointee.inputCount = bytes.count
      defer { unsafe cell.pointee.input = nil }
      return unsafe DTLSv1_listen(ssl, peer) == 1
    }
  }

  /// Sets the name that a server's certificate must bear.
  func expect(_ serverName: String) throws(DTLSError) {
    guard let name = CertificateName(serverName) else { throw .handshake(.serverName) }
    ErrorQueue.clear()
    let set: Bool
    switch name {
    case .address: set = unsafe X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), serverName) == 1
    case .dns:
      unsafe SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
      set = unsafe SSL_set1_host(ssl, serverName) == 1 && gate_SSL_set_tlsext_host_name(ssl, serverName) == 1
    }
    guard set else { throw .library(code: ErrorQueue.drain()) }
  }

  /// Suite and key block once libssl has the master secret; `nil` before. A secret: wipe it.
  func keyBlock(with cipher: borrowing RecordCipher) throws(DTLSError) -> (suite: DTLSSuite, block: [UInt8])? {
    guard let own = unsafe SSL_get_session(ssl), unsafe SSL_SESSION_get_master_key(own, nil, 0) == 48,
      let agreed = unsafe SSL_get_pending_cipher(ssl)
    else { return nil }
    guard let suite = DTLSSuite(rawValue: unsafe SSL_CIPHER_get_protocol_id(agreed)) else {
      preconditionFailure("a suite that the contexts do not allow")
    }
    // Master secret, client's and server's random.
    var values = InlineArray<112, UInt8>(repeating: 0)
    var room = values.mutableSpan
    defer { room.wipe() }
    let done = unsafe room.withUnsafeMutableBufferPointer { values in
      let start = values.baseAddress!
      return unsafe SSL_SESSION_get_master_key(own, start, 48) == 48 && SSL_get_client_random(ssl, start + 48, 32) == 32
        && SSL_get_server_random(ssl, start + 80, 32) == 32
    }
    guard done else { throw .library(code: ErrorQueue.drain()) }
    let block = try suite.keyBlock(
      masterSecret: room.span.extracting(0..<48), clientRandom: room.span.extracting(48..<80),
      serverRandom: room.span.extracting(80..<112), with: cipher)
    return (suite, block)
  }

  /// Who the peer is, after the handshake.
  func peer(authorities: ClientAuthorities?) -> DTLSPeer {
    if let raw = unsafe SSL_get0_peer_certificate(ssl) {
      guard unsafe SSL_get_verify_result(ssl) == Int(X509_V_OK) else { return .anonymous }
      let certificate =
        if let authorities { unsafe PeerCertificate(raw, vouchedForBy: authorities) } else { try? unsafe PeerCertificate(raw) }
      return certificate.map { .certificate($0) } ?? .anonymous
    }
    guard let identity = unsafe SSL_get_psk_identity(ssl) else { return .anonymous }
    return .preSharedKey(identity: Array(unsafe String(cString: identity).utf8))
  }
}
