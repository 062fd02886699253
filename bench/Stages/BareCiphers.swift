import COpenSSL

/// libcrypto's ciphers with a nonce that counts, and nothing else: what any record layer over them must cost.
@safe package final class BareCiphers {
  package enum Cipher {
    case gcm, ccm8
    fileprivate var tagBytes: Int32 { self == .gcm ? 16 : 8 }
  }

  private let contexts: [(sealing: OpaquePointer, opening: OpaquePointer)]
  private let cipher: Cipher
  private let key = [UInt8](repeating: 7, count: 16)
  private let header: [UInt8] = [23, 3, 3, 0, 0]
  private var sealed = [UInt8](repeating: 0, count: 20_000)
  private var opened = [UInt8](repeating: 0, count: 20_000)
  private var nonce = [UInt8](repeating: 0, count: 12)
  private var tag = [UInt8](repeating: 0, count: 16)

  /// - Parameter count: contexts that take turns.
  package init(_ count: Int, _ cipher: Cipher = .gcm) {
    self.cipher = cipher
    var contexts: [(sealing: OpaquePointer, opening: OpaquePointer)] = unsafe []
    for _ in 0..<count {
      let (sealing, opening) = unsafe (EVP_CIPHER_CTX_new()!, EVP_CIPHER_CTX_new()!)
      for unsafe (context, isSealing) in unsafe [(sealing, Int32(1)), (opening, 0)] {
        unsafe EVP_CipherInit_ex(context, cipher == .gcm ? EVP_aes_128_gcm() : EVP_aes_128_ccm(), nil, nil, nil, isSealing)
        unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_IVLEN, 12, nil)
        if cipher == .ccm8 { unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, cipher.tagBytes, nil) }
        unsafe EVP_CipherInit_ex(context, nil, nil, key, nil, isSealing)
      }
      unsafe contexts.append((sealing, opening))
    }
    unsafe self.contexts = unsafe contexts
  }

  deinit {
    for unsafe pair in unsafe contexts {
      unsafe EVP_CIPHER_CTX_free(pair.sealing)
      unsafe EVP_CIPHER_CTX_free(pair.opening)
    }
  }

  /// Seals and opens.
  package func send(_ content: [UInt8], times: Int, rekeying: Bool) -> UInt64 {
    var sum: UInt64 = 0
    for i in 0..<times {
      seal(content, i, rekeying: rekeying)
      open(content.count, i, rekeying: rekeying)
      sum &+= UInt64(opened[content.count - 1])
    }
    return sum
  }

  /// Opens one record over and over, the contexts in turn. They all have the same key.
  package func open(_ content: [UInt8], times: Int, rekeying: Bool) -> UInt64 {
    seal(content, 0, rekeying: true)
    for i in 0..<times { open(content.count, i, rekeying: rekeying, number: 0) }
    return UInt64(content.count * times)
  }

  private func seal(_ content: [UInt8], _ i: Int, rekeying: Bool) {
    let context = unsafe contexts[i % contexts.count].sealing
    let bytes = Int32(content.count)
    var count: Int32 = 0
    step(to: i)
    if cipher == .ccm8 { unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, cipher.tagBytes, nil) }
    unsafe EVP_EncryptInit_ex(context, nil, nil, rekeying ? key : nil, nonce)
    if cipher == .ccm8 { unsafe EVP_EncryptUpdate(context, nil, &count, nil, bytes) }
    unsafe EVP_EncryptUpdate(context, nil, &count, header, 5)
    unsafe EVP_EncryptUpdate(context, &sealed, &count, content, bytes)
    unsafe EVP_EncryptFinal_ex(context, &opened, &count)
    unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_GET_TAG, cipher.tagBytes, &tag)
  }

  private func open(_ bytes: Int, _ i: Int, rekeying: Bool, number: Int? = nil) {
    let context = unsafe contexts[i % contexts.count].opening
    var count: Int32 = 0
    step(to: number ?? i)
    if cipher == .ccm8 {
      unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, cipher.tagBytes, &tag)
      unsafe EVP_DecryptInit_ex(context, nil, nil, rekeying ? key : nil, nonce)
      unsafe EVP_DecryptUpdate(context, nil, &count, nil, Int32(bytes))
      unsafe EVP_DecryptUpdate(context, nil, &count, header, 5)
      precondition(unsafe EVP_DecryptUpdate(context, &opened, &count, sealed, Int32(bytes)) == 1)
    } else {
      unsafe EVP_DecryptInit_ex(context, nil, nil, rekeying ? key : nil, nonce)
      unsafe EVP_CIPHER_CTX_ctrl(context, EVP_CTRL_AEAD_SET_TAG, cipher.tagBytes, &tag)
      unsafe EVP_DecryptUpdate(context, nil, &count, header, 5)
      unsafe EVP_DecryptUpdate(context, &opened, &count, sealed, Int32(bytes))
      precondition(unsafe EVP_DecryptFinal_ex(context, &tag, &count) == 1)
    }
  }

  private func step(to number: Int) {
    for place in 0..<4 { nonce[11 - place] = UInt8(truncatingIfNeeded: number >> (8 * place)) }
  }
}
