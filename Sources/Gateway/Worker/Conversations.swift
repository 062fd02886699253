package import GateCore
import GateProto
package import GateTLS

/// The sessions over UDP of one worker, without sockets, clock and thread. Datagrams and the sequencer's replies go in; what
/// comes out are messages for the sequencer (through `Intake`), datagrams, and effects that are not its own to perform. The
/// worker gives it what its sockets receive; the simulator runs the same.
///
/// What a conversation is told is gathered during a turn, and sealed at its end: see Conversations+Answers.swift. Sessions
/// outlive the process: see Conversations+Store.swift.
package final class Conversations {
  /// What holds for one turn of the worker's loop.
  package struct Turn {
    package var now: Instant
    /// ms since 1970-01-01 UTC.
    package var wallMs: Int64
    package var registry: RegistrySnapshot
    /// Changes with the registry.
    package var registryVersion: UInt64
    /// Fixes of backlog that a device may have unacked.
    package var window: UInt32

    package init(now: Instant, wallMs: Int64, registry: RegistrySnapshot, registryVersion: UInt64, window: UInt32) {
      self.now = now
      self.wallMs = wallMs
      self.registry = registry
      self.registryVersion = registryVersion
      self.window = window
    }
  }

  package enum Effect: Equatable, Sendable {
    /// A device was told this code.
    case refused(UInt16)
    /// A session had no hello in time.
    case timedOut
    /// The device has a new session here; the one that it has at another worker is to end.
    case displaced(SessionID, worker: Int)
    /// A slot could not be written: its session may end with the process. Told once.
    case notKept
  }

  /// What one conversation will be told.
  struct Answer {
    let index: Int
    let generation: UInt32
    /// One message, all but the ack.
    var message: [UInt8] = []
    /// The newest, with the judgements of those before it.
    var ack: SequencerReply?
  }

  /// This worker, as `presence` knows it.
  let worker: Int
  let stored: StoredSessions?
  let presence: Presence
  var endpoint: DTLSEndpoint
  var context: DTLSServerContext
  /// By the endpoint's slots.
  var conversations: [Conversation] = []
  var extras: [Int: ConversationExtra] = [:]
  var answers: [Answer] = []
  var generation: UInt32 = 0
  /// Messages that devices have sent in their sessions.
  package private(set) var messages = 0
  /// Conversations whose device is known.
  package internal(set) var welcome = 0
  package internal(set) var effects: [Effect] = []
  /// Frames to send, before they are sealed.
  var answer: [UInt8] = []
  var record = [UInt8](repeating: 0, count: Limits.receivedDatagramBytesMax)

  private let settings: Configuration.DTLS
  private let greetingNs: UInt64
  /// Conversations whose hello must come in time, oldest first.
  private var greetings: [(index: Int, generation: UInt32, until: Instant)] = []
  private var nextForgetting = Instant(ns: 0)
  /// First room for the conversation's default work, then what is decrypted.
  private var plain = [UInt8](
    repeating: 0, count: plainStart + Limits.receivedDatagramBytesMax + DTLSHandshake.earlyBytesMax)

  private static let plainStart = Limits.workBytesMax
  /// Between two looks at all sessions for those that are silent, at most.
  private static let forgettingS = 60

  /// - Parameters:
  ///   - cookieKey: the same for all workers.
  ///   - stored: `nil` = sessions end with the process.
  ///   - presence: of UDP, all workers'.
  ///   - epochS: seconds from 1970-01-01 UTC to `Instant` 0.
  package init(
    _ configuration: Configuration, context: DTLSServerContext, cookieKey: [UInt8], stored: StoredSessions?,
    presence: Presence, worker: Int, workers: Int, epochS: Int64
  ) throws {
    self.worker = worker
    self.stored = stored
    self.presence = presence
    self.context = context
    settings = configuration.dtls
    greetingNs = UInt64(configuration.limits.handshakeTimeoutS) * 1_000_000_000
    let shards = (0...255 as ClosedRange<Int>).filter { $0 % workers == worker }.map { UInt8($0) }
    func share(_ number: Int) -> Int { max((number + workers - 1) / workers, 1) }
    let sessionsMax = stored?.sessionsMax ?? share(configuration.dtls.sessionsMax)
    endpoint = try DTLSEndpoint(
      context: context, cookieKey: cookieKey, node: configuration.listen.node, shards: shards,
      sessionsMax: min(sessionsMax, Int(SessionID.firstDatagramSlot)),
      handshakesMax: share(configuration.dtls.handshakesMax), shelf: try stored?.makeShelf(), epochS: epochS)
  }

  package var counters: DTLSCounters { endpoint.counters }
  package var sessionCount: Int { endpoint.sessionCount }
  package var handshakeCount: Int { endpoint.handshakeCount }

  /// Hands over what happened since the last time.
  package func takeEffects(_ body: (Effect) -> Void) {
    for effect in effects { body(effect) }
    effects.removeAll(keepingCapacity: true)
  }

  // MARK: - Receiving

  /// Takes one datagram.
  /// - Parameter mayBegin: whether a handshake may cost something now; see `DTLSEndpoint.receive`.
  /// - Returns: whether the sender has failed, and is to be held back.
  package func receive(
    _ datagram: Span<UInt8>, from address: PeerAddress, _ turn: Turn, _ intake: inout Intake, mayBegin: () -> Bool
  ) -> Bool {
    let before = endpoint.counters.handshakesFailed
    Conversations.open(datagram, from: address, at: turn.now, &endpoint, &plain, mayBegin)
    var hasFailed = endpoint.counters.handshakesFailed != before
    // By index: the endpoint's events are not copied, and nothing below adds to them.
    for i in 0..<endpoint.events.count {
      switch endpoint.events[i] {
      case .opened(let session, let index, let peer): begin(session, index, peer, turn)
      case .data(_, let index, let range, _): if takeMessage(range, index, turn, &intake) { hasFailed = true }
      case .closed(_, let index): forget(index)
      }
    }
    return hasFailed
  }

  private static func open(
    _ datagram: Span<UInt8>, from address: PeerAddress, at now: Instant, _ endpoint: inout DTLSEndpoint,
    _ plain: inout [UInt8], _ mayBegin: () -> Bool
  ) {
    var room = plain.mutableSpan
    endpoint.receive(datagram, from: address, at: now, plaintext: &room, behind: plainStart, mayBegin: mayBegin)
  }

  // MARK: - Conversations

  private func begin(_ session: UInt64, _ index: Int, _ peer: DTLSPeer, _ turn: Turn) {
    let generation = place(at: index) { Conversation(session: session, generation: $0) }
    let channel = Credentials.channel(peer)
    if channel != .none { extras[index] = ConversationExtra(channel: channel) }
    greetings.append((index, generation, turn.now.advanced(byNs: greetingNs)))
  }

  /// - Returns: the generation of the new conversation at this place.
  @discardableResult
  func place(at index: Int, _ make: (UInt32) -> Conversation) -> UInt32 {
    while conversations.count <= index { conversations.append(.vacant) }
    generation &+= 1
    conversations[index] = make(generation)
    return generation
  }

  /// The endpoint has forgotten the session.
  private func forget(_ index: Int) {
    let conversation = conversations[index]
    guard conversation.state != .vacant else { return }
    if conversation.isWelcome { welcome -= 1 }
    if conversation.isOpen || conversation.state == .closing { presence.leave(conversation.device, id(index), worker: worker) }
    extras[index] = nil
    conversations[index] = .vacant
  }

  /// Ends a session, with close_notify to its device.
  func end(_ index: Int) {
    endpoint.close(conversations[index].session)
    forget(index)
  }

  func id(_ index: Int) -> SessionID { SessionID(datagramIndex: index, generation: conversations[index].generation) }

  /// Where a session of the sequencer's lies; `nil` if it is over.
  func index(of session: SessionID) -> Int? {
    let index = session.index
    guard index < conversations.count, conversations[index].generation == session.generation,
      conversations[index].state != .vacant
    else { return nil }
    return index
  }

  // MARK: - Messages

  /// One message of a device, in `plain[range]`.
  /// - Returns: whether its sender has shown no good credential.
  private func takeMessage(_ range: Range<Int>, _ index: Int, _ turn: Turn, _ intake: inout Intake) -> Bool {
    guard conversations[index].state != .vacant, conversations[index].state != .closing else { return false }
    messages += 1
    if let code = dismissal(index, turn) {
      close(index, code)
      return false
    }
    guard intake.hasRoom else {
      effects.append(.refused(RefusalCode.busy.rawValue))
      ReplyFrames.append(.busy, retryAfterMs: 200, closing: false, over: .datagram, to: &answer)
      say(index)
      return false
    }
    introduce(index, &intake)
    let extra = extras.isEmpty ? nil : extras[index]
    var session = conversations[index].makeSession(index: index, registry: turn.registry, extra: extra)
    for i in session.work.indices { plain[i] = session.work[i] }
    let wasOpen = session.isOpen
    let outcome =
      range.count > Limits.datagramBytesMax
      ? intake.refuse(tooLarge: &session, out: &answer)
      : intake.take(
        plain.span, frame: range, session: &session, word: &conversations[index].frameWord, registry: turn.registry,
        at: turn.now, wallMs: turn.wallMs, out: &answer)
    conversations[index].keep(session)
    keepExtra(of: session, index, had: extra)
    var hasFailed = false
    switch outcome {
    case .taken: break
    case .refused(let code): effects.append(.refused(code.rawValue))
    case .close(let code):
      effects.append(.refused(code.rawValue))
      hasFailed = !wasOpen
      conversations[index].close()
    case .enrol: preconditionFailure("nobody enrols over UDP")
    }
    say(index)
    return hasFailed
  }

  private func keepExtra(of session: borrowing Session, _ index: Int, had extra: ConversationExtra?) {
    guard extra != nil || !session.work.isEmpty else { return }
    let kept = ConversationExtra(channel: session.isOpen ? .none : session.channel, work: session.work)
    extras[index] = kept.isEmpty ? nil : kept
    if kept.work.isEmpty != (extra?.work.isEmpty ?? true) { endpoint.factsChanged(of: conversations[index].session) }
  }

  /// A conversation of an earlier run has said hello to another sequencer.
  private func introduce(_ index: Int, _ intake: inout Intake) {
    guard let known = conversations[index].known, !conversations[index].isIntroduced else { return }
    intake.resume(id(index), device: known.device, stream: known.stream)
    conversations[index].welcome()
  }

  /// Why the device of this conversation may talk no more. Looked at when it talks, so that whoever sleeps hears it too.
  private func dismissal(_ index: Int, _ turn: Turn) -> RefusalCode? {
    guard let known = conversations[index].known else { return nil }
    let version = UInt32(truncatingIfNeeded: turn.registryVersion)
    guard conversations[index].registryVersion != version || known.validUntilMs <= turn.wallMs else { return nil }
    switch Credentials.standing(
      of: known.credential, of: known.device, validUntilMs: known.validUntilMs, registry: turn.registry,
      wallMs: turn.wallMs)
    {
    case .good(let untilMs):
      conversations[index].extend(untilMs: untilMs)
      conversations[index].registryVersion = version
      return nil
    case .expired: return .credentialExpired
    case .revoked, .unknown: return .revoked
    }
  }

  /// One refusal, then the session dies.
  private func close(_ index: Int, _ code: RefusalCode) {
    effects.append(.refused(code.rawValue))
    ReplyFrames.append(code, retryAfterMs: nil, closing: true, over: .datagram, to: &answer)
    conversations[index].close()
    say(index)
  }

  /// The device has made a new session: the old one ends.
  package func displace(_ session: SessionID) {
    if let index = index(of: session) { end(index) }
  }

  // MARK: - Time and commands

  /// When `expire` is due; `nil` while nothing waits for it.
  package var deadline: Instant? { endpoint.deadline }

  /// Retransmissions of handshakes.
  package func expire(at now: Instant) {
    if let due = endpoint.deadline, now >= due { endpoint.expire(at: now) }
  }

  /// Handshakes that begin from now on use this one.
  package func use(_ context: DTLSServerContext) {
    let before = self.context
    self.context = context
    endpoint.use(context)
    guard !context.hasAuthorities(of: before) else { return }
    // Nothing is left of a handshake by which its certificate could be judged again: the device makes another.
    for index in conversations.indices where isCertified(index) { end(index) }
  }

  private func isCertified(_ index: Int) -> Bool {
    if let known = conversations[index].known { return known.credential.kind == .certificate }
    if case .certificate? = extras[index]?.channel { return true }
    return false
  }

  /// Once a second: who has not said hello in time goes, and now and then who has long been silent.
  package func sweep(at now: Instant) {
    var over = 0
    while over < greetings.count, greetings[over].until <= now {
      let (index, generation, _) = greetings[over]
      over += 1
      guard conversations[index].generation == generation, conversations[index].state == .awaitingHello else { continue }
      effects.append(.timedOut)
      end(index)
    }
    greetings.removeFirst(over)
    guard now >= nextForgetting else { return }
    nextForgetting = now.advanced(
      byNs: UInt64(min(Conversations.forgettingS, settings.classicTimeoutS)) * 1_000_000_000)
    endpoint.forgetSilent(
      at: now, classicForS: settings.classicTimeoutS, withConnectionIDForS: settings.sessionDays * 86_400)
    for i in 0..<endpoint.events.count {
      if case .closed(_, let index) = endpoint.events[i] { forget(index) }
    }
  }
}
