package import GateCore
import GateStore
import GateTLS

/// A worker's part of the session file: sessions over UDP outlive the process.
extension Conversations {
  /// Takes over the sessions that earlier runs have left. Before the first datagram.
  /// - Returns: how many cannot be gone on from: too old, or sealed under another key.
  /// - Throws: `SessionFileError`: stop.
  package func resume(_ registry: RegistrySnapshot, devicesMax: Int) throws -> Int {
    guard let stored else { return 0 }
    var unreadable = 0
    try stored.file.forEach(stored.share.taken) { number, bytes in
      guard let (session, index, facts) = endpoint.restore(bytes, number: number) else {
        unreadable += 1
        return
      }
      // A registry that has lost the device knows nothing of its revocation either, and nothing is left of a handshake by
      // which other authorities could judge its certificate.
      guard facts.device == 0 || registry.knows(device: facts.device), facts.device <= devicesMax,
        facts.credential?.kind != .certificate || facts.authorities == context.authoritiesMark
      else {
        endpoint.close(session)
        return
      }
      resume(session, index, facts)
    }
    return unreadable
  }

  private func resume(_ session: UInt64, _ index: Int, _ facts: SessionFacts) {
    place(at: index) { generation in
      Conversation(session: session, generation: generation, resuming: facts)
        ?? Conversation(session: session, generation: generation, isOfEarlierRun: true)
    }
    if conversations[index].isOpen {
      welcome += 1
      _ = presence.take(facts.device, id(index), worker: worker)
      return
    }
    switch facts.credential {
    case let credential? where facts.device != 0:
      extras[index] = ConversationExtra(
        channel: .session(device: facts.device, by: credential, untilMs: facts.validUntilMs))
    case let credential? where credential.kind == .key:
      extras[index] = ConversationExtra(channel: .key(selector: credential.selector))
    default: break
    }
  }

  /// Puts what is new of the sessions into the file. Before anything leaves that depends on it.
  func store(_ turn: Turn) {
    guard let file = stored?.file else { return }
    if endpoint.isUnsettled { endpoint.settle(through: file.durableTicket) }
    guard endpoint.hasUnstored else { return }
    let failed = endpoint.counters.slotsFailed
    endpoint.store { _, index in
      let conversation = conversations[index]
      let tenant = conversation.known.map { turn.registry.tenant(ofDevice: $0.device) } ?? 0
      return conversation.facts(extras[index], tenant: tenant, authorities: context.authoritiesMark)
    } write: { slot, bytes in
      try? file.write(bytes, slot: slot)
    }
    if failed == 0, endpoint.counters.slotsFailed > 0 { effects.append(.notKept) }
  }

  /// Whether the session has a slot in the file.
  package func isKept(_ session: UInt64) -> Bool { endpoint.isKept(session) }

  /// Before a clean stop: all that was read is noted, so that nothing can be replayed to the next run.
  package func storeAll(_ turn: Turn) {
    endpoint.storeAll()
    store(turn)
  }
}
