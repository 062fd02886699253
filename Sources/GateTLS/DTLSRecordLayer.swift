import COpenSSL
package import GateCore

/// Which end of a session this is.
package enum DTLSRole: UInt8, Sendable {
  case server
  case client
}

/// What an authentic record was.
package enum DTLSContent: Equatable, Sendable {
  /// Plaintext of the application, this many bytes in front of the new offset.
  case applicationData(bytes: Int)
  /// RFC 5246 section 7.2. Level 2 ends the session, and so does close_notify (0), which is answered in kind.
  case alert(level: UInt8, description: UInt8)
  /// The peer's Finished once more: our last flight was lost, `DTLSLastFlight` has it.
  case finished
  /// A ClientHello or HelloRequest: refuse it with the warning no_renegotiation (100).
  case renegotiation
}

/// One record opened.
package struct DTLSOpened: Equatable, Sendable {
  package let content: DTLSContent
  /// The record is newer than all before: only then may the peer's address change (RFC 9146 section 6).
  package let isNewest: Bool
}

/// The record layer of one DTLS 1.2 session after its handshake (RFC 6347 section 4.1, RFC 9146): bytes in, bytes out, no
/// clock, no address. About 110 bytes, and 40 or 88 for the keys.
///
/// Epoch 1 for life: there is no renegotiation. AES uses epoch and sequence as its explicit nonce, so no sequence is ever used
/// twice with one key.
@safe package struct DTLSSession: ~Copyable, Sendable {
  /// Longest plaintext of a record (RFC 5246 section 6.2.1).
  package static let plaintextBytesMax = 16_384
  /// Sequences that one session may use: far below the 48 bits, so that AES-GCM keeps its margins (2^32 records of 75 blocks
  /// are 2^39 blocks under one key).
  package static let sequencesMax: UInt64 = 1 << 32

  let keys: DTLSKeys
  package let role: DTLSRole
  /// What records to us bear; empty = they are classic ones.
  package let readConnectionID: ConnectionID
  /// What records to the peer bear; empty = they are classic ones.
  package let writeConnectionID: ConnectionID
  /// Sequence of the next record sealed.
  package private(set) var writeSequence: UInt64
  /// Sequence from which on nothing is sealed, `sequencesMax` at most. A session that is kept on disk raises it as its
  /// reservations become durable, and goes on above the last one after a restart.
  package var writeLimit = sequencesMax
  package private(set) var window: ReplayWindow

  /// - Parameters:
  ///   - keyBlock: `suite.keyBlockBytes` bytes; copied. Wipe yours.
  ///   - writeSequence: above all that were ever used with these keys.
  /// - Throws: `.library` without memory.
  package init(
    suite: DTLSSuite, role: DTLSRole, keyBlock: Span<UInt8>, readConnectionID: ConnectionID = ConnectionID(),
    writeConnectionID: ConnectionID = ConnectionID(), writeSequence: UInt64 = 0, window: ReplayWindow = ReplayWindow()
  ) throws(DTLSError) {
    keys = try DTLSKeys(suite: suite, keyBlock: keyBlock)
    self.role = role
    self.readConnectionID = readConnectionID
    self.writeConnectionID = writeConnectionID
    self.writeSequence = writeSequence
    self.window = window
  }

  package var suite: DTLSSuite { keys.suite }

  /// Lends the key block, to be sealed and stored. A secret.
  package func withKeyBlock<R, E: Error>(_ body: (Span<UInt8>) throws(E) -> R) throws(E) -> R { try keys.withBlock(body) }

  // MARK: Opening

  /// Opens one record: cheap refusals first, then the tag, then the window moves. What it throws leaves the session as it was;
  /// only behind `.unknownContent` the window has moved.
  /// - Parameters:
  ///   - record: from `DTLSRecord.next` over the same `datagram`.
  ///   - plaintext: application data is appended at `offset`, which moves on; the room must hold the record's fragment. Behind
  ///     the new offset the bytes are scratch.
  package mutating func open(
    _ record: DTLSRecord, of datagram: Span<UInt8>, into plaintext: inout MutableSpan<UInt8>, at offset: inout Int,
    with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> DTLSOpened {
    let verdict = try verdict(on: record, of: datagram)
    let (type, count) = try authenticate(record, of: datagram, into: &plaintext, at: offset, with: cipher)
    window.mark(record.sequence)
    let content: DTLSContent
    switch type {
    case .applicationData:
      content = .applicationData(bytes: count)
      offset += count
    case .alert:
      guard count == 2 else { throw .unknownContent }
      content = .alert(level: plaintext[offset], description: plaintext[offset + 1])
    case .handshake:
      guard count >= 12 else { throw .unknownContent }
      switch plaintext[offset] {
      case 20: content = .finished
      case 0, 1: content = .renegotiation
      default: throw .unknownContent
      }
    case .changeCipherSpec, .tls12CID: throw .unknownContent
    }
    return DTLSOpened(content: content, isNewest: verdict == .newest)
  }

  /// Refuses what can be refused without touching a key.
  func verdict(on record: DTLSRecord, of datagram: Span<UInt8>) throws(DTLSError) -> ReplayWindow.Verdict {
    // A session with connection IDs takes no classic records, and the other way round (RFC 9146 section 3).
    guard (record.type == .tls12CID) == !readConnectionID.isEmpty,
      readConnectionID.matches(datagram.extracting(record.connectionID))
    else { throw .wrongConnectionID }
    guard record.epoch == 1 else { throw .wrongEpoch(record.epoch) }
    let verdict = window.verdict(for: record.sequence)
    switch verdict {
    case .newest, .late: return verdict
    case .replayed: throw .replayed
    case .tooOld: throw .tooOld
    }
  }

  /// The window learns that this record was authentic.
  mutating func mark(_ record: DTLSRecord) { window.mark(record.sequence) }

  /// Opens a record and moves nothing.
  /// - Returns: the inner type (RFC 9146 section 4) and how many bytes of plaintext lie at `offset`.
  func authenticate(
    _ record: DTLSRecord, of datagram: Span<UInt8>, into plaintext: inout MutableSpan<UInt8>, at offset: Int,
    with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> (DTLSContentType, Int) {
    precondition(offset >= 0 && offset <= plaintext.count)
    let aead = keys.suite.aead
    let inner = record.fragment.count - aead.explicitNonceBytes - aead.tagBytes
    guard inner >= 0 else { throw .malformed(offset: record.whole.lowerBound) }
    // The inner type of RFC 9146 may come on top of a full plaintext.
    guard inner <= DTLSSession.plaintextBytesMax + 1, inner <= plaintext.count - offset else {
      throw .oversize(bytes: inner)
    }
    let usesCID = record.type == .tls12CID
    let header = RecordHeader(
      type: record.type, epoch: record.epoch, sequence: record.sequence,
      connectionID: usesCID ? readConnectionID : ConnectionID())
    let opened = unsafe datagram.withUnsafeBufferPointer { bytes in
      unsafe plaintext.withUnsafeMutableBufferPointer { room in
        let fragment = unsafe bytes.baseAddress! + record.fragment.lowerBound
        return unsafe transform(header, count: inner, byServer: role == .client, explicitNonce: fragment) {
          nonce, aad, key in
          unsafe withOutput(room.baseAddress, at: offset) { output in
            unsafe cipher.open(
              aead, key: key, nonce: nonce, aad: aad, input: fragment + aead.explicitNonceBytes, count: inner,
              output: output)
          }
        }
      }
    }
    guard opened else {
      ErrorQueue.clear()
      throw .forged
    }
    guard usesCID else { return (record.type, inner) }
    // Zeros behind the type are padding; nothing but zeros is an error (RFC 9146 section 4).
    var end = offset + inner
    while end > offset, plaintext[end - 1] == 0 { end -= 1 }
    guard end > offset, let type = DTLSContentType(rawValue: plaintext[end - 1]) else { throw .unknownContent }
    return (type, end - 1 - offset)
  }

  // MARK: Sealing

  /// Seals one record behind `datagram[..<offset]`; `offset` moves on.
  /// - Throws: `.noRoom`, `.sequenceExhausted`, `.library`.
  package mutating func seal(
    _ type: DTLSContentType, _ plaintext: Span<UInt8>, into datagram: inout MutableSpan<UInt8>, at offset: inout Int,
    with cipher: borrowing RecordCipher
  ) throws(DTLSError) {
    precondition(type != .tls12CID)
    guard writeSequence < min(writeLimit, DTLSSession.sequencesMax) else { throw .sequenceExhausted }
    // Taken before the key is used: whatever happens, no sequence comes twice.
    let sequence = writeSequence
    guard hasRoom(for: plaintext.count, in: datagram.count - offset, connectionID: writeConnectionID) else {
      throw .noRoom
    }
    writeSequence += 1
    try seal(
      type, plaintext, sequence: sequence, connectionID: writeConnectionID, byServer: role == .server, into: &datagram,
      at: &offset, with: cipher)
  }

  /// Bytes of a record to the peer that holds `plaintextBytes`.
  package func recordBytes(plaintextBytes: Int) -> Int {
    plaintextBytes + suite.recordOverheadBytes + (writeConnectionID.isEmpty ? 0 : writeConnectionID.count + 1)
  }

  private func hasRoom(for plaintextBytes: Int, in room: Int, connectionID: ConnectionID) -> Bool {
    guard plaintextBytes <= DTLSSession.plaintextBytesMax else { return false }
    return plaintextBytes + suite.recordOverheadBytes + (connectionID.isEmpty ? 0 : connectionID.count + 1) <= room
  }

  /// Turns what the peer sealed with a connection ID into the classic record that libssl understands, same sequence.
  func sealClassicAsPeer(
    _ type: DTLSContentType, _ plaintext: Span<UInt8>, sequence: UInt64, into datagram: inout MutableSpan<UInt8>,
    at offset: inout Int, with cipher: borrowing RecordCipher
  ) throws(DTLSError) {
    guard hasRoom(for: plaintext.count, in: datagram.count - offset, connectionID: ConnectionID()) else { throw .noRoom }
    try seal(
      type, plaintext, sequence: sequence, connectionID: ConnectionID(), byServer: role == .client, into: &datagram,
      at: &offset, with: cipher)
  }

  /// Opens what libssl sealed for the peer, a classic record of ours.
  func openOwn(
    _ record: DTLSRecord, of datagram: Span<UInt8>, into plaintext: inout MutableSpan<UInt8>,
    with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> Int {
    let aead = keys.suite.aead
    let count = record.fragment.count - aead.explicitNonceBytes - aead.tagBytes
    guard count >= 0, count <= plaintext.count else { throw .oversize(bytes: record.fragment.count) }
    let header = RecordHeader(
      type: record.type, epoch: record.epoch, sequence: record.sequence, connectionID: ConnectionID())
    let opened = unsafe datagram.withUnsafeBufferPointer { bytes in
      unsafe plaintext.withUnsafeMutableBufferPointer { room in
        let fragment = unsafe bytes.baseAddress! + record.fragment.lowerBound
        return unsafe transform(header, count: count, byServer: role == .server, explicitNonce: fragment) {
          nonce, aad, key in
          unsafe withOutput(room.baseAddress, at: 0) { output in
            unsafe cipher.open(
              aead, key: key, nonce: nonce, aad: aad, input: fragment + aead.explicitNonceBytes, count: count,
              output: output)
          }
        }
      }
    }
    guard opened else {
      ErrorQueue.clear()
      throw .forged
    }
    return count
  }

  // MARK: Both

  private func seal(
    _ type: DTLSContentType, _ plaintext: Span<UInt8>, sequence: UInt64, connectionID: ConnectionID, byServer: Bool,
    into datagram: inout MutableSpan<UInt8>, at offset: inout Int, with cipher: borrowing RecordCipher
  ) throws(DTLSError) {
    let aead = keys.suite.aead
    let usesCID = !connectionID.isEmpty
    let header = RecordHeader(
      type: usesCID ? .tls12CID : type, epoch: 1, sequence: sequence, connectionID: connectionID)
    var at = offset
    let inner = plaintext.count + (usesCID ? 1 : 0)
    header.write(fragmentBytes: aead.explicitNonceBytes + inner + aead.tagBytes, into: &datagram, at: &at)
    let fragmentAt = at
    if aead.explicitNonceBytes > 0 {
      datagram.store(header.epochAndSequence.byteSwapped, at: at)
      at += aead.explicitNonceBytes
    }
    datagram.copy(plaintext, 0..<plaintext.count, to: at)
    if usesCID { datagram[at + plaintext.count] = type.rawValue }
    let sealed = unsafe datagram.withUnsafeMutableBufferPointer { bytes in
      let base = bytes.baseAddress!
      return unsafe transform(header, count: inner, byServer: byServer, explicitNonce: base + fragmentAt) {
        nonce, aad, key in
        unsafe cipher.seal(aead, key: key, nonce: nonce, aad: aad, bytes: base + at, count: inner)
      }
    }
    guard sealed else { throw .library(code: ErrorQueue.drain()) }
    offset = at + inner + aead.tagBytes
  }

  /// Makes nonce and additional data and lends them with the key.
  private func transform(
    _ header: RecordHeader, count: Int, byServer: Bool, explicitNonce: UnsafePointer<UInt8>,
    _ body: (UnsafePointer<UInt8>, UnsafeBufferPointer<UInt8>, UnsafePointer<UInt8>) -> Bool
  ) -> Bool {
    let aead = keys.suite.aead
    let iv = unsafe keys.fixedIV(ofServer: byServer)
    return unsafe withUnsafeTemporaryAllocation(of: UInt8.self, capacity: AEAD.nonceBytes + RecordHeader.aadBytesMax) {
      scratch in
      for i in 0..<4 { unsafe scratch[i] = iv[i] }
      if aead == .chaCha20Poly1305 {
        // RFC 7905 section 2: the IV xor epoch and sequence.
        for i in 4..<12 {
          unsafe scratch[i] = iv[i] ^ UInt8(truncatingIfNeeded: header.epochAndSequence >> UInt64(88 - i * 8))
        }
      } else {
        for i in 4..<12 { unsafe scratch[i] = explicitNonce[i - 4] }
      }
      let room = unsafe UnsafeMutableBufferPointer(rebasing: scratch[AEAD.nonceBytes...])
      var additional = unsafe room.mutableSpan
      let aadBytes = header.additionalData(innerBytes: count, into: &additional)
      return unsafe body(
        scratch.baseAddress!, UnsafeBufferPointer(start: room.baseAddress!, count: aadBytes), keys.key(ofServer: byServer))
    }
  }

  /// An address to write to even where the room is empty, as it is for a record of no plaintext.
  private func withOutput(
    _ base: UnsafeMutablePointer<UInt8>?, at offset: Int, _ body: (UnsafeMutablePointer<UInt8>) -> Bool
  ) -> Bool {
    if let base = unsafe base { return unsafe body(base + offset) }
    var none: UInt8 = 0
    return unsafe body(&none)
  }
}

/// What is authenticated beside the content.
struct RecordHeader {
  /// 8 of 0xFF, type, length of the connection ID, type, version, epoch and sequence, connection ID, length.
  static let aadBytesMax = 8 + 3 + 2 + 8 + ConnectionID.bytesMax + 2

  let type: DTLSContentType
  let epochAndSequence: UInt64
  let connectionID: ConnectionID

  init(type: DTLSContentType, epoch: UInt16, sequence: UInt64, connectionID: ConnectionID) {
    self.type = type
    epochAndSequence = UInt64(epoch) << 48 | sequence
    self.connectionID = connectionID
  }

  /// The header up to the length, which is `fragmentBytes`.
  func write(fragmentBytes: Int, into datagram: inout MutableSpan<UInt8>, at offset: inout Int) {
    datagram[offset] = type.rawValue
    datagram.store(DTLSRecord.version.byteSwapped, at: offset + 1)
    datagram.store(epochAndSequence.byteSwapped, at: offset + 3)
    offset += 11
    if type == .tls12CID {
      connectionID.write(into: &datagram, at: offset)
      offset += connectionID.count
    }
    datagram.store(UInt16(truncatingIfNeeded: fragmentBytes).byteSwapped, at: offset)
    offset += 2
  }

  /// RFC 5246 section 6.2.3.3 for classic records, RFC 9146 section 5.3 for those with a connection ID.
  /// - Parameter bytes: room for `aadBytesMax`.
  /// - Returns: how many bytes were written.
  func additionalData(innerBytes: Int, into bytes: inout MutableSpan<UInt8>) -> Int {
    var at: Int
    if type == .tls12CID {
      bytes.store(UInt64.max, at: 0)
      bytes[8] = type.rawValue
      bytes[9] = UInt8(connectionID.count)
      bytes[10] = type.rawValue
      bytes.store(DTLSRecord.version.byteSwapped, at: 11)
      bytes.store(epochAndSequence.byteSwapped, at: 13)
      connectionID.write(into: &bytes, at: 21)
      at = 21 + connectionID.count
    } else {
      bytes.store(epochAndSequence.byteSwapped, at: 0)
      bytes[8] = type.rawValue
      bytes.store(DTLSRecord.version.byteSwapped, at: 9)
      at = 11
    }
    bytes.store(UInt16(truncatingIfNeeded: innerBytes).byteSwapped, at: at)
    at += 2
    return at
  }
}
