import GateCore
import GateMemory
import GateProto
import Gateway

/// A worker without thread, poller and TLS: `Intake`, `Session`, the rings and `ReplyFrames` are the gateway's own.
final class SimWorker: SimPort {
  /// What the worker asks of the world.
  enum Action {
    case send(link: Int, [UInt8])
    case close(link: Int)
  }

  private final class Connection {
    let link: Int
    var session: Session
    var stash: [UInt8] = []
    var frameWord: UInt64 = 0
    var isClosing = false
    var toldWindow: UInt32 = 0

    init(link: Int, id: SessionID) {
      self.link = link
      session = Session(id: id)
    }
  }

  let toSequencer = ByteRing(capacity: 1 << 22)
  let toWorker = ByteRing(capacity: 1 << 20)
  var unanswered: Int { intake.unanswered }
  private(set) var refusals: [UInt16: Int] = [:]

  private var intake: Intake
  private var connections: [Connection?] = []
  private var freeSlots: [Int] = []
  private var generation: UInt32 = 0
  private var inbox: [(slot: Int, generation: UInt32, arrival: SimLink.Arrival)] = []
  private var answer: [UInt8] = []
  var window: UInt32

  /// Every one of them has room for its answer and a refusal by name in `toWorker`.
  static let unansweredMax = 512

  init(configuration: Configuration, limiters: LimiterTable, privacy: PrivacyContext) {
    intake = Intake(
      settings: Intake.Settings(configuration), ring: toSequencer, limiters: limiters, privacy: privacy,
      unansweredMax: SimWorker.unansweredMax)
    window = UInt32(configuration.limits.backlogWindow)
    precondition(toWorker.capacity >= 2 * SimWorker.unansweredMax * (SequencerReply.bytesMax + 16))
  }

  var hasWork: Bool { !inbox.isEmpty || !toWorker.isEmpty }

  func accept(link: Int) -> SessionID {
    let slot = freeSlots.popLast() ?? connections.count
    generation &+= 1
    let id = SessionID(slot: UInt32(slot), generation: generation)
    let connection = Connection(link: link, id: id)
    if slot == connections.count { connections.append(connection) } else { connections[slot] = connection }
    return id
  }

  func arrived(_ arrival: SimLink.Arrival, for session: SessionID) {
    inbox.append((Int(session.slot), session.generation, arrival))
  }

  /// One turn of the worker's loop.
  func step(registry: RegistrySnapshot, at now: Instant, wallMs: Int64) -> [Action] {
    var actions: [Action] = []
    while toWorker.pop({ bytes in deliver(SequencerReply(reading: bytes), wallMs: wallMs, &actions) }) {}
    var taken = 0
    while taken < inbox.count, intake.hasRoom {
      let (slot, generation, arrival) = inbox[taken]
      taken += 1
      guard let connection = connections[slot], connection.session.id.generation == generation else { continue }
      switch arrival {
      case .end: end(connection)
      case .bytes(let bytes):
        if !connection.isClosing {
          receive(bytes, connection, registry: registry, at: now, wallMs: wallMs, &actions)
        }
      }
    }
    inbox.removeFirst(taken)
    return actions
  }

  private func receive(
    _ bytes: [UInt8], _ connection: Connection, registry: RegistrySnapshot, at now: Instant, wallMs: Int64,
    _ actions: inout [Action]
  ) {
    // As in a worker's buffer: room for the session's default work, then what the last read cut off.
    var start = Limits.workBytesMax
    var plain = [UInt8](repeating: 0, count: start)
    for i in connection.session.work.indices { plain[i] = connection.session.work[i] }
    plain += connection.stash
    plain += bytes
    connection.stash = []
    while start < plain.count {
      let outcome: Intake.Outcome
      do throws(FrameError) {
        guard let frame = try FrameScanner.next(in: plain.span, from: start, to: plain.count) else { break }
        start = frame.upperBound
        guard intake.hasRoom else {
          ReplyFrames.append(.busy, retryAfterMs: 200, closing: false, over: .stream, to: &answer)
          send(connection, &actions)
          continue
        }
        outcome = intake.take(
          plain.span, frame: frame, session: &connection.session, word: &connection.frameWord, registry: registry,
          at: now, wallMs: wallMs, out: &answer)
      } catch {
        outcome = intake.refuse(error, session: &connection.session, out: &answer)
      }
      send(connection, &actions)
      switch outcome {
      case .taken: break
      case .refused(let code): refusals[code.rawValue, default: 0] += 1
      case .close(let code):
        refusals[code.rawValue, default: 0] += 1
        close(connection, &actions)
        return
      case .enrol: preconditionFailure("simulated devices are enrolled")
      }
    }
    connection.stash = Array(plain[start...])
  }

  private func deliver(_ reply: SequencerReply, wallMs: Int64, _ actions: inout [Action]) {
    intake.answered(Int(reply.answers))
    guard let connection = connections[Int(reply.session.slot)], connection.session.id == reply.session,
      !connection.isClosing
    else { return }
    ReplyFrames.append(reply, window: window, told: &connection.toldWindow, wallMs: wallMs, over: .stream, to: &answer)
    send(connection, &actions)
  }

  private func send(_ connection: Connection, _ actions: inout [Action]) {
    if !answer.isEmpty { actions.append(.send(link: connection.link, answer)) }
    answer.removeAll(keepingCapacity: true)
  }

  /// The registry was swapped: whose device is revoked is out at once.
  func closeRevoked(_ registry: RegistrySnapshot) -> [Action] {
    var actions: [Action] = []
    for case let connection? in connections where !connection.isClosing {
      guard case .open(let identity, _) = connection.session.state, registry.isRevoked(device: identity.device) else {
        continue
      }
      ReplyFrames.append(.revoked, retryAfterMs: nil, closing: true, over: .stream, to: &answer)
      send(connection, &actions)
      close(connection, &actions)
    }
    return actions
  }

  /// A device that reads nothing is let go.
  func drop(_ session: SessionID) {
    if let connection = connections[Int(session.slot)], connection.session.id == session { end(connection) }
  }

  private func close(_ connection: Connection, _ actions: inout [Action]) {
    connection.isClosing = true
    connection.session.close()
    actions.append(.close(link: connection.link))
  }

  private func end(_ connection: Connection) {
    let slot = Int(connection.session.id.slot)
    connections[slot] = nil
    freeSlots.append(slot)
  }
}
