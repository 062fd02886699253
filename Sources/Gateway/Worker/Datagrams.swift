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

/// A worker's UDP: its sockets, and the conversations over them. `Worker` acts on it.
final class Datagrams {
  final class Socket {
    var udp: UDPSocket
    init(_ udp: consuming UDPSocket) { self.udp = udp }
  }

  let sockets: [Socket]
  let conversations: Conversations
  /// The socket that takes no more for now; none is read from meanwhile, so that what waits stays bounded.
  var blocked: Int?
  var contextVersion: UInt64
  var received = 0
  /// Datagrams that no socket would take: handshakes' mostly, which are sent again.
  var unsent = 0
  private var told = Status.Datagrams()

  /// Batches of one socket in one turn of the loop.
  static let batchesPerTurn = 8

  init(_ context: DatagramContext, configuration: Configuration, presence: Presence, worker: Int, workers: Int) throws {
    contextVersion = context.contexts.version
    conversations = try Conversations(
      configuration, context: context.contexts.current, cookieKey: context.cookieKey, stored: context.stored,
      presence: presence, worker: worker, workers: workers,
      epochS: SystemClock.wallMs() / 1_000 - Int64(SystemClock.now().ns / 1_000_000_000))
    sockets = context.listeners.map { Socket($0.take()) }
  }

  /// For status. A turn without datagrams takes no lock.
  func tell(_ counters: WorkerCounters) {
    let counts = counts
    guard counts != told else { return }
    told = counts
    counters.datagrams.withLock { $0 = counts }
  }

  private var counts: Status.Datagrams {
    let counters = conversations.counters
    var counts = Status.Datagrams()
    counts.sessions = conversations.sessionCount
    counts.devices = conversations.welcome
    counts.received = received
    counts.records = counters.recordsOpened
    counts.forged = counters.forged
    counts.replayed = counters.replayed
    counts.unknown = counters.unknown
    counts.cookies = counters.cookiesSent
    counts.handshakes = counters.handshakesDone
    counts.handshakes_under_way = conversations.handshakeCount
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
