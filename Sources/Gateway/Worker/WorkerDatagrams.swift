import GateCore
import GateNet
import GateStore
import GateTLS
import Synchronization

/// A worker's part over UDP: batches of datagrams between its sockets and `Conversations`.
extension Worker {
  var turn: Conversations.Turn {
    Conversations.Turn(
      now: now, wallMs: wallMs, registry: registry, registryVersion: registryVersion, window: backlogWindow)
  }

  /// Before the first datagram.
  /// - Throws: `SessionFileError`: stop.
  func resumeSessions(_ datagrams: Datagrams) throws {
    let unreadable = try datagrams.conversations.resume(registry, devicesMax: context.configuration.data.devicesMax)
    guard unreadable > 0 else { return }
    context.log(
      .notice, "\(unreadable) sessions over UDP cannot be gone on from: too old, or sealed under another tls.registry_key")
  }

  // MARK: - Receiving

  /// Takes what waits at a socket, as long as the sequencer keeps up.
  /// - Throws: the socket is of no use any more: stop the process.
  func readDatagrams(_ datagrams: Datagrams, from local: Int) throws(NetError) {
    let socket = datagrams.sockets[local]
    let turn = turn
    let handshakes = datagrams.conversations.counters.handshakesStarted
    for _ in 0..<Datagrams.batchesPerTurn where intake.hasRoom && datagrams.blocked == nil {
      let count = try socket.udp.receive { bytes, sender, own in
        take(bytes, from: sender.peer(at: UInt8(local), own: own), sender, turn, datagrams)
      }
      try sendHandshakes(datagrams)
      // Each costs as much as a thousand fixes: the others of this worker are served before the next batch of them.
      if count < UDPSocket.batchMax || datagrams.conversations.counters.handshakesStarted > handshakes { return }
    }
  }

  private func take(
    _ bytes: Span<UInt8>, from peer: PeerAddress, _ sender: SocketAddress, _ turn: Conversations.Turn, _ datagrams: Datagrams
  ) {
    datagrams.received += 1
    link.counters.bytesIn.wrappingAdd(UInt64(bytes.count), ordering: .relaxed)
    let messages = datagrams.conversations.messages
    let hasFailed = datagrams.conversations.receive(bytes, from: peer, turn, &intake) {
      mayBegin(from: sender)
    }
    if hasFailed { admission.failed(admission.source(of: sender), at: now) }
    guard datagrams.conversations.messages != messages else { return }
    link.counters.frames.wrappingAdd(UInt64(datagrams.conversations.messages - messages), ordering: .relaxed)
    handedOver = true
  }

  /// The device receives at its address; whether its handshake may cost something now.
  private func mayBegin(from sender: SocketAddress) -> Bool {
    if let reason = admission.datagramHandshakeRefusal(of: admission.source(of: sender), at: now) {
      link.counters.close(reason)
      return false
    }
    return true
  }

  // MARK: - Sending

  /// Sends what there is to say. What a blocked socket does not take waits for it.
  /// - Throws: a socket is of no use any more: stop the process.
  func flush(_ datagrams: Datagrams) throws(NetError) {
    if datagrams.blocked == nil {
      try datagrams.conversations.flush(turn) { (bytes, address) throws(NetError) in
        try queue(bytes, to: address, datagrams)
        return datagrams.blocked == nil
      }
    }
    try sendHandshakes(datagrams)
    perform(datagrams)
  }

  /// What handshakes and ended sessions have to say. A blocked socket loses it: handshakes send it again.
  private func sendHandshakes(_ datagrams: Datagrams) throws(NetError) {
    try datagrams.conversations.drain(turn) { (bytes, address) throws(NetError) in try queue(bytes, to: address, datagrams) }
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

  private func perform(_ datagrams: Datagrams) {
    datagrams.conversations.takeEffects { effect in
      switch effect {
      case .refused(let code): link.counters.refuse(code)
      case .timedOut: link.counters.close("timed_out")
      case .displaced(let session, let worker): context.peers[worker].send(.displace(session))
      case .notKept:
        context.log(
          .warning, "\(SessionFile.name) cannot be written: some sessions over UDP will end with this process")
      }
    }
  }

  // MARK: - Events and time

  static func token(socket local: Int) -> UInt64 { firstSocketToken + UInt64(local) }

  func handle(_ event: Poller.Event, of datagrams: Datagrams) throws(NetError) {
    let local = Int(event.token - Worker.firstSocketToken)
    if event.writable, datagrams.blocked == local { try unblock(local, datagrams) }
    if event.readable, !isDraining { try readDatagrams(datagrams, from: local) }
  }

  /// Retransmissions of handshakes, and what a reload has brought.
  func advance(_ datagrams: Datagrams) {
    datagrams.conversations.expire(at: now)
    guard let contexts = context.dtls?.contexts, contexts.version != datagrams.contextVersion else { return }
    datagrams.contextVersion = contexts.version
    datagrams.conversations.use(contexts.current)
  }
}
