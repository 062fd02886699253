package import BenchFleet
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// What a way to start costs, up to the ack of the first fix.
package struct Start: Sendable {
  package let way: String
  /// TCP's own included.
  package let roundTrips: Int
  /// With all headers from IP up.
  package let traffic: Traffic
}

/// A device with one fix to tell, over one link after another.
///
/// It speaks only when nothing has come for a while, so that all that a gateway says without being asked again counts as the
/// same answer: so many times as it had to speak, so many round trips does the network add.
final class Starter {
  /// Longer than a commit takes; on loopback everything else is quicker.
  private static let answerNs: UInt64 = 150_000_000
  private static let patienceNs: UInt64 = 20_000_000_000

  private var session: DeviceSession
  private let fixes: [Fix]
  private var poller: Poller
  private var buffers = LinkBuffers()
  private var isIntroduced = false

  /// - Parameters:
  ///   - token: empty for a device that its channel proves.
  ///   - fixes: recorded one by one.
  init(token: [UInt8], fixes: [Fix]) throws {
    self.fixes = fixes
    poller = try Poller(capacity: 4)
    session = DeviceSession(log: UploadLog(stream: UInt32.random(in: 1...UInt32.max)), token: token)
  }

  /// Records a fix, and says what of it may travel with a ticket's first bytes.
  func record(earlyBytesMax: Int = 0) -> [UInt8] {
    session.disconnected()
    let now = SystemClock.now()
    session.record(1, at: now)
    session.flush()
    var early: [UInt8] = []
    if earlyBytesMax > 0 {
      session.earlyData(into: &early, at: now, clockMs: SystemClock.wallMs(), bytesMax: earlyBytesMax, from: append)
    }
    return early
  }

  /// Talks over a new link until the recorded fix is acked.
  func start(_ way: String, over link: any Link) throws -> Start {
    try link.watch(poller, token: 0)
    isIntroduced = false
    return try converse(way, link, since: Traffic())
  }

  /// The same with a session that has slept and wakes behind another port.
  func wake(_ way: String, over link: any Link) throws -> Start {
    let before = link.traffic
    guard try link.move(poller, token: 0) else { throw FleetError.conversation("\(way): this link cannot move") }
    session.connectedOverUDP(at: SystemClock.now(), isResumed: true, seed: 1)
    return try converse(way, link, since: before)
  }

  private func converse(_ way: String, _ link: any Link, since before: Traffic) throws -> Start {
    let deadline = SystemClock.now().advanced(byNs: Starter.patienceNs)
    var turns = 0
    while !session.log.isSettled {
      try speak(over: link)
      if try link.flush(poller, token: 0) { turns += 1 }
      try listen(to: link) { self.session.log.isSettled }
      guard SystemClock.now() < deadline else { throw FleetError.conversation("\(way): no ack came") }
    }
    return Start(way: way, roundTrips: link.roundTripsToBegin + turns, traffic: link.traffic - before)
  }

  /// The gateway gives it once the device is welcome.
  /// - Returns: a ticket that allows early data.
  func awaitTicket(_ link: any Link, serverName: String) throws -> [UInt8] {
    let deadline = SystemClock.now().advanced(byNs: Starter.patienceNs)
    while SystemClock.now() < deadline {
      if let ticket = link.ticket, TLSEngine.earlyDataBytesMax(of: ticket, to: serverName) > 0 { return ticket }
      try listen(to: link) { false }
    }
    throw FleetError.conversation("no ticket came")
  }

  private func introduce(_ link: any Link) throws {
    guard link.isOpen, !isIntroduced else { return }
    isIntroduced = true
    let now = SystemClock.now()
    if link.carriesDatagrams {
      session.connectedOverUDP(at: now, isResumed: false, seed: 1)
    } else {
      session.connected(at: now, earlyDataTaken: link.tookEarlyData)
    }
  }

  private func speak(over link: any Link) throws {
    guard link.isOpen else { return }
    var message: [UInt8] = []
    while session.nextFrame(into: &message, at: SystemClock.now(), clockMs: SystemClock.wallMs(), from: append) {
      try link.write(message)
      message.removeAll()
    }
  }

  /// Takes what comes, until nothing has come for a while or enough has.
  private func listen(to link: any Link, until isEnough: () -> Bool) throws {
    while try poller.wait(timeoutNs: Starter.answerNs) > 0 {
      let event = poller.event(at: 0)
      if event.writable {
        try link.becameWritable()
        return
      }
      guard try link.receive(&buffers, at: SystemClock.now()) else { throw FleetError.conversation("closed") }
      try introduce(link)
      try hear(overDatagrams: link.carriesDatagrams)
      if isEnough() { return }
    }
  }

  private func hear(overDatagrams: Bool) throws {
    let text = buffers.plain
    var events: [DeviceEvent] = []
    for message in buffers.messages {
      let bytes = text.span.extracting(message)
      if overDatagrams {
        try session.receive(datagram: bytes, at: SystemClock.now(), into: &events)
      } else {
        try session.receive(bytes, at: SystemClock.now(), into: &events)
      }
    }
    buffers.messages.removeAll()
    for case .refused(let refusal) in events { throw FleetError.conversation("refused: \(refusal.code)") }
  }

  private func append(_ places: ClosedRange<UInt64>, _ out: inout [Fix]) {
    for place in places { out.append(fixes[Int(place - 1) % fixes.count]) }
  }
}
