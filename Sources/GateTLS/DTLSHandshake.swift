import COpenSSL
package import GateCore

/// Where a handshake stands after a datagram.
package enum DTLSProgress: Equatable, Sendable {
  /// Send the output; wait for more until `deadline`.
  case handshaking
  /// Send the output, then `finish`.
  case done
}

/// Who the peer has proven to be.
package enum DTLSPeer: Equatable, Sendable {
  /// It knows the key of this identity.
  case preSharedKey(identity: [UInt8])
  /// It holds the key of this certificate. A gateway sees which of its authorities vouch for a device's; a device has
  /// verified the gateway's.
  case certificate(PeerCertificate)
  /// It has proven nothing yet.
  case anonymous
}

/// What a finished handshake leaves.
package struct DTLSEstablished: ~Copyable, Sendable {
  package var session: DTLSSession
  package let peer: DTLSPeer
  /// The server's; `nil` for a client, whose Finished is never the last.
  package let lastFlight: DTLSLastFlight?
  /// Records of the application that overtook the handshake, one each, still sealed: give them to the session first.
  package let early: [[UInt8]]

  /// The session alone; read the rest before.
  package consuming func takeSession() -> DTLSSession { session }
}

/// One DTLS 1.2 handshake, either role: datagrams in, datagrams out, no descriptor, no clock; then a `DTLSSession`. Owns its
/// libssl object, about 60 KB, and frees it at the end: the session does without.
///
/// libssl sees records of epoch 0 as they are and those of epoch 1 as classic ones, whatever the peer's look like; what it
/// writes is kept as plaintext and sealed by us. So we pack flights and send them again ourselves: libssl would send one
/// datagram a message, and never answer a repeated ClientHello.
///
/// Sendable: there is one owner, which may hand it to another thread; libssl keeps nothing of a handshake per thread.
@safe package struct DTLSHandshake: ~Copyable, @unchecked Sendable {
  /// Longest datagram sent: IPv6's smallest MTU of 1,280 less headers of 48.
  package static let datagramBytesMax = 1_232
  /// Bytes that a peer may send before its handshake is done.
  package static let inputBytesMax = 65_536
  /// First wait for an answer, doubled up to `retransmitNsMax` (RFC 6347 section 4.2.4.1).
  package static let retransmitNs: UInt64 = 1_000_000_000
  package static let retransmitNsMax: UInt64 = 16_000_000_000
  /// A handshake that is not done by then is over. Clients back off for a minute and more.
  package static let lifeNs: UInt64 = 120_000_000_000
  /// A repeated ClientHello is answered once in this time.
  package static let repeatNs: UInt64 = 200_000_000
  /// Records that came before their keys, or data before Finished: kept up to here, further ones are dropped.
  package static let earlyRecordsMax = 4
  package static let earlyBytesMax = 4_096

  private let handle: HandshakeHandle
  private let role: DTLSRole
  private let authorities: ClientAuthorities?
  private var session: DTLSSession?
  private var flight = DTLSFlight()
  private var plainSequence: UInt64
  private var early: [[UInt8]] = []
  private var datagrams: [[UInt8]] = []
  private var inputBytes = 0
  /// `finish` may be called.
  package private(set) var isDone = false
  private var failure: DTLSError? = nil
  /// Random of the hello that this handshake answers; empty for a client.
  private let helloRandom: [UInt8]

  private let endsAt: Instant
  private var sentAt: Instant
  private var waitNs = retransmitNs
  private var quietUntil: Instant? = nil

  // MARK: Beginning

  /// The gateway's side, made when `CookieGate` has said `.proven`. Its first flight waits in the output.
  /// - Parameters:
  ///   - hello: the record of the ClientHello.
  ///   - connectionID: what the device's records shall bear, if it knows connection IDs; `nil` = classic in any case.
  /// - Throws: `.library`, `.handshake`: drop the datagram, or answer with what waits in `refusal`.
  package init(
    server context: DTLSServerContext, hello: Span<UInt8>, connectionID: ConnectionID?, at now: Instant,
    with cipher: borrowing RecordCipher
  ) throws(DTLSError) {
    let record = try DTLSRecord.next(in: hello, from: 0)
    guard let parts = DTLSClientHello(in: hello.extracting(record.fragment)) else { throw .malformed(offset: 0) }
    let random = hello.extracting(record.fragment).extracting(parts.random)
    let handle = try unsafe HandshakeHandle(
      context: context.raw, connectionID: connectionID, preSharedKey: context.preSharedKey, identity: [])
    unsafe SSL_set_accept_state(handle.ssl)
    helloRandom = random.indices.map { random[$0] }
    // RFC 6347 section 4.2.1: the ServerHello goes on where the ClientHello's sequence is.
    plainSequence = record.sequence
    self.handle = handle
    role = .server
    authorities = context.authorities
    endsAt = now.advanced(byNs: DTLSHandshake.lifeNs)
    sentAt = now
    session = nil
    guard self.handle.listen(hello) else {
      failure = .handshake(.protocolViolation(code: ErrorQueue.drain()))
      return
    }
    do throws(DTLSError) {
      try step(with: cipher)
      try send(at: now, with: cipher)
    } catch { fail(error, with: cipher) }
  }

  /// The device's side. Its ClientHello waits in the output.
  /// - Parameters:
  ///   - serverName: DNS name or address literal that the certificate must bear; ignored with a pre-shared key.
  ///   - connectionID: what the gateway's records shall bear; empty = classic records to us, those to the gateway bear the
  ///     gateway's; `nil` = do not ask for connection IDs.
  /// - Throws: `.library`, `.handshake(.serverName)`.
  package init(
    client context: DTLSClientContext, serverName: String = "", connectionID: ConnectionID? = ConnectionID(),
    at now: Instant, with cipher: borrowing RecordCipher
  ) throws(DTLSError) {
    let handle = try unsafe HandshakeHandle(
      context: context.raw, connectionID: connectionID, preSharedKey: context.preSharedKey,
      identity: context.identityBytes)
    unsafe SSL_set_connect_state(handle.ssl)
    if context.needsServerName { try handle.expect(serverName) }
    self.handle = handle
    role = .client
    authorities = nil
    helloRandom = []
    plainSequence = 0
    endsAt = now.advanced(byNs: DTLSHandshake.lifeNs)
    sentAt = now
    session = nil
    do throws(DTLSError) {
      try step(with: cipher)
      try send(at: now, with: cipher)
    } catch { fail(error, with: cipher) }
  }

  // MARK: Datagrams

  /// Why the handshake is over, if it failed.
  package var error: DTLSError? { failure }

  /// Takes one datagram. What is not authentic or does not belong here is dropped silently.
  /// - Throws: the handshake failed; an alert may wait in the output. Every later call throws `.notOpen`.
  package mutating func receive(
    _ datagram: Span<UInt8>, at now: Instant, with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> DTLSProgress {
    guard failure == nil else { throw .notOpen }
    var at = 0
    var moved = false
    do throws(DTLSError) {
      while at < datagram.count {
        guard
          let record = try? DTLSRecord.next(
            in: datagram, from: at, connectionIDBytes: handle.ownConnectionID?.count ?? ConnectionID.gatewayBytes)
        else { break }
        at = record.whole.upperBound
        let bytes = datagram.extracting(record.whole)
        if isDone {
          // Data right behind Finished.
          if record.epoch > 0 { keep(bytes) }
          continue
        }
        if record.epoch == 0 {
          guard try !isRepeatedHello(record, of: datagram, at: now, with: cipher) else { continue }
          try feed(bytes, with: cipher)
        } else {
          try takeProtected(bytes, with: cipher)
        }
        moved = try settle(with: cipher) || moved
      }
      if moved {
        try send(at: now, with: cipher)
        quietUntil = nil
      }
    } catch {
      fail(error, with: cipher)
      throw error
    }
    return isDone ? .done : .handshaking
  }

  /// When `expire` is due; `nil` once the handshake is done or over.
  package var deadline: Instant? {
    guard !isDone, failure == nil else { return nil }
    guard !flight.isEmpty else { return endsAt }
    return min(endsAt, max(sentAt.advanced(byNs: waitNs), quietUntil ?? sentAt))
  }

  /// Sends the last flight again if it is time.
  /// - Throws: `.timedOut`; then as `receive`.
  package mutating func expire(at now: Instant, with cipher: borrowing RecordCipher) throws(DTLSError) {
    guard failure == nil else { throw .notOpen }
    guard let deadline, now >= deadline else { return }
    do throws(DTLSError) {
      guard now < endsAt else { throw .timedOut }
      waitNs = min(2 * waitNs, DTLSHandshake.retransmitNsMax)
      try pack(at: now, with: cipher)
    } catch {
      failure = error
      throw error
    }
  }

  /// Sends nothing by the clock until then, or until the peer moves on: another hello came from the same address, so the
  /// device may have started anew, and an old flight would spoil its new handshake.
  package mutating func beQuiet(until: Instant) { quietUntil = until }

  /// Whether `hello`, the record of a ClientHello, began this handshake: then `receive` it.
  package func answers(_ hello: Span<UInt8>) -> Bool {
    guard let record = try? DTLSRecord.next(in: hello, from: 0), record.type == .handshake,
      let parts = DTLSClientHello(in: hello.extracting(record.fragment))
    else { return false }
    return constantTimeEqual(helloRandom.span, hello.extracting(record.fragment).extracting(parts.random))
  }

  /// Whether the record is an unfragmented ClientHello.
  static func isClientHello(_ bytes: Span<UInt8>) -> Bool {
    guard let record = try? DTLSRecord.next(in: bytes, from: 0), record.type == .handshake else { return false }
    return DTLSClientHello(in: bytes.extracting(record.fragment)) != nil
  }

  /// Datagrams wait to be sent.
  package var hasOutput: Bool { !datagrams.isEmpty }

  /// The waiting datagrams, which then wait no more.
  package mutating func takeOutput() -> [[UInt8]] {
    var taken: [[UInt8]] = []
    swap(&taken, &datagrams)
    return taken
  }

  // MARK: The end

  /// Frees what libssl holds. Only after `.done`, with the output drained.
  package consuming func finish() -> DTLSEstablished {
    precondition(isDone && failure == nil)
    let peer = handle.peer(authorities: authorities)
    let last = role == .server ? DTLSLastFlight(flight: flight, plainSequence: plainSequence) : nil
    guard let session = session.take() else { preconditionFailure("done without keys") }
    return DTLSEstablished(session: session, peer: peer, lastFlight: last, early: early)
  }

  // MARK: Into libssl

  private mutating func isRepeatedHello(
    _ record: DTLSRecord, of datagram: Span<UInt8>, at now: Instant, with cipher: borrowing RecordCipher
  ) throws(DTLSError) -> Bool {
    guard role == .server, record.type == .handshake, record.fragment.count > 0, datagram[record.fragment.lowerBound] == 1
    else { return false }
    guard answers(datagram.extracting(record.whole)), now.since(sentAt) >= DTLSHandshake.repeatNs else { return true }
    try pack(at: now, with: cipher)
    return true
  }

  /// A record of epoch 1: opened here, and handed to libssl as the classic record that it knows.
  private mutating func takeProtected(_ bytes: Span<UInt8>, with cipher: borrowing RecordCipher) throws(DTLSError) {
    try deriveKeys(with: cipher)
    guard var open = session.take() else {
      keep(bytes)
      return
    }
    var classic: [UInt8] = []
    var isData = false
    var failed: DTLSError? = nil
    do throws(DTLSError) {
      let record = try DTLSRecord.next(in: bytes, from: 0, connectionIDBytes: open.readConnectionID.count)
      _ = try open.verdict(on: record, of: bytes)
      var plaintext = [UInt8](repeating: 0, count: bytes.count)
      var room = plaintext.mutableSpan
      let (type, count) = try open.authenticate(record, of: bytes, into: &room, at: 0, with: cipher)
      switch type {
      case .applicationData: isData = true
      case .handshake, .alert:
        open.mark(record)
        classic = [UInt8](repeating: 0, count: count + open.suite.recordOverheadBytes)
        var into = classic.mutableSpan
        var at = 0
        try open.sealClassicAsPeer(
          type, plaintext.span.extracting(0..<count), sequence: record.sequence, into: &into, at: &at, with: cipher)
      case .changeCipherSpec, .tls12CID: throw .unknownContent
      }
      wipe(&plaintext)
    } catch { failed = error }
    session = consume open
    if case .library? = failed { throw failed! }
    if isData { keep(bytes) } else if !classic.isEmpty { try feed(classic.span, with: cipher) }
  }

  private mutating func keep(_ bytes: Span<UInt8>) {
    let held = early.reduce(0) { $0 + $1.count }
    guard early.count < DTLSHandshake.earlyRecordsMax, bytes.count <= DTLSHandshake.earlyBytesMax - held else { return }
    early.append(bytes.indices.map { bytes[$0] })
  }

  /// Tries the early records again once there are keys.
  /// - Returns: whether libssl wrote anything since the last flight went out, so that the flight is a new one.
  private mutating func settle(with cipher: borrowing RecordCipher) throws(DTLSError) -> Bool {
    if !isDone, !early.isEmpty {
      let waiting = early
      early = []
      for record in waiting { try isDone ? keep(record.span) : takeProtected(record.span, with: cipher) }
    }
    return hasNewFlight
  }

  private var hasNewFlight = false

  private mutating func feed(_ record: Span<UInt8>, with cipher: borrowing RecordCipher) throws(DTLSError) {
    inputBytes += record.count
    guard inputBytes <= DTLSHandshake.inputBytesMax else { throw .handshake(.handshakeTooLarge) }
    let handle = unsafe handle.cell
    unsafe record.withUnsafeBufferPointer { bytes in
      unsafe handle.pointee.input = bytes.baseAddress
      unsafe handle.pointee.inputCount = bytes.count
    }
    defer { unsafe handle.pointee.input = nil }
    try unsafe record.withUnsafeBufferPointer { _ throws(DTLSError) in try step(with: cipher) }
  }

  /// Lets libssl go on, and takes what it writes.
  private mutating func step(with cipher: borrowing RecordCipher) throws(DTLSError) {
    ErrorQueue.clear()
    let result = unsafe SSL_do_handshake(handle.ssl)
    let failed = unsafe result != 1 && SSL_get_error(handle.ssl, result) != SSL_ERROR_WANT_READ
    let verifyResult = unsafe SSL_get_verify_result(handle.ssl)
    let code = ErrorQueue.drain()
    try takeOutput(with: cipher)
    if failed {
      if unsafe handle.cell.pointee.outputOverflowed { throw .handshake(.outputOverflow) }
      throw .handshake(ErrorQueue.connectionError(code, verifyResult: verifyResult))
    }
    guard result == 1 else { return }
    try deriveKeys(with: cipher)
    isDone = true
  }

  // MARK: Out of libssl

  private mutating func takeOutput(with cipher: borrowing RecordCipher) throws(DTLSError) {
    guard unsafe !handle.cell.pointee.output.isEmpty else { return }
    var output: [UInt8] = []
    unsafe swap(&output, &handle.cell.pointee.output)
    // Its memory serves the next flight.
    defer {
      output.removeAll(keepingCapacity: true)
      unsafe swap(&output, &handle.cell.pointee.output)
    }
    if !hasNewFlight { flight.removeAll() }
    hasNewFlight = true
    var at = 0
    while at < output.count {
      let record = try DTLSRecord.next(in: output.span, from: at)
      at = record.whole.upperBound
      if record.epoch == 0 {
        flight.append(record.type, epoch: 0, output.span.extracting(record.fragment))
        continue
      }
      try deriveKeys(with: cipher)
      var plaintext = [UInt8](repeating: 0, count: record.fragment.count)
      var room = plaintext.mutableSpan
      guard let count = try session?.openOwn(record, of: output.span, into: &room, with: cipher) else {
        preconditionFailure("libssl writes epoch 1 without keys")
      }
      flight.append(record.type, epoch: 1, plaintext.span.extracting(0..<count))
    }
  }

  /// Makes the record layer as soon as libssl has the master secret: a server from the ClientKeyExchange on, which is in time
  /// for the client's Finished. (libssl's key log comes too late.)
  private mutating func deriveKeys(with cipher: borrowing RecordCipher) throws(DTLSError) {
    guard session == nil, let keys = try handle.keyBlock(with: cipher) else { return }
    var block = keys.block
    defer { wipe(&block) }
    let agreed = unsafe handle.cell.pointee.peerConnectionID
    let own = agreed == nil ? nil : handle.ownConnectionID
    session = try DTLSSession(
      suite: keys.suite, role: role, keyBlock: block.span, readConnectionID: own ?? ConnectionID(),
      writeConnectionID: agreed.flatMap { own == nil ? nil : $0 } ?? ConnectionID())
  }

  /// Sends a new flight, if there is one, and starts the clock for it.
  private mutating func send(at now: Instant, with cipher: borrowing RecordCipher) throws(DTLSError) {
    guard hasNewFlight else { return }
    hasNewFlight = false
    waitNs = DTLSHandshake.retransmitNs
    try pack(at: now, with: cipher)
  }

  private mutating func pack(at now: Instant, with cipher: borrowing RecordCipher) throws(DTLSError) {
    sentAt = now
    let flight = flight
    var sequence = plainSequence
    let overhead = session?.recordBytes(plaintextBytes: 0) ?? 0
    datagrams += try flight.pack(plainSequence: &sequence, overheadBytes: overhead) {
      type, content, datagram, offset throws(DTLSError) in
      try session?.seal(type, content, into: &datagram, at: &offset, with: cipher)
    }
    plainSequence = sequence
  }

  /// Ends the handshake; libssl's alert, if it wrote one, goes out once.
  private mutating func fail(_ error: DTLSError, with cipher: borrowing RecordCipher) {
    failure = error
    guard hasNewFlight else { return }
    hasNewFlight = false
    try? pack(at: sentAt, with: cipher)
  }
}
