/// One TLS 1.3 connection behind its handshake, without libssl: bytes in, bytes out, as `TLSEngine`. Says and hears
/// application data, KeyUpdate, alerts and close_notify, and passes over the tickets of a server.
///
/// An end of the bytes without `.closed` is a connection that was cut (RFC 8446 section 6.1): by the network or by somebody on
/// the way. Whoever frames his messages, as fixgate does, loses nothing but the message that was cut.
package struct TLSRecordStream: ~Copyable {
  /// Records in a row that may come without application data: empty ones, key updates, tickets.
  package static let barrenRecordsMax = 32
  /// RFC 8446 section 6.
  private static let closeNotify: UInt8 = 0
  private static let userCanceled: UInt8 = 90

  // What every record needs comes first, and together.
  private var layer: TLSRecordLayer
  private let cipher: ThreadCipher
  /// A record whose rest has not come, or for which there was no room.
  private var tail: [UInt8] = []
  private var barrenRecords = 0
  private var failed = false
  private var sentClose = false
  private var receivedClose = false
  /// The peer wants to see our next key before our next application data (RFC 8446 section 4.6.3).
  private var owesKeyUpdate = false
  private var hasAskedForKey = false
  private var messages: HandshakeMessages
  private var output: OutputBuffer

  /// - Parameters:
  ///   - isClient: the peer is a server, and may send tickets.
  ///   - output: ciphertext that waits already.
  init(
    _ layer: consuming TLSRecordLayer, isClient: Bool, output: consuming OutputBuffer = OutputBuffer(),
    with cipher: ThreadCipher
  ) {
    self.layer = layer
    self.cipher = cipher
    self.output = output
    messages = HandshakeMessages(takesTickets: isClient)
  }

  package init(_ layer: consuming TLSRecordLayer, isClient: Bool, with cipher: ThreadCipher) {
    self.init(layer, isClient: isClient, output: OutputBuffer(), with: cipher)
  }

  package var suite: TLSSuite { layer.suite }
  package var isOpen: Bool { !failed }
  package var hasPartialRecord: Bool { !tail.isEmpty }
  /// Of the record whose rest has not come.
  package var tailBytes: Int { tail.count }
  package var outputCount: Int { output.waiting }

  func prefetchKeys() { layer.prefetchKeys() }

  // MARK: Receiving

  /// As `TLSEngine.receive`.
  /// - Parameter plaintext: must have room for `TLSRecordLayer.innerBytesMax` in all, so that any record fits once it is drained.
  package mutating func receive(
    _ ciphertext: Span<UInt8>, plaintext: inout MutableSpan<UInt8>, at offset: inout Int
  ) throws(TLSError) -> TLSProgress {
    precondition(plaintext.count >= TLSRecordLayer.innerBytesMax && offset >= 0 && offset <= plaintext.count)
    guard !failed else { throw .notOpen }
    cipher.enter()
    do throws(TLSError) {
      return try take(ciphertext, plaintext: &plaintext, at: &offset)
    } catch {
      fail(error)
      throw error
    }
  }

  private mutating func take(
    _ ciphertext: Span<UInt8>, plaintext: inout MutableSpan<UInt8>, at offset: inout Int
  ) throws(TLSError) -> TLSProgress {
    var at = 0
    while !receivedClose {
      if tail.isEmpty {
        let count = try TLSRecordLayer.recordBytes(at: at, of: ciphertext)
        guard let count, count <= ciphertext.count - at else {
          keep(ciphertext, at..<ciphertext.count)
          return .open
        }
        guard try open(at..<at + count, of: ciphertext, into: &plaintext, at: &offset) else {
          return .plaintextFull(consumed: at)
        }
        at += count
      } else {
        guard try completeTail(ciphertext, from: &at) else { return .open }
        let record = tail
        guard try open(0..<record.count, of: record.span, into: &plaintext, at: &offset) else {
          return .plaintextFull(consumed: at)
        }
        tail = []
      }
    }
    tail = []
    return .closed
  }

  private mutating func keep(_ bytes: Span<UInt8>, _ range: Range<Int>) {
    if tail.isEmpty { tail.reserveCapacity(range.count) }
    for i in range { tail.append(bytes[i]) }
  }

  /// Moves bytes behind the tail until it is one whole record.
  private mutating func completeTail(_ bytes: Span<UInt8>, from at: inout Int) throws(TLSError) -> Bool {
    while true {
      let whole = try TLSRecordLayer.recordBytes(at: 0, of: tail.span)
      if tail.count == whole { return true }
      let count = min((whole ?? TLSRecordLayer.headerBytes) - tail.count, bytes.count - at)
      guard count > 0 else { return false }
      keep(bytes, at..<at + count)
      at += count
    }
  }

  /// Opens one record and does what it says.
  /// - Returns: false if there is no room for it.
  private mutating func open(
    _ record: Range<Int>, of bytes: Span<UInt8>, into plaintext: inout MutableSpan<UInt8>, at offset: inout Int
  ) throws(TLSError) -> Bool {
    guard try layer.innerBytes(recordBytes: record.count) <= plaintext.count - offset else { return false }
    let (type, count) = try layer.open(record, of: bytes, into: &plaintext, at: offset, with: cipher.records)
    guard type == .handshake || !messages.isMidMessage else { throw .record(.unexpected(contentType: type.rawValue)) }
    if type == .applicationData, count > 0 {
      barrenRecords = 0
      offset += count
      try renewReadKey()
      return true
    }
    barrenRecords += 1
    guard barrenRecords <= TLSRecordStream.barrenRecordsMax else { throw .record(.barren) }
    switch type {
    case .applicationData: break
    case .alert:
      // One alert a record, in one piece (RFC 8446 section 5.1). The level says nothing any more.
      guard count == 2 else { throw .record(.malformed) }
      switch plaintext[offset + 1] {
      case TLSRecordStream.closeNotify: receivedClose = true
      case TLSRecordStream.userCanceled: break
      default: throw .alert(plaintext[offset + 1])
      }
    case .handshake:
      if case .keyUpdate(let requested) = try messages.read(plaintext.span.extracting(offset..<offset + count)) {
        try layer.advanceReading()
        hasAskedForKey = false
        // However many requests there were: one answer, and only when there is something to say.
        if requested { owesKeyUpdate = true }
      }
    }
    return true
  }

  /// Asks for another key while the one that we read with is still good.
  private mutating func renewReadKey() throws(TLSError) {
    guard layer.readSequence >= TLSRecordLayer.recordsPerKey, !hasAskedForKey, !sentClose else { return }
    hasAskedForKey = true
    try sealKeyUpdate(requesting: true)
  }

  // MARK: Sending

  /// As `TLSEngine.write`.
  package mutating func write(_ plaintext: Span<UInt8>) throws(TLSError) {
    guard !failed, !sentClose else { throw .notOpen }
    guard plaintext.count > 0 else { return }
    cipher.enter()
    let records = (plaintext.count + layer.contentBytesMax - 1) / layer.contentBytesMax
    guard plaintext.count <= TLSEngine.outputBytesMax - outputCount - records * TLSRecordLayer.overheadBytes else {
      throw .outputFull(waitingBytes: outputCount)
    }
    do throws(TLSError) {
      if owesKeyUpdate || layer.writeSequence >= TLSRecordLayer.recordsPerKey { try sealKeyUpdate(requesting: false) }
      var at = 0
      while at < plaintext.count {
        let count = min(layer.contentBytesMax, plaintext.count - at)
        try seal(.applicationData, plaintext.extracting(at..<at + count))
        at += count
      }
    } catch {
      fail(error)
      throw error
    }
  }

  /// As `TLSEngine.updateKeys`.
  package mutating func updateKeys() throws(TLSError) {
    guard !failed, !sentClose else { throw .notOpen }
    cipher.enter()
    do throws(TLSError) { try sealKeyUpdate(requesting: true) } catch {
      fail(error)
      throw error
    }
  }

  /// As `TLSEngine.close`.
  package mutating func close() {
    guard !failed, !sentClose else { return }
    cipher.enter()
    sentClose = true
    sealAlert(level: 1, TLSRecordStream.closeNotify)
  }

  /// As `TLSEngine.drain`.
  package mutating func drain<E: Error>(_ send: (Span<UInt8>) throws(E) -> Int) throws(E) -> Bool {
    let done = try output.drain(send)
    if done {
      cipher.enter()
      cipher.reclaim(&output)
    }
    return done
  }

  /// The peer is told why, where telling is of use; what waits goes out in front.
  private mutating func fail(_ error: TLSError) {
    if case .record(let fault) = error, !sentClose { sealAlert(level: 2, fault.alert) }
    failed = true
    tail = []
  }

  /// Without room or libcrypto the alert stays unsaid: the connection ends all the same.
  private mutating func sealAlert(level: UInt8, _ description: UInt8) {
    let alert: [2 of UInt8] = [level, description]
    do throws(TLSError) { try seal(.alert, alert.span) } catch { failed = true }
  }

  private mutating func seal(_ type: TLSContentType, _ content: Span<UInt8>) throws(TLSError) {
    cipher.equip(&output)
    try layer.seal(type, content, behind: &output, with: cipher.records)
  }

  private mutating func sealKeyUpdate(requesting: Bool) throws(TLSError) {
    cipher.equip(&output)
    try layer.sealKeyUpdate(requesting: requesting, behind: &output, with: cipher.records)
    owesKeyUpdate = false
  }
}

extension TLSRecordLayer {
  fileprivate mutating func seal(
    _ type: TLSContentType, _ content: Span<UInt8>, behind output: inout OutputBuffer, with cipher: borrowing RecordCipher
  ) throws(TLSError) {
    let fits = try output.append(upTo: content.count + TLSRecordLayer.overheadBytes) {
      room, filled throws(TLSError) in
      try seal(type, content, into: &room, at: &filled, with: cipher)
    }
    guard fits else { throw .outputOverflow }
  }

  fileprivate mutating func sealKeyUpdate(
    requesting: Bool, behind output: inout OutputBuffer, with cipher: borrowing RecordCipher
  ) throws(TLSError) {
    let fits = try output.append(upTo: TLSRecordLayer.keyUpdateRecordBytes) { room, filled throws(TLSError) in
      try sealKeyUpdate(requesting: requesting, into: &room, at: &filled, with: cipher)
    }
    guard fits else { throw .outputOverflow }
  }
}
