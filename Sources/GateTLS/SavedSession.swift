import GateCore

/// A device's DTLS session as bytes.
///
/// Layout, big endian:
/// ```
///   0 8 bytes "FGDTLS", 0, version 1
///   8 u16 suite   10 u8 length of the read connection ID   11 u8 length of the write connection ID   12 u32 zero
///  16 read connection ID (20)   36 write connection ID (20)
///  56 u64 first sequence that may be written   64 u64 one above the newest sequence read
///  72 binding (32)
/// 104 key block
///     SHA-256 of all before (32)
/// ```
enum SavedSession {
  static let bindingBytes = 32
  private static let magic: [UInt8] = Array("FGDTLS".utf8) + [0, 1]
  private static let keysAt = 104
  private static let digestBytes = 32

  static func write(
    _ session: borrowing DTLSSession, from writeSequence: UInt64, boundTo binding: Span<UInt8>
  ) -> [UInt8] {
    precondition(binding.count == bindingBytes)
    var bytes = magic
    bytes += [UInt8(session.suite.rawValue >> 8), UInt8(session.suite.rawValue & 255)]
    bytes += [UInt8(session.readConnectionID.count), UInt8(session.writeConnectionID.count), 0, 0, 0, 0]
    for id in [session.readConnectionID, session.writeConnectionID] {
      for i in 0..<ConnectionID.bytesMax { bytes.append(id[i]) }
    }
    for number in [writeSequence, session.window.next] {
      for shift in stride(from: 56, through: 0, by: -8) { bytes.append(UInt8(truncatingIfNeeded: number >> UInt64(shift))) }
    }
    for i in binding.indices { bytes.append(binding[i]) }
    let secret = session.withKeyBlock { block in block.indices.map { block[$0] } }
    bytes += secret
    return bytes + Digest.sha256(bytes.span)
  }

  /// - Throws: `.malformed`, `.sequenceExhausted`, `.library`.
  static func read(_ bytes: Span<UInt8>, boundTo binding: Span<UInt8>) throws(DTLSError) -> DTLSSession {
    precondition(binding.count == bindingBytes)
    guard bytes.count > keysAt + digestBytes else { throw .malformed(offset: bytes.count) }
    for i in magic.indices where bytes[i] != magic[i] { throw .malformed(offset: i) }
    let end = bytes.count - digestBytes
    let digest = Digest.sha256(bytes.extracting(first: end))
    guard constantTimeEqual(digest.span, bytes.extracting(end...)) else { throw .malformed(offset: end) }
    guard constantTimeEqual(bytes.extracting(72..<keysAt), binding) else { throw .malformed(offset: 72) }
    guard let suite = DTLSSuite(rawValue: UInt16(bytes[8]) << 8 | UInt16(bytes[9])), end - keysAt == suite.keyBlockBytes,
      let readID = connectionID(bytes, 16, count: bytes[10]), let writeID = connectionID(bytes, 36, count: bytes[11])
    else { throw .malformed(offset: 8) }
    let (writeSequence, readNext) = (number(bytes, 56), number(bytes, 64))
    guard writeSequence < DTLSSession.sequencesMax else { throw .sequenceExhausted }
    guard readNext <= ReplayWindow.numberMax + 1 else { throw .malformed(offset: 64) }
    return try DTLSSession(
      suite: suite, role: .client, keyBlock: bytes.extracting(keysAt..<end), readConnectionID: readID,
      writeConnectionID: writeID, writeSequence: writeSequence, window: ReplayWindow(allBelow: readNext))
  }

  private static func connectionID(_ bytes: Span<UInt8>, _ at: Int, count: UInt8) -> ConnectionID? {
    guard count <= ConnectionID.bytesMax else { return nil }
    return ConnectionID(bytes.extracting(at..<at + Int(count)))
  }

  private static func number(_ bytes: Span<UInt8>, _ at: Int) -> UInt64 {
    (at..<at + 8).reduce(0) { $0 << 8 | UInt64(bytes[$1]) }
  }
}
