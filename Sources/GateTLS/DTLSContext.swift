import COpenSSL
import GateCore
import Glibc

/// Finds the key of the device that calls itself `identity`.
/// - Parameter key: room for `DTLSServerContext.preSharedKeyBytesMax`; the key goes to its front.
/// - Returns: how many bytes the key has; `nil` for an unknown device, which is told so (alert 115).
package typealias PreSharedKeyLookup = @Sendable (_ identity: Span<UInt8>, _ key: inout MutableSpan<UInt8>) -> Int?

/// What all DTLS handshakes of the gateway share. Immutable: reload a certificate by making a new one; handshakes keep theirs
/// alive.
///
/// Sendable: libssl counts references atomically, and nothing is set after `init`.
@safe package final class DTLSServerContext: @unchecked Sendable {
  /// Longest pre-shared key in bytes.
  package static let preSharedKeyBytesMax = 64

  let raw: OpaquePointer
  let preSharedKey: PreSharedKeyLookup?
  let authorities: ClientAuthorities?

  /// DTLS 1.2 only, without tickets and renegotiation: a ticket costs more bytes than a whole handshake with a pre-shared key.
  /// The device's order of suites decides, since it knows what its modem has and pays for the bytes.
  /// - Parameters:
  ///   - identity: certificate and key for the ECDSA suites; must be of P-256. `nil` = only pre-shared keys.
  ///   - authorities: those of devices' certificates, which are then asked for and not required. `nil` = not asked for.
  ///   - preSharedKey: called on the thread that runs the handshake. `nil` = only certificates.
  ///   - suites: those to agree to, out of what `identity` and `preSharedKey` allow.
  /// - Throws: `.malformed`, `.keyEncrypted`, `.keyMismatch`, `.library`: do not start, or keep the old context.
  package init(
    identity: TLSIdentity? = nil, authorities: ClientAuthorities? = nil, suites: [DTLSSuite] = DTLSSuite.allCases,
    preSharedKey: PreSharedKeyLookup? = nil
  ) throws(TLSError) {
    precondition(identity != nil || preSharedKey != nil)
    let usable = suites.filter { $0.isPSK ? preSharedKey != nil : identity != nil }
    let context = try ContextHandle.makeDTLS(server: true, suites: usable)
    let raw = unsafe context.raw
    if let identity { try context.use(identity) }
    if let authorities, !authorities.isEmpty { try unsafe TLSServerContext.askForCertificates(authorities, raw) }
    unsafe SSL_CTX_set_options(raw, gate_SSL_OP_COOKIE_EXCHANGE())
    // No session can be resumed, and the id that libssl makes for one is not sent: it need not be random.
    _ = unsafe SSL_CTX_set_generate_session_id(raw) { _, id, count in
      guard let id = unsafe id, let count = unsafe count else { return 0 }
      for i in 0..<Int(unsafe count.pointee) { unsafe id[i] = 1 }
      return 1
    }
    // `CookieGate` has checked it before libssl is there.
    unsafe SSL_CTX_set_cookie_verify_cb(raw) { _, _, _ in 1 }
    if preSharedKey != nil {
      unsafe SSL_CTX_set_psk_server_callback(raw) { ssl, identity, key, keyBytesMax in
        guard let lookup = unsafe HandshakeCell.of(ssl)?.pointee.preSharedKey, let identity = unsafe identity,
          let key = unsafe key
        else { return 0 }
        let name = unsafe UnsafeBufferPointer(start: identity, count: strlen(identity))
        return unsafe name.withMemoryRebound(to: UInt8.self) { bytes in
          let room = min(Int(keyBytesMax), DTLSServerContext.preSharedKeyBytesMax)
          var span = unsafe MutableSpan(_unsafeStart: key, count: room)
          let found = lookup(unsafe bytes.span, &span) ?? 0
          precondition(found >= 0 && found <= room)
          return UInt32(found)
        }
      }
    }
    self.preSharedKey = preSharedKey
    self.authorities = authorities
    unsafe self.raw = context.take()
  }

  deinit { unsafe SSL_CTX_free(raw) }

  /// `ClientAuthorities.mark`; 0 without any.
  package var authoritiesMark: UInt32 { authorities?.mark ?? 0 }

  /// Whether the same authorities certify devices, for the same tenants.
  package func hasAuthorities(of other: DTLSServerContext) -> Bool {
    (authorities?.list ?? []).elementsEqual(other.authorities?.list ?? []) { $0.tenant == $1.tenant && $0.pem == $1.pem }
  }
}

/// What a device has to prove itself, and what it trusts.
///
/// Sendable: libssl counts references atomically, and nothing is set after `init`.
@safe package final class DTLSClientContext: @unchecked Sendable {
  let raw: OpaquePointer
  let preSharedKey: PreSharedKeyLookup?
  /// NUL at its end.
  let identityBytes: [UInt8]
  let needsServerName: Bool

  /// A device with a pre-shared key.
  /// - Parameters:
  ///   - identity: 1 to 127 bytes, none of them 0.
  ///   - key: 1 to `DTLSServerContext.preSharedKeyBytesMax` bytes.
  /// - Throws: `.library`.
  package init(
    identity: [UInt8], key: [UInt8], suites: [DTLSSuite] = [.pskAES128CCM8, .pskAES128GCM, .pskChaCha20Poly1305]
  ) throws(TLSError) {
    precondition(!identity.isEmpty && identity.count <= 127 && !identity.contains(0))
    precondition(!key.isEmpty && key.count <= DTLSServerContext.preSharedKeyBytesMax)
    let context = try ContextHandle.makeDTLS(server: false, suites: suites.filter(\.isPSK))
    let raw = unsafe context.raw
    unsafe SSL_CTX_set_psk_client_callback(raw) { ssl, _, identity, identityBytesMax, key, keyBytesMax in
      guard let cell = unsafe HandshakeCell.of(ssl), let lookup = unsafe cell.pointee.preSharedKey,
        let identity = unsafe identity, let key = unsafe key
      else { return 0 }
      let name = unsafe cell.pointee.identity
      guard name.count <= Int(identityBytesMax) else { return 0 }
      for i in name.indices { unsafe identity[i] = CChar(bitPattern: name[i]) }
      var span = unsafe MutableSpan(_unsafeStart: key, count: Int(keyBytesMax))
      return UInt32(lookup(name.span, &span) ?? 0)
    }
    preSharedKey = { _, room in
      guard key.count <= room.count else { return nil }
      for i in key.indices { room[i] = key[i] }
      return key.count
    }
    identityBytes = identity + [0]
    needsServerName = false
    unsafe self.raw = context.take()
  }

  /// A device that verifies the gateway's certificate.
  /// - Parameters:
  ///   - authorityPEM: certificates of the authorities, one at least.
  ///   - identity: the device's own certificate; `nil` = it proves itself later, by a token.
  /// - Throws: `.malformed`, `.keyEncrypted`, `.keyMismatch`, `.library`.
  package init(
    authorityPEM: [UInt8], identity: TLSIdentity? = nil,
    suites: [DTLSSuite] = [.ecdheECDSAAES128GCM, .ecdheECDSAAES128CCM8, .ecdheECDSAChaCha20Poly1305]
  ) throws(TLSError) {
    let context = try ContextHandle.makeDTLS(server: false, suites: suites.filter { !$0.isPSK })
    let raw = unsafe context.raw
    try context.trust(authorityPEM)
    if let identity { try context.use(identity) }
    unsafe SSL_CTX_set_verify(raw, SSL_VERIFY_PEER, nil)
    preSharedKey = nil
    identityBytes = []
    needsServerName = true
    unsafe self.raw = context.take()
  }

  deinit { unsafe SSL_CTX_free(raw) }
}

extension ContextHandle {
  /// Extension connection_id (RFC 9146 section 3).
  static let connectionIDExtension: UInt32 = 54

  static func makeDTLS(server: Bool, suites: [DTLSSuite]) throws(TLSError) -> ContextHandle {
    precondition(!suites.isEmpty)
    ErrorQueue.clear()
    guard let raw = unsafe SSL_CTX_new(server ? DTLS_server_method() : DTLS_client_method()) else {
      throw .library(code: ErrorQueue.drain())
    }
    let context = unsafe ContextHandle(taking: raw)
    unsafe SSL_CTX_set_security_level(raw, 2)
    let done = unsafe gate_SSL_CTX_set_min_proto_version(raw, DTLS1_2_VERSION) == 1
      && gate_SSL_CTX_set_max_proto_version(raw, DTLS1_2_VERSION) == 1
      && SSL_CTX_set_cipher_list(raw, suites.map(\.name).joined(separator: ":")) == 1
      && gate_SSL_CTX_set1_groups_list(raw, "X25519:P-256") == 1
      // libssl sizes its buffers by this: 15 KB less for a handshake.
      && gate_SSL_CTX_set_max_send_fragment(raw, 1_400) == 1
    guard done else { throw .library(code: ErrorQueue.drain()) }
    unsafe SSL_CTX_set_options(
      raw,
      gate_SSL_OP_NO_QUERY_MTU() | gate_SSL_OP_NO_RENEGOTIATION() | gate_SSL_OP_NO_TICKET()
        | gate_SSL_OP_NO_COMPRESSION())
    unsafe gate_SSL_CTX_set_session_cache_mode(raw, Int(SSL_SESS_CACHE_OFF))
    try unsafe addConnectionIDExtension(to: raw)
    return context
  }

  /// Trusts the authorities of a PEM.
  func trust(_ authorityPEM: [UInt8]) throws(TLSError) {
    let raw = unsafe raw
    try PEM.forEachCertificate(in: authorityPEM, as: .authority) { certificate throws(TLSError) in
      guard unsafe X509_STORE_add_cert(SSL_CTX_get_cert_store(raw), certificate.raw) == 1 else {
        throw .library(code: ErrorQueue.drain())
      }
    }
  }

  /// - Throws: `.library` if this libssl knows the extension itself: then it must not be ours as well. Stop.
  private static func addConnectionIDExtension(to raw: OpaquePointer) throws(TLSError) {
    guard SSL_extension_supported(connectionIDExtension) == 0 else { throw .library(code: 0) }
    let places = UInt32(
      SSL_EXT_DTLS_ONLY | SSL_EXT_TLS1_2_AND_BELOW_ONLY | SSL_EXT_CLIENT_HELLO | SSL_EXT_TLS1_2_SERVER_HELLO)
    let added = unsafe SSL_CTX_add_custom_ext(
      raw, connectionIDExtension, places,
      { ssl, _, _, bytes, count, _, _, _, _ in
        // In a ServerHello only if the client asked and its connection ID is not too long to keep.
        guard let cell = unsafe HandshakeCell.of(ssl), let bytes = unsafe bytes, let count = unsafe count,
          let own = unsafe cell.pointee.ownConnectionID,
          unsafe SSL_is_server(ssl) == 0 || cell.pointee.peerConnectionID != nil
        else { return 0 }
        let into = unsafe cell.pointee.extensionBytes
        unsafe into[0] = UInt8(own.count)
        for i in 0..<own.count { unsafe into[1 + i] = own[i] }
        unsafe bytes.pointee = UnsafePointer(into)
        unsafe count.pointee = 1 + own.count
        return 1
      }, nil, nil,
      { ssl, _, _, bytes, count, _, _, alert, _ in
        guard let cell = unsafe HandshakeCell.of(ssl), let bytes = unsafe bytes, count >= 1,
          unsafe Int(bytes[0]) == count - 1
        else {
          if let alert = unsafe alert { unsafe alert.pointee = SSL_AD_DECODE_ERROR }
          return 0
        }
        let id = unsafe UnsafeBufferPointer(start: bytes + 1, count: count - 1)
        let peer = ConnectionID(unsafe id.span)
        if peer == nil, unsafe SSL_is_server(ssl) == 0 {
          // A client cannot decline: the server will use it.
          if let alert = unsafe alert { unsafe alert.pointee = SSL_AD_ILLEGAL_PARAMETER }
          return 0
        }
        unsafe cell.pointee.peerConnectionID = peer
        return 1
      }, nil)
    guard added == 1 else { throw .library(code: ErrorQueue.drain()) }
  }
}
