/// Owns the keys of one session, both directions, and wipes them. 40 bytes with AES-128, 88 with ChaCha20.
///
/// Layout: the key block of RFC 5246 section 6.3, see `DTLSSuite.keyBlock`.
@safe struct DTLSKeys: ~Copyable, Sendable {
  private let block: SecretBytes
  let suite: DTLSSuite

  /// - Throws: `.library` without memory.
  init(suite: DTLSSuite, keyBlock: Span<UInt8>) throws(DTLSError) {
    precondition(keyBlock.count == suite.keyBlockBytes)
    guard let block = SecretBytes(count: keyBlock.count) else { throw .library(code: 0) }
    block.fill(from: 0, with: keyBlock)
    self.block = block
    self.suite = suite
  }

  func key(ofServer: Bool) -> UnsafePointer<UInt8> {
    unsafe UnsafePointer(block.start + (ofServer ? suite.aead.keyBytes : 0))
  }

  func fixedIV(ofServer: Bool) -> UnsafePointer<UInt8> {
    unsafe UnsafePointer(block.start + 2 * suite.aead.keyBytes + (ofServer ? suite.aead.fixedIVBytes : 0))
  }

  func withBlock<R, E: Error>(_ body: (Span<UInt8>) throws(E) -> R) throws(E) -> R { try block.withSpan(body) }
}
