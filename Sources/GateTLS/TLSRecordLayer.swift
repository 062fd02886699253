/// Content types of TLS 1.3 behind the handshake. Outside, every protected record calls itself application data.
package enum TLSContentType: UInt8, Sendable {
  case alert = 21
  case handshake = 22
  case applicationData = 23
}

/// What is wrong with a peer's records. The connection ends; its alert says why.
package enum TLSRecordFault: Equatable, Sendable {
  /// The tag is wrong: forged, damaged, repeated, out of order, or sealed with other keys.
  case forged
  /// Longer than a record may be (RFC 8446 section 5.2), or than was agreed (RFC 6066 section 4).
  case oversize(bytes: Int)
  /// No record of TLS 1.3, or one that may not come behind the handshake, such as a plaintext alert or change_cipher_spec.
  case unexpected(contentType: UInt8)
  /// A message other than KeyUpdate, or NewSessionTicket from a server (RFC 8446 section 4.6), or one that is cut wrongly.
  case unexpectedMessage(type: UInt8)
  /// A message or an alert that does not have its form.
  case malformed
  /// Record after record without application data.
  case barren
  /// More records under one key than it bears (RFC 8446 section 5.5), though we have asked for a new one.
  case keyWornOut

  /// RFC 8446 section 6.
  var alert: UInt8 {
    switch self {
    case .forged: 20
    case .oversize: 22
    case .unexpected, .unexpectedMessage, .barren, .keyWornOut: 10
    case .malformed: 50
    }
  }
}

/// The record protection of one TLS 1.3 connection (RFC 8446 section 5): keys and sequence numbers of both directions. Bytes
/// in, bytes out; keeps no record. What the contents mean is `TLSRecordStream`'s part.
///
/// A sequence is never used twice with one key: it moves on before the key is used, and a key is given up long before its
/// sequences end.
@safe package struct TLSRecordLayer: ~Copyable, Sendable {
  package static let headerBytes = 5
  /// Longest content of a record (RFC 8446 section 5.1).
  package static let plaintextBytesMax = 16_384
  /// Content, type and padding together (RFC 8446 section 5.4): the room that any record may take.
  package static let innerBytesMax = plaintextBytesMax + 1
  /// Longest fragment that may be read at all (RFC 8446 section 5.2).
  package static let fragmentBytesMax = plaintextBytesMax + 256
  /// Bytes that a record of ours is longer than its content: header, type, tag.
  package static let overheadBytes = headerBytes + 1 + 16
  /// A KeyUpdate (RFC 8446 section 4.6.3): type, length (3), whether it asks for one.
  private static let keyUpdateBytes = 5
  package static let keyUpdateRecordBytes = keyUpdateBytes + overheadBytes
  /// Records after which a key should be given up.
  package static let recordsPerKey: UInt64 = 1 << 24
  /// Most records under one key: 2^24.5 (RFC 8446 section 5.5).
  package static let recordsPerKeyMax: UInt64 = 23_726_566

  private let keys: TLSKeys
  /// Longest content either side may send: less than `plaintextBytesMax` where that was agreed.
  package let contentBytesMax: Int
  /// Of the next record opened.
  package private(set) var readSequence: UInt64
  /// Of the next record sealed.
  package private(set) var writeSequence: UInt64

  /// - Parameters:
  ///   - readSecret: the peer's application traffic secret, `suite.secretBytes` long; copied. Wipe yours.
  ///   - writeSecret: ours.
  ///   - readSequence: records that were opened under `readSecret` before.
  ///   - writeSequence: records that were sealed under `writeSecret` before.
  /// - Throws: `.library`.
  package init(
    suite: TLSSuite, readSecret: Span<UInt8>, writeSecret: Span<UInt8>, readSequence: UInt64 = 0, writeSequence: UInt64 = 0,
    contentBytesMax: Int = TLSRecordLayer.plaintextBytesMax
  ) throws(TLSError) {
    precondition((1...TLSRecordLayer.plaintextBytesMax).contains(contentBytesMax))
    keys = try TLSKeys(suite: suite, readSecret: readSecret, writeSecret: writeSecret)
    self.contentBytesMax = contentBytesMax
    self.readSequence = readSequence
    self.writeSequence = writeSequence
  }

  package var suite: TLSSuite { keys.suite }

  func prefetchKeys() { keys.prefetch() }

  // MARK: Opening

  /// - Returns: bytes of the record that begins at `start`, header and all, whether or not they are all there; `nil` before its
  ///   header is.
  /// - Throws: `.record`, by the header alone.
  package static func recordBytes(at start: Int, of bytes: Span<UInt8>) throws(TLSError) -> Int? {
    guard bytes.count - start >= headerBytes else { return nil }
    guard bytes[start] == TLSContentType.applicationData.rawValue else {
      throw .record(.unexpected(contentType: bytes[start]))
    }
    // Always 0x0303 (RFC 8446 section 5.2).
    guard bytes[start + 1] == 3, bytes[start + 2] == 3 else { throw .record(.forged) }
    let fragment = Int(bytes[start + 3]) << 8 | Int(bytes[start + 4])
    guard fragment <= fragmentBytesMax else { throw .record(.oversize(bytes: fragment)) }
    return headerBytes + fragment
  }

  /// Bytes of room that the record needs to be opened: content, type and padding.
  /// - Parameter recordBytes: header and all.
  /// - Throws: `.record`: too short or too long for any record of this connection.
  package func innerBytes(recordBytes: Int) throws(TLSError) -> Int {
    let inner = recordBytes - TLSRecordLayer.headerBytes - suite.aead.tagBytes
    guard inner >= 1 else { throw .record(.forged) }
    guard inner <= TLSRecordLayer.innerBytesMax else { throw .record(.oversize(bytes: inner)) }
    return inner
  }

  /// Opens one record; what it throws leaves the sequence as it was.
  /// - Parameters:
  ///   - record: where it lies in `bytes`, header and all.
  ///   - plaintext: its content is put to `offset`; there must be room for its `innerBytes`. What lies behind is scratch.
  /// - Returns: the content's type, and how many bytes it has.
  /// - Throws: `.record`.
  package mutating func open(
    _ record: Range<Int>, of bytes: Span<UInt8>, into plaintext: inout MutableSpan<UInt8>, at offset: Int,
    with cipher: borrowing RecordCipher
  ) throws(TLSError) -> (type: TLSContentType, bytes: Int) {
    let inner = try innerBytes(recordBytes: record.count)
    precondition(record.lowerBound >= 0 && record.upperBound <= bytes.count)
    precondition(offset >= 0 && offset <= plaintext.count && inner <= plaintext.count - offset)
    guard readSequence < TLSRecordLayer.recordsPerKeyMax else { throw .record(.keyWornOut) }
    let opened = unsafe bytes.withUnsafeBufferPointer { input in
      unsafe plaintext.withUnsafeMutableBufferPointer { room in
        let header = unsafe input.baseAddress! + record.lowerBound
        return unsafe withNonce(.read, readSequence) { nonce in
          unsafe cipher.open(
            suite.aead, key: keys.key(.read), nonce: nonce,
            aad: UnsafeBufferPointer(start: header, count: TLSRecordLayer.headerBytes),
            input: header + TLSRecordLayer.headerBytes, count: inner, output: room.baseAddress! + offset)
        }
      }
    }
    guard opened else {
      ErrorQueue.clear()
      throw .record(.forged)
    }
    readSequence += 1
    // The last byte that is not zero is the type; zeros behind it are padding (RFC 8446 section 5.4).
    var end = offset + inner
    while end > offset, plaintext[end - 1] == 0 { end -= 1 }
    guard end > offset else { throw .record(.unexpected(contentType: 0)) }
    guard let type = TLSContentType(rawValue: plaintext[end - 1]) else {
      throw .record(.unexpected(contentType: plaintext[end - 1]))
    }
    let count = end - 1 - offset
    guard count <= contentBytesMax else { throw .record(.oversize(bytes: count)) }
    return (type, count)
  }

  /// The peer has said KeyUpdate: what it seals from now on is under its next key.
  /// - Throws: `.library`.
  package mutating func advanceReading() throws(TLSError) {
    try keys.advance(.read)
    readSequence = 0
  }

  // MARK: Sealing

  /// Seals one record at `offset`, which moves on, without padding.
  /// - Parameters:
  ///   - content: `contentBytesMax` bytes at most.
  ///   - bytes: must have room for the content and `overheadBytes`.
  /// - Throws: `.library`.
  package mutating func seal(
    _ type: TLSContentType, _ content: Span<UInt8>, into bytes: inout MutableSpan<UInt8>, at offset: inout Int,
    with cipher: borrowing RecordCipher
  ) throws(TLSError) {
    precondition(content.count <= contentBytesMax && offset >= 0 && offset <= bytes.count)
    precondition(content.count + TLSRecordLayer.overheadBytes <= bytes.count - offset)
    precondition(writeSequence < TLSRecordLayer.recordsPerKeyMax, "a key beyond its last record")
    let sequence = writeSequence
    writeSequence += 1
    let start = offset
    let inner = content.count + 1
    let fragment = inner + suite.aead.tagBytes
    bytes[start] = TLSContentType.applicationData.rawValue
    bytes[start + 1] = 3
    bytes[start + 2] = 3
    bytes[start + 3] = UInt8(truncatingIfNeeded: fragment >> 8)
    bytes[start + 4] = UInt8(truncatingIfNeeded: fragment)
    let from = start + TLSRecordLayer.headerBytes
    for i in content.indices { bytes[from + i] = content[i] }
    bytes[from + content.count] = type.rawValue
    let sealed = unsafe bytes.withUnsafeMutableBufferPointer { room in
      let header = unsafe room.baseAddress! + start
      return unsafe withNonce(.write, sequence) { nonce in
        unsafe cipher.seal(
          suite.aead, key: keys.key(.write), nonce: nonce,
          aad: UnsafeBufferPointer(start: header, count: TLSRecordLayer.headerBytes),
          bytes: header + TLSRecordLayer.headerBytes, count: inner)
      }
    }
    guard sealed else { throw .library(code: ErrorQueue.drain()) }
    offset = from + fragment
  }

  /// Seals a KeyUpdate (RFC 8446 section 4.6.3) and goes on to our next key.
  /// - Parameter requesting: the peer is to do the same.
  /// - Throws: `.library`.
  package mutating func sealKeyUpdate(
    requesting: Bool, into bytes: inout MutableSpan<UInt8>, at offset: inout Int, with cipher: borrowing RecordCipher
  ) throws(TLSError) {
    let message: [5 of UInt8] = [HandshakeType.keyUpdate, 0, 0, 1, requesting ? 1 : 0]
    try seal(.handshake, message.span, into: &bytes, at: &offset, with: cipher)
    try keys.advance(.write)
    writeSequence = 0
  }

  // MARK: Both

  /// The IV xor the sequence (RFC 8446 section 5.3).
  private func withNonce(
    _ direction: TLSKeys.Direction, _ sequence: UInt64, _ body: (UnsafePointer<UInt8>) -> Bool
  ) -> Bool {
    let iv = unsafe keys.iv(direction)
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: AEAD.nonceBytes) { nonce in
      for i in 0..<4 { unsafe nonce[i] = iv[i] }
      for i in 4..<AEAD.nonceBytes {
        unsafe nonce[i] = iv[i] ^ UInt8(truncatingIfNeeded: sequence >> UInt64(88 - 8 * i))
      }
      return unsafe body(nonce.baseAddress!)
    }
  }
}
