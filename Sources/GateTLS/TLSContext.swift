import COpenSSL

/// A certificate chain and its private key, as PEM: leaf first.
package struct TLSIdentity: Sendable {
  package var certificatePEM: [UInt8]
  package var keyPEM: [UInt8]

  package init(certificatePEM: [UInt8], keyPEM: [UInt8]) {
    self.certificatePEM = certificatePEM
    self.keyPEM = keyPEM
  }

  /// - Throws: `.file`, `.malformed`.
  package init(certificateFile: String, keyFile: String) throws(TLSError) {
    certificatePEM = try PEM.read(certificateFile, as: .certificate)
    keyPEM = try PEM.read(keyFile, as: .key)
  }
}

/// How devices may prove themselves in the handshake, beside the token that comes later.
package struct ClientProof: Sendable {
  /// Who may certify devices; `nil` = no certificate is asked for.
  package var authorities: ClientAuthorities?
  /// Finds external keys; `nil` = there are none.
  package var findKey: ExternalKey.Lookup?
  /// Whose early data is taken; `nil` = nobody's.
  package var earlyData: EarlyDataGate?

  package init(
    authorities: ClientAuthorities? = nil, findKey: ExternalKey.Lookup? = nil, earlyData: EarlyDataGate? = nil
  ) {
    self.authorities = authorities
    self.findKey = findKey
    self.earlyData = earlyData
  }
}

/// What all TLS connections of the gateway share. Immutable: reload a certificate by making a new one; connections keep
/// theirs alive.
///
/// Sendable: libssl counts references atomically, and nothing is set after `init`.
@safe package final class TLSServerContext: @unchecked Sendable {
  /// Bytes of ticket keys: 16 name, 32 HMAC, 32 AES.
  package static let ticketKeyBytes = 80
  /// How long a ticket is good: RFC 8446 section 4.6.1 allows no more. A courier's phone sleeps over the weekend.
  package static let ticketLifetimeSeconds = 604_800

  let raw: OpaquePointer
  package let authorities: ClientAuthorities?
  let takesEarlyData: Bool

  /// TLS 1.3, with tickets that need no memory here, given by `TLSEngine.issueTicket`. No renegotiation, no compression.
  /// - Parameters:
  ///   - allowTLS12: TLS 1.2 too, for old modems, with ECDHE and AEAD suites only.
  ///   - ownRecords: connections can be taken over from libssl (`TLSEngine.letGo`).
  ///   - ticketKeys: one or more keys of `ticketKeyBytes` random bytes, kept secret: the first seals new tickets, all open old
  ///     ones. The same ones after a restart keep old tickets good.
  /// - Throws: `.malformed`, `.keyEncrypted`, `.keyMismatch`, `.library`: do not start, or keep the old context.
  package init(
    identity: TLSIdentity, ticketKeys: [UInt8], allowTLS12: Bool = false, ownRecords: Bool = false,
    proof: ClientProof = ClientProof()
  ) throws(TLSError) {
    precondition(!ticketKeys.isEmpty && ticketKeys.count % TLSServerContext.ticketKeyBytes == 0)
    let context = try ContextHandle.make(server: true, versions: (allowTLS12 ? .tls12 : .tls13)...(.tls13))
    try context.use(identity)
    let raw = unsafe context.raw
    unsafe SSL_CTX_set_options(
      raw,
      gate_SSL_OP_NO_RENEGOTIATION() | gate_SSL_OP_NO_COMPRESSION() | gate_SSL_OP_CIPHER_SERVER_PREFERENCE()
        | gate_SSL_OP_PRIORITIZE_CHACHA())
    unsafe SSL_CTX_set_timeout(raw, TLSServerContext.ticketLifetimeSeconds)
    try unsafe ContextAttachment(ticketKeys: ticketKeys, proof: proof).attach(to: raw)
    if proof.findKey != nil { unsafe ExternalKey.accept(in: raw) }
    if ownRecords { unsafe RecordTap.install(in: raw) }
    // Changes with the content of tickets: one of another form leads to a full handshake.
    var name = Array("fixgate/2".utf8)
    if let authorities = proof.authorities, !authorities.isEmpty {
      try unsafe TLSServerContext.askForCertificates(authorities, raw)
      // Tickets of a time with other authorities lead to a full handshake: 32 bytes at most.
      var all: [UInt8] = []
      for each in authorities.list { all += each.pem }
      name += Digest.sha256(all.span).prefix(16)
    }
    takesEarlyData = proof.earlyData != nil
    let done = unsafe SSL_CTX_set_num_tickets(raw, 0) == 1
      && (takesEarlyData ? EarlyData.accept(in: raw) : SSL_CTX_set_max_early_data(raw, 0) == 1)
      && SSL_CTX_set_session_id_context(raw, name, UInt32(name.count)) == 1
    guard unsafe done && TicketKeys.use(in: raw) else { throw .library(code: ErrorQueue.drain()) }
    unsafe self.raw = context.take()
    authorities = proof.authorities
  }

  deinit { unsafe SSL_CTX_free(raw) }

  /// Asks every peer for a certificate, and lets in those without. One that is shown must be good.
  static func askForCertificates(_ authorities: ClientAuthorities, _ raw: OpaquePointer) throws(TLSError) {
    for each in authorities.list {
      try PEM.forEachCertificate(in: each.pem, as: .authority) { certificate throws(TLSError) in
        guard unsafe X509_STORE_add_cert(SSL_CTX_get_cert_store(raw), certificate.raw) == 1 else {
          throw .library(code: ErrorQueue.drain())
        }
      }
    }
    unsafe X509_VERIFY_PARAM_set_flags(SSL_CTX_get0_param(raw), UInt(X509_V_FLAG_PARTIAL_CHAIN))
    unsafe SSL_CTX_set_verify_depth(raw, 3)
    unsafe SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nil)
  }
}

/// What a device trusts. The server's certificate must chain up to `authorityPEM` and bear the name that
/// `TLSEngine.init(client:serverName:ticket:)` is given.
///
/// Sendable: libssl counts references atomically, and nothing is set after `init`.
@safe package final class TLSClientContext: @unchecked Sendable {
  let raw: OpaquePointer

  /// - Parameters:
  ///   - authorityPEM: certificates of the authorities, one at least.
  ///   - version: the one to speak; TLS 1.2 stands in for an old modem.
  ///   - identity: the device's own certificate and key, where it proves itself by them.
  ///   - key: the external key that it shares with the gateway. Where the gateway does not know it, the handshake goes on
  ///     by certificate.
  ///   - ownRecords: connections can be taken over from libssl (`TLSEngine.letGo`).
  /// - Throws: `.malformed`, `.keyEncrypted`, `.keyMismatch`, `.library`.
  package init(
    authorityPEM: [UInt8], version: TLSVersion = .tls13, identity: TLSIdentity? = nil, key: ExternalKey? = nil,
    ownRecords: Bool = false
  ) throws(TLSError) {
    let context = try ContextHandle.make(server: false, versions: version...version)
    let raw = unsafe context.raw
    try context.trust(authorityPEM)
    unsafe SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nil)
    if let identity { try context.use(identity) }
    if let key {
      try unsafe ContextAttachment(ownKey: key).attach(to: raw)
      unsafe ExternalKey.offer(in: raw)
    }
    if ownRecords { unsafe RecordTap.install(in: raw) }
    unsafe self.raw = context.take()
  }

  deinit { unsafe SSL_CTX_free(raw) }
}

/// Owns an `SSL_CTX` while it is set up.
@safe struct ContextHandle: ~Copyable {
  let raw: OpaquePointer

  init(server: Bool) throws(TLSError) {
    ErrorQueue.clear()
    guard let raw = unsafe SSL_CTX_new(server ? TLS_server_method() : TLS_client_method()) else {
      throw .library(code: ErrorQueue.drain())
    }
    unsafe self.raw = raw
  }

  init(taking raw: OpaquePointer) { unsafe self.raw = raw }

  static func make(server: Bool, versions: ClosedRange<TLSVersion>) throws(TLSError) -> ContextHandle {
    let context = try ContextHandle(server: server)
    let raw = unsafe context.raw
    // openssl.cnf of the system may say otherwise, so everything that matters is set.
    unsafe SSL_CTX_set_security_level(raw, 2)
    let done = unsafe gate_SSL_CTX_set_min_proto_version(raw, versions.lowerBound.number) == 1
      && gate_SSL_CTX_set_max_proto_version(raw, versions.upperBound.number) == 1
      && SSL_CTX_set_ciphersuites(
        raw, "TLS_AES_128_GCM_SHA256:TLS_AES_256_GCM_SHA384:TLS_CHACHA20_POLY1305_SHA256") == 1
      && SSL_CTX_set_cipher_list(raw, "ECDHE+AESGCM:ECDHE+CHACHA20:!aNULL:!eNULL") == 1
      && gate_SSL_CTX_set1_groups_list(raw, "X25519:P-256") == 1
    guard done else { throw .library(code: ErrorQueue.drain()) }
    unsafe gate_SSL_CTX_set_mode(raw, Int(SSL_MODE_RELEASE_BUFFERS))
    unsafe gate_SSL_CTX_set_session_cache_mode(raw, Int(SSL_SESS_CACHE_OFF))
    return context
  }

  deinit { unsafe SSL_CTX_free(raw) }

  /// Hands the reference on.
  consuming func take() -> OpaquePointer {
    let raw = unsafe raw
    discard self
    return unsafe raw
  }

  func use(_ identity: TLSIdentity) throws(TLSError) {
    let raw = unsafe raw
    let key = try PrivateKeyHandle(pem: identity.keyPEM)
    let keyRaw = unsafe key.raw
    var isLeaf = true
    try PEM.forEachCertificate(in: identity.certificatePEM, as: .certificate) { certificate throws(TLSError) in
      ErrorQueue.clear()
      if isLeaf {
        isLeaf = false
        guard unsafe X509_check_private_key(certificate.raw, keyRaw) == 1 else {
          ErrorQueue.clear()
          throw .keyMismatch
        }
        guard unsafe SSL_CTX_use_certificate(raw, certificate.raw) == 1 else {
          throw .malformed(.certificate, code: ErrorQueue.drain())
        }
      } else if unsafe gate_SSL_CTX_add1_chain_cert(raw, certificate.raw) != 1 {
        throw .malformed(.certificate, code: ErrorQueue.drain())
      }
    }
    ErrorQueue.clear()
    guard unsafe SSL_CTX_use_PrivateKey(raw, keyRaw) == 1 else { throw .malformed(.key, code: ErrorQueue.drain()) }
  }
}
