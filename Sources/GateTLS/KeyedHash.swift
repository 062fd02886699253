import COpenSSL

/// HMAC-SHA256 by one context that is kept. libcrypto finds an algorithm by its name in tables behind locks, which takes longer
/// than the hash of a short message.
@safe struct KeyedHash: ~Copyable {
  private let context: OpaquePointer

  /// Not keyed yet.
  /// - Throws: `.library`: stop.
  init() throws(DTLSError) {
    ErrorQueue.clear()
    guard let algorithm = unsafe EVP_MAC_fetch(nil, "HMAC", nil) else { throw .library(code: ErrorQueue.drain()) }
    defer { unsafe EVP_MAC_free(algorithm) }
    guard let context = unsafe EVP_MAC_CTX_new(algorithm) else { throw .library(code: ErrorQueue.drain()) }
    guard unsafe gate_EVP_MAC_CTX_use_sha256(context) == 1 else {
      unsafe EVP_MAC_CTX_free(context)
      throw .library(code: ErrorQueue.drain())
    }
    unsafe self.context = context
  }

  deinit { unsafe EVP_MAC_CTX_free(context) }

  /// The key of all hashes from now on; a copy stays in the context until the next one, or the end, which wipe it.
  /// - Throws: `.library`.
  func use(key: Span<UInt8>) throws(DTLSError) {
    ErrorQueue.clear()
    let done = unsafe key.withUnsafeBufferPointer { unsafe EVP_MAC_init(context, $0.baseAddress, $0.count, nil) }
    guard done == 1 else { throw .library(code: ErrorQueue.drain()) }
  }

  // MARK: One hash

  /// - Returns: false if libcrypto failed, as `add`.
  func begin() -> Bool {
    ErrorQueue.clear()
    // Without a key: the same key once more.
    return unsafe EVP_MAC_init(context, nil, 0, nil) == 1
  }

  func add(_ bytes: Span<UInt8>) -> Bool {
    unsafe bytes.withUnsafeBufferPointer { unsafe EVP_MAC_update(context, $0.baseAddress, $0.count) == 1 }
  }

  /// - Returns: `Digest.sha256Bytes` bytes; `nil` if libcrypto failed.
  func finish() -> [UInt8]? {
    var tag = [UInt8](repeating: 0, count: Digest.sha256Bytes)
    var count = 0
    guard unsafe EVP_MAC_final(context, &tag, &count, tag.count) == 1, count == tag.count else { return nil }
    return tag
  }

  // MARK: Keys of TLS 1.2

  /// The pseudorandom function of RFC 5246 section 5, the key its secret.
  /// - Parameter seed: label and seed.
  /// - Throws: `.library`.
  func expand(_ seed: Span<UInt8>, toBytes count: Int) throws(DTLSError) -> [UInt8] {
    var block: [UInt8] = []
    block.reserveCapacity(count + Digest.sha256Bytes)
    // A(0) is the seed; A(i) the hash of the one before.
    var a = seed.indices.map { seed[$0] }
    repeat {
      guard begin(), add(a.span), let next = finish(), begin(), add(next.span), add(seed), var part = finish() else {
        throw .library(code: ErrorQueue.drain())
      }
      a = next
      block += part
      wipe(&part)
    } while block.count < count
    block.removeLast(block.count - count)
    return block
  }
}
