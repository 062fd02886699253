import COpenSSL

/// Where a connection stands after `TLSEngine.receive`.
package enum TLSProgress: Equatable, Sendable {
  /// All input is consumed; the handshake needs more. Send the output.
  case handshaking
  /// All input is consumed; the session is up. New plaintext, if any, lies in front of the new offset.
  case open
  /// Server: the peer's early data is over. New plaintext up to the new offset came before its Finished, and what comes
  /// from now on behind it. Call again with the input behind `consumed`, empty if that was all.
  case earlyDataEnded(consumed: Int)
  /// No room is left for plaintext. Drain it and call again with the input behind `consumed`, empty if that was all.
  case plaintextFull(consumed: Int)
  /// The peer sent close_notify; input behind it was dropped. Writing is still possible until `close`.
  case closed
}

package enum TLSVersion: UInt8, Comparable, Sendable {
  case tls12
  case tls13

  package static func < (a: TLSVersion, b: TLSVersion) -> Bool { a.rawValue < b.rawValue }

  var number: Int32 { self == .tls12 ? TLS1_2_VERSION : TLS1_3_VERSION }
}

/// One TLS connection, either role: bytes in, bytes out, no descriptor, no clock. Owns its libssl object, until that is let go
/// (`letGo`); used from one thread at a time. Nothing outside knows libssl.
///
/// Sendable: there is one owner, which may hand it to another thread; libssl keeps nothing of a connection per thread.
///
/// A server makes one only when `ClientHelloGate` has seen a whole ClientHello: an idle one costs about 14 KB until libssl is let go.
@safe package struct TLSEngine: ~Copyable, @unchecked Sendable {
  /// Bytes that a peer may send before its handshake is done: ClientHello twice, certificate chain, room to spare.
  package static let handshakeBytesMax = 32_768
  /// Ciphertext that may wait before `write` refuses.
  package static let outputBytesMax = 65_536
  /// Ciphertext that may wait at all: above that a connection fails. The difference is for libssl's own answers.
  package static let outputBytesHardMax = outputBytesMax + 32_768
  /// Capacity that an empty output keeps: an ack's record, so that steady traffic allocates nothing.
  package static let outputBytesKept = 512
  /// Most bytes that one record adds to its plaintext: 5 header, 1 type, 16 tag, or 8 nonce and 16 tag in TLS 1.2.
  package static let recordOverheadBytes = 32

  // Which record layer serves the connection: one of the two is there.
  var own: OwnRecords? = nil
  /// `nil` once libssl is let go.
  var handle: SSLHandle?
  private let clientName: [UInt8]
  /// Client: the ticket that it resumes with, as it travels.
  private let offeredTicket: [UInt8]
  private var failed = false
  private(set) var sentClose = false
  private var phase: Phase

  private enum Phase {
    /// Server: the ClientHello has not come, or early data behind it may go on.
    case early
    case handshake
    case established
  }

  private var established: Bool { phase == .established }

  /// The gateway's side. Nothing waits in the output until a ClientHello was received.
  /// - Throws: `.library`: refuse this connection.
  package init(server context: TLSServerContext) throws(TLSError) {
    let handle = try unsafe SSLHandle(context: context.raw)
    unsafe SSL_set_accept_state(handle.ssl)
    self.handle = handle
    clientName = []
    offeredTicket = []
    phase = context.takesEarlyData ? .early : .handshake
  }

  /// The device's side. Its ClientHello waits in the output.
  /// - Parameters:
  ///   - serverName: DNS name or address literal that the server's certificate must bear.
  ///   - ticket: from `sessionTicket` of an earlier connection to the same name; one that is unusable is ignored.
  ///   - earlyData: goes out behind the ClientHello if it is no more than `earlyDataBytesMax(of:to:)` of the ticket. Whether the
  ///     server took it says `earlyData` once established; if not, it counts as not sent.
  /// - Throws: `.serverName`, `.library`.
  package init(
    client context: TLSClientContext, serverName: String, ticket: [UInt8]? = nil, earlyData: [UInt8] = []
  ) throws(TLSError) {
    let handle = try unsafe SSLHandle(context: context.raw)
    let ssl = unsafe handle.ssl
    guard let name = CertificateName(serverName) else { throw .serverName }
    unsafe SSL_set_connect_state(ssl)
    ErrorQueue.clear()
    let set: Bool
    switch name {
    case .address:
      set = unsafe X509_VERIFY_PARAM_set1_ip_asc(SSL_get0_param(ssl), serverName) == 1
    case .dns:
      unsafe SSL_set_hostflags(ssl, UInt32(X509_CHECK_FLAG_NO_PARTIAL_WILDCARDS))
      set = unsafe SSL_set1_host(ssl, serverName) == 1 && gate_SSL_set_tlsext_host_name(ssl, serverName) == 1
    }
    guard set else { throw .library(code: ErrorQueue.drain()) }
    let clientName = Array(serverName.utf8)
    var offeredTicket: [UInt8] = []
    var earlyDataBytesMax = 0
    if let ticket, let saved = OfferedSession(ticket, for: clientName) {
      unsafe SSL_set_session(ssl, saved.raw)
      offeredTicket = saved.ticket
      earlyDataBytesMax = saved.earlyDataBytesMax
    }
    ErrorQueue.clear()
    if earlyData.isEmpty || earlyData.count > earlyDataBytesMax {
      let result = unsafe SSL_do_handshake(ssl)
      guard unsafe SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ else { throw .library(code: ErrorQueue.drain()) }
    } else {
      var written = 0
      guard unsafe SSL_write_early_data(ssl, earlyData, earlyData.count, &written) == 1 else {
        throw .library(code: ErrorQueue.drain())
      }
    }
    self.handle = handle
    self.clientName = clientName
    self.offeredTicket = offeredTicket
    phase = .handshake
  }

  /// Only while libssl is there.
  private var present: SSLHandle {
    guard let handle else { preconditionFailure("libssl was let go") }
    return handle
  }
  var ssl: OpaquePointer { unsafe present.ssl }
  private var cursor: UnsafeMutablePointer<Cursor> { unsafe present.cursor }
  var isClient: Bool { !clientName.isEmpty }
  /// The session's and the certificate's lives are the connection's.
  var rawSession: OpaquePointer? { unsafe SSL_get_session(ssl) }
  var rawPeerCertificate: OpaquePointer? { unsafe SSL_get0_peer_certificate(ssl) }

  // MARK: Bytes

  /// Has the CPU fetch the keys from memory while something else is done: ask as soon as ciphertext is there. Only with our own
  /// records.
  package func prefetchKeys() {
    switch own {
    case .some(let own): own.stream.prefetchKeys()
    case .none: break
    }
  }

  /// Takes ciphertext and appends what it decrypts to `plaintext` at `offset`, which moves on. Handshake completion and
  /// the data right behind Finished come out of one call.
  ///
  /// All of the input is consumed unless the result is `.plaintextFull`. Look at the output afterwards in any case,
  /// also when this throws: an alert may wait there.
  /// - Throws: a connection's error; every later call throws `.notOpen`. Plaintext up to `offset` is authentic all the same.
  package mutating func receive(
    _ ciphertext: Span<UInt8>, plaintext: inout MutableSpan<UInt8>, at offset: inout Int
  ) throws(TLSError) -> TLSProgress {
    if let progress = try own?.stream.receive(ciphertext, plaintext: &plaintext, at: &offset) { return progress }
    guard !failed else { throw .notOpen }
    precondition(offset >= 0 && offset <= plaintext.count)
    let cursor = unsafe cursor
    var at = offset
    var outcome: Result<TLSProgress, TLSError> = .success(.handshaking)
    unsafe ciphertext.withUnsafeBufferPointer { input in
      unsafe cursor.pointee.input = input.baseAddress
      unsafe cursor.pointee.inputCount = input.count
      unsafe cursor.pointee.inputAt = 0
      unsafe plaintext.withUnsafeMutableBufferPointer { room in
        outcome = unsafe run(into: room, at: &at)
      }
      unsafe cursor.pointee.input = nil
      unsafe cursor.pointee.inputCount = 0
      unsafe cursor.pointee.inputAt = 0
    }
    offset = at
    return try outcome.get()
  }

  /// Encrypts `plaintext`; the records are appended to the output. A server may write as soon as it takes early data: who sent
  /// that holds the ticket's key, but the ClientHello may be a replay until Finished has come (RFC 8446 section 8).
  /// - Throws: `.outputFull`: drain and write again. `.notOpen`. Anything else: the connection failed.
  package mutating func write(_ plaintext: Span<UInt8>) throws(TLSError) {
    if let done: Void = try own?.stream.write(plaintext) { return done }
    guard established || takesEarlyData, !failed, !sentClose else { throw .notOpen }
    guard plaintext.count > 0 else { return }
    let waiting = unsafe cursor.pointee.output.waiting
    let records = (plaintext.count + 16_383) / 16_384
    guard plaintext.count <= TLSEngine.outputBytesMax - waiting - records * TLSEngine.recordOverheadBytes else {
      throw .outputFull(waitingBytes: waiting)
    }
    ErrorQueue.clear()
    var written = 0
    let result = unsafe plaintext.withUnsafeBufferPointer { bytes in
      unsafe established
        ? SSL_write_ex(ssl, bytes.baseAddress, bytes.count, &written)
        : SSL_write_early_data(ssl, bytes.baseAddress, bytes.count, &written)
    }
    guard result == 1 else { throw fail() }
  }

  /// Puts close_notify into the output. Nothing can be written behind it; receiving goes on until the peer's.
  package mutating func close() {
    if let done: Void = own?.stream.close() { return done }
    guard established, !failed, !sentClose else { return }
    sentClose = true
    ErrorQueue.clear()
    if unsafe SSL_shutdown(ssl) < 0 { failed = true }
    ErrorQueue.clear()
  }

  /// Asks for new keys in both directions (RFC 8446 section 4.6.3); the request is in the output. An AES-GCM key is
  /// good for 2^24.5 full records (section 5.5). Nothing in TLS 1.2.
  /// - Throws: `.notOpen`, `.library`.
  package mutating func updateKeys() throws(TLSError) {
    if let done: Void = try own?.stream.updateKeys() { return done }
    guard established, !failed, !sentClose else { throw .notOpen }
    guard version == .tls13 else { return }
    ErrorQueue.clear()
    guard unsafe SSL_key_update(ssl, SSL_KEY_UPDATE_REQUESTED) == 1 && SSL_do_handshake(ssl) == 1 else {
      throw .library(code: ErrorQueue.drain())
    }
  }

  /// Ciphertext bytes that wait to be sent.
  package var outputCount: Int {
    switch own {
    case .some(let own): own.stream.outputCount
    case .none: unsafe cursor.pointee.output.waiting
    }
  }

  /// Hands the waiting ciphertext to `send`, which says how many bytes it took; these leave the output. Spell a throwing
  /// closure `{ output throws(NetError) in ... }`, since Swift infers `any Error` otherwise.
  /// - Returns: true when nothing waits any more.
  package mutating func drain<E: Error>(_ send: (Span<UInt8>) throws(E) -> Int) throws(E) -> Bool {
    if let done = try own?.stream.drain(send) { return done }
    let cursor = unsafe cursor
    let done = try unsafe cursor.pointee.output.drain(send)
    unsafe cursor.pointee.output.shrink()
    return done
  }

  /// Appends all waiting ciphertext to `bytes`.
  package mutating func drainOutput(into bytes: inout [UInt8]) {
    _ = drain { output in
      bytes.reserveCapacity(bytes.count + output.count)
      for i in output.indices { bytes.append(output[i]) }
      return output.count
    }
  }

  /// Bytes that it holds: ciphertext that waits to be sent, and with our own records the one whose rest has not come.
  package var bufferedBytes: Int {
    switch own {
    case .some(let own): own.stream.outputCount + own.stream.tailBytes
    case .none: outputCount
    }
  }

  /// A record whose rest has not come lies here.
  package var hasPartialRecord: Bool {
    switch own {
    case .some(let own): own.stream.hasPartialRecord
    case .none: unsafe established && SSL_has_pending(ssl) == 1
    }
  }

  // MARK: What was agreed

  /// The handshake is done and nothing has failed since.
  package var isEstablished: Bool {
    switch own {
    case .some(let own): own.stream.isOpen
    case .none: established && !failed
    }
  }
  /// Server: early data has been accepted, and Finished has not come.
  package var takesEarlyData: Bool { !established && !failed && !isClient && earlyData == .accepted }
  /// The handshake went by a ticket.
  package var isResumed: Bool {
    switch own {
    case .some(let own): own.isResumed
    case .none: unsafe SSL_session_reused(ssl) == 1
    }
  }
  /// `nil` until the handshake is done.
  package var version: TLSVersion? {
    guard handle != nil else { return .tls13 }
    guard established else { return nil }
    return unsafe SSL_version(ssl) == TLS1_3_VERSION ? .tls13 : .tls12
  }
  /// As registered with IANA, such as `TLS_AES_128_GCM_SHA256`; `nil` until it is agreed.
  package var cipherName: String? {
    switch own {
    case .some(let own): return own.stream.suite.name
    case .none: break
    }
    guard let cipher = unsafe SSL_get_current_cipher(ssl), let name = unsafe SSL_CIPHER_standard_name(cipher) else {
      return nil
    }
    return unsafe String(cString: name)
  }

  /// A client's newest session ticket, to be handed to the next `init(client:serverName:ticket:)`; `nil` before one came,
  /// which is behind the handshake, with the first bytes. A secret: keep it as a key is kept, use it once.
  ///
  /// Layout: length of the server name (u16, little endian), the name, libssl's DER of the session.
  package var sessionTicket: [UInt8]? {
    guard let handle, established, isClient, let session = unsafe SSL_get1_session(handle.ssl) else {
      return nil
    }
    defer { unsafe SSL_SESSION_free(session) }
    guard unsafe SSL_SESSION_is_resumable(session) == 1, unsafe SSL_SESSION_has_ticket(session) == 1,
      unsafe OfferedSession.ticket(of: session) != offeredTicket
    else { return nil }
    let length = unsafe i2d_SSL_SESSION(session, nil)
    guard length > 0 else { return nil }
    let prefix = [UInt8(clientName.count & 0xFF), UInt8(clientName.count >> 8)] + clientName
    let ticket = unsafe [UInt8](unsafeUninitializedCapacity: prefix.count + Int(length)) { buffer, count in
      for i in prefix.indices { unsafe buffer[i] = prefix[i] }
      var end = unsafe buffer.baseAddress.map { unsafe $0 + prefix.count }
      count = prefix.count + Int(unsafe i2d_SSL_SESSION(session, &end))
    }
    return ticket
  }

  // MARK: Inside

  private mutating func run(
    into room: UnsafeMutableBufferPointer<UInt8>, at offset: inout Int
  ) -> Result<TLSProgress, TLSError> {
    ErrorQueue.clear()
    if phase == .early, let result = unsafe readEarlyData(into: room, at: &offset) { return result }
    if phase == .handshake {
      let result = unsafe SSL_do_handshake(ssl)
      guard result == 1 else {
        if unsafe SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ { return .success(.handshaking) }
        return .failure(fail())
      }
      phase = .established
      unsafe cursor.pointee.handshakeBudget = .max
    }
    while true {
      // Without read-ahead libssl holds no whole record that it has not opened, so this is all there is.
      let inputLeft = unsafe cursor.pointee.inputCount - cursor.pointee.inputAt
      if unsafe inputLeft == 0 && SSL_pending(ssl) == 0 {
        return .success(unsafe SSL_get_shutdown(ssl) & SSL_RECEIVED_SHUTDOWN != 0 ? .closed : .open)
      }
      guard offset < room.count, let base = room.baseAddress else {
        return .success(.plaintextFull(consumed: unsafe cursor.pointee.inputAt))
      }
      var count = 0
      let result = unsafe SSL_read_ex(ssl, base + offset, room.count - offset, &count)
      if result == 1 {
        offset += count
        continue
      }
      switch unsafe SSL_get_error(ssl, result) {
      case SSL_ERROR_WANT_READ: return .success(.open)
      case SSL_ERROR_ZERO_RETURN: return .success(.closed)
      default: return .failure(fail())
      }
    }
  }

  /// A server's first step (RFC 8446 section 4.2.10). Without early data it only takes the ClientHello.
  /// - Returns: `nil` when the handshake goes on with the input that is left.
  private mutating func readEarlyData(
    into room: UnsafeMutableBufferPointer<UInt8>, at offset: inout Int
  ) -> Result<TLSProgress, TLSError>? {
    while true {
      guard offset < room.count, let base = room.baseAddress else {
        return .success(.plaintextFull(consumed: unsafe cursor.pointee.inputAt))
      }
      var count = 0
      let result = unsafe SSL_read_early_data(ssl, base + offset, room.count - offset, &count)
      switch result {
      case SSL_READ_EARLY_DATA_SUCCESS: offset += count
      case SSL_READ_EARLY_DATA_FINISH:
        phase = .handshake
        return takesEarlyData ? .success(.earlyDataEnded(consumed: unsafe cursor.pointee.inputAt)) : nil
      default:
        if unsafe SSL_get_error(ssl, result) == SSL_ERROR_WANT_READ { return .success(.handshaking) }
        return .failure(fail())
      }
    }
  }

  /// Ends the connection for good and says why.
  mutating func fail() -> TLSError {
    failed = true
    let verifyResult = unsafe SSL_get_verify_result(ssl)
    let code = ErrorQueue.drain()
    if unsafe cursor.pointee.outputOverflowed { return .outputOverflow }
    if unsafe cursor.pointee.budgetSpent { return .handshakeTooLarge }
    return ErrorQueue.connectionError(code, verifyResult: verifyResult)
  }
}

/// Owns one `SSL` and the cursor that its BIO points to.
@safe final class SSLHandle {
  let ssl: OpaquePointer
  let cursor: UnsafeMutablePointer<Cursor>

  init(context: OpaquePointer) throws(TLSError) {
    ErrorQueue.clear()
    guard let ssl = unsafe SSL_new(context) else { throw .library(code: ErrorQueue.drain()) }
    let cursor = UnsafeMutablePointer<Cursor>.allocate(capacity: 1)
    unsafe cursor.initialize(to: Cursor())
    guard let bio = unsafe CursorBIO.make(over: cursor) else {
      unsafe SSL_free(ssl)
      unsafe cursor.deallocate()
      throw .library(code: ErrorQueue.drain())
    }
    // One reference serves both directions when both arguments are the same BIO; SSL_free drops it.
    unsafe SSL_set_bio(ssl, bio, bio)
    unsafe self.ssl = ssl
    unsafe self.cursor = cursor
  }

  deinit {
    unsafe SSL_free(ssl)
    unsafe cursor.deinitialize(count: 1)
    unsafe cursor.deallocate()
  }
}
