import COpenSSL
import Glibc

/// Owns the keys of one session, both directions, and wipes them. 40 bytes with AES-128, 88 with ChaCha20.
///
/// Layout: the key block of RFC 5246 section 6.3, see `DTLSSuite.keyBlock`.
@safe struct DTLSKeys: ~Copyable, @unchecked Sendable {
  private let block: UnsafeMutablePointer<UInt8>
  let suite: DTLSSuite

  /// - Throws: `.library` without memory.
  init(suite: DTLSSuite, keyBlock: Span<UInt8>) throws(DTLSError) {
    precondition(keyBlock.count == suite.keyBlockBytes)
    guard let memory = unsafe malloc(keyBlock.count) else { throw .library(code: 0) }
    unsafe block = memory.assumingMemoryBound(to: UInt8.self)
    self.suite = suite
    unsafe keyBlock.withUnsafeBufferPointer { bytes in
      if let from = bytes.baseAddress { unsafe memcpy(memory, from, bytes.count) }
    }
  }

  deinit {
    unsafe OPENSSL_cleanse(block, suite.keyBlockBytes)
    unsafe free(block)
  }

  func key(ofServer: Bool) -> UnsafePointer<UInt8> {
    unsafe UnsafePointer(block + (ofServer ? suite.aead.keyBytes : 0))
  }

  func fixedIV(ofServer: Bool) -> UnsafePointer<UInt8> {
    unsafe UnsafePointer(block + 2 * suite.aead.keyBytes + (ofServer ? suite.aead.fixedIVBytes : 0))
  }

  func withBlock<R>(_ body: (Span<UInt8>) -> R) -> R {
    let bytes = unsafe UnsafeBufferPointer(start: block, count: suite.keyBlockBytes)
    return body(unsafe bytes.span)
  }
}
