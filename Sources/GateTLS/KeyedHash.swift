import COpenSSL

/// HMAC-SHA256 (RFC 2104) over libcrypto's SHA-256, by contexts that are kept. libcrypto finds an algorithm by its name in tables
/// behind locks, and its own HMAC is three layers above the hash: each takes longer than the hash of a short message.
@safe struct KeyedHash: ~Copyable {
  static let keyBytesMax = 64

  /// After the key, before the message, and before the hash of the message.
  private let inner: DigestContext
  private let outer: DigestContext
  private let running: DigestContext

  /// Not keyed yet.
  /// - Throws: `.library`: stop.
  init() throws(DTLSError) {
    let inner = try DigestContext()
    let outer = try DigestContext()
    let running = try DigestContext()
    self.inner = inner
    self.outer = outer
    self.running = running
  }

  /// The key of all hashes from now on; what was made of it stays in the contexts until the next one, or the end, which wipe it.
  /// - Throws: `.library`.
  func use(key: Span<UInt8>) throws(DTLSError) {
    precondition(key.count <= KeyedHash.keyBytesMax)
    ErrorQueue.clear()
    guard inner.begin(pad: 0x36, key), outer.begin(pad: 0x5C, key) else { throw .library(code: ErrorQueue.drain()) }
  }

  // MARK: One hash

  /// - Returns: false if libcrypto failed, as `add` and `finish`.
  func begin() -> Bool {
    ErrorQueue.clear()
    return unsafe EVP_MD_CTX_copy_ex(running.raw, inner.raw) == 1
  }

  func add(_ bytes: Span<UInt8>) -> Bool { running.add(bytes) }

  /// Writes `Digest.sha256Bytes` bytes to `out` from `at` on.
  func finish(into out: inout MutableSpan<UInt8>, at: Int) -> Bool {
    precondition(at >= 0 && at <= out.count - Digest.sha256Bytes)
    return unsafe out.withUnsafeMutableBufferPointer { out in
      let tag = unsafe out.baseAddress! + at
      return unsafe EVP_DigestFinal_ex(running.raw, tag, nil) == 1 && EVP_MD_CTX_copy_ex(running.raw, outer.raw) == 1
        && EVP_DigestUpdate(running.raw, tag, Digest.sha256Bytes) == 1 && EVP_DigestFinal_ex(running.raw, tag, nil) == 1
    }
  }

  // MARK: Keys of TLS 1.2

  /// The pseudorandom function of RFC 5246 section 5, the key its secret. A secret too: wipe it.
  /// - Parameter seed: label and seed.
  /// - Throws: `.library`.
  func expand(_ seed: Span<UInt8>, toBytes count: Int) throws(DTLSError) -> [UInt8] {
    let hashBytes = Digest.sha256Bytes
    let parts = (count + hashBytes - 1) / hashBytes
    // The parts, and A(i) behind them: A(0) is the seed, each the hash of the one before.
    var block = [UInt8](repeating: 0, count: (parts + 1) * hashBytes)
    let last = parts * hashBytes..<(parts + 1) * hashBytes
    var room = block.mutableSpan
    for part in 0..<parts {
      guard begin(), part == 0 ? add(seed) : add(room.span.extracting(last)), finish(into: &room, at: last.lowerBound),
        begin(), add(room.span.extracting(last)), add(seed), finish(into: &room, at: part * hashBytes)
      else { throw .library(code: ErrorQueue.drain()) }
    }
    var rest = block.mutableSpan
    rest.wipe(from: count)
    block.removeLast(block.count - count)
    return block
  }
}

/// Owns one `EVP_MD_CTX` of SHA-256; libcrypto wipes it when it is freed.
@safe struct DigestContext: ~Copyable {
  let raw: OpaquePointer

  init() throws(DTLSError) {
    ErrorQueue.clear()
    guard let raw = unsafe EVP_MD_CTX_new() else { throw .library(code: ErrorQueue.drain()) }
    guard unsafe EVP_DigestInit_ex(raw, EVP_sha256(), nil) == 1 else {
      unsafe EVP_MD_CTX_free(raw)
      throw .library(code: ErrorQueue.drain())
    }
    unsafe self.raw = raw
  }

  deinit { unsafe EVP_MD_CTX_free(raw) }

  func add(_ bytes: Span<UInt8>) -> Bool {
    unsafe bytes.withUnsafeBufferPointer { unsafe EVP_DigestUpdate(raw, $0.baseAddress, $0.count) == 1 }
  }

  /// Starts over with a block of `pad` and the key.
  func begin(pad: UInt8, _ key: Span<UInt8>) -> Bool {
    var block = InlineArray<64, UInt8>(repeating: pad)
    for i in key.indices { block[i] ^= key[i] }
    let isReady = unsafe EVP_DigestInit_ex(raw, nil, nil) == 1 && add(block.span)
    var room = block.mutableSpan
    room.wipe()
    return isReady
  }
}
