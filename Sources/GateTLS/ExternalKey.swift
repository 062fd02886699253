import COpenSSL

/// An external pre-shared key of TLS 1.3 (RFC 8446 section 4.2.11), for use with (EC)DHE and TLS_AES_128_GCM_SHA256.
package struct ExternalKey: Equatable, Sendable {
  /// Finds the key of an identity that a device offers; `nil` if there is none. Called on the connection's thread. The
  /// identity is not proven yet: a key that is revoked is found too, so that its owner can be told.
  package typealias Lookup = @Sendable (_ identity: [UInt8]) -> [UInt8]?

  package static let secretBytes = 32
  /// Longer ones are tickets, or somebody else's.
  package static let identityBytesMax = 64

  package var identity: [UInt8]
  package var secret: [UInt8]

  /// - Parameters:
  ///   - identity: 1 to `identityBytesMax` bytes, seen by everybody on the way.
  ///   - secret: `secretBytes` random bytes.
  package init(identity: [UInt8], secret: [UInt8]) {
    precondition((1...ExternalKey.identityBytesMax).contains(identity.count) && secret.count == ExternalKey.secretBytes)
    self.identity = identity
    self.secret = secret
  }

  // MARK: Inside libssl

  static func accept(in context: OpaquePointer) {
    unsafe SSL_CTX_set_psk_find_session_callback(context) { ssl, identity, count, session in
      guard let identity = unsafe identity, (1...ExternalKey.identityBytesMax).contains(count), let session = unsafe session,
        let find = unsafe ContextAttachment.of(ssl)?.findKey
      else { return 1 }
      let name = unsafe Array(UnsafeBufferPointer(start: identity, count: count))
      guard var secret = find(name), secret.count == ExternalKey.secretBytes else { return 1 }
      defer { wipe(&secret) }
      unsafe session.pointee = unsafe ExternalKey.session(ssl, secret, identity: name)
      return unsafe session.pointee == nil ? 0 : 1
    }
  }

  static func offer(in context: OpaquePointer) {
    unsafe SSL_CTX_set_psk_use_session_callback(context) { ssl, digest, identity, count, session in
      guard let attachment = unsafe ContextAttachment.of(ssl), attachment.ownKey != nil, let session = unsafe session,
        let identity = unsafe identity, let count = unsafe count
      else { return 1 }
      // After a HelloRetryRequest with another hash the key does not fit; the handshake goes on without it.
      if let digest = unsafe digest, unsafe EVP_MD_get_type(digest) != NID_sha256 { return 1 }
      guard let made = unsafe ExternalKey.session(ssl, attachment.ownKey!.secret, identity: []) else { return 0 }
      unsafe session.pointee = made
      unsafe identity.pointee = unsafe attachment.ownIdentity
      unsafe count.pointee = attachment.ownKey!.identity.count
      return 1
    }
  }

  /// A session that stands for the key. The identity goes into its ticket's content, which libssl carries on, sealed,
  /// through every resumption: so a resumed session still knows whose it is.
  private static func session(_ ssl: OpaquePointer?, _ secret: [UInt8], identity: [UInt8]) -> OpaquePointer? {
    guard let ssl = unsafe ssl, let session = unsafe SSL_SESSION_new() else { return nil }
    let content = TicketContent(identity: identity).encoded
    guard let cipher = unsafe SSL_CIPHER_find(ssl, [0x13, 0x01]),
      unsafe SSL_SESSION_set1_master_key(session, secret, secret.count) == 1,
      unsafe SSL_SESSION_set_cipher(session, cipher) == 1,
      unsafe SSL_SESSION_set_protocol_version(session, TLS1_3_VERSION) == 1,
      unsafe SSL_SESSION_set1_ticket_appdata(session, content, content.count) == 1
    else {
      unsafe SSL_SESSION_free(session)
      return nil
    }
    return unsafe session
  }
}

extension TLSEngine {
  /// Server: the identity of the external key by which this session, or the one that it resumes, was opened; `nil` if it was
  /// opened otherwise. Only once established, or while early data is taken: then the peer has shown that it holds the key.
  package var keyIdentity: [UInt8]? {
    switch own {
    case .some(let own): return isEstablished ? own.keyIdentity : nil
    case .none: break
    }
    guard isEstablished || takesEarlyData, let identity = ticketContent?.identity, !identity.isEmpty else { return nil }
    return identity
  }
}
