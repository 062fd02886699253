import COpenSSL
import Glibc

/// Owns bytes that are nobody else's business, and wipes them.
@safe struct SecretBytes: ~Copyable, @unchecked Sendable {
  let start: UnsafeMutablePointer<UInt8>
  let count: Int

  /// `count` zeros.
  /// - Parameter count: at least 1.
  /// - Returns: `nil` without memory.
  init?(count: Int) {
    precondition(count > 0)
    guard let memory = unsafe calloc(1, count) else { return nil }
    unsafe start = memory.assumingMemoryBound(to: UInt8.self)
    self.count = count
  }

  deinit {
    unsafe OPENSSL_cleanse(start, count)
    unsafe free(start)
  }

  func fill(from offset: Int, with bytes: Span<UInt8>) {
    precondition(offset >= 0 && bytes.count <= count - offset)
    for i in bytes.indices { unsafe start[offset + i] = bytes[i] }
  }

  func withSpan<R: ~Copyable, E: Error>(_ body: (Span<UInt8>) throws(E) -> R) throws(E) -> R {
    let bytes = unsafe UnsafeBufferPointer(start: start, count: count)
    return try body(unsafe bytes.span)
  }
}
