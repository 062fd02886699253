package import GateCore

/// A device's conversation over DTLS: its handshake, then its session. Datagrams and time in, datagrams and messages out; no
/// descriptor, no clock. The gateway finds the session by its connection ID, so the device's address may change at any time.
///
/// An established session may outlive the process: `save` gives its bytes, `init(resuming:)` goes on with them. Numbers of
/// records are reserved by what is saved, so that none is used twice though the process be killed at any moment: store the
/// bytes before the next `seal`, and again when `needsSaving` says so.
@safe package struct DTLSClient: ~Copyable {
  /// Numbers that one `save` reserves.
  package static let reservedNumbers: UInt64 = 4_096

  private let cipher: RecordCipher
  private let pending = PendingHandshake()
  private var established: EstablishedSession?
  /// Numbers from here on may not be used: who reads the saved session begins with them. All may while none was saved.
  private var reservedEnd = UInt64.max
  private var waiting: [[UInt8]] = []
  /// The gateway has ended the session, or refuses it: a fresh handshake is needed.
  package private(set) var isClosed = false

  /// Begins a handshake; its first datagram waits for `drain`.
  /// - Parameter serverName: what the gateway's certificate must bear; ignored with a pre-shared key.
  /// - Throws: `.library`, `.handshake(.serverName)`.
  package init(context: DTLSClientContext, serverName: String, at now: Instant) throws(DTLSError) {
    let cipher = try RecordCipher()
    pending.handshake = try DTLSHandshake(client: context, serverName: serverName, at: now, with: cipher)
    self.cipher = cipher
  }

  /// Goes on with a saved session. Nothing is sent for it.
  /// - Parameter binding: as it was given to `save`.
  /// - Throws: `.malformed` if the bytes are damaged, or belong to something else; `.sequenceExhausted`; `.library`.
  package init(resuming bytes: Span<UInt8>, boundTo binding: Span<UInt8>) throws(DTLSError) {
    let session = try SavedSession.read(bytes, boundTo: binding)
    let cipher = try RecordCipher()
    // What reserved these is spent: they are used only once saved anew.
    reservedEnd = session.writeSequence
    established = EstablishedSession(session)
    self.cipher = cipher
  }

  package var isEstablished: Bool { established != nil && !isClosed }

  /// The suite, and whether the session follows the device to a new address; `nil` before it is established.
  package var agreed: (suite: DTLSSuite, hasConnectionID: Bool)? {
    established.map { ($0.session.suite, !$0.session.writeConnectionID.isEmpty) }
  }

  // MARK: Datagrams

  /// Takes one datagram. What is not authentic or was seen before is dropped silently.
  /// - Parameter body: gets each message of the gateway; the bytes are good until it returns.
  /// - Throws: why the handshake failed. An alert may wait to be sent; the conversation is over.
  package mutating func receive(
    _ datagram: Span<UInt8>, at now: Instant, _ body: (Span<UInt8>) -> Void
  ) throws(DTLSError) {
    if let established {
      open(datagram, established, body)
      return
    }
    guard try pending.handshake?.receive(datagram, at: now, with: cipher) == .done else { return }
    takeHandshakeOutput()
    guard let finished = pending.handshake.take()?.finish() else { return }
    let early = finished.early
    let established = EstablishedSession(finished.takeSession())
    self.established = established
    for record in early { open(record.span, established, body) }
  }

  private mutating func open(_ datagram: Span<UInt8>, _ established: EstablishedSession, _ body: (Span<UInt8>) -> Void) {
    var plaintext = [UInt8](repeating: 0, count: datagram.count)
    let idBytes = established.session.readConnectionID.count
    var at = 0
    while at < datagram.count, !isClosed,
      let record = try? DTLSRecord.next(in: datagram, from: at, connectionIDBytes: idBytes)
    {
      at = record.whole.upperBound
      var room = plaintext.mutableSpan
      var end = 0
      let opened = try? established.session.open(record, of: datagram, into: &room, at: &end, with: cipher)
      switch opened?.content {
      case .applicationData: body(plaintext.span.extracting(first: end))
      case .alert(let level, let description): isClosed = level == 2 || description == 0
      case .finished, .renegotiation, nil: break
      }
    }
  }

  /// Seals one message; its datagram waits for `drain`.
  /// - Throws: `.notOpen` without a session, or without reserved numbers: `save` first. `.sequenceExhausted`: make a fresh
  ///   handshake. `.library`.
  package mutating func seal(_ message: Span<UInt8>) throws(DTLSError) {
    guard !isClosed, let established, established.session.writeSequence < reservedEnd else { throw .notOpen }
    var datagram = [UInt8](repeating: 0, count: established.session.recordBytes(plaintextBytes: message.count))
    var room = datagram.mutableSpan
    var offset = 0
    try established.session.seal(.applicationData, message, into: &room, at: &offset, with: cipher)
    waiting.append(datagram)
  }

  package var hasOutput: Bool { !waiting.isEmpty || pending.handshake?.hasOutput == true }

  /// Hands each waiting datagram to `send`, which says whether it took it. Spell a throwing closure
  /// `{ datagram throws(NetError) in ... }`.
  /// - Returns: true when nothing waits any more.
  package mutating func drain<E: Error>(_ send: (Span<UInt8>) throws(E) -> Bool) throws(E) -> Bool {
    takeHandshakeOutput()
    while let first = waiting.first {
      guard try send(first.span) else { return false }
      waiting.removeFirst()
    }
    return true
  }

  private mutating func takeHandshakeOutput() {
    if let output = pending.handshake?.takeOutput() { waiting += output }
  }

  // MARK: Time

  /// When `expire` is due; `nil` once the session is established.
  package var deadline: Instant? { pending.handshake?.deadline }

  /// Sends a flight of the handshake again if it is time.
  /// - Throws: `.timedOut`: the conversation is over.
  package mutating func expire(at now: Instant) throws(DTLSError) {
    try pending.handshake?.expire(at: now, with: cipher)
  }

  // MARK: Saving

  /// Half of the reserved numbers are used, or none are reserved yet.
  package var needsSaving: Bool {
    guard isEstablished, let next = established?.session.writeSequence else { return false }
    return reservedEnd == .max || next + DTLSClient.reservedNumbers / 2 >= reservedEnd
  }

  /// The session as bytes that hold its keys: store them where nobody else reads. From now on only numbers that they reserve
  /// are used; `seal` throws `.notOpen` when they have run out.
  /// - Parameter binding: whatever the session belongs to, such as a digest of the credential and the gateway's address;
  ///   `SavedSession.bindingBytes` long.
  /// - Returns: `nil` without a session.
  package mutating func save(boundTo binding: Span<UInt8>) -> [UInt8]? {
    guard !isClosed, let established else { return nil }
    reservedEnd = established.session.writeSequence + DTLSClient.reservedNumbers
    return SavedSession.write(established.session, from: reservedEnd, boundTo: binding)
  }
}

/// The handshake of a `DTLSClient` while it lasts.
private final class PendingHandshake {
  var handshake: DTLSHandshake?
}

/// Its session from then on.
private final class EstablishedSession {
  var session: DTLSSession

  init(_ session: consuming DTLSSession) { self.session = session }
}
