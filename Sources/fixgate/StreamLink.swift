import GateCore
import GateDevice
import GateNet
import GateTLS

/// Frames over TLS, one TCP connection after another.
struct StreamLink: Link {
  struct Settings {
    var gateways: [HostPort]
    var serverName: String
    var authorityPEM: [UInt8]
    /// The external key by which the device proves itself, if not by its token.
    var key: ExternalKey?
    /// Keeps tickets from one run to the next.
    var tickets: SavedTicketFile?
    /// Or its certificate.
    var identity: TLSIdentity?
    /// Bytes that may wait to be sent: a live fix recorded now stands behind no more than these.
    var unsentBytesMax = 8_192
  }

  /// What spares the next connection a round trip, and lets it begin with fixes.
  struct Ticket: Equatable {
    /// The stream of the session that it was given to.
    var stream: UInt32
    /// A secret.
    var bytes: [UInt8]
  }

  let settings: Settings
  private(set) var connections = 0
  private(set) var handshakesResumed = 0
  private let context: TLSClientContext
  private var ticket: Ticket?
  private var isIntroduced = false
  private var cipher = [UInt8](repeating: 0, count: 65_536)
  private var plain = [UInt8](repeating: 0, count: 65_536)
  private var frames: [UInt8] = []

  private static let connectNs: UInt64 = 10_000_000_000

  init(_ settings: Settings) throws {
    self.settings = settings
    context = try TLSClientContext(
      authorityPEM: settings.authorityPEM, identity: settings.identity, key: settings.key)
    ticket = try settings.tickets?.read()
  }

  var summary: String { "\(connections) connections" }

  mutating func converse(_ upload: inout Upload, _ turn: Turn) throws {
    let stream = try connect()
    try stream.limitUnsent(to: Int32(settings.unsentBytesMax))
    connections += 1
    _ = try turn(&upload.session, SystemClock.now())  // releases what early data may carry
    var engine = try TLSEngine(
      client: context, serverName: settings.serverName, ticket: ticket?.bytes, earlyData: earlyData(of: &upload))
    ticket = nil
    isIntroduced = false
    while true {
      let now = SystemClock.now()
      let wake = try turn(&upload.session, now)
      if engine.isEstablished {
        introduce(&upload.session, engine, at: now)
        try fill(&engine, from: &upload, at: now)
      }
      let isEmpty = try send(&engine, stream)
      if upload.session.isDone {
        engine.close()
        _ = try send(&engine, stream)
        return
      }
      if upload.session.isClosing || upload.session.fatal != nil { return }
      try upload.checkPatience()
      do throws(NetError) {
        try stream.descriptor.wait(readable: true, writable: !isEmpty, until: upload.nextWake(wake, at: now))
      } catch .timedOut {
        if upload.session.isSilent(at: SystemClock.now()) { throw NetError.timedOut }
        continue
      }
      if try receive(&engine, stream, into: &upload) { return }
    }
  }

  private func connect() throws(NetError) -> TCPStream {
    var last = NetError.refused
    for gateway in settings.gateways {
      do throws(NetError) {
        return try TCPStream.connect(to: gateway, until: SystemClock.now().advanced(byNs: StreamLink.connectNs))
      } catch {
        last = error
      }
    }
    throw last
  }

  /// Fixes that go out with the ClientHello.
  private func earlyData(of upload: inout Upload) -> [UInt8] {
    guard let ticket, ticket.stream == upload.session.log.stream else { return [] }
    return upload.earlyData(bytesMax: TLSEngine.earlyDataBytesMax(of: ticket.bytes, to: settings.serverName))
  }

  /// The handshake is done: the session learns of its connection, once.
  private mutating func introduce(_ session: inout DeviceSession, _ engine: borrowing TLSEngine, at now: Instant) {
    guard !isIntroduced else { return }
    isIntroduced = true
    if engine.isResumed { handshakesResumed += 1 }
    session.connected(at: now, earlyDataTaken: engine.earlyData == .accepted)
  }

  /// Encrypts frames while there are some and the socket keeps up.
  private mutating func fill(_ engine: inout TLSEngine, from upload: inout Upload, at now: Instant) throws(TLSError) {
    while engine.outputCount < settings.unsentBytesMax {
      frames.removeAll(keepingCapacity: true)
      guard upload.nextFrame(into: &frames, at: now) else { return }
      try engine.write(frames.span)
    }
  }

  /// - Returns: whether nothing waits any more.
  private func send(_ engine: inout TLSEngine, _ stream: borrowing TCPStream) throws(NetError) -> Bool {
    var isGone = false
    while engine.outputCount > 0, !isGone {
      var isBlocked = false
      _ = try engine.drain { output throws(NetError) in
        switch try stream.write(output) {
        case .bytes(let count): return count
        case .wouldBlock: isBlocked = true
        case .closed: isGone = true
        }
        return 0
      }
      if isBlocked { return false }
    }
    // What the gateway has said last may still be there to be read: the read tells that it is gone.
    return true
  }

  /// - Returns: whether the gateway has closed.
  private mutating func receive(
    _ engine: inout TLSEngine, _ stream: borrowing TCPStream, into upload: inout Upload
  ) throws -> Bool {
    var count = 0
    switch try StreamLink.read(stream, &cipher, &count) {
    case .wouldBlock: return false
    case .closed: return true
    case .bytes: break
    }
    var rest = 0..<count
    while true {
      var end = 0
      let progress = try StreamLink.decrypt(&engine, cipher, rest, &plain, &end)
      let text = plain
      // Acks of early data come with the handshake's end.
      if engine.isEstablished { introduce(&upload.session, engine, at: SystemClock.now()) }
      try upload.hear { session, now, events throws(DeviceError) in
        try session.receive(text.span.extracting(..<end), at: now, into: &events)
      }
      if let fresh = engine.sessionTicket, fresh != ticket?.bytes {
        let fresh = Ticket(stream: upload.session.log.stream, bytes: fresh)
        ticket = fresh
        try settings.tickets?.write(fresh)
      }
      switch progress {
      case .open, .handshaking, .earlyDataEnded: return false
      case .closed: return true
      case .plaintextFull(let consumed): rest = rest.lowerBound + consumed..<rest.upperBound
      }
    }
  }

  private static func read(
    _ stream: borrowing TCPStream, _ bytes: inout [UInt8], _ count: inout Int
  ) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try stream.read(into: &room, at: &count)
  }

  private static func decrypt(
    _ engine: inout TLSEngine, _ cipher: [UInt8], _ range: Range<Int>, _ plain: inout [UInt8], _ end: inout Int
  ) throws(TLSError) -> TLSProgress {
    var room = plain.mutableSpan
    return try engine.receive(cipher.span.extracting(range), plaintext: &room, at: &end)
  }
}
