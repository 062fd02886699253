import COpenSSL

/// libcrypto's contexts for sealing and opening records, one an AEAD and direction, keyed anew for every record; and the hash
/// that makes a session's keys. Make one a thread and share it among all its sessions; a context for each session costs more
/// memory than the session, and with thousands of them more time too.
///
/// The last key used stays in a context until the next one or the end, which wipe it.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package struct RecordCipher: ~Copyable, @unchecked Sendable {
  private let gcm128: CipherPair
  private let gcm256: CipherPair
  private let ccm8: CipherPair
  private let chaCha: CipherPair
  let hash: KeyedHash

  /// - Throws: `.library`: this libcrypto lacks a cipher; stop.
  package init() throws(DTLSError) {
    let gcm128 = try CipherPair(.aes128GCM)
    let gcm256 = try CipherPair(.aes256GCM)
    let ccm8 = try CipherPair(.aes128CCM8)
    let chaCha = try CipherPair(.chaCha20Poly1305)
    let hash = try KeyedHash()
    self.gcm128 = gcm128
    self.gcm256 = gcm256
    self.ccm8 = ccm8
    self.chaCha = chaCha
    self.hash = hash
  }

  /// Encrypts `bytes[..<count]` where they lie and puts the tag behind them.
  /// - Returns: false if libcrypto failed.
  func seal(
    _ aead: AEAD, key: UnsafePointer<UInt8>, nonce: UnsafePointer<UInt8>, aad: UnsafeBufferPointer<UInt8>,
    bytes: UnsafeMutablePointer<UInt8>, count: Int
  ) -> Bool {
    let context = unsafe pair(aead, sealing: true)
    var length: Int32 = 0
    if aead == .aes128CCM8 {
      // CCM wants the tag's length before the key, and the whole length before the data.
      guard unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(aead.tagBytes), nil) == 1,
        unsafe EVP_EncryptInit_ex(context, nil, nil, key, nonce) == 1,
        unsafe EVP_EncryptUpdate(context, nil, &length, nil, Int32(count)) == 1
      else { return false }
    } else {
      guard unsafe EVP_EncryptInit_ex(context, nil, nil, key, nonce) == 1 else { return false }
    }
    return unsafe EVP_EncryptUpdate(context, nil, &length, aad.baseAddress, Int32(aad.count)) == 1
      && EVP_EncryptUpdate(context, bytes, &length, bytes, Int32(count)) == 1
      && EVP_EncryptFinal_ex(context, bytes + count, &length) == 1
      && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, Int32(aead.tagBytes), bytes + count) == 1
  }

  /// Decrypts `input[..<count]`, behind which the tag lies, to `output`.
  /// - Returns: false if the tag is wrong; `output` then holds nothing of use and is wiped.
  func open(
    _ aead: AEAD, key: UnsafePointer<UInt8>, nonce: UnsafePointer<UInt8>, aad: UnsafeBufferPointer<UInt8>,
    input: UnsafePointer<UInt8>, count: Int, output: UnsafeMutablePointer<UInt8>
  ) -> Bool {
    let context = unsafe pair(aead, sealing: false)
    var length: Int32 = 0
    let tag = unsafe UnsafeMutableRawPointer(mutating: input + count)
    let good: Bool
    if aead == .aes128CCM8 {
      good = unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(aead.tagBytes), tag) == 1
        && EVP_DecryptInit_ex(context, nil, nil, key, nonce) == 1
        && EVP_DecryptUpdate(context, nil, &length, nil, Int32(count)) == 1
        && EVP_DecryptUpdate(context, nil, &length, aad.baseAddress, Int32(aad.count)) == 1
        // CCM checks the tag here; there is no final step.
        && EVP_DecryptUpdate(context, output, &length, input, Int32(count)) == 1
    } else {
      good = unsafe EVP_DecryptInit_ex(context, nil, nil, key, nonce) == 1
        && EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, Int32(aead.tagBytes), tag) == 1
        && EVP_DecryptUpdate(context, nil, &length, aad.baseAddress, Int32(aad.count)) == 1
        && EVP_DecryptUpdate(context, output, &length, input, Int32(count)) == 1
        && EVP_DecryptFinal_ex(context, output + count, &length) == 1
    }
    if !good { unsafe OPENSSL_cleanse(output, count) }
    return good
  }

  private func pair(_ aead: AEAD, sealing: Bool) -> OpaquePointer {
    switch aead {
    case .aes128GCM: unsafe sealing ? gcm128.sealing.raw : gcm128.opening.raw
    case .aes256GCM: unsafe sealing ? gcm256.sealing.raw : gcm256.opening.raw
    case .aes128CCM8: unsafe sealing ? ccm8.sealing.raw : ccm8.opening.raw
    case .chaCha20Poly1305: unsafe sealing ? chaCha.sealing.raw : chaCha.opening.raw
    }
  }
}

/// Both directions of one cipher.
@safe struct CipherPair: ~Copyable {
  let sealing: CipherContext
  let opening: CipherContext

  init(_ aead: AEAD) throws(DTLSError) {
    ErrorQueue.clear()
    guard let cipher = unsafe EVP_CIPHER_fetch(nil, aead.name, nil) else { throw .library(code: ErrorQueue.drain()) }
    defer { unsafe EVP_CIPHER_free(cipher) }
    let context = try unsafe CipherContext(cipher, sealing: true)
    let other = try unsafe CipherContext(cipher, sealing: false)
    sealing = context
    opening = other
  }
}

/// Owns one `EVP_CIPHER_CTX`.
@safe struct CipherContext: ~Copyable {
  let raw: OpaquePointer

  init(_ cipher: OpaquePointer, sealing: Bool) throws(DTLSError) {
    guard let raw = unsafe EVP_CIPHER_CTX_new() else { throw .library(code: ErrorQueue.drain()) }
    let done = unsafe EVP_CipherInit_ex(raw, cipher, nil, nil, nil, sealing ? 1 : 0) == 1
      && EVP_CIPHER_CTX_ctrl(raw, EVP_CTRL_AEAD_SET_IVLEN, Int32(AEAD.nonceBytes), nil) == 1
    guard done else {
      unsafe EVP_CIPHER_CTX_free(raw)
      throw .library(code: ErrorQueue.drain())
    }
    unsafe self.raw = raw
  }

  deinit { unsafe EVP_CIPHER_CTX_free(raw) }
}
