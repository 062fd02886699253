/// Owns what protects the records of one connection, both directions, and wipes it. 120 bytes with AES-128.
///
/// Layout, first of what we read, then of what we write: traffic secret, key, IV (12).
@safe struct TLSKeys: ~Copyable, Sendable {
  enum Direction {
    case read
    case write
  }

  private let block: SecretBytes
  let suite: TLSSuite

  /// - Throws: `.library`.
  init(suite: TLSSuite, readSecret: Span<UInt8>, writeSecret: Span<UInt8>) throws(TLSError) {
    precondition(readSecret.count == suite.secretBytes && writeSecret.count == suite.secretBytes)
    guard let block = SecretBytes(count: 2 * TLSKeys.directionBytes(suite)) else { throw .library(code: 0) }
    block.fill(from: 0, with: readSecret)
    block.fill(from: TLSKeys.directionBytes(suite), with: writeSecret)
    try TLSKeys.expand(.read, suite, block)
    try TLSKeys.expand(.write, suite, block)
    self.block = block
    self.suite = suite
  }

  /// Puts the next generation in the place of this one (RFC 8446 section 7.2).
  /// - Throws: `.library`: the direction is of no use any more.
  func advance(_ direction: Direction) throws(TLSError) {
    let secret = unsafe TLSKeys.secret(direction, suite, block)
    try unsafe suite.expand(secret, "traffic upd", to: UnsafeMutableBufferPointer(start: secret, count: suite.secretBytes))
    try TLSKeys.expand(direction, suite, block)
  }

  func key(_ direction: Direction) -> UnsafePointer<UInt8> {
    unsafe UnsafePointer(TLSKeys.secret(direction, suite, block) + suite.secretBytes)
  }

  func iv(_ direction: Direction) -> UnsafePointer<UInt8> { unsafe key(direction) + suite.aead.keyBytes }

  private static func directionBytes(_ suite: TLSSuite) -> Int {
    suite.secretBytes + suite.aead.keyBytes + AEAD.nonceBytes
  }

  private static func secret(
    _ direction: Direction, _ suite: TLSSuite, _ block: borrowing SecretBytes
  ) -> UnsafeMutablePointer<UInt8> {
    unsafe block.start + (direction == .read ? 0 : directionBytes(suite))
  }

  /// Makes key and IV of the secret (RFC 8446 section 7.3).
  private static func expand(
    _ direction: Direction, _ suite: TLSSuite, _ block: borrowing SecretBytes
  ) throws(TLSError) {
    let secret = unsafe secret(direction, suite, block)
    let key = unsafe UnsafeMutableBufferPointer(start: secret + suite.secretBytes, count: suite.aead.keyBytes)
    let iv = unsafe UnsafeMutableBufferPointer(start: key.baseAddress! + key.count, count: AEAD.nonceBytes)
    try unsafe suite.expand(secret, "key", to: key)
    try unsafe suite.expand(secret, "iv", to: iv)
  }
}
