import GateCore
import GateNet
import GateTLS
import Synchronization

package enum ReceiveBuffer {
  /// - Parameter granted: `UDPSocket.receiveBufferBytes`, of which half is the system's own.
  /// - Returns: `nil` if it is what was wanted.
  package static func advice(granted: Int, wanted: Int32) -> String? {
    let granted = granted / 2
    guard granted < wanted else { return nil }
    return "the system grants a UDP socket a receive buffer of \(granted) bytes, not \(wanted): bursts may be lost; "
      + "raise it by 'sysctl -w net.core.rmem_max=\(wanted)', or lower dtls.receive_buffer_bytes"
  }
}

/// A worker's sessions over UDP: its sockets, the endpoint that opens and seals for all of them, the conversations by the
/// endpoint's slots, and what is to be said at the end of this turn. `Worker` acts on it.
final class Datagrams {
  final class Socket {
    var udp: UDPSocket
    init(_ udp: consuming UDPSocket) { self.udp = udp }
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

  let sockets: [Socket]
  let stored: StoredSessions?
  var endpoint: DTLSEndpoint
  var conversations: [Conversation] = []
  var extras: [Int: ConversationExtra] = [:]
  /// Conversations whose hello must come in time, oldest first.
  var greetings: [(index: Int, generation: UInt32, until: Instant)] = []
  var answers: [Answer] = []
  /// The socket that takes no more for now; none is read from meanwhile, so that what waits stays bounded.
  var blocked: Int?
  var generation: UInt32 = 0
  var context: DTLSServerContext
  var contextVersion: UInt64
  /// Conversations whose device is known.
  var welcome = 0
  var received = 0
  /// First room for the conversation's default work, then what is decrypted.
  var plain = [UInt8](repeating: 0, count: plainStart + UDPSocket.datagramBytesMax + DTLSHandshake.earlyBytesMax)
  var record = [UInt8](repeating: 0, count: UDPSocket.datagramBytesMax)
  /// Datagrams that no socket would take: handshakes' mostly, which are sent again.
  var unsent = 0
  var nextForgetting = Instant(ns: 0)
  private var told = Status.Datagrams()

  static let plainStart = Limits.workBytesMax
  /// Batches of one socket in one turn of the loop.
  static let batchesPerTurn = 8
  /// Between two looks at all sessions for those that are silent, at most.
  static let forgettingS = 60

  init(
    _ context: DatagramContext, configuration: Configuration, worker: Int, workers: Int
  ) throws {
    let contexts = context.contexts
    contextVersion = contexts.version
    self.context = contexts.current
    stored = context.stored
    let shards = (0...255 as ClosedRange<Int>).filter { $0 % workers == worker }.map { UInt8($0) }
    func share(_ number: Int) -> Int { max((number + workers - 1) / workers, 1) }
    let sessionsMax = stored?.sessionsMax ?? share(configuration.dtls.sessionsMax)
    endpoint = try DTLSEndpoint(
      context: self.context, cookieKey: context.cookieKey, node: configuration.listen.node, shards: shards,
      sessionsMax: min(sessionsMax, Int(SessionID.firstDatagramSlot)),
      handshakesMax: share(configuration.dtls.handshakesMax), shelf: try stored?.makeShelf(),
      epochS: SystemClock.wallMs() / 1_000 - Int64(SystemClock.now().ns / 1_000_000_000))
    sockets = context.listeners.map { Socket($0.take()) }
  }

  func makeRoom(for index: Int) {
    while conversations.count <= index { conversations.append(.vacant) }
  }

  /// For status. A turn without datagrams takes no lock.
  func tell(_ counters: WorkerCounters) {
    let counts = counts
    guard counts != told else { return }
    told = counts
    counters.datagrams.withLock { $0 = counts }
  }

  private var counts: Status.Datagrams {
    let counters = endpoint.counters
    var counts = Status.Datagrams()
    counts.sessions = endpoint.sessionCount
    counts.devices = welcome
    counts.received = received
    counts.records = counters.recordsOpened
    counts.forged = counters.forged
    counts.replayed = counters.replayed
    counts.unknown = counters.unknown
    counts.cookies = counters.cookiesSent
    counts.handshakes = counters.handshakesDone
    counts.handshakes_under_way = endpoint.handshakeCount
    counts.handshakes_failed = counters.handshakesFailed
    counts.handshakes_refused = counters.handshakesRefused
    counts.handshakes_evicted = counters.handshakesEvicted
    counts.sessions_refused = counters.sessionsRefused
    counts.address_changes = counters.addressChanges
    counts.restored = counters.restored
    counts.not_kept = counters.slotsFailed
    for socket in sockets {
      counts.kernel_drops += Int(socket.udp.kernelDrops)
      counts.too_long += socket.udp.truncated
      counts.unsent += socket.udp.unsendable
    }
    counts.unsent += unsent
    return counts
  }
}
