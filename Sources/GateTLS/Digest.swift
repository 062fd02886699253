import COpenSSL

package enum Digest {
  package static let sha256Bytes = 32

  /// SHA-256 of the bytes: 32 bytes.
  package static func sha256(_ bytes: Span<UInt8>) -> [UInt8] {
    unsafe [UInt8](unsafeUninitializedCapacity: sha256Bytes) { digest, count in
      unsafe bytes.withUnsafeBufferPointer { input in
        _ = unsafe SHA256(input.baseAddress, input.count, digest.baseAddress)
      }
      count = sha256Bytes
    }
  }
}

/// Whether the bytes are equal, in a time that does not tell where they differ. Lengths are not kept secret.
package func constantTimeEqual(_ a: Span<UInt8>, _ b: Span<UInt8>) -> Bool {
  guard a.count == b.count else { return false }
  guard a.count > 0 else { return true }
  return unsafe a.withUnsafeBytes { left in
    unsafe b.withUnsafeBytes { right in unsafe CRYPTO_memcmp(left.baseAddress, right.baseAddress, left.count) == 0 }
  }
}

/// `count` bytes that nobody can guess.
/// - Throws: `.library`: the system gives no randomness; stop.
package func randomBytes(_ count: Int) throws(TLSError) -> [UInt8] {
  precondition(count >= 0 && count <= Int(Int32.max))
  guard count > 0 else { return [] }
  ErrorQueue.clear()
  var done = true
  let bytes = unsafe [UInt8](unsafeUninitializedCapacity: count) { buffer, initialized in
    done = unsafe RAND_bytes(buffer.baseAddress, Int32(count)) == 1
    initialized = done ? count : 0
  }
  guard done else { throw .library(code: ErrorQueue.drain()) }
  return bytes
}
