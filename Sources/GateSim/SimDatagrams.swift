import GateCore
import GateMemory
import GateStore
import GateTLS
import Gateway

/// A worker over UDP without thread and sockets: `Conversations` with its handshakes, records and stored sessions, and
/// `Intake`, are the gateway's own.
final class SimDatagrams: SimPort {
  struct Outgoing {
    var datagram: [UInt8]
    var to: PeerAddress
  }

  let toSequencer = ByteRing(capacity: 1 << 22)
  let toWorker = ByteRing(capacity: 1 << 20)
  var window: UInt32
  private let conversations: Conversations
  private let file: SessionFile
  private let disk: SimDisk
  private let data: SimFolder
  private var intake: Intake
  private var inbox: [(datagram: [UInt8], from: PeerAddress)] = []
  private var nextSweep: Instant
  /// The session file has not been given up.
  private(set) var keepsSessions = true
  /// A slot could not be written; what a crash cuts off does not count.
  private(set) var hasFailedSlots = false

  static let sessionsMax = 64

  /// Takes over the sessions of earlier runs.
  /// - Throws: `SessionFileError`.
  init(
    configuration: Configuration, limiters: LimiterTable, privacy: PrivacyContext, registry: RegistrySnapshot,
    disk: SimDisk, data: SimFolder, reservation: WriteReservation, at now: Instant, wallMs: Int64
  ) throws {
    self.disk = disk
    self.data = data
    var configuration = configuration
    configuration.dtls.sessionsMax = SimDatagrams.sessionsMax
    configuration.dtls.handshakesMax = 16
    let stored = try StoredSessions.open(
      in: Directory(data), registryKey: [UInt8](repeating: 5, count: SessionSeal.keyBytes),
      slotsMax: SimDatagrams.sessionsMax, workers: 1, wallMs: wallMs, reservation: reservation, log: { _, _ in })[0]
    file = stored.file
    // The cookies' key is the same in each life, so that a hello of the one before is proven still.
    conversations = try Conversations(
      configuration, context: SimCredentials.server.get(), cookieKey: [UInt8](repeating: 3, count: CookieGate.keyBytes),
      stored: stored, presence: Presence(devices: World.devicesMax + 1), worker: 0, workers: 1,
      epochS: wallMs / 1_000 - Int64(now.ns / 1_000_000_000))
    intake = Intake(
      settings: Intake.Settings(configuration), ring: toSequencer, limiters: limiters, privacy: privacy,
      unansweredMax: SimWorker.unansweredMax)
    window = UInt32(configuration.limits.backlogWindow)
    nextSweep = now
    _ = try conversations.resume(registry, devicesMax: World.devicesMax)
  }

  var unanswered: Int { intake.unanswered }
  var hasWork: Bool { !inbox.isEmpty || !toWorker.isEmpty }
  /// When a handshake's flight is to be sent again.
  var deadline: Instant? { conversations.deadline }
  var counters: DTLSCounters { conversations.counters }
  var sessionCount: Int { conversations.sessionCount }
  func isKept(_ session: UInt64) -> Bool { conversations.isKept(session) }

  func arrived(_ datagram: [UInt8], from address: PeerAddress) { inbox.append((datagram, address)) }

  /// One turn of the worker's loop. A crash may come in it: what was to leave after that has not left.
  func step(registry: RegistrySnapshot, version: UInt64, at now: Instant, wallMs: Int64) -> [Outgoing] {
    let failedWrites = disk.failedWrites
    let turn = Conversations.Turn(now: now, wallMs: wallMs, registry: registry, registryVersion: version, window: window)
    var outgoing: [Outgoing] = []
    func send(_ datagram: Span<UInt8>, _ address: PeerAddress) {
      if !disk.isDown { outgoing.append(Outgoing(datagram: datagram.indices.map { datagram[$0] }, to: address)) }
    }
    while toWorker.pop({ bytes in
      let reply = SequencerReply(reading: bytes)
      intake.answered(Int(reply.answers))
      conversations.deliver(reply, turn)
    }) {}
    var taken = 0
    while taken < inbox.count, intake.hasRoom {
      let (datagram, address) = inbox[taken]
      taken += 1
      _ = conversations.receive(datagram.span, from: address, turn, &intake) { true }
    }
    inbox.removeFirst(taken)
    conversations.drain(turn, send)
    if now >= nextSweep {
      nextSweep = now.advanced(byNs: 1_000_000_000)
      conversations.sweep(at: now)
    }
    conversations.expire(at: now)
    conversations.flush(turn) { datagram, address in
      send(datagram, address)
      return true
    }
    conversations.drain(turn, send)
    conversations.takeEffects { _ in }
    if disk.failedWrites > failedWrites { hasFailedSlots = true }
    return outgoing
  }

  /// Whether slots wait for the keeper's sync.
  var hasUnsynced: Bool { keepsSessions && !file.isSynced }

  /// One turn of the keeper's loop.
  func keeperStep() {
    guard keepsSessions else { return }
    keepsSessions = SessionKeeper.sync(file, in: { Directory(data) }, log: { _, _ in })
  }
}
