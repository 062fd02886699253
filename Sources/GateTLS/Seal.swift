import COpenSSL
import GateCore

/// AES-256-GCM under a key of the operator's, for secrets at rest. Layout: nonce (12 random bytes), ciphertext, tag (16).
package enum Seal {
  package static let keyBytes = 32
  package static let overheadBytes = 28
  static let nonceBytes = 12
  static let tagBytes = 16

  /// - Parameter context: authenticated and not stored: what the secret belongs to, so that it opens nowhere else.
  /// - Throws: `.library`.
  package static func close(_ secret: [UInt8], key: [UInt8], context: [UInt8]) throws(TLSError) -> [UInt8] {
    var sealed = [UInt8](repeating: 0, count: secret.count + overheadBytes)
    var key = try SealKey(key)
    var room = sealed.mutableSpan
    try key.close(secret.span, context: context.span, into: &room, at: 0)
    return sealed
  }

  /// - Returns: `nil` if it was sealed under another key or context, or has been changed.
  package static func open(_ sealed: [UInt8], key: [UInt8], context: [UInt8]) -> [UInt8]? {
    guard key.count == keyBytes, sealed.count > overheadBytes, let key = try? SealKey(key) else { return nil }
    var secret = [UInt8](repeating: 0, count: sealed.count - overheadBytes)
    var room = secret.mutableSpan
    return key.open(sealed.span, context: context.span, into: &room, at: 0) ? secret : nil
  }
}

/// One key of `Seal`'s for many secrets, so that each costs no more than its own bytes. libcrypto's contexts hold the key, and
/// wipe it when they are freed.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package struct SealKey: ~Copyable, @unchecked Sendable {
  private let contexts: CipherPair
  /// Random bytes for nonces, each used once: libcrypto's generator takes longer to be asked than to answer.
  private var random: [UInt8] = []
  private static let noncesKept = 64

  /// - Parameter key: `Seal.keyBytes` long; stays the caller's to wipe.
  /// - Throws: `.library`.
  package init(_ key: [UInt8]) throws(TLSError) {
    precondition(key.count == Seal.keyBytes)
    let contexts = try SealKey.makeContexts()
    guard unsafe EVP_EncryptInit_ex(contexts.sealing.raw, nil, nil, key, nil) == 1,
      unsafe EVP_DecryptInit_ex(contexts.opening.raw, nil, nil, key, nil) == 1
    else { throw .library(code: ErrorQueue.drain()) }
    self.contexts = contexts
  }

  private static func makeContexts() throws(TLSError) -> CipherPair {
    do throws(DTLSError) { return try CipherPair(.aes256GCM) } catch { throw TLSError(error) }
  }

  /// Writes nonce, ciphertext and tag to `out` from `at` on: `Seal.overheadBytes` more than the secret has.
  /// - Parameter context: as in `Seal`.
  /// - Throws: `.library`.
  package mutating func close(
    _ secret: Span<UInt8>, context: Span<UInt8>, into out: inout MutableSpan<UInt8>, at: Int
  ) throws(TLSError) {
    precondition(at >= 0 && secret.count <= out.count - at - Seal.overheadBytes)
    if random.isEmpty { random = try randomBytes(SealKey.noncesKept * Seal.nonceBytes) }
    for i in 0..<Seal.nonceBytes { out[at + i] = random[random.count - 1 - i] }
    random.removeLast(Seal.nonceBytes)
    let raw = unsafe contexts.sealing.raw
    ErrorQueue.clear()
    let done = unsafe out.withUnsafeMutableBufferPointer { out in
      unsafe secret.withUnsafeBufferPointer { secret in
        unsafe context.withUnsafeBufferPointer { context in
          var count: Int32 = 0
          let nonce = unsafe out.baseAddress! + at
          let text = unsafe nonce + Seal.nonceBytes
          let tag = unsafe text + secret.count
          return unsafe EVP_EncryptInit_ex(raw, nil, nil, nil, nonce) == 1
            && EVP_EncryptUpdate(raw, nil, &count, context.baseAddress, Int32(context.count)) == 1
            && EVP_EncryptUpdate(raw, text, &count, secret.baseAddress, Int32(secret.count)) == 1
            && EVP_EncryptFinal_ex(raw, tag, &count) == 1
            && gate_EVP_CTRL_GCM_get_tag(raw, Int32(Seal.tagBytes), tag) == 1
        }
      }
    }
    guard done else { throw .library(code: ErrorQueue.drain()) }
  }

  /// Puts the secret to `out` from `at` on.
  /// - Returns: false if it was sealed under another key or context, or has been changed; nothing of use is in `out` then.
  package func open(
    _ sealed: Span<UInt8>, context: Span<UInt8>, into out: inout MutableSpan<UInt8>, at: Int
  ) -> Bool {
    let count = sealed.count - Seal.overheadBytes
    guard count > 0 else { return false }
    precondition(at >= 0 && count <= out.count - at)
    let raw = unsafe contexts.opening.raw
    let done = unsafe out.withUnsafeMutableBufferPointer { out in
      unsafe sealed.withUnsafeBufferPointer { sealed in
        unsafe context.withUnsafeBufferPointer { context in
          var written: Int32 = 0
          var rest: UInt8 = 0
          let secret = unsafe out.baseAddress! + at
          let text = unsafe sealed.baseAddress! + Seal.nonceBytes
          let tag = unsafe UnsafeMutableRawPointer(mutating: text + count)
          let good = unsafe EVP_DecryptInit_ex(raw, nil, nil, nil, sealed.baseAddress) == 1
            && EVP_DecryptUpdate(raw, nil, &written, context.baseAddress, Int32(context.count)) == 1
            && EVP_DecryptUpdate(raw, secret, &written, text, Int32(count)) == 1
            && gate_EVP_CTRL_GCM_set_tag(raw, Int32(Seal.tagBytes), tag) == 1
            && EVP_DecryptFinal_ex(raw, &rest, &written) == 1
          if !good { unsafe OPENSSL_cleanse(secret, count) }
          return good
        }
      }
    }
    if !done { ErrorQueue.clear() }
    return done
  }
}
