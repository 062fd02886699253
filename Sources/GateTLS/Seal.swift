import COpenSSL

/// AES-256-GCM under a key of the operator's, for secrets at rest. Layout: nonce (12 random bytes), ciphertext, tag (16).
package enum Seal {
  package static let keyBytes = 32
  package static let overheadBytes = 28
  private static let nonceBytes = 12
  private static let tagBytes = 16

  /// - Parameter context: authenticated and not stored: what the secret belongs to, so that it opens nowhere else.
  /// - Throws: `.library`.
  package static func close(_ secret: [UInt8], key: [UInt8], context: [UInt8]) throws(TLSError) -> [UInt8] {
    precondition(key.count == keyBytes)
    let cipher = try CipherHandle()
    let raw = unsafe cipher.raw
    let nonce = try randomBytes(nonceBytes)
    var out = [UInt8](repeating: 0, count: secret.count)
    var tag = [UInt8](repeating: 0, count: tagBytes)
    var count: Int32 = 0
    let done = unsafe EVP_EncryptInit_ex(raw, EVP_aes_256_gcm(), nil, key, nonce) == 1
      && EVP_EncryptUpdate(raw, nil, &count, context, Int32(context.count)) == 1
      && EVP_EncryptUpdate(raw, &out, &count, secret, Int32(secret.count)) == 1
      && EVP_EncryptFinal_ex(raw, &tag, &count) == 1
      && gate_EVP_CTRL_GCM_get_tag(raw, Int32(tagBytes), &tag) == 1
    guard done else { throw .library(code: ErrorQueue.drain()) }
    return nonce + out + tag
  }

  /// - Returns: `nil` if it was sealed under another key or context, or has been changed.
  package static func open(_ sealed: [UInt8], key: [UInt8], context: [UInt8]) -> [UInt8]? {
    guard key.count == keyBytes, sealed.count > overheadBytes, let cipher = try? CipherHandle() else { return nil }
    let raw = unsafe cipher.raw
    let body = Array(sealed[nonceBytes..<sealed.count - tagBytes])
    var tag = Array(sealed.suffix(tagBytes))
    var out = [UInt8](repeating: 0, count: body.count)
    var rest = [UInt8](repeating: 0, count: tagBytes)
    var count: Int32 = 0
    let done = unsafe EVP_DecryptInit_ex(raw, EVP_aes_256_gcm(), nil, key, sealed) == 1
      && EVP_DecryptUpdate(raw, nil, &count, context, Int32(context.count)) == 1
      && EVP_DecryptUpdate(raw, &out, &count, body, Int32(body.count)) == 1
      && gate_EVP_CTRL_GCM_set_tag(raw, Int32(tagBytes), &tag) == 1
      && EVP_DecryptFinal_ex(raw, &rest, &count) == 1
    guard done else {
      wipe(&out)
      ErrorQueue.clear()
      return nil
    }
    return out
  }
}

/// Owns one `EVP_CIPHER_CTX`; libcrypto wipes its key when it is freed.
@safe private struct CipherHandle: ~Copyable {
  let raw: OpaquePointer

  init() throws(TLSError) {
    ErrorQueue.clear()
    guard let raw = unsafe EVP_CIPHER_CTX_new() else { throw .library(code: ErrorQueue.drain()) }
    unsafe self.raw = raw
  }

  deinit { unsafe EVP_CIPHER_CTX_free(raw) }
}
