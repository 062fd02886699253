import GateCore

/// The cipher suites of DTLS 1.2 that the record layer has, by IANA number. All use SHA-256 as their PRF's hash.
package enum DTLSSuite: UInt16, CaseIterable, Sendable {
  case pskAES128GCM = 0x00A8
  case pskAES128CCM8 = 0xC0A8
  case pskChaCha20Poly1305 = 0xCCAB
  case ecdhePSKChaCha20Poly1305 = 0xCCAC
  case ecdheECDSAAES128GCM = 0xC02B
  case ecdheECDSAAES128CCM8 = 0xC0AE
  case ecdheECDSAChaCha20Poly1305 = 0xCCA9

  package var isPSK: Bool {
    switch self {
    case .pskAES128GCM, .pskAES128CCM8, .pskChaCha20Poly1305, .ecdhePSKChaCha20Poly1305: true
    case .ecdheECDSAAES128GCM, .ecdheECDSAAES128CCM8, .ecdheECDSAChaCha20Poly1305: false
    }
  }

  /// As libssl's cipher lists call it.
  package var name: String {
    switch self {
    case .pskAES128GCM: "PSK-AES128-GCM-SHA256"
    case .pskAES128CCM8: "PSK-AES128-CCM8"
    case .pskChaCha20Poly1305: "PSK-CHACHA20-POLY1305"
    case .ecdhePSKChaCha20Poly1305: "ECDHE-PSK-CHACHA20-POLY1305"
    case .ecdheECDSAAES128GCM: "ECDHE-ECDSA-AES128-GCM-SHA256"
    case .ecdheECDSAAES128CCM8: "ECDHE-ECDSA-AES128-CCM8"
    case .ecdheECDSAChaCha20Poly1305: "ECDHE-ECDSA-CHACHA20-POLY1305"
    }
  }

  var aead: AEAD {
    switch self {
    case .pskAES128GCM, .ecdheECDSAAES128GCM: .aes128GCM
    case .pskAES128CCM8, .ecdheECDSAAES128CCM8: .aes128CCM8
    case .pskChaCha20Poly1305, .ecdhePSKChaCha20Poly1305, .ecdheECDSAChaCha20Poly1305: .chaCha20Poly1305
    }
  }

  /// Bytes that a classic record is longer than its plaintext; one with a connection ID adds that and 1 for the type.
  package var recordOverheadBytes: Int { DTLSRecord.headerBytes + aead.explicitNonceBytes + aead.tagBytes }

  /// Bytes of `keyBlock`.
  package var keyBlockBytes: Int { 2 * (aead.keyBytes + aead.fixedIVBytes) }

  /// The key block (RFC 5246 section 6.3): client write key, server write key, client write IV, server write IV.
  /// A secret: wipe it.
  /// - Throws: `.library`.
  package func keyBlock(
    masterSecret: Span<UInt8>, clientRandom: Span<UInt8>, serverRandom: Span<UInt8>, with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> [UInt8] {
    precondition(masterSecret.count == 48 && clientRandom.count == 32 && serverRandom.count == 32)
    var seed = InlineArray<77, UInt8>(repeating: 0)
    var room = seed.mutableSpan
    for (i, byte) in "key expansion".utf8.enumerated() { room[i] = byte }
    room.copy(serverRandom, 0..<32, to: 13)
    room.copy(clientRandom, 0..<32, to: 45)
    try cipher.hash.use(key: masterSecret)
    return try cipher.hash.expand(room.span, toBytes: keyBlockBytes)
  }
}

/// What TLS 1.2 does with a nonce: a part of it is agreed, the rest travels in the record.
extension AEAD {
  /// RFC 5288 section 3, RFC 6655 section 3: 4 bytes of salt. RFC 7905 section 2: the whole nonce.
  var fixedIVBytes: Int { self == .chaCha20Poly1305 ? 12 : 4 }
  var explicitNonceBytes: Int { self == .chaCha20Poly1305 ? 0 : 8 }
}
