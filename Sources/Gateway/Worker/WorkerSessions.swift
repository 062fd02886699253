import GateCore
import GateStore
import GateTLS

/// A worker's part of the session file: sessions over UDP outlive the process.
extension Worker {
  /// Takes over the sessions that earlier runs have left. Before the first datagram.
  /// - Throws: `SessionFileError`: stop.
  func resumeSessions(_ datagrams: Datagrams) throws {
    guard let stored = datagrams.stored else { return }
    var unreadable = 0
    try stored.file.forEach(stored.share.taken) { number, bytes in
      guard let (session, index, facts) = datagrams.endpoint.restore(bytes, number: number) else {
        unreadable += 1
        return
      }
      resume(session, index, facts, datagrams)
    }
    if unreadable > 0 {
      context.log(
        .notice, "\(unreadable) sessions over UDP cannot be gone on from: too old, or sealed under another tls.registry_key")
    }
  }

  private func resume(_ session: UInt64, _ index: Int, _ facts: SessionFacts, _ datagrams: Datagrams) {
    datagrams.makeRoom(for: index)
    datagrams.generation &+= 1
    let generation = datagrams.generation
    // A registry that has lost the device knows nothing of its revocation either, and nothing is left of a handshake by which
    // other authorities could judge its certificate.
    guard facts.device == 0 || registry.knows(device: facts.device), facts.device <= context.configuration.data.devicesMax,
      facts.credential?.kind != .certificate || facts.authorities == datagrams.context.authoritiesMark
    else {
      datagrams.endpoint.close(session)
      return
    }
    if let conversation = Conversation(session: session, generation: generation, resuming: facts) {
      datagrams.conversations[index] = conversation
      datagrams.welcome += 1
      _ = context.datagramPresence.take(
        facts.device, SessionID(datagramIndex: index, generation: generation), worker: context.index)
      return
    }
    datagrams.conversations[index] = Conversation(session: session, generation: generation)
    switch facts.credential {
    case let credential? where facts.device != 0:
      datagrams.extras[index] = ConversationExtra(
        channel: .session(device: facts.device, by: credential, untilMs: facts.validUntilMs))
    case let credential? where credential.kind == .key:
      datagrams.extras[index] = ConversationExtra(channel: .key(selector: credential.selector))
    default: break
    }
  }

  /// Puts what is new of the sessions into the file. Before anything leaves that depends on it.
  func keepSessions(_ datagrams: Datagrams) {
    guard let file = datagrams.stored?.file else { return }
    if datagrams.endpoint.isUnsettled { datagrams.endpoint.settle(through: file.durableTicket) }
    guard datagrams.endpoint.hasUnstored else { return }
    let failed = datagrams.endpoint.counters.slotsFailed
    datagrams.endpoint.store { _, index in
      let conversation = datagrams.conversations[index]
      let tenant = conversation.known.map { registry.tenant(ofDevice: $0.device) } ?? 0
      return conversation.facts(
        datagrams.extras[index], tenant: tenant, authorities: datagrams.context.authoritiesMark)
    } write: { slot, bytes in
      try? file.write(bytes, slot: slot)
    }
    if failed == 0, datagrams.endpoint.counters.slotsFailed > 0 {
      context.log(
        .warning, "\(SessionFile.name) cannot be written: some sessions over UDP will end with this process")
    }
  }
}
