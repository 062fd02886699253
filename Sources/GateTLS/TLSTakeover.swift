import COpenSSL

/// A connection that libssl has let go, and what may still be asked about its handshake. Lies in its engine: a record of a
/// connection among thousands then finds two places of memory cold, this and the keys.
struct OwnRecords: ~Copyable {
  var stream: TLSRecordStream
  let isResumed: Bool
  let earlyData: EarlyData
  let keyIdentity: [UInt8]?
  /// DER of the peer's certificate, `nil` if it has shown none.
  let peerCertificate: [UInt8]?
}

/// The end of libssl's part in a connection.
extension TLSEngine {
  /// Frees the libssl object and goes on with fixgate's own record layer: a few hundred bytes instead of some 14 KB, and less
  /// time a record. Ask when you have nothing more for libssl to say, such as a ticket, and again after a later `receive` if it
  /// could not be done yet.
  ///
  /// Afterwards `receive` wants room for `TLSRecordLayer.innerBytesMax`, all calls must come on the thread of `cipher`, and a
  /// client learns of no more tickets: read `sessionTicket` before.
  /// - Returns: whether libssl is gone. Never with TLS 1.2, nor with a context that was made without `ownRecords`, nor once
  ///   libssl has changed keys; not before Finished has come, so not while early data is taken; not while libssl holds bytes of
  ///   the peer or has still something to say.
  /// - Throws: `.library`: nothing has changed.
  @discardableResult
  package mutating func letGo(to cipher: ThreadCipher) throws(TLSError) -> Bool {
    guard let handle else { return true }
    guard isEstablished, !sentClose, unsafe handle.cursor.pointee.tap.hasSecrets, handle.isSilent,
      let records = try handle.recordLayer()
    else { return false }
    let certificate = unsafe rawPeerCertificate.flatMap { unsafe TLSEngine.der(of: $0) }
    own = OwnRecords(
      stream: TLSRecordStream(records, isClient: isClient, output: handle.takeOutput(), with: cipher), isResumed: isResumed,
      earlyData: earlyData, keyIdentity: keyIdentity, peerCertificate: certificate)
    self.handle = nil
    return true
  }

  private static func der(of certificate: OpaquePointer) -> [UInt8]? {
    let count = unsafe i2d_X509(certificate, nil)
    guard count > 0 else { return nil }
    return unsafe [UInt8](unsafeUninitializedCapacity: Int(count)) { buffer, initialized in
      var end = buffer.baseAddress
      initialized = max(0, Int(unsafe i2d_X509(certificate, &end)))
    }
  }
}

extension SSLHandle {
  /// libssl holds nothing of the peer's that it has not handed out, and has nothing to say.
  fileprivate var isSilent: Bool {
    unsafe SSL_has_pending(ssl) == 0 && SSL_in_init(ssl) == 0 && SSL_get_key_update_type(ssl) == SSL_KEY_UPDATE_NONE
      && SSL_get_shutdown(ssl) == 0 && !cursor.pointee.tap.isMidway && !cursor.pointee.tap.isOutdated
  }

  /// The records of this connection as they go on from here; `nil` if they were not tapped, or are not of TLS 1.3.
  fileprivate func recordLayer() throws(TLSError) -> TLSRecordLayer? {
    guard let current = unsafe SSL_get_current_cipher(ssl),
      let suite = TLSSuite(rawValue: unsafe SSL_CIPHER_get_protocol_id(current))
    else { return nil }
    // RFC 6066 section 4: 1 to 4 stand for 2^9 to 2^12 bytes.
    let code = unsafe SSL_get_session(ssl).map { unsafe SSL_SESSION_get_max_fragment_length($0) } ?? 0
    let contentBytesMax = code == 0 ? TLSRecordLayer.plaintextBytesMax : 256 << Int(code)
    return try unsafe cursor.pointee.tap.recordLayer(
      suite, isServer: SSL_is_server(ssl) == 1, contentBytesMax: contentBytesMax)
  }

  fileprivate func takeOutput() -> OutputBuffer {
    var output = OutputBuffer()
    unsafe swap(&output, &cursor.pointee.output)
    return output
  }
}
