import GateCore
import GateMemory
import GateNet
import GateProto
import GateTLS
import Synchronization

/// A worker's part over TCP: bytes in, frames to `Intake`, answers out, one system call a connection and turn.
extension Worker {
  // MARK: - Reading

  /// Reads what has come for a connection; `takeReads` takes it, with that of others. The kernel's code and libcrypto's push each
  /// other out of the caches, so they take turns by the dozen; and meanwhile the CPU fetches what we know of each connection, which
  /// among thousands is cold.
  func read(_ connection: Connection) {
    if let tls = connection.tls { prefetch(tls, bytes: TLSSession.hotBytes) }
    let start = reads.last?.range.upperBound ?? 0
    var filled = start
    do throws(NetError) {
      switch try Worker.fill(&cipher, from: connection, &filled) {
      case .bytes: break
      case .wouldBlock: return
      case .closed:
        end(connection, connection.isEstablished ? nil : "left_before_hello")
        return
      }
    } catch {
      end(connection, "read_failed")
      return
    }
    link.counters.bytesIn.wrappingAdd(UInt64(filled - start), ordering: .relaxed)
    guard let tls = connection.tls else {
      if !connection.isClosing { greet(connection, start..<filled) }
      return
    }
    tls.engine.prefetchKeys()
    reads.append((connection, start..<filled))
    if reads.count == Worker.readsMax || cipher.count - filled < Worker.readBytesMin || !intake.isRoomy { takeReads() }
  }

  /// Takes what was read. One connection's bytes may end another's session.
  func takeReads() {
    for read in reads where self.connection(read.connection.session.id) === read.connection {
      if read.connection.isClosing || read.connection.isEnrolling { continue }
      receive(read.connection, read.range)
    }
    reads.removeAll(keepingCapacity: true)
  }

  private static func fill(
    _ bytes: inout [UInt8], from connection: Connection, _ count: inout Int
  ) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try connection.stream.read(into: &room, at: &count)
  }

  /// The first bytes of a connection: no engine before they are a whole ClientHello.
  private func greet(_ connection: Connection, _ range: Range<Int>) {
    connection.stash.append(contentsOf: cipher[range])
    switch ClientHelloGate.examine(connection.stash.span) {
    case .needMore: account(connection)
    case .refused: end(connection, "not_tls")
    case .clientHello: queue(connection)
    }
  }

  /// Decrypts `cipher[range]` behind the frame that was cut off, and takes all whole frames.
  func receive(_ connection: Connection, _ range: Range<Int>) {
    guard let tls = connection.tls else { return }
    var rest = range
    var start = Worker.plainStart
    for i in connection.session.work.indices { plain[i] = connection.session.work[i] }
    var end = start + connection.stash.count
    for i in connection.stash.indices { plain[start + i] = connection.stash[i] }
    if !connection.stash.isEmpty { connection.stash = [] }
    while true {
      let before = end
      let progress: TLSProgress
      do throws(TLSError) {
        progress = try Worker.decrypt(cipher, rest, with: tls, into: &plain, at: &end)
      } catch {
        link.counters.close(Worker.reason(for: error, isEstablished: connection.isEstablished))
        if !connection.isEstablished { admission.failed(connection.source, at: now) }
        connection.isClosing = true
        markDirty(connection)  // an alert may wait
        return
      }
      if !connection.isEstablished {
        if tls.engine.isEstablished {
          established(connection, tls)
        } else if end > start, !takesEarlyData(connection, tls) {
          return
        }
      }
      let first = start
      guard takeFrames(connection, from: &start, to: end) else { return }
      guard isFruitful(connection, tls, bytes: rest.count, plaintext: end > before, frames: start > first) else {
        self.end(connection, "barren")
        return
      }
      if tls.engine.outputCount > 0 { markDirty(connection) }
      switch progress {
      case .handshaking:
        if start < end { connection.stash = Array(plain[start..<end]) }
        account(connection)
        return
      case .earlyDataEnded(let consumed):
        guard start == end else {
          refuseEarlyData(connection, .malformed)
          return
        }
        rest = rest.lowerBound + consumed..<rest.upperBound
      case .open:
        if start < end { connection.stash = Array(plain[start..<end]) }
        awaitsRest(connection, tls)
        letGo(connection, tls)
        account(connection)
        if connection.isWelcome { connection.deadline = now.advanced(byNs: idleNs) }
        return
      case .plaintextFull(let consumed):
        for i in start..<end { plain[Worker.plainStart + i - start] = plain[i] }
        end = Worker.plainStart + end - start
        start = Worker.plainStart
        rest = rest.lowerBound + consumed..<rest.upperBound
      case .closed:
        tls.engine.close()
        connection.isClosing = true
        markDirty(connection)
        return
      }
    }
  }

  private static func reason(for error: TLSError, isEstablished: Bool) -> String {
    guard isEstablished else { return "handshake_failed" }
    return error == .record(.barren) ? "barren" : "tls_broken"
  }

  private static func decrypt(
    _ cipher: [UInt8], _ range: Range<Int>, with tls: TLSSession, into plain: inout [UInt8], at end: inout Int
  ) throws(TLSError) -> TLSProgress {
    var room = plain.mutableSpan
    return try tls.engine.receive(cipher.span.extracting(range), plaintext: &room, at: &end)
  }

  /// Time without a byte that a session has.
  private var idleNs: UInt64 { UInt64(context.configuration.limits.idleTimeoutS) * 1_000_000_000 }

  private func established(_ connection: Connection, _ tls: TLSSession) {
    connection.isEstablished = true
    connection.session.endEarlyData()
    if tls.engine.earlyData == .rejected { link.counters.earlyDataRejected.wrappingAdd(1, ordering: .relaxed) }
    leaveQueue(connection)
    connection.session.channel = Credentials.channel(tls.engine, context.tls.current.authorities)
    link.counters.handshakes.wrappingAdd(1, ordering: .relaxed)
    if tls.engine.isResumed { link.counters.resumptions.wrappingAdd(1, ordering: .relaxed) }
  }

  /// Takes the whole frames in `plain[start..<end]`; `start` moves on.
  /// - Returns: false if the connection takes no more.
  private func takeFrames(_ connection: Connection, from start: inout Int, to end: Int) -> Bool {
    while start < end {
      let outcome: Intake.Outcome
      do throws(FrameError) {
        guard let frame = try FrameScanner.next(in: plain.span, from: start, to: end) else { return true }
        start = frame.upperBound
        link.counters.frames.wrappingAdd(1, ordering: .relaxed)
        guard intake.hasRoom else {
          // Between two frames of one read the room ran out. The device sends again what is not acked.
          refuseBusy(connection)
          continue
        }
        outcome = intake.take(
          plain.span, frame: frame, session: &connection.session, word: &connection.frameWord, registry: registry,
          at: now, wallMs: wallMs, out: &answer)
      } catch {
        outcome = intake.refuse(error, session: &connection.session, out: &answer)
      }
      switch outcome {
      case .taken: handedOver = true
      case .refused(let code):
        handedOver = true
        link.counters.refuse(code.rawValue)
      case .close(let code):
        link.counters.refuse(code.rawValue)
        if !connection.isWelcome { admission.failed(connection.source, at: now) }
        sendAnswer(connection)
        close(connection)
        return false
      case .enrol(let range):
        sendAnswer(connection)
        enrol(range, connection)
        return false
      }
      if !answer.isEmpty { sendAnswer(connection) }
      if connection.isClosing { return false }
    }
    return true
  }

  private func refuseBusy(_ connection: Connection) {
    link.counters.refuse(RefusalCode.busy.rawValue)
    refuse(.busy, retryAfterMs: 200, closing: false, connection)
  }
  // MARK: - Answers

  func deliver(_ reply: SequencerReply) {
    let slot = Int(reply.session.slot)
    guard slot < connections.count, let connection = connections[slot], connection.session.id == reply.session,
      !connection.isClosing
    else { return }
    if reply.kind == .refusal { link.counters.refuse(UInt16(reply.refusal.rawValue)) }
    if reply.kind == .welcome { giveTicket(connection) }
    if reply.kind == .welcome, !connection.isWelcome {
      connection.isWelcome = true
      connection.deadline = now.advanced(byNs: idleNs)
      link.counters.sessions.wrappingAdd(1, ordering: .relaxed)
      takeOver(connection)
    }
    ReplyFrames.append(
      reply, window: backlogWindow, told: &connection.toldWindow, wallMs: wallMs, over: .stream, to: &answer)
    sendAnswer(connection)
    if reply.kind == .welcome, let tls = connection.tls { letGo(connection, tls) }
  }

  /// A welcomed connection needs libssl no more, once that has said all it has to say.
  private func letGo(_ connection: Connection, _ tls: TLSSession) {
    guard connection.isWelcome, !connection.isClosing else { return }
    // If it cannot be done, libssl goes on.
    _ = try? tls.engine.letGo(to: recordCipher)
  }

  func refuse(_ code: RefusalCode, retryAfterMs: UInt32?, closing: Bool, _ connection: Connection) {
    ReplyFrames.append(code, retryAfterMs: retryAfterMs, closing: closing, over: .stream, to: &answer)
    sendAnswer(connection)
  }

  /// Encrypts `answer`. A device that does not read its answers while more and more of them wait is let go.
  func sendAnswer(_ connection: Connection) {
    defer { answer.removeAll(keepingCapacity: true) }
    guard !answer.isEmpty, let tls = connection.tls else { return }
    do throws(TLSError) {
      try tls.engine.write(answer.span)
    } catch {
      if !connection.isClosing { link.counters.close("slow_reader") }
      connection.isClosing = true
      connection.deadline = min(connection.deadline, now.advanced(byNs: 5_000_000_000))
    }
    markDirty(connection)
  }

  func markDirty(_ connection: Connection) {
    guard !connection.isDirty else { return }
    connection.isDirty = true
    dirty.append(connection)
  }

  /// Sends what waits: one system call a connection, however many answers it got.
  func flush() {
    var i = 0
    while i < dirty.count {
      let connection = dirty[i]
      i += 1
      connection.isDirty = false
      guard connections[Int(connection.session.id.slot)] === connection else { continue }
      flush(connection)
    }
    dirty.removeAll(keepingCapacity: true)
  }

  private func flush(_ connection: Connection) {
    guard let tls = connection.tls else { return }
    var gone = false
    var blocked = false
    var sent = 0
    while !gone, !blocked, tls.engine.outputCount > 0 {
      _ = tls.engine.drain { bytes in
        guard let result = try? connection.stream.write(bytes) else {
          gone = true
          return 0
        }
        switch result {
        case .bytes(let count):
          sent += count
          return count
        case .wouldBlock: blocked = true
        case .closed: gone = true
        }
        return 0
      }
    }
    link.counters.bytesOut.wrappingAdd(UInt64(sent), ordering: .relaxed)
    if gone || (connection.isClosing && !blocked) {
      end(connection, nil)
      return
    }
    guard account(connection) else { return }
    if blocked != connection.isBlocked {
      connection.isBlocked = blocked
      connection.blockedSince = now
      try? poller.modify(connection.stream.descriptor, token: token(connection), for: blocked ? .write : .read)
    }
  }
  // MARK: - Ending

  /// Says close_notify behind what waits, and ends the connection when that is sent.
  func close(_ connection: Connection) {
    connection.isClosing = true
    connection.session.close()
    connection.tls?.engine.close()
    // A device that reads nothing does not keep its place for long.
    connection.deadline = min(connection.deadline, now.advanced(byNs: 5_000_000_000))
    markDirty(connection)
  }

  /// Gives the socket back at once.
  func end(_ connection: Connection, _ reason: String?) {
    let slot = Int(connection.session.id.slot)
    guard connections[slot] === connection else { return }
    if let reason { link.counters.close(reason) }
    if let reason, Admission.failures.contains(reason) { admission.failed(connection.source, at: now) }
    leave(connection)
    try? poller.remove(connection.stream.descriptor)
    connections[slot] = nil
    freeSlots.append(slot)
    open -= 1
    if connection.isWelcome { link.counters.sessions.wrappingSubtract(1, ordering: .relaxed) }
    link.counters.connections.store(open, ordering: .relaxed)
  }
}
