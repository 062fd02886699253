import GateCore
package import GateMemory
import GateNet
import GateProto
import GateTLS
import Synchronization

/// What a worker shares with the rest of the gateway.
package struct WorkerContext: Sendable {
  package var configuration: Configuration
  package var tls: TLSHolder
  package var registry: RegistryHolder
  package var limiters: LimiterTable
  package var link: WorkerLink
  package var sequencer: SequencerLink
  package var listeners: [Listener]
  /// `nil` = no UDP.
  package var dtls: DatagramContext?
  package var connectionsMax: Int
  /// Which of `peers` this worker is.
  package var index: Int
  package var peers: [WorkerLink]
  package var presence: Presence
  /// A device may have one session over TCP and one over UDP.
  package var datagramPresence: Presence
  package var enroller: Enroller
  package var privacy: PrivacyContext
  package var log: Log
}

/// What a worker needs for UDP.
package struct DatagramContext: Sendable {
  package var contexts: DTLSHolder
  package var listeners: [DatagramListener]
  /// The same for all workers.
  package var cookieKey: [UInt8]
  /// `nil` = sessions end with the process.
  package var stored: StoredSessions?
}

/// One thread: its own epoll, its own listeners and UDP sockets, its connections and conversations. Does nothing but wait,
/// decrypt, hand frames to `Intake`, and send what the sequencer answers.
final class Worker {
  let context: WorkerContext
  let link: WorkerLink
  var poller: Poller
  var admission: Admission
  var intake: Intake
  private(set) var registry: RegistrySnapshot
  private(set) var registryVersion: UInt64
  private let datagrams: Datagrams?
  var connections: [Connection?] = []
  var freeSlots: [Int] = []
  var generation: UInt32 = 0
  var open = 0
  var dirty: [Connection] = []
  var handedOver = false
  var isDraining = false
  var listenersPaused = false
  private var nextSweep: Instant
  /// Events of the last turn.
  private var lastEvents = 0
  var now: Instant
  private(set) var wallMs: Int64

  let recordCipher: ThreadCipher
  /// Ciphertext as it comes from the sockets, of several connections behind each other.
  var cipher = [UInt8](repeating: 0, count: Worker.cipherBytes)
  /// What of it has been read and is to be decrypted.
  var reads: [(connection: Connection, range: Range<Int>)] = []
  /// Plaintext: first room for the session's default work, then the frame cut off by the last read, then what is decrypted.
  var plain = [UInt8](repeating: 0, count: Worker.plainBytes)
  /// Frames to send, before encryption.
  var answer: [UInt8] = []

  static let cipherBytes = 65_536
  /// Least room for a read: a full record.
  static let readBytesMin = 17_408
  /// Connections that are read before the first of them is decrypted.
  static let readsMax = 32
  static let plainStart = Limits.workBytesMax
  static let plainBytes =
    plainStart + Limits.framePrefixBytesMax + Limits.frameBytesMax + cipherBytes
  private static let wakeToken: UInt64 = 0
  static let firstSocketToken: UInt64 = 512
  static let firstConnectionToken: UInt64 = 1_024
  static let acceptsPerTurn = 64
  /// More events than that a turn, and there is no time to nap.
  private static let napEventsMax = 16
  /// What so many events take, and a late timer.
  private static let napLeadNs: UInt64 = 300_000
  private static let napNsMax: UInt64 = 1_000_000
  private static let sweepNs: UInt64 = 1_000_000_000

  init(_ context: WorkerContext) throws {
    precondition(context.listeners.count < Worker.firstSocketToken - 1)
    self.context = context
    link = context.link
    poller = try Poller(capacity: 512)
    intake = Intake(
      settings: Intake.Settings(context.configuration), ring: context.link.toSequencer, limiters: context.limiters,
      privacy: context.privacy)
    registryVersion = context.registry.version
    registry = context.registry.snapshot
    now = SystemClock.now()
    wallMs = SystemClock.wallMs()
    nextSweep = now.advanced(byNs: Worker.sweepNs)
    admission = Admission(
      context.configuration.limits, workers: context.peers.count, seed: UInt64.random(in: .min ... .max))
    recordCipher = try ThreadCipher()
    answer.reserveCapacity(4_096)
    reads.reserveCapacity(Worker.readsMax)
    datagrams = try context.dtls.map { dtls in
      try Datagrams(
        dtls, configuration: context.configuration, presence: context.datagramPresence, worker: context.index,
        workers: context.peers.count)
    }
    try poller.add(link.sleeper.event.descriptor, token: Worker.wakeToken, for: .read)
    for (i, listener) in context.listeners.enumerated() {
      try poller.add(listener.tcp.descriptor, token: UInt64(i + 1), for: .read)
    }
    if let datagrams { try resumeSessions(datagrams) }
    for (i, socket) in (datagrams?.sockets ?? []).enumerated() {
      try poller.add(socket.udp.descriptor, token: Worker.token(socket: i), for: .read)
    }
  }

  /// Runs until drained.
  func run() throws(NetError) {
    while !(isDraining && open == 0 && intake.unanswered == 0) {
      let count = try wait()
      now = SystemClock.now()
      wallMs = SystemClock.wallMs()
      takeReplies()
      takeCommands()
      for i in 0..<count {
        if i + 1 < count { expect(poller.event(at: i + 1)) }
        try handle(poller.event(at: i))
      }
      takeReads()
      flush()
      beginHandshakes()
      if handedOver {
        handedOver = false
        context.sequencer.sleeper.wake(pressing: link.toSequencer.isFilling)
      }
      if now >= nextSweep { sweep() }
      if let datagrams {
        advance(datagrams)
        try flush(datagrams)
        datagrams.tell(link.counters)
      }
      tell()
    }
    datagrams?.conversations.storeAll(turn)
  }

  /// - Returns: number of events.
  private func wait() throws(NetError) -> Int {
    if !intake.hasRoom {
      // The sequencer is behind: read nothing until it has caught up, so that TCP slows the devices down.
      link.sleeper.prepare()
      if link.isQuiet { try link.sleeper.sleep(until: SystemClock.now().advanced(byNs: 20_000_000)) }
      link.sleeper.awake()
      return 0
    }
    try nap()
    link.sleeper.prepare()
    var timeoutNs = link.isQuiet ? max(nextSweep.since(now), 1) : 0
    if let due = admission.handshakes.deadline(at: now) { timeoutNs = min(timeoutNs, due.since(now)) }
    if let due = datagrams?.conversations.deadline { timeoutNs = min(timeoutNs, due.since(now)) }
    let count = try poller.wait(timeoutNs: timeoutNs)
    link.sleeper.awake()
    lastEvents = count
    return count
  }

  /// Where little comes and its acks wait for a commit that is due, what comes until shortly before then may as well wait in the
  /// sockets: it goes with the same commit, and one turn takes all of it. At a light load most wake-ups are saved so.
  private func nap() throws(NetError) {
    guard intake.unanswered > 0, lastEvents <= Worker.napEventsMax, admission.handshakes.isIdle else { return }
    let now = SystemClock.now()
    let due = Instant(ns: context.sequencer.commitDueNs.load(ordering: .relaxed))
    let left = due.since(now)
    guard left >= 2 * Worker.napLeadNs else { return }
    link.sleeper.prepare()
    if link.isQuiet {
      try link.sleeper.sleep(until: now.advanced(byNs: min(left - Worker.napLeadNs, Worker.napNsMax)))
    }
    link.sleeper.awake()
  }

  /// Has the CPU fetch the connection of the next event while the socket of this one is read.
  private func expect(_ event: Poller.Event) {
    guard event.token >= Worker.firstConnectionToken else { return }
    let slot = Int(event.token & 0xFFFF_FFFF) - Int(Worker.firstConnectionToken)
    if slot < connections.count, let connection = connections[slot] { prefetch(connection, bytes: Connection.hotBytes) }
  }

  private func handle(_ event: Poller.Event) throws(NetError) {
    switch event.token {
    case Worker.wakeToken: link.sleeper.event.clear()
    case ..<Worker.firstSocketToken: accept(Int(event.token) - 1)
    case ..<Worker.firstConnectionToken: if let datagrams { try handle(event, of: datagrams) }
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
      if event.readable, !connection.isBlocked, !isDraining, intake.hasRoom { read(connection) }
      if event.hungUp, connection.isBlocked || connection.isClosing { end(connection, nil) }
    }
  }

  /// Fixes of backlog that a device may have unacked now.
  var backlogWindow: UInt32 { context.sequencer.backlogWindow.load(ordering: .relaxed) }

  private func takeReplies() {
    while link.toWorker.pop({ bytes in
      let reply = SequencerReply(reading: bytes)
      intake.answered(Int(reply.answers))
      switch reply.session.transport {
      case .stream: deliver(reply)
      case .datagram: if let datagrams { datagrams.conversations.deliver(reply, turn) }
      }
    }) {}
  }

  // MARK: - Time and commands

  /// Once a second: what has not got further in its time is closed.
  private func sweep() {
    nextSweep = now.advanced(byNs: Worker.sweepNs)
    resumeListeners()
    relieveMemory()
    datagrams?.conversations.sweep(at: now)
    for case let connection? in connections where connection.session.validUntilMs <= wallMs && !connection.isClosing {
      dismiss(connection, .credentialExpired)
    }
    steerAll()
    for case let connection? in connections {
      if let reason = stalled(connection) {
        end(connection, reason)
        continue
      }
      guard connection.deadline <= now else { continue }
      if !connection.isClosing, !connection.isWelcome, !intake.hasRoom || hasAnswered(connection) { continue }
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
        steerAll()
        completion.done()
      case .displace(let id) where id.transport == .datagram: datagrams?.conversations.displace(id)
      case .displace(let id): displace(id)
      case .ask(let device, let stream, let runs, let completion):
        completion.asked.wrappingAdd(ask(device, stream, for: runs), ordering: .relaxed)
        completion.done()
      case .enrolled(let id, let answer): enrolled(id, answer)
      case .drain: drain()
      }
    }
    if isDraining, intake.unanswered == 0 {
      for case let connection? in connections where !connection.isClosing { sayShuttingDown(connection) }
    }
  }

  /// - Returns: number of ranges asked for, over all sessions of the stream.
  private func ask(_ device: UInt32, _ stream: UInt32, for runs: [StreamMarks.Run]) -> Int {
    var asked = datagrams?.conversations.ask(device, stream, for: runs) ?? 0
    for case let connection? in connections where connection.isWelcome && !connection.isClosing {
      guard case .open(let identity, stream) = connection.session.state, identity.device == device else { continue }
      ReplyFrames.append(asking: runs, over: .stream, to: &answer)
      sendAnswer(connection)
      asked += runs.count
    }
    return asked
  }

  /// Tells connected devices over TCP whether they are on duty, when that has changed. Over UDP they hear it when they next talk.
  private func steerAll() {
    for case let connection? in connections where connection.isWelcome && !connection.isClosing {
      intake.steer(connection.session, registry: registry, wallMs: wallMs, into: &answer)
      sendAnswer(connection)
    }
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
    // Sessions over UDP outlive the process: what comes for them waits for the next one.
    for socket in datagrams?.sockets ?? [] { try? poller.remove(socket.udp.descriptor) }
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
