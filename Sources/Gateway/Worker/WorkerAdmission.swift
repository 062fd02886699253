import GateCore
import GateNet
import GateProto
import GateTLS
import Synchronization

/// What a worker does for those that are not in yet, and with those that hold more than they should.
extension Worker {
  // MARK: - Handshakes

  /// A whole ClientHello is there: it waits for its turn.
  func queue(_ connection: Connection) {
    account(connection)
    let resumes = ClientHelloGate.offersResumption(connection.stash.span)
    if !resumes, let reason = admission.handshakeRefusal(of: connection.source, at: now) {
      end(connection, reason)
      return
    }
    switch admission.handshakes.offer(connection.session.id, resumes: resumes, at: now) {
    case .waits: enqueue(connection)
    case .refused: end(connection, "handshake_queue_full")
    case .displaces(let id):
      enqueue(connection)
      if let other = self.connection(id) { end(other, "handshake_queue_full") }
    }
  }

  /// Its turn comes as fast as this machine can shake hands, so no time runs against the peer.
  private func enqueue(_ connection: Connection) {
    connection.handshake = .waiting(isMuted: false)
    connection.deadline = .never
  }

  /// An event of a connection whose ClientHello waits: nothing is read until its turn comes, or the peer leaves.
  func hold(_ connection: Connection, _ event: Poller.Event, isMuted: Bool) {
    if event.hungUp || event.ended {
      end(connection, "left_before_hello")
    } else if !isMuted {
      connection.handshake = .waiting(isMuted: true)
      try? poller.modify(connection.stream.descriptor, token: token(connection), for: .end)
    }
  }

  /// Begins a few of the handshakes that wait, behind all that the live sessions had to say in this turn.
  func beginHandshakes() {
    guard admission.handshakes.waiting > 0 else { return }
    while intake.hasRoom, let id = admission.handshakes.overdue(at: now) {
      if let connection = connection(id), !hasAnswered(connection) { end(connection, "handshake_slow") }
      admission.handshakes.forget(id)
    }
    var begun = 0
    while begun < Admission.handshakesPerTurn, let id = admission.handshakes.next(at: now) {
      guard let connection = connection(id) else {
        admission.handshakes.forget(id)
        continue
      }
      let mayYield = !ClientHelloGate.offersResumption(connection.stash.span)
      if mayYield, admission.isSuspect(connection.source, at: now), admission.handshakes.demote(id, at: now) {
        // Behind all others its turn may never come.
        connection.deadline = now.advanced(byNs: admission.handshakeTimeoutNs)
        continue
      }
      begun += 1
      begin(connection)
    }
    flush()
  }

  private func begin(_ connection: Connection) {
    if case .waiting(isMuted: true) = connection.handshake {
      try? poller.modify(connection.stream.descriptor, token: token(connection), for: .read)
    }
    let resumes = ClientHelloGate.offersResumption(connection.stash.span)
    connection.handshake = .underWay(resumes: resumes)
    connection.deadline = now.advanced(byNs: admission.handshakeTimeoutNs)
    let tls: TLSSession
    do throws(TLSError) {
      tls = try TLSSession(context.tls.current)
    } catch {
      context.log(.error, "TLS: \(error)")
      end(connection, "tls_failed")
      return
    }
    connection.tls = tls
    let total = connection.stash.count
    for i in 0..<total { cipher[i] = connection.stash[i] }
    connection.stash = []
    receive(connection, 0..<total)
    account(connection)
    if tls.engine.isResumed {
      admission.handshakes.proved(connection.session.id, at: now)
    } else if resumes {
      admission.handshakes.wasFull(at: now)
      _ = admission.handshakeRefusal(of: connection.source, at: now)
    }
  }

  /// Neither waits nor counts as half-open any more.
  func leaveQueue(_ connection: Connection) {
    if case .outside = connection.handshake { return }
    connection.handshake = .outside
    admission.handshakes.forget(connection.session.id)
  }

  func connection(_ id: SessionID) -> Connection? {
    let slot = Int(id.slot)
    guard slot < connections.count, let connection = connections[slot], connection.session.id == id else { return nil }
    return connection
  }

  // MARK: - Time

  /// Notes whether bytes that came led anywhere.
  /// - Returns: false if the peer has sent too much that did not: key updates, empty records.
  func isFruitful(_ connection: Connection, _ tls: TLSSession, bytes: Int, plaintext: Bool, frames: Bool) -> Bool {
    guard connection.isEstablished else { return true }
    connection.barrenBytes = plaintext ? 0 : connection.barrenBytes + bytes
    if frames { connection.frameSince = nil }
    return connection.barrenBytes <= Limits.barrenBytesMax
  }

  /// A frame, or a record of one, is there in part.
  func awaitsRest(_ connection: Connection, _ tls: TLSSession) {
    guard !connection.stash.isEmpty || tls.engine.hasPartialRecord else {
      connection.frameSince = nil
      return
    }
    if connection.frameSince == nil { connection.frameSince = now }
  }

  /// - Returns: why a connection that stands still is closed.
  func stalled(_ connection: Connection) -> String? {
    if connection.isClosing { return nil }
    if connection.isBlocked, now.since(connection.blockedSince) >= admission.writeTimeoutNs { return "slow_reader" }
    if intake.hasRoom, let since = connection.frameSince, now.since(since) >= admission.frameTimeoutNs { return "slow_writer" }
    return nil
  }

  /// Reads what has come before a peer's time is up for good: it is judged by what it has not sent, never by what was not read
  /// or not answered here.
  /// - Returns: false if it has not got further, and is to be closed.
  func hasAnswered(_ connection: Connection) -> Bool {
    if case .waiting = connection.handshake { return false }
    let wasEstablished = connection.isEstablished
    read(connection)
    takeReads()
    guard self.connection(connection.session.id) != nil, !connection.isClosing else { return true }
    if case .open = connection.session.state { return true }
    return connection.isEstablished && !wasEstablished
  }

  func timeoutReason(_ connection: Connection) -> String {
    if case .waiting = connection.handshake { return "handshake_wait" }
    return "timed_out"
  }

  // MARK: - Memory

  /// Brings the worker's count of buffered bytes up to date with this connection. Who would break the bound is closed.
  /// - Returns: false if it was closed.
  @discardableResult func account(_ connection: Connection) -> Bool {
    let bytes = connection.stash.count + (connection.tls?.engine.bufferedBytes ?? 0)
    admission.bufferedBytes += bytes - connection.bufferedBytes
    connection.bufferedBytes = bytes
    if admission.bufferedBytes > admission.bufferedBytesMax {
      end(connection, "memory")
      return false
    }
    return true
  }

  /// At the high-water mark: closes those that hold the most, slow readers before slow writers, down to the low-water mark.
  /// Once a second, so that a peak may pass; what would break the bound meanwhile is closed by `account`.
  func relieveMemory() {
    guard admission.bufferedBytes >= admission.bufferedBytesHigh else { return }
    let holders = connections.compactMap { $0 }.filter { $0.bufferedBytes > 0 }.sorted {
      ($0.isBlocked ? 1 : 0, $0.bufferedBytes) > ($1.isBlocked ? 1 : 0, $1.bufferedBytes)
    }
    for connection in holders {
      guard admission.bufferedBytes > admission.bufferedBytesLow else { break }
      end(connection, "memory")
    }
  }

  /// For status.
  func tell() {
    link.counters.handshakesWaiting.store(admission.handshakes.waiting, ordering: .relaxed)
    link.counters.handshakesUnderWay.store(admission.handshakes.halfOpen, ordering: .relaxed)
    link.counters.bufferedBytes.store(admission.bufferedBytes, ordering: .relaxed)
    link.counters.unknownFields.store(intake.unknownFields, ordering: .relaxed)
  }

  // MARK: - One session a device

  /// The device was welcomed here: an older connection of its, on any worker, ends.
  func takeOver(_ connection: Connection) {
    guard case .open(let identity, _) = connection.session.state else { return }
    connection.device = identity.device
    guard
      let old = context.presence.take(identity.device, connection.session.id, worker: context.index)
    else { return }
    if old.worker == context.index {
      displace(old.session)
    } else {
      context.peers[old.worker].send(.displace(old.session))
    }
  }

  /// A device that is alive on both learns that it should stay with the newer.
  func displace(_ id: SessionID) {
    guard let connection = connection(id), !connection.isClosing else { return }
    link.counters.close("displaced")
    refuse(.busy, retryAfterMs: 30_000, closing: true, connection)
    close(connection)
  }

  /// Gives back all that the connection holds of what is shared.
  func leave(_ connection: Connection) {
    leaveQueue(connection)
    admission.ended(connection.source)
    admission.bufferedBytes -= connection.bufferedBytes
    connection.bufferedBytes = 0
    if let device = connection.device {
      context.presence.leave(device, connection.session.id, worker: context.index)
    }
  }
}
