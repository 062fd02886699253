import GateCore
import GateNet
import Synchronization

/// Connections as they come: who is let in gets a socket and an object, and nothing of libssl.
extension Worker {
  func accept(_ index: Int) {
    for _ in 0..<Worker.acceptsPerTurn {
      do throws(NetError) {
        guard let stream = try context.listeners[index].tcp.accept() else { return }
        guard open < context.connectionsMax, !isDraining else {
          link.counters.close("too_many_connections")
          continue
        }
        let source = admission.source(of: stream.peer)
        if let reason = admission.refusal(of: source, at: now) {
          link.counters.close(reason)
          continue
        }
        try admit(stream, source)
      } catch {
        if case .tooManyDescriptors = error { pauseListeners() }
        return
      }
    }
  }

  private func admit(_ stream: consuming TCPStream, _ source: Source?) throws(NetError) {
    let slot = freeSlots.popLast() ?? connections.count
    generation &+= 1
    let connection = Connection(
      stream: stream, id: SessionID(slot: UInt32(slot), generation: generation), source: source,
      deadline: now.advanced(byNs: admission.handshakeTimeoutNs))
    if slot == connections.count { connections.append(connection) } else { connections[slot] = connection }
    // Room for every connection to be dirty at once, so that no fix pays for growth.
    if dirty.capacity < connections.count { dirty.reserveCapacity(2 * connections.count) }
    open += 1
    link.counters.accepted.wrappingAdd(1, ordering: .relaxed)
    link.counters.connections.store(open, ordering: .relaxed)
    do throws(NetError) {
      try poller.add(connection.stream.descriptor, token: token(connection), for: .read)
    } catch {
      end(connection, "no_watch")
      throw error
    }
  }

  func token(_ connection: Connection) -> UInt64 {
    UInt64(connection.session.id.generation) << 32
      | (UInt64(connection.session.id.slot) + Worker.firstConnectionToken)
  }

  /// Out of descriptors: stop accepting until the next sweep, instead of being told of the same connection for ever.
  private func pauseListeners() {
    guard !listenersPaused else { return }
    listenersPaused = true
    for listener in context.listeners { try? poller.remove(listener.tcp.descriptor) }
    context.log(.warning, "out of file descriptors: no connection is accepted for a second; raise 'ulimit -n'")
  }

  func resumeListeners() {
    guard listenersPaused, !isDraining else { return }
    listenersPaused = false
    for (i, listener) in context.listeners.enumerated() {
      try? poller.add(listener.tcp.descriptor, token: UInt64(i + 1), for: .read)
    }
  }
}
