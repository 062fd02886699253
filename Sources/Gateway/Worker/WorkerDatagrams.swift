import GateCore
import GateNet
import GateProto
import GateTLS
import Synchronization

/// A worker's part over UDP: batches of datagrams in, messages to `Intake`, one answer a conversation at the end of the turn.
extension Worker {
  // MARK: - Receiving

  /// Takes what waits at a socket, as long as the sequencer keeps up.
  /// - Throws: the socket is of no use any more: stop the process.
  func readDatagrams(_ datagrams: Datagrams, from local: Int) throws(NetError) {
    let socket = datagrams.sockets[local]
    let handshakes = datagrams.endpoint.counters.handshakesStarted
    for _ in 0..<Datagrams.batchesPerTurn where hasRoom && datagrams.blocked == nil {
      let count = try socket.udp.receive { bytes, sender, own in
        take(bytes, from: sender, at: UInt8(local), own, datagrams)
      }
      try sendHandshakes(datagrams)
      // Each costs as much as a thousand fixes: the others of this worker are served before the next batch of them.
      if count < UDPSocket.batchMax || datagrams.endpoint.counters.handshakesStarted > handshakes { return }
    }
  }

  private func take(_ bytes: Span<UInt8>, from sender: SocketAddress, at local: UInt8, _ own: UInt8, _ datagrams: Datagrams) {
    datagrams.received += 1
    link.counters.bytesIn.wrappingAdd(UInt64(bytes.count), ordering: .relaxed)
    let failed = datagrams.endpoint.counters.handshakesFailed
    Worker.open(bytes, from: sender.peer(at: local, own: own), at: now, &datagrams.endpoint, &datagrams.plain) {
      mayBegin(from: sender)
    }
    if datagrams.endpoint.counters.handshakesFailed != failed { admission.failed(admission.source(of: sender), at: now) }
    // By index: the endpoint's events are not copied, and nothing below adds to them.
    for i in 0..<datagrams.endpoint.events.count {
      switch datagrams.endpoint.events[i] {
      case .opened(let session, let index, let peer): begin(session, index, peer, datagrams)
      case .data(_, let index, let range, _): takeMessage(range, index, from: sender, datagrams)
      case .closed(_, let index): forget(index, datagrams)
      }
    }
  }

  private static func open(
    _ bytes: Span<UInt8>, from address: PeerAddress, at now: Instant, _ endpoint: inout DTLSEndpoint,
    _ plain: inout [UInt8], mayBegin: () -> Bool
  ) {
    var room = plain.mutableSpan
    endpoint.receive(
      bytes, from: address, at: now, plaintext: &room, behind: Datagrams.plainStart, mayBegin: mayBegin)
  }

  /// The device receives at its address; whether its handshake may cost something now.
  private func mayBegin(from sender: SocketAddress) -> Bool {
    if let reason = admission.datagramHandshakeRefusal(of: admission.source(of: sender), at: now) {
      link.counters.close(reason)
      return false
    }
    return true
  }

  // MARK: - Conversations

  private func begin(_ session: UInt64, _ index: Int, _ peer: DTLSPeer, _ datagrams: Datagrams) {
    datagrams.makeRoom(for: index)
    datagrams.generation &+= 1
    let generation = datagrams.generation
    datagrams.conversations[index] = Conversation(session: session, generation: generation)
    let channel = Credentials.channel(peer)
    if channel != .none { datagrams.extras[index] = ConversationExtra(channel: channel) }
    let timeoutNs = UInt64(context.configuration.limits.handshakeTimeoutS) * 1_000_000_000
    datagrams.greetings.append((index, generation, now.advanced(byNs: timeoutNs)))
  }

  /// The endpoint has forgotten the session.
  private func forget(_ index: Int, _ datagrams: Datagrams) {
    let conversation = datagrams.conversations[index]
    guard conversation.state != .vacant else { return }
    if conversation.isWelcome { datagrams.welcome -= 1 }
    if conversation.isOpen || conversation.state == .closing {
      context.datagramPresence.leave(conversation.device, id(index, conversation), worker: context.index)
    }
    datagrams.extras[index] = nil
    datagrams.conversations[index] = .vacant
  }

  /// Ends a session, with close_notify to its device.
  private func end(_ index: Int, _ datagrams: Datagrams) {
    datagrams.endpoint.close(datagrams.conversations[index].session)
    forget(index, datagrams)
  }

  private func id(_ index: Int, _ conversation: Conversation) -> SessionID {
    SessionID(datagramIndex: index, generation: conversation.generation)
  }

  // MARK: - Messages

  /// One message of a device, in `plain[range]`.
  private func takeMessage(_ range: Range<Int>, _ index: Int, from sender: SocketAddress, _ datagrams: Datagrams) {
    guard datagrams.conversations[index].state != .vacant, datagrams.conversations[index].state != .closing else { return }
    link.counters.frames.wrappingAdd(1, ordering: .relaxed)
    if let code = dismissal(index, datagrams) {
      link.counters.refuse(code.rawValue)
      close(index, code, datagrams)
      return
    }
    guard hasRoom else {
      link.counters.refuse(RefusalCode.busy.rawValue)
      ReplyFrames.append(.busy, retryAfterMs: 200, closing: false, over: .datagram, to: &answer)
      say(index, datagrams)
      return
    }
    introduce(index, datagrams)
    let extra = datagrams.extras.isEmpty ? nil : datagrams.extras[index]
    var session = datagrams.conversations[index].makeSession(index: index, registry: registry, extra: extra)
    for i in session.work.indices { datagrams.plain[i] = session.work[i] }
    let wasOpen = session.isOpen
    let outcome =
      range.count > Limits.datagramBytesMax
      ? intake.refuse(tooLarge: &session, out: &answer)
      : intake.take(
        datagrams.plain.span, frame: range, session: &session, word: &datagrams.conversations[index].frameWord,
        registry: registry, at: now, wallMs: wallMs, out: &answer)
    datagrams.conversations[index].keep(session)
    keepExtra(of: session, index, had: extra, datagrams)
    handedOver = true
    switch outcome {
    case .taken(let messages): unanswered += messages
    case .refused(let code): link.counters.refuse(code.rawValue)
    case .close(let code):
      link.counters.refuse(code.rawValue)
      if !wasOpen { admission.failed(admission.source(of: sender), at: now) }
      datagrams.conversations[index].close()
    case .enrol: preconditionFailure("nobody enrols over UDP")
    }
    say(index, datagrams)
  }

  private func keepExtra(of session: borrowing Session, _ index: Int, had extra: ConversationExtra?, _ datagrams: Datagrams) {
    guard extra != nil || !session.work.isEmpty else { return }
    let kept = ConversationExtra(channel: session.isOpen ? .none : session.channel, work: session.work)
    datagrams.extras[index] = kept.isEmpty ? nil : kept
    if kept.work.isEmpty != (extra?.work.isEmpty ?? true) {
      datagrams.endpoint.factsChanged(of: datagrams.conversations[index].session)
    }
  }

  /// A conversation of an earlier run has said hello to another sequencer.
  private func introduce(_ index: Int, _ datagrams: Datagrams) {
    guard let known = datagrams.conversations[index].known, !datagrams.conversations[index].isIntroduced else { return }
    intake.resume(id(index, datagrams.conversations[index]), device: known.device, stream: known.stream)
    datagrams.conversations[index].welcome()
  }

  /// Why the device of this conversation may talk no more. Looked at when it talks, so that whoever sleeps hears it too.
  private func dismissal(_ index: Int, _ datagrams: Datagrams) -> RefusalCode? {
    let conversation = datagrams.conversations[index]
    guard let known = conversation.known else { return nil }
    let version = UInt32(truncatingIfNeeded: registryVersion)
    guard conversation.registryVersion != version || known.validUntilMs <= wallMs else { return nil }
    switch Credentials.standing(
      of: known.credential, of: known.device, validUntilMs: known.validUntilMs, registry: registry, wallMs: wallMs)
    {
    case .good(let untilMs):
      datagrams.conversations[index].extend(untilMs: untilMs)
      datagrams.conversations[index].registryVersion = version
      return nil
    case .expired: return .credentialExpired
    case .revoked, .unknown: return .revoked
    }
  }

  /// One refusal, then the session dies.
  private func close(_ index: Int, _ code: RefusalCode, _ datagrams: Datagrams) {
    ReplyFrames.append(code, retryAfterMs: nil, closing: true, over: .datagram, to: &answer)
    datagrams.conversations[index].close()
    say(index, datagrams)
  }

  // MARK: - Answers

  func deliver(_ reply: SequencerReply, over datagrams: Datagrams) {
    let index = reply.session.index
    guard index < datagrams.conversations.count, datagrams.conversations[index].generation == reply.session.generation,
      datagrams.conversations[index].isOpen
    else { return }
    switch reply.kind {
    case .silent: return
    case .ack:
      merge(reply, index, datagrams)
      return
    case .refusal:
      link.counters.refuse(UInt16(reply.refusal.rawValue))
      // Another stream wants another session: what is under way in this one must not be taken for the new stream's.
      if reply.refusal == .streamReused { datagrams.conversations[index].close() }
    case .welcome:
      welcome(index, datagrams)
      merge(reply.asAck, index, datagrams)
    }
    append(reply, index, datagrams)
    say(index, datagrams)
  }

  private func append(_ reply: SequencerReply, _ index: Int, _ datagrams: Datagrams) {
    let window = backlogWindow
    var told = window
    if reply.kind != .refusal { told = datagrams.conversations[index].knownWindow(now: window) }
    ReplyFrames.append(reply, window: window, told: &told, wallMs: wallMs, over: .datagram, to: &answer)
  }

  /// An ack says all that those before it said, but for the judgements: these are gathered.
  private func merge(_ reply: SequencerReply, _ index: Int, _ datagrams: Datagrams) {
    let at = pending(index, datagrams)
    let judged = datagrams.answers[at].ack?.judgementCount ?? 0
    if judged == 0 {
      datagrams.answers[at].ack = reply
    } else if judged + reply.judgementCount > Limits.judgementsPerAckMax {
      datagrams.answers[another(index, datagrams)].ack = reply
    } else {
      var merged = reply
      for i in 0..<judged { merged.judgements[reply.judgementCount + i] = datagrams.answers[at].ack!.judgements[i] }
      merged.judgementCount += judged
      datagrams.answers[at].ack = merged
    }
  }

  private func welcome(_ index: Int, _ datagrams: Datagrams) {
    guard datagrams.conversations[index].state == .greeted else { return }
    datagrams.conversations[index].welcome()
    datagrams.conversations[index].registryVersion = UInt32(truncatingIfNeeded: registryVersion)
    datagrams.welcome += 1
    let conversation = datagrams.conversations[index]
    datagrams.endpoint.factsChanged(of: conversation.session)
    guard
      let old = context.datagramPresence.take(conversation.device, id(index, conversation), worker: context.index)
    else { return }
    if old.worker == context.index {
      displace(old.session, over: datagrams)
    } else {
      context.peers[old.worker].send(.displace(old.session))
    }
  }

  /// The device has made a new session: the old one ends.
  func displace(_ session: SessionID, over datagrams: Datagrams) {
    guard session.index < datagrams.conversations.count,
      datagrams.conversations[session.index].generation == session.generation,
      datagrams.conversations[session.index].state != .vacant
    else { return }
    end(session.index, datagrams)
  }

  /// - Returns: position of the conversation's answer, which is begun if there is none.
  private func pending(_ index: Int, _ datagrams: Datagrams) -> Int {
    let known = Int(datagrams.conversations[index].pending)
    return known >= 0 ? known : another(index, datagrams)
  }

  private func another(_ index: Int, _ datagrams: Datagrams) -> Int {
    let at = datagrams.answers.count
    datagrams.answers.append(Datagrams.Answer(index: index, generation: datagrams.conversations[index].generation))
    datagrams.conversations[index].pending = Int32(at)
    return at
  }

  /// Moves `answer` to what the conversation will be told at the end of the turn.
  private func say(_ index: Int, _ datagrams: Datagrams) {
    guard !answer.isEmpty else { return }
    var at = pending(index, datagrams)
    if datagrams.answers[at].message.count + answer.count > Limits.datagramBytesMax { at = another(index, datagrams) }
    datagrams.answers[at].message += answer
    answer.removeAll(keepingCapacity: true)
  }

  // MARK: - Sending

  /// Sends what there is to say. What a blocked socket does not take waits for it, and grows by merging only.
  /// - Throws: a socket is of no use any more: stop the process.
  func flush(_ datagrams: Datagrams) throws(NetError) {
    keepSessions(datagrams)
    var at = 0
    while at < datagrams.answers.count, datagrams.blocked == nil {
      let index = datagrams.answers[at].index
      if datagrams.conversations[index].generation == datagrams.answers[at].generation {
        try sendAnswer(at, datagrams)
        if datagrams.conversations[index].pending == at {
          datagrams.conversations[index].pending = -1
          if datagrams.conversations[index].state == .closing { end(index, datagrams) }
        }
      }
      at += 1
    }
    if at == datagrams.answers.count {
      datagrams.answers.removeAll(keepingCapacity: true)
    } else {
      datagrams.answers.removeFirst(at)
      for (i, answer) in datagrams.answers.enumerated()
      where datagrams.conversations[answer.index].generation == answer.generation {
        datagrams.conversations[answer.index].pending = Int32(i)
      }
    }
    try sendHandshakes(datagrams)
  }

  /// Seals one conversation's message and ack: together if they fit one datagram.
  private func sendAnswer(_ at: Int, _ datagrams: Datagrams) throws(NetError) {
    let index = datagrams.answers[at].index
    answer += datagrams.answers[at].message
    let own = answer.count
    if let ack = datagrams.answers[at].ack { append(ack, index, datagrams) }
    let cut = answer.count > Limits.datagramBytesMax ? own : answer.count
    if cut > 0 { try seal(0..<cut, index, datagrams) }
    if cut < answer.count { try seal(cut..<answer.count, index, datagrams) }
    answer.removeAll(keepingCapacity: true)
  }

  /// Seals `answer[part]` and queues the record. A session whose new address has not been proven enough gets nothing: its device
  /// sends again. One whose record numbers are used up ends: its device makes a new handshake.
  private func seal(_ part: Range<Int>, _ index: Int, _ datagrams: Datagrams) throws(NetError) {
    let session = datagrams.conversations[index].session
    var count = 0
    let sealed: PeerAddress?
    do throws(DTLSError) {
      sealed = try Worker.seal(answer, part, for: session, &datagrams.endpoint, into: &datagrams.record, &count)
    } catch {
      datagrams.conversations[index].close()
      return
    }
    guard let address = sealed else { return }
    let record = datagrams.record
    try queue(record.span.extracting(..<count), to: address, datagrams)
  }

  private static func seal(
    _ answer: [UInt8], _ part: Range<Int>, for session: UInt64, _ endpoint: inout DTLSEndpoint,
    into record: inout [UInt8], _ count: inout Int
  ) throws(DTLSError) -> PeerAddress? {
    var room = record.mutableSpan
    return try endpoint.seal(answer.span.extracting(part), for: session, into: &room, at: &count)
  }

  /// What handshakes and ended sessions have to say. A blocked socket loses it: handshakes send it again.
  private func sendHandshakes(_ datagrams: Datagrams) throws(NetError) {
    keepSessions(datagrams)
    if datagrams.endpoint.hasOutput {
      _ = try datagrams.endpoint.drain { (bytes, address) throws(NetError) in
        try queue(bytes, to: address, datagrams)
        return true
      }
    }
    for local in datagrams.sockets.indices where datagrams.sockets[local].udp.waiting > 0 { try send(local, datagrams) }
  }

  private func queue(_ bytes: Span<UInt8>, to address: PeerAddress, _ datagrams: Datagrams) throws(NetError) {
    let local = Int(address.local)
    link.counters.bytesOut.wrappingAdd(UInt64(bytes.count), ordering: .relaxed)
    if datagrams.sockets[local].udp.queue(bytes, to: SocketAddress(address), from: address.own) { return }
    try send(local, datagrams)
    if !datagrams.sockets[local].udp.queue(bytes, to: SocketAddress(address), from: address.own) { datagrams.unsent += 1 }
  }

  /// Sends a socket's batch, and watches for room if it was not all taken.
  private func send(_ local: Int, _ datagrams: Datagrams) throws(NetError) {
    guard try !datagrams.sockets[local].udp.flush(), datagrams.blocked == nil else { return }
    datagrams.blocked = local
    try watch(datagrams)
  }

  /// The socket that was blocked has room.
  private func unblock(_ local: Int, _ datagrams: Datagrams) throws(NetError) {
    guard try datagrams.sockets[local].udp.flush() else { return }
    datagrams.blocked = nil
    try watch(datagrams)
  }

  private func watch(_ datagrams: Datagrams) throws(NetError) {
    guard !isDraining else { return }
    for (local, socket) in datagrams.sockets.enumerated() {
      let interest: Poller.Interest = datagrams.blocked == nil ? .read : datagrams.blocked == local ? .write : []
      try poller.modify(socket.udp.descriptor, token: Worker.token(socket: local), for: interest)
    }
  }

  // MARK: - Events, time and commands

  static func token(socket local: Int) -> UInt64 { firstSocketToken + UInt64(local) }

  func handle(_ event: Poller.Event, of datagrams: Datagrams) throws(NetError) {
    let local = Int(event.token - Worker.firstSocketToken)
    if event.writable, datagrams.blocked == local { try unblock(local, datagrams) }
    if event.readable, !isDraining { try readDatagrams(datagrams, from: local) }
  }

  /// Retransmissions of handshakes, and what a reload has brought.
  func advance(_ datagrams: Datagrams) {
    if let due = datagrams.endpoint.deadline, now >= due { datagrams.endpoint.expire(at: now) }
    guard let contexts = context.dtls?.contexts, contexts.version != datagrams.contextVersion else { return }
    datagrams.contextVersion = contexts.version
    let before = datagrams.context
    datagrams.context = contexts.current
    datagrams.endpoint.use(datagrams.context)
    guard !datagrams.context.hasAuthorities(of: before) else { return }
    // Nothing is left of a handshake by which its certificate could be judged again: the device makes another.
    for index in datagrams.conversations.indices where isCertified(index, datagrams) { end(index, datagrams) }
  }

  private func isCertified(_ index: Int, _ datagrams: Datagrams) -> Bool {
    if let known = datagrams.conversations[index].known { return known.credential.kind == .certificate }
    if case .certificate? = datagrams.extras[index]?.channel { return true }
    return false
  }

  /// Once a second: who has not said hello in time goes, and now and then who has long been silent.
  func sweep(_ datagrams: Datagrams) {
    var over = 0
    while over < datagrams.greetings.count, datagrams.greetings[over].until <= now {
      let (index, generation, _) = datagrams.greetings[over]
      over += 1
      let conversation = datagrams.conversations[index]
      guard conversation.generation == generation, conversation.state == .awaitingHello else { continue }
      link.counters.close("timed_out")
      end(index, datagrams)
    }
    datagrams.greetings.removeFirst(over)
    guard now >= datagrams.nextForgetting else { return }
    let settings = context.configuration.dtls
    datagrams.nextForgetting = now.advanced(
      byNs: UInt64(min(Datagrams.forgettingS, settings.classicTimeoutS)) * 1_000_000_000)
    datagrams.endpoint.forgetSilent(
      at: now, classicForS: settings.classicTimeoutS, withConnectionIDForS: settings.sessionDays * 86_400)
    for i in 0..<datagrams.endpoint.events.count {
      if case .closed(_, let index) = datagrams.endpoint.events[i] { forget(index, datagrams) }
    }
  }

  /// - Returns: number of ranges asked for.
  func ask(_ device: UInt32, _ stream: UInt32, for runs: [StreamMarks.Run], over datagrams: Datagrams) -> Int {
    var asked = 0
    for (index, conversation) in datagrams.conversations.enumerated() where conversation.state == .welcome {
      guard conversation.device == device, conversation.known?.stream == stream else { continue }
      ReplyFrames.append(asking: runs, over: .datagram, to: &answer)
      say(index, datagrams)
      asked += runs.count
    }
    return asked
  }
}

extension SequencerReply {
  /// What a welcome says of sequences.
  fileprivate var asAck: SequencerReply {
    var ack = self
    ack.kind = .ack
    return ack
  }
}
