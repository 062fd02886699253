import COpenSSL
import Glibc

/// Owns up to 255 bytes that are nobody else's business, and wipes them. 9 bytes.
@safe struct SecretBytes: ~Copyable, @unchecked Sendable {
  let start: UnsafeMutablePointer<UInt8>
  private let length: UInt8
  var count: Int { Int(length) }

  /// `count` zeros.
  /// - Parameters:
  ///   - count: 1 to 255.
  ///   - alignment: of the first one; 64 = a line of the cache.
  /// - Returns: `nil` without memory.
  init?(count: Int, alignment: Int = 16) {
    precondition(1...255 ~= count)
    var memory: UnsafeMutableRawPointer?
    guard unsafe posix_memalign(&memory, alignment, count) == 0, let memory = unsafe memory else { return nil }
    unsafe memset(memory, 0, count)
    unsafe start = memory.assumingMemoryBound(to: UInt8.self)
    length = UInt8(count)
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
