import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// Carries a device's recorded fixes to its gateway over TLS: connects, and connects again, until all is acked.
///
/// The conversation is `DeviceSession`'s; this is the socket, the clock and the patience around it.
struct Uploader {
  struct Settings {
    var gateways: [HostPort]
    var serverName: String
    var authorityPEM: [UInt8]
    /// The external key by which the device proves itself, if not by its token.
    var key: ExternalKey?
    /// Bytes that may wait to be sent: a live fix recorded now stands behind no more than these.
    var unsentBytesMax = 8_192
    /// Without an ack for so long, it gives up.
    var patienceNs: UInt64 = 120_000_000_000
  }

  enum Failure: Error, CustomStringConvertible {
    case refusedForGood(RefusalCode)
    case outOfPatience(last: String)

    var description: String {
      switch self {
      case .refusedForGood(.revoked): "the gateway refuses this device: it is revoked. Ask for a new bundle"
      case .refusedForGood(.unknownCredential):
        "the gateway does not know this device's token. Is this the bundle's gateway? Ask its operator for a new bundle"
      case .refusedForGood(.credentialExpired):
        "the token in this bundle has ended: use the newer bundle of this device, from 'fixgate device rotate'"
      case .refusedForGood(let code): "the gateway refuses this device for good: \(code)"
      case .outOfPatience(let last):
        "no fix was acked for a while, so this run ends; run it again to go on. Last problem: \(last)"
      }
    }
  }

  /// What spares the next connection a round trip, and lets it begin with fixes.
  struct Ticket: Equatable {
    /// The stream of the session that it was given to.
    var stream: UInt32
    /// A secret.
    var bytes: [UInt8]
  }

  let settings: Settings
  let fixes: [Fix]
  private(set) var session: DeviceSession
  private(set) var connections = 0
  private(set) var handshakesResumed = 0
  /// Connections whose first bytes carried fixes that the gateway took.
  private(set) var earlyDataTaken = 0
  /// For the next connection; may be one of an earlier run.
  var ticket: Ticket?
  /// Told of each ticket that comes.
  var keep: (Ticket) throws -> Void = { _ in }
  private var isIntroduced = false
  private let context: TLSClientContext
  private var lastAck: Instant
  private var lastProblem = "none"
  private var events: [DeviceEvent] = []
  private var cipher = [UInt8](repeating: 0, count: 65_536)
  private var plain = [UInt8](repeating: 0, count: 65_536)
  private var frames: [UInt8] = []

  private static let connectNs: UInt64 = 10_000_000_000
  private static let backOffMinNs: UInt64 = 50_000_000
  private static let backOffMaxNs: UInt64 = 3_000_000_000
  private static let turnNs: UInt64 = 100_000_000

  init(settings: Settings, fixes: [Fix], session: DeviceSession) throws {
    self.settings = settings
    self.fixes = fixes
    self.session = session
    context = try TLSClientContext(authorityPEM: settings.authorityPEM, key: settings.key)
    lastAck = SystemClock.now()
  }

  /// Runs until every fix is acked or given up.
  /// - Parameter turn: called often: shows progress, releases places, saves state. Returns when to be called again at the latest.
  mutating func run(_ turn: (inout DeviceSession, Instant) throws -> Instant) throws {
    var backOffNs = Uploader.backOffMinNs
    lastAck = SystemClock.now()
    while !session.isDone {
      let ackedBefore = session.log.ackedCount
      do {
        try converse(turn)
      } catch let error as NetError {
        lastProblem = "\(error)"
      } catch let error as TLSError {
        switch error {
        case .certificateRefused, .nameMismatch: throw error
        default: lastProblem = "\(error)"
        }
      } catch let error as DeviceError {
        lastProblem = "\(error)"
      }
      session.disconnected()
      if let fatal = session.fatal { throw Failure.refusedForGood(fatal) }
      if session.isDone { break }
      backOffNs = session.log.ackedCount > ackedBefore ? Uploader.backOffMinNs : min(backOffNs * 2, Uploader.backOffMaxNs)
      try rest(backOffNs + UInt64.random(in: 0...backOffNs / 2), turn)
    }
    _ = try turn(&session, SystemClock.now())
  }

  /// Waits between two connections, and longer if the gateway said so.
  private mutating func rest(_ ns: UInt64, _ turn: (inout DeviceSession, Instant) throws -> Instant) throws {
    let until = max(SystemClock.now().advanced(byNs: ns), session.pausedUntil)
    let never = try EventFD()
    while SystemClock.now() < until {
      try checkPatience()
      let next = min(until, try turn(&session, SystemClock.now()), SystemClock.now().advanced(byNs: Uploader.turnNs))
      do throws(NetError) {
        try never.descriptor.wait(readable: true, writable: false, until: next)
      } catch .timedOut {
      }
    }
  }

  private func checkPatience() throws {
    // Fixes that are not released yet cannot be acked.
    guard session.released >= session.log.recorded else { return }
    if SystemClock.now().since(lastAck) > settings.patienceNs { throw Failure.outOfPatience(last: lastProblem) }
  }

  /// One connection, from handshake to end.
  private mutating func converse(_ turn: (inout DeviceSession, Instant) throws -> Instant) throws {
    let stream = try connect()
    try stream.limitUnsent(to: Int32(settings.unsentBytesMax))
    connections += 1
    _ = try turn(&session, SystemClock.now())  // releases what early data may carry
    var engine = try TLSEngine(
      client: context, serverName: settings.serverName, ticket: ticket?.bytes, earlyData: earlyData())
    ticket = nil
    isIntroduced = false
    while true {
      let now = SystemClock.now()
      let wake = try turn(&session, now)
      if engine.isEstablished {
        introduce(engine, at: now)
        try fill(&engine, at: now)
      }
      let isEmpty = try send(&engine, stream)
      if session.isDone {
        engine.close()
        _ = try send(&engine, stream)
        return
      }
      if session.isClosing || session.fatal != nil { return }
      try checkPatience()
      let deadline = min(wake, session.deadline ?? wake, now.advanced(byNs: Uploader.turnNs))
      do throws(NetError) {
        try stream.descriptor.wait(readable: true, writable: !isEmpty, until: deadline)
      } catch .timedOut {
        if session.isSilent(at: SystemClock.now()) { throw NetError.timedOut }
        continue
      }
      if try receive(&engine, stream) { return }
    }
  }

  private func connect() throws(NetError) -> TCPStream {
    var last = NetError.refused
    for gateway in settings.gateways {
      do throws(NetError) {
        return try TCPStream.connect(to: gateway, until: SystemClock.now().advanced(byNs: Uploader.connectNs))
      } catch {
        last = error
      }
    }
    throw last
  }

  /// Fixes that may go out with the ClientHello.
  private mutating func earlyData() -> [UInt8] {
    guard let ticket, ticket.stream == session.log.stream else { return [] }
    let bytesMax = TLSEngine.earlyDataBytesMax(of: ticket.bytes, to: settings.serverName)
    var frames: [UInt8] = []
    let fixes = fixes
    session.earlyData(
      into: &frames, at: SystemClock.now(), clockMs: SystemClock.wallMs(), bytesMax: bytesMax
    ) { places, into in into.append(contentsOf: fixes[Int(places.lowerBound) - 1...Int(places.upperBound) - 1]) }
    return frames
  }

  /// The handshake is done: the session learns of its connection, once.
  private mutating func introduce(_ engine: borrowing TLSEngine, at now: Instant) {
    guard !isIntroduced else { return }
    isIntroduced = true
    if engine.isResumed { handshakesResumed += 1 }
    let isTaken = engine.earlyData == .accepted
    if isTaken { earlyDataTaken += 1 }
    session.connected(at: now, earlyDataTaken: isTaken)
  }

  /// Encrypts frames while there are some and the socket keeps up.
  private mutating func fill(_ engine: inout TLSEngine, at now: Instant) throws(TLSError) {
    while engine.outputCount < settings.unsentBytesMax {
      frames.removeAll(keepingCapacity: true)
      guard session.nextFrame(into: &frames, at: now, clockMs: SystemClock.wallMs(), from: fixes) else { return }
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
  private mutating func receive(_ engine: inout TLSEngine, _ stream: borrowing TCPStream) throws -> Bool {
    var count = 0
    switch try Uploader.read(stream, &cipher, &count) {
    case .wouldBlock: return false
    case .closed: return true
    case .bytes: break
    }
    var rest = 0..<count
    while true {
      var end = 0
      let progress = try Uploader.decrypt(&engine, cipher, rest, &plain, &end)
      events.removeAll(keepingCapacity: true)
      let now = SystemClock.now()
      // Acks of early data come with the handshake's end.
      if engine.isEstablished { introduce(engine, at: now) }
      let text = plain
      try session.receive(text.span.extracting(..<end), at: now, into: &events)
      for event in events {
        switch event {
        case .acked(let count) where count > 0: lastAck = now
        case .refused(let refusal): lastProblem = "the gateway refused: \(refusal.code)"
        default: break
        }
      }
      if let fresh = engine.sessionTicket, fresh != ticket?.bytes {
        let fresh = Ticket(stream: session.log.stream, bytes: fresh)
        ticket = fresh
        try keep(fresh)
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
