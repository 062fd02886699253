import GateCore
import GateMemory
import GateProto
import GateTLS
import Gateway

/// A worker over UDP without thread and sockets: the endpoint with its cookies, handshakes and records, `Intake` and
/// `ReplyFrames` are the gateway's own.
final class SimDatagrams: SimPort {
  struct Outgoing {
    var datagram: [UInt8]
    var to: PeerAddress
  }

  private final class Conversation {
    /// The endpoint's number for it.
    let number: UInt64
    var session: Session
    var frameWord: UInt64 = 0
    var toldWindow: UInt32 = 0
    /// Told that it is over.
    var isClosing = false

    init(number: UInt64, id: SessionID) {
      self.number = number
      session = Session(id: id, transport: .datagram)
    }
  }

  let toSequencer = ByteRing(capacity: 1 << 22)
  let toWorker = ByteRing(capacity: 1 << 20)
  private(set) var unanswered = 0
  var window: UInt32

  private var endpoint: DTLSEndpoint
  private var intake: Intake
  private var conversations: [Conversation?] = []
  private var generation: UInt32 = 0
  private var inbox: [(datagram: [UInt8], from: PeerAddress)] = []
  private var outgoing: [Outgoing] = []
  private var answer: [UInt8] = []
  private var plain = [UInt8](repeating: 0, count: Limits.workBytesMax + 2_048 + DTLSHandshake.earlyBytesMax)

  static let devicesMax = 16

  /// - Parameter cookieKey: the same in each life of a gateway.
  init(
    configuration: Configuration, limiters: LimiterTable, privacy: PrivacyContext, context: DTLSServerContext,
    cookieKey: [UInt8]
  ) throws(DTLSError) {
    endpoint = try DTLSEndpoint(
      context: context, cookieKey: cookieKey, node: 1, shards: [0], sessionsMax: 4 * SimDatagrams.devicesMax,
      handshakesMax: SimDatagrams.devicesMax)
    intake = Intake(settings: Intake.Settings(configuration), ring: toSequencer, limiters: limiters, privacy: privacy)
    window = UInt32(configuration.limits.backlogWindow)
  }

  private var hasRoom: Bool { unanswered < SimWorker.unansweredMax - 2 && intake.hasRoom }
  var hasWork: Bool { !inbox.isEmpty || !toWorker.isEmpty }
  /// When a handshake's flight is to be sent again.
  var deadline: Instant? { endpoint.deadline }
  var counters: DTLSCounters { endpoint.counters }
  var sessionCount: Int { endpoint.sessionCount }

  func arrived(_ datagram: [UInt8], from address: PeerAddress) { inbox.append((datagram, address)) }

  /// One turn of the worker's loop.
  func step(registry: RegistrySnapshot, at now: Instant, wallMs: Int64) -> [Outgoing] {
    while toWorker.pop({ bytes in deliver(SequencerReply(reading: bytes), wallMs: wallMs) }) {}
    var taken = 0
    while taken < inbox.count, hasRoom {
      let (datagram, address) = inbox[taken]
      taken += 1
      SimDatagrams.open(datagram, from: address, at: now, &endpoint, &plain)
      for i in 0..<endpoint.events.count {
        switch endpoint.events[i] {
        case .opened(let number, let slot, _): begin(number, slot)
        case .data(_, let slot, let range, _): receive(range, slot, registry: registry, at: now, wallMs: wallMs)
        case .closed(_, let slot): conversations[slot] = nil
        }
      }
    }
    inbox.removeFirst(taken)
    if let deadline = endpoint.deadline, deadline <= now { endpoint.expire(at: now) }
    _ = endpoint.drain { datagram, address in
      outgoing.append(Outgoing(datagram: datagram.indices.map { datagram[$0] }, to: address))
      return true
    }
    defer { outgoing.removeAll() }
    return outgoing
  }

  private static func open(
    _ datagram: [UInt8], from address: PeerAddress, at now: Instant, _ endpoint: inout DTLSEndpoint, _ plain: inout [UInt8]
  ) {
    var room = plain.mutableSpan
    endpoint.receive(datagram.span, from: address, at: now, plaintext: &room, behind: Limits.workBytesMax)
  }

  private func begin(_ number: UInt64, _ slot: Int) {
    while conversations.count <= slot { conversations.append(nil) }
    generation &+= 1
    conversations[slot] = Conversation(number: number, id: SessionID(datagramIndex: slot, generation: generation))
  }

  private func receive(_ range: Range<Int>, _ slot: Int, registry: RegistrySnapshot, at now: Instant, wallMs: Int64) {
    guard let conversation = conversations[slot], !conversation.isClosing else { return }
    if case .open(let identity, _) = conversation.session.state, registry.isRevoked(device: identity.device) {
      ReplyFrames.append(.revoked, retryAfterMs: nil, closing: true, over: .datagram, to: &answer)
      conversation.isClosing = true
      say(conversation)
      return
    }
    for i in conversation.session.work.indices { plain[i] = conversation.session.work[i] }
    let outcome = intake.take(
      plain.span, frame: range, session: &conversation.session, word: &conversation.frameWord, registry: registry, at: now,
      wallMs: wallMs, out: &answer)
    switch outcome {
    case .taken(let messages): unanswered += messages
    case .refused: break
    case .close: conversation.isClosing = true
    case .enrol: preconditionFailure("simulated devices are enrolled")
    }
    say(conversation)
  }

  private func deliver(_ reply: SequencerReply, wallMs: Int64) {
    unanswered -= Int(reply.answers)
    let index = reply.session.index
    guard let conversation = conversations[index], conversation.session.id == reply.session, !conversation.isClosing else {
      return
    }
    if reply.kind == .welcome { displaceOthers(of: conversation) }
    ReplyFrames.append(
      reply, window: window, told: &conversation.toldWindow, wallMs: wallMs, over: .datagram, to: &answer)
    say(conversation)
  }

  /// A device has one session: its newest.
  private func displaceOthers(of newest: Conversation) {
    guard case .open(let identity, _) = newest.session.state else { return }
    for (slot, other) in conversations.enumerated() {
      guard let other, other !== newest, case .open(let old, _) = other.session.state, old.device == identity.device else {
        continue
      }
      endpoint.close(other.number)
      conversations[slot] = nil
    }
  }

  /// Seals `answer`. What cannot be sent now, the device asks for by sending again.
  private func say(_ conversation: Conversation) {
    defer { answer.removeAll(keepingCapacity: true) }
    if !answer.isEmpty {
      var datagram = [UInt8](repeating: 0, count: answer.count + 64)
      var count = 0
      if let address = SimDatagrams.seal(answer, for: conversation.number, &endpoint, into: &datagram, &count) {
        outgoing.append(Outgoing(datagram: Array(datagram[..<count]), to: address))
      }
    }
    guard conversation.isClosing else { return }
    endpoint.close(conversation.number)
    conversations[conversation.session.id.index] = nil
  }

  private static func seal(
    _ answer: [UInt8], for number: UInt64, _ endpoint: inout DTLSEndpoint, into datagram: inout [UInt8], _ count: inout Int
  ) -> PeerAddress? {
    var room = datagram.mutableSpan
    return (try? endpoint.seal(answer.span, for: number, into: &room, at: &count)) ?? nil
  }
}
