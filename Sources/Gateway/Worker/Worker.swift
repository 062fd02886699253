import GateCore
package import GateMemory
package import GateNet
import GateProto
import GateTLS
import Synchronization

/// A listener that a worker's thread takes over.
package final class Listener: Sendable {
  package let tcp: TCPListener
  package init(_ address: SocketAddress) throws(NetError) { tcp = try TCPListener(on: address) }
  package var port: UInt16 { tcp.boundPort }
}

/// What a worker shares with the rest of the gateway.
package struct WorkerContext: Sendable {
  package var configuration: Configuration
  package var tls: TLSHolder
  package var registry: RegistryHolder
  package var limiters: LimiterTable
  package var link: WorkerLink
  package var sequencer: SequencerLink
  package var listeners: [Listener]
  package var connectionsMax: Int
  /// Which of `peers` this worker is.
  package var index: Int
  package var peers: [WorkerLink]
  package var presence: Presence
  package var log: Log
}

/// One thread: its own epoll, its own listeners, its connections. Does nothing but wait, decrypt, hand frames to `Intake`, and
/// send what the sequencer answers.
final class Worker {
  let context: WorkerContext
  let link: WorkerLink
  var poller: Poller
  var admission: Admission
  var intake: Intake
  private(set) var registry: RegistrySnapshot
  private var registryVersion: UInt64
  var connections: [Connection?] = []
  var freeSlots: [Int] = []
  var generation: UInt32 = 0
  var open = 0
  var dirty: [Connection] = []
  /// Messages that the sequencer has not answered yet.
  var unanswered = 0
  var handedOver = false
  var isDraining = false
  var listenersPaused = false
  private var nextSweep: Instant
  var now: Instant
  private(set) var wallMs: Int64

  /// Ciphertext as it comes from a socket.
  var cipher = [UInt8](repeating: 0, count: Worker.cipherBytes)
  /// Plaintext: first room for the session's default work, then the frame cut off by the last read, then what is decrypted.
  private var plain = [UInt8](repeating: 0, count: Worker.plainBytes)
  /// Frames to send, before encryption.
  private var answer: [UInt8] = []

  private static let cipherBytes = 65_536
  private static let plainStart = Limits.workBytesMax
  private static let plainBytes =
    plainStart + Limits.framePrefixBytesMax + Limits.frameBytesMax + cipherBytes
  private static let wakeToken: UInt64 = 0
  static let firstConnectionToken: UInt64 = 1_024
  static let acceptsPerTurn = 64
  private static let sweepNs: UInt64 = 1_000_000_000

  init(_ context: WorkerContext) throws(NetError) {
    precondition(context.listeners.count < Worker.firstConnectionToken - 1)
    self.context = context
    link = context.link
    poller = try Poller(capacity: 512)
    intake = Intake(
      settings: Intake.Settings(context.configuration), ring: context.link.toSequencer, limiters: context.limiters)
    registryVersion = context.registry.version
    registry = context.registry.snapshot
    now = SystemClock.now()
    wallMs = SystemClock.wallMs()
    nextSweep = now.advanced(byNs: Worker.sweepNs)
    admission = Admission(
      context.configuration.limits, workers: context.peers.count, seed: UInt64.random(in: .min ... .max))
    answer.reserveCapacity(4_096)
    try poller.add(link.sleeper.event.descriptor, token: Worker.wakeToken, for: .read)
    for (i, listener) in context.listeners.enumerated() {
      try poller.add(listener.tcp.descriptor, token: UInt64(i + 1), for: .read)
    }
  }

  /// Runs until drained.
  func run() throws(NetError) {
    while !(isDraining && open == 0 && unanswered == 0) {
      let count = try wait()
      now = SystemClock.now()
      wallMs = SystemClock.wallMs()
      takeReplies()
      takeCommands()
      for i in 0..<count { handle(poller.event(at: i)) }
      flush()
      beginHandshakes()
      if handedOver {
        handedOver = false
        context.sequencer.sleeper.wake()
      }
      relieveMemory()
      if now >= nextSweep { sweep() }
      tell()
    }
  }

  /// Whether another frame may be taken: there is room for its records and for the answer.
  var hasRoom: Bool { unanswered < WorkerLink.unansweredMax - 2 && intake.hasRoom }

  /// - Returns: number of events.
  private func wait() throws(NetError) -> Int {
    if !hasRoom {
      // The sequencer is behind: read nothing until it has caught up, so that TCP slows the devices down.
      link.sleeper.prepare()
      if link.isQuiet { try link.sleeper.sleep(until: SystemClock.now().advanced(byNs: 20_000_000)) }
      link.sleeper.awake()
      return 0
    }
    link.sleeper.prepare()
    var timeoutNs = link.isQuiet ? max(nextSweep.since(now), 1) : 0
    if let due = admission.handshakes.deadline(at: now) { timeoutNs = min(timeoutNs, due.since(now)) }
    let count = try poller.wait(timeoutNs: timeoutNs)
    link.sleeper.awake()
    return count
  }

  private func handle(_ event: Poller.Event) {
    switch event.token {
    case Worker.wakeToken: link.sleeper.event.clear()
    case ..<Worker.firstConnectionToken: accept(Int(event.token) - 1)
    default:
      let slot = Int(event.token & 0xFFFF_FFFF) - Int(Worker.firstConnectionToken)
      guard slot < connections.count, let connection = connections[slot],
        connection.session.id.generation == UInt32(event.token >> 32)
      else { return }
      if case .waiting(let isMuted) = connection.handshake {
        hold(connection, event, isMuted: isMuted)
        return
      }
      if event.writable { markDirty(connection) }
      if event.readable, !connection.isBlocked, !isDraining, hasRoom { read(connection) }
      if event.hungUp, connection.isBlocked || connection.isClosing { end(connection, nil) }
    }
  }

  // MARK: - Reading

  private func read(_ connection: Connection) {
    var count = 0
    do throws(NetError) {
      switch try Worker.fill(&cipher, from: connection, &count) {
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
    link.counters.bytesIn.wrappingAdd(UInt64(count), ordering: .relaxed)
    if connection.isClosing { return }
    if connection.tls == nil {
      greet(connection, count)
    } else {
      receive(connection, 0..<count)
    }
  }

  private static func fill(
    _ bytes: inout [UInt8], from connection: Connection, _ count: inout Int
  ) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try connection.stream.read(into: &room, at: &count)
  }

  /// The first bytes of a connection: no engine before they are a whole ClientHello.
  private func greet(_ connection: Connection, _ count: Int) {
    connection.stash.append(contentsOf: cipher[..<count])
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
        link.counters.close(connection.isEstablished ? "tls_broken" : "handshake_failed")
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
        guard hasRoom else {
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
      case .taken(let messages):
        unanswered += messages
        handedOver = true
      case .refused(let code):
        handedOver = true
        link.counters.refuse(code.rawValue)
      case .close(let code):
        link.counters.refuse(code.rawValue)
        if !connection.isWelcome { admission.failed(connection.source, at: now) }
        sendAnswer(connection)
        close(connection)
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

  /// Fixes of backlog that a device may have unacked now.
  private var backlogWindow: UInt32 { context.sequencer.backlogWindow.load(ordering: .relaxed) }

  private func takeReplies() {
    while link.toWorker.pop({ bytes in deliver(SequencerReply(reading: bytes)) }) {}
  }

  private func deliver(_ reply: SequencerReply) {
    unanswered -= Int(reply.answers)
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
      reply, window: backlogWindow, told: &connection.toldWindow, wallMs: wallMs, to: &answer)
    sendAnswer(connection)
  }

  func refuse(_ code: RefusalCode, retryAfterMs: UInt32?, closing: Bool, _ connection: Connection) {
    ReplyFrames.append(code, retryAfterMs: retryAfterMs, closing: closing, to: &answer)
    sendAnswer(connection)
  }

  /// Encrypts `answer`. A device that does not read its answers while more and more of them wait is let go.
  private func sendAnswer(_ connection: Connection) {
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

  /// Once a second: what has not got further in its time is closed.
  private func sweep() {
    nextSweep = now.advanced(byNs: Worker.sweepNs)
    resumeListeners()
    for case let connection? in connections where connection.session.validUntilMs <= wallMs && !connection.isClosing {
      dismiss(connection, .credentialExpired)
    }
    for case let connection? in connections {
      if let reason = stalled(connection) {
        end(connection, reason)
        continue
      }
      guard connection.deadline <= now else { continue }
      if connection.isClosing || connection.tls == nil || !connection.isEstablished {
        end(connection, connection.isClosing ? nil : timeoutReason(connection))
      } else {
        link.counters.close(connection.isWelcome ? "idle" : "timed_out")
        close(connection)
      }
    }
    flush()
  }

  private func takeCommands() {
    for command in link.takeCommands() {
      switch command {
      case .registryChanged(let completion):
        completion.closed.wrappingAdd(closeRevoked(), ordering: .relaxed)
        completion.done()
      case .displace(let id): displace(id)
      case .ask(let device, let stream, let runs, let completion):
        completion.asked.wrappingAdd(ask(device, stream, for: runs), ordering: .relaxed)
        completion.done()
      case .drain: drain()
      }
    }
    if isDraining, unanswered == 0 {
      for case let connection? in connections where !connection.isClosing { sayShuttingDown(connection) }
    }
  }

  /// - Returns: number of ranges asked for, over all sessions of the stream.
  private func ask(_ device: UInt32, _ stream: UInt32, for runs: [StreamMarks.Run]) -> Int {
    var asked = 0
    for case let connection? in connections where connection.isWelcome && !connection.isClosing {
      guard case .open(let identity, stream) = connection.session.state, identity.device == device else { continue }
      ReplyFrames.append(asking: runs, to: &answer)
      sendAnswer(connection)
      asked += runs.count
    }
    return asked
  }

  /// - Returns: number of connections closed.
  private func closeRevoked() -> Int {
    guard context.registry.version != registryVersion else { return 0 }
    registryVersion = context.registry.version
    registry = context.registry.snapshot
    var closed = 0
    let authorities = context.tls.current.authorities
    for case let connection? in connections {
      if let tls = connection.tls, case .certificate = connection.session.channel {
        connection.session.channel = Credentials.channel(tls.engine, authorities)
      }
      guard connection.session.speaker != nil,
        let code = Credentials.dismissal(of: &connection.session, registry: registry, wallMs: wallMs)
      else { continue }
      dismiss(connection, code)
      closed += 1
    }
    return closed
  }

  /// Tells a device that its credential is good no more, and ends its connection.
  private func dismiss(_ connection: Connection, _ code: RefusalCode) {
    link.counters.refuse(code.rawValue)
    refuse(code, retryAfterMs: nil, closing: true, connection)
    close(connection)
  }

  /// Takes no more connections and no more frames; what was taken is answered before the connections end.
  private func drain() {
    isDraining = true
    for listener in context.listeners { try? poller.remove(listener.tcp.descriptor) }
    for case let connection? in connections {
      if connection.isEstablished {
        try? poller.modify(connection.stream.descriptor, token: token(connection), for: [])
      } else {
        end(connection, nil)
      }
    }
  }

  private func sayShuttingDown(_ connection: Connection) {
    refuse(.shuttingDown, retryAfterMs: 1_000, closing: true, connection)
    close(connection)
  }
}
