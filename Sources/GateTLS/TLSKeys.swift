import CGateShims

/// Owns what protects the records of one connection, both directions, and wipes it. 120 bytes with AES-128.
///
/// Layout: key and IV (12) of what we read, the same of what we write, then both traffic secrets. With AES-128 all that a record
/// needs so lies in one line of the cache: of thousands of connections, each is cold when its next record comes.
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
    let bytes = 2 * (TLSKeys.protectionBytes(suite) + suite.secretBytes)
    guard let block = SecretBytes(count: bytes, alignment: 64) else { throw .library(code: 0) }
    block.fill(from: TLSKeys.secretOffset(.read, suite), with: readSecret)
    block.fill(from: TLSKeys.secretOffset(.write, suite), with: writeSecret)
    try TLSKeys.expand(.read, suite, block)
    try TLSKeys.expand(.write, suite, block)
    self.block = block
    self.suite = suite
  }

  /// Puts the next generation in the place of this one (RFC 8446 section 7.2).
  /// - Throws: `.library`: the direction is of no use any more.
  func advance(_ direction: Direction) throws(TLSError) {
    let secret = unsafe block.start + TLSKeys.secretOffset(direction, suite)
    try unsafe suite.expand(secret, "traffic upd", to: UnsafeMutableBufferPointer(start: secret, count: suite.secretBytes))
    try TLSKeys.expand(direction, suite, block)
  }

  func key(_ direction: Direction) -> UnsafePointer<UInt8> {
    unsafe UnsafePointer(block.start + TLSKeys.keyOffset(direction, suite))
  }

  /// Has the CPU fetch them while something else is done.
  func prefetch() { unsafe gate_prefetch(block.start) }

  func iv(_ direction: Direction) -> UnsafePointer<UInt8> { unsafe key(direction) + suite.aead.keyBytes }

  /// Key and IV.
  private static func protectionBytes(_ suite: TLSSuite) -> Int { suite.aead.keyBytes + AEAD.nonceBytes }

  private static func keyOffset(_ direction: Direction, _ suite: TLSSuite) -> Int {
    direction == .read ? 0 : protectionBytes(suite)
  }

  private static func secretOffset(_ direction: Direction, _ suite: TLSSuite) -> Int {
    2 * protectionBytes(suite) + (direction == .read ? 0 : suite.secretBytes)
  }

  /// Makes key and IV of the secret (RFC 8446 section 7.3).
  private static func expand(
    _ direction: Direction, _ suite: TLSSuite, _ block: borrowing SecretBytes
  ) throws(TLSError) {
    let secret = unsafe block.start + secretOffset(direction, suite)
    let key = unsafe UnsafeMutableBufferPointer(start: block.start + keyOffset(direction, suite), count: suite.aead.keyBytes)
    let iv = unsafe UnsafeMutableBufferPointer(start: key.baseAddress! + key.count, count: AEAD.nonceBytes)
    try unsafe suite.expand(secret, "key", to: key)
    try unsafe suite.expand(secret, "iv", to: iv)
  }
}
