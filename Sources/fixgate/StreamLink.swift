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
    /// Or its certificate.
    var identity: TLSIdentity?
    /// Bytes that may wait to be sent: a live fix recorded now stands behind no more than these.
    var unsentBytesMax = 8_192
  }

  let settings: Settings
  private(set) var connections = 0
  private(set) var handshakesResumed = 0
  private let context: TLSClientContext
  private var ticket: [UInt8]?
  private var cipher = [UInt8](repeating: 0, count: 65_536)
  private var plain = [UInt8](repeating: 0, count: 65_536)
  private var frames: [UInt8] = []

  private static let connectNs: UInt64 = 10_000_000_000

  init(_ settings: Settings) throws(TLSError) {
    self.settings = settings
    context = try TLSClientContext(
      authorityPEM: settings.authorityPEM, identity: settings.identity, key: settings.key)
  }

  var summary: String { "\(connections) connections" }

  mutating func converse(_ upload: inout Upload, _ turn: Turn) throws {
    let stream = try connect()
    try stream.limitUnsent(to: Int32(settings.unsentBytesMax))
    connections += 1
    var engine = try TLSEngine(client: context, serverName: settings.serverName, ticket: ticket)
    ticket = nil
    var isIntroduced = false
    while true {
      let now = SystemClock.now()
      let wake = try turn(&upload.session, now)
      if engine.isEstablished {
        if !isIntroduced {
          isIntroduced = true
          if engine.isResumed { handshakesResumed += 1 }
          upload.session.connected(at: now)
        }
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
      try upload.hear { session, now, events throws(DeviceError) in
        try session.receive(text.span.extracting(..<end), at: now, into: &events)
      }
      if let fresh = engine.sessionTicket { ticket = fresh }
      switch progress {
      case .open, .handshaking: return false
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
