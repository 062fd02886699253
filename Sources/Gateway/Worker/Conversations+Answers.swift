package import GateCore
import GateProto
import GateTLS

/// What devices are told: the sequencer's replies, merged into one answer a conversation and turn.
extension Conversations {
  /// Takes a reply of the sequencer.
  package func deliver(_ reply: SequencerReply, _ turn: Turn) {
    guard let index = index(of: reply.session), conversations[index].isOpen else { return }
    switch reply.kind {
    case .silent: return
    case .ack:
      merge(reply, index)
      return
    case .refusal:
      effects.append(.refused(UInt16(reply.refusal.rawValue)))
      if reply.refusal.endsDatagrams { conversations[index].close() }
    case .welcome:
      welcome(index, turn)
      merge(reply.asAck, index)
    }
    append(reply, index, turn)
    say(index)
  }

  private func append(_ reply: SequencerReply, _ index: Int, _ turn: Turn) {
    var told = turn.window
    if reply.kind != .refusal { told = conversations[index].knownWindow(now: turn.window) }
    ReplyFrames.append(reply, window: turn.window, told: &told, wallMs: turn.wallMs, over: .datagram, to: &answer)
  }

  /// An ack says all that those before it said, but for the judgements: these are gathered.
  private func merge(_ reply: SequencerReply, _ index: Int) {
    let at = pending(index)
    let judged = answers[at].ack?.judgementCount ?? 0
    if judged == 0 {
      answers[at].ack = reply
    } else if judged + reply.judgementCount > Limits.judgementsPerAckMax {
      answers[another(index)].ack = reply
    } else {
      var merged = reply
      for i in 0..<judged { merged.judgements[reply.judgementCount + i] = answers[at].ack!.judgements[i] }
      merged.judgementCount += judged
      answers[at].ack = merged
    }
  }

  private func welcome(_ index: Int, _ turn: Turn) {
    guard conversations[index].state == .greeted else { return }
    conversations[index].welcome()
    conversations[index].registryVersion = UInt32(truncatingIfNeeded: turn.registryVersion)
    welcome += 1
    endpoint.factsChanged(of: conversations[index].session)
    guard let old = presence.take(conversations[index].device, id(index), worker: worker) else { return }
    if old.worker == worker {
      displace(old.session)
    } else {
      effects.append(.displaced(old.session, worker: old.worker))
    }
  }

  /// Asks a device for sequences that are missing.
  /// - Returns: number of ranges asked for.
  package func ask(_ device: UInt32, _ stream: UInt32, for runs: [StreamMarks.Run]) -> Int {
    var asked = 0
    for (index, conversation) in conversations.enumerated() where conversation.state == .welcome {
      guard conversation.device == device, conversation.known?.stream == stream else { continue }
      ReplyFrames.append(asking: runs, over: .datagram, to: &answer)
      say(index)
      asked += runs.count
    }
    return asked
  }

  /// Moves `answer` to what the conversation will be told at the end of the turn.
  func say(_ index: Int) {
    guard !answer.isEmpty else { return }
    var at = pending(index)
    if answers[at].message.count + answer.count > Limits.datagramBytesMax { at = another(index) }
    answers[at].message += answer
    answer.removeAll(keepingCapacity: true)
  }

  /// - Returns: position of the conversation's answer, which is begun if there is none.
  private func pending(_ index: Int) -> Int {
    let known = Int(conversations[index].pending)
    return known >= 0 ? known : another(index)
  }

  private func another(_ index: Int) -> Int {
    let at = answers.count
    answers.append(Answer(index: index, generation: conversations[index].generation))
    conversations[index].pending = Int32(at)
    return at
  }

  // MARK: - Sending

  /// Seals what there is to say. What is left when `send` wants no more waits for the next turn, and grows by merging only.
  /// - Parameter send: takes a datagram; returns whether another may follow now.
  package func flush<E: Error>(_ turn: Turn, _ send: (Span<UInt8>, PeerAddress) throws(E) -> Bool) throws(E) {
    store(turn)
    var at = 0
    var goesOn = true
    while at < answers.count, goesOn {
      let index = answers[at].index
      if conversations[index].generation == answers[at].generation {
        goesOn = try sendAnswer(at, turn, send)
        if conversations[index].pending == at {
          conversations[index].pending = -1
          if conversations[index].state == .closing { end(index) }
        }
      }
      at += 1
    }
    if at == answers.count {
      answers.removeAll(keepingCapacity: true)
    } else {
      answers.removeFirst(at)
      for (i, answer) in answers.enumerated() where conversations[answer.index].generation == answer.generation {
        conversations[answer.index].pending = Int32(i)
      }
    }
  }

  /// Hands over what handshakes and ended sessions have to say. It may be lost: handshakes send it again.
  package func drain<E: Error>(_ turn: Turn, _ send: (Span<UInt8>, PeerAddress) throws(E) -> Void) throws(E) {
    store(turn)
    guard endpoint.hasOutput else { return }
    _ = try endpoint.drain { (datagram, address) throws(E) in
      try send(datagram, address)
      return true
    }
  }

  /// Seals one conversation's message and ack: together if they fit one datagram.
  private func sendAnswer<E: Error>(
    _ at: Int, _ turn: Turn, _ send: (Span<UInt8>, PeerAddress) throws(E) -> Bool
  ) throws(E) -> Bool {
    let index = answers[at].index
    answer += answers[at].message
    let own = answer.count
    if let ack = answers[at].ack { append(ack, index, turn) }
    defer { answer.removeAll(keepingCapacity: true) }
    let cut = answer.count > Limits.datagramBytesMax ? own : answer.count
    var goesOn = true
    if cut > 0 { goesOn = try seal(0..<cut, index, send) }
    if cut < answer.count { goesOn = try seal(cut..<answer.count, index, send) }
    return goesOn
  }

  /// Seals `answer[part]`. A session whose new address has not been proven enough gets nothing: its device sends again. One
  /// whose record numbers are used up ends: its device makes a new handshake.
  private func seal<E: Error>(
    _ part: Range<Int>, _ index: Int, _ send: (Span<UInt8>, PeerAddress) throws(E) -> Bool
  ) throws(E) -> Bool {
    var count = 0
    let sealed: PeerAddress?
    do throws(DTLSError) {
      sealed = try Conversations.seal(answer, part, for: conversations[index].session, &endpoint, into: &record, &count)
    } catch {
      conversations[index].close()
      return true
    }
    guard let address = sealed else { return true }
    let record = record
    return try send(record.span.extracting(..<count), address)
  }

  private static func seal(
    _ answer: [UInt8], _ part: Range<Int>, for session: UInt64, _ endpoint: inout DTLSEndpoint,
    into record: inout [UInt8], _ count: inout Int
  ) throws(DTLSError) -> PeerAddress? {
    var room = record.mutableSpan
    return try endpoint.seal(answer.span.extracting(part), for: session, into: &room, at: &count)
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
