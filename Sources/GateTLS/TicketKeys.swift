import COpenSSL

/// Seals and opens session tickets (RFC 5077 section 4) with keys that can be rotated: the newest seals, older ones still
/// open. Layout of a key as libssl's own: 16 bytes name, 32 HMAC-SHA-256, 32 AES-256-CBC.
enum TicketKeys {
  static func use(in context: OpaquePointer) -> Bool {
    unsafe SSL_CTX_set_tlsext_ticket_key_evp_cb(context) { ssl, name, iv, cipher, mac, encrypts in
      guard let attachment = unsafe ContextAttachment.of(ssl), let name = unsafe name, let iv = unsafe iv,
        let cipher = unsafe cipher, let mac = unsafe mac
      else { return -1 }
      if encrypts == 1 {
        guard let key = attachment.ticketKeys.first, unsafe RAND_bytes(iv, EVP_MAX_IV_LENGTH) == 1 else { return -1 }
        for i in 0..<16 { unsafe name[i] = key[i] }
        return unsafe TicketKeys.start(cipher, mac, key, iv, encrypts: true) ? 1 : -1
      }
      for key in attachment.ticketKeys {
        // Names travel in the clear, so nothing is lost by comparing them as fast as can be.
        guard (0..<16).allSatisfy({ unsafe name[$0] == key[$0] }) else { continue }
        guard unsafe TicketKeys.start(cipher, mac, key, iv, encrypts: false) else { return -1 }
        return 2  // good, and give a fresh one: a ticket should be used once (RFC 8446 section C.4)
      }
      return 0  // unknown: a full handshake
    } == 1
  }

  private static func start(
    _ cipher: OpaquePointer, _ mac: OpaquePointer, _ key: [UInt8], _ iv: UnsafeMutablePointer<UInt8>, encrypts: Bool
  ) -> Bool {
    unsafe key.withUnsafeBytes { bytes in
      guard let base = bytes.baseAddress else { return false }
      let cipherKey = unsafe (base + 48).assumingMemoryBound(to: UInt8.self)
      guard unsafe gate_EVP_MAC_CTX_set_sha256_key(mac, base + 16, 32) == 1 else { return false }
      return unsafe encrypts
        ? EVP_EncryptInit_ex(cipher, EVP_aes_256_cbc(), nil, cipherKey, iv) == 1
        : EVP_DecryptInit_ex(cipher, EVP_aes_256_cbc(), nil, cipherKey, iv) == 1
    }
  }
}
