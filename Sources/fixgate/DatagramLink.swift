import GateCore
import GateDevice
import GateNet
import GateTLS

/// Frames over DTLS, one a UDP datagram. A session outlives its socket, and this process if it is saved.
struct DatagramLink: Link {
  struct Settings {
    var gateways: [HostPort]
    var serverName: String
    var authorityPEM: [UInt8]
    /// The external key by which the device proves itself, if not by its token.
    var key: ExternalKey?
    /// Or its certificate.
    var identity: TLSIdentity?
    /// Where the session is kept for the next run; `nil` = nowhere.
    var saved: SavedSessionFile?
    /// A new source port after so long, as behind a NAT that forgets; `nil` = one for good.
    var portLifeNs: UInt64?
  }

  let settings: Settings
  private(set) var handshakes = 0
  private(set) var ports = 0
  private(set) var traffic = DatagramTraffic()
  private var framesLost: UInt64 = 0
  private let context: DTLSClientContext
  private var frame: [UInt8] = []

  init(_ settings: Settings) throws(TLSError) {
    self.settings = settings
    if let key = settings.key {
      context = try DTLSClientContext(identity: key.identity, key: key.secret)
    } else {
      context = try DTLSClientContext(authorityPEM: settings.authorityPEM, identity: settings.identity)
    }
  }

  var summary: String {
    let started = handshakes == 0 ? "no handshake" : handshakes == 1 ? "1 handshake" : "\(handshakes) handshakes"
    return "\(started), \(traffic.datagramsSent) datagrams out (\(framesLost) retransmissions) and "
      + "\(traffic.datagramsReceived) in, \(traffic.bytesSent) bytes out and \(traffic.bytesReceived) in "
      + "with UDP and IP headers"
  }

  mutating func converse(_ upload: inout Upload, _ turn: Turn) throws {
    var channel: DatagramChannel
    let saved = try settings.saved?.resume(stream: upload.session.log.stream)
    if let saved {
      channel = try DatagramChannel(saved.client(), to: saved.address)
    } else {
      channel = try shakeHands()
    }
    ports += 1
    let lostBefore = upload.session.framesLost
    defer {
      traffic = traffic + channel.traffic
      framesLost += upload.session.framesLost - lostBefore
    }
    var lostSeen = lostBefore
    upload.session.connectedOverUDP(
      at: SystemClock.now(), isResumed: saved != nil, seed: UInt64.random(in: 0...UInt64.max))
    var portEnds = portEnd
    while true {
      let now = SystemClock.now()
      let wake = try turn(&upload.session, now)
      if now >= portEnds {
        try channel.move()
        ports += 1
        portEnds = portEnd
      }
      let isEmpty = try fill(&channel, from: &upload, at: now)
      if upload.session.isDone {
        try settings.saved?.save(&channel, stream: upload.session.log.stream)
        return
      }
      if upload.session.framesLost > lostSeen {
        lostSeen = upload.session.framesLost
        upload.lastProblem = channel.problem
      }
      let isSilent = upload.session.isSilent(at: now)
      if isSilent || upload.session.isClosing || upload.session.fatal != nil || channel.client.isClosed {
        try settings.saved?.forget()
        if isSilent { throw PassingProblem(channel.problem) }
        return
      }
      try upload.checkPatience()
      guard try channel.wait(writable: !isEmpty, until: min(upload.nextWake(wake, at: now), portEnds)) else { continue }
      for message in try channel.receive() {
        try upload.hear { session, now, events throws(DeviceError) in
          try session.receive(datagram: message.span, at: now, into: &events)
        }
      }
    }
  }

  private var portEnd: Instant {
    settings.portLifeNs.map { SystemClock.now().advanced(byNs: $0) } ?? Instant(ns: .max)
  }

  /// With the first address that does.
  private mutating func shakeHands() throws -> DatagramChannel {
    var last: any Error = NetError.refused
    for gateway in settings.gateways {
      for address in try gateway.resolve() {
        do {
          let channel = try DatagramChannel.shakingHands(with: address, context, serverName: settings.serverName)
          handshakes += 1
          return channel
        } catch let error as PassingProblem {
          last = error
        }
      }
    }
    throw last
  }

  /// Seals frames while there are some and the socket keeps up. What was reserved for them is on disk first.
  /// - Returns: whether nothing waits any more.
  private mutating func fill(
    _ channel: inout DatagramChannel, from upload: inout Upload, at now: Instant
  ) throws -> Bool {
    while true {
      if channel.client.needsSaving { try settings.saved?.save(&channel, stream: upload.session.log.stream) }
      guard try channel.flush() else { return false }
      frame.removeAll(keepingCapacity: true)
      guard upload.nextFrame(into: &frame, at: now) else { return true }
      try channel.client.seal(frame.span)
    }
  }
}
