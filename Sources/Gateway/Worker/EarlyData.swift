package import GateCore
import GateMemory
package import GateProto
package import GateTLS
import Synchronization

/// What a ticket of the gateway carries, sealed under its ticket keys: whose session it was, so that early data needs no hello.
///
/// Layout, little endian, 24 bytes: u8 version 1, u8 kind of the credential, u16 zero, u32 device, u32 stream,
/// u32 policy version, u64 selector of the credential.
package struct TicketIdentity: Equatable, Sendable {
  package var credential: CredentialReference
  package var device: UInt32
  package var stream: UInt32
  package var policyVersion: UInt32

  private static let version: UInt8 = 1
  private static let encodedBytes = 24

  /// `nil` for a session that has not said hello.
  package init?(_ session: Session) {
    guard case .open(let identity, let stream) = session.state, let credential = session.credential else { return nil }
    self.credential = credential
    device = identity.device
    self.stream = stream
    policyVersion = session.policyVersion
  }

  /// `nil` for what another version has written.
  package init?(_ bytes: [UInt8]) {
    let span = bytes.span
    guard span.count == TicketIdentity.encodedBytes, span[0] == TicketIdentity.version,
      let kind = CredentialKind(rawValue: span[1])
    else { return nil }
    credential = CredentialReference(kind: kind, selector: span.load64(at: 16))
    device = span.load32(at: 4)
    stream = span.load32(at: 8)
    policyVersion = span.load32(at: 12)
  }

  package var encoded: [UInt8] {
    var bytes = [UInt8](repeating: 0, count: TicketIdentity.encodedBytes)
    var out = bytes.mutableSpan
    out[0] = TicketIdentity.version
    out[1] = credential.kind.rawValue
    out.store(device, at: 4)
    out.store(stream, at: 8)
    out.store(policyVersion, at: 12)
    out.store(credential.selector, at: 16)
    return bytes
  }

  /// What it proves now: its device, if that and the credential are still good.
  package func proof(channel: ChannelProof, registry: RegistrySnapshot, wallMs: Int64) -> Session.Proof {
    let proof = Credentials.prove(credential, channel: channel, registry: registry, wallMs: wallMs)
    if case .device(let identity, _, _) = proof, identity.device != device { return .unknown }
    return proof
  }

  /// Whether early data is to be taken. Where it is not, the handshake goes on without, and hello tells the device why: it
  /// may have a newer credential by now.
  package static func isGood(
    _ carried: [UInt8], _ peer: PeerCertificate?, registry: RegistrySnapshot, wallMs: Int64
  ) -> Bool {
    guard let ticket = TicketIdentity(carried) else { return false }
    let channel = peer.map { ChannelProof.certificate(CertificateClaim($0)) } ?? .none
    guard case .device = ticket.proof(channel: channel, registry: registry, wallMs: wallMs) else { return false }
    return true
  }
}

extension Intake {
  /// Opens the session for early data.
  /// - Returns: why it is refused, or `nil`: then the sequencer owes an answer, a silent one.
  package mutating func takeEarlyData(
    of carried: [UInt8], session: inout Session, registry: RegistrySnapshot, wallMs: Int64
  ) -> RefusalCode? {
    guard let ticket = TicketIdentity(carried) else { return .needHello }
    switch ticket.proof(channel: session.channel, registry: registry, wallMs: wallMs) {
    case .revoked: return .revoked
    case .expired: return .credentialExpired
    case .unknown: return .unknownCredential
    case .device(let identity, let credential, let untilMs):
      guard limiters.covers(device: identity.device, tenant: identity.tenant) else { return .unknownCredential }
      session.takeEarlyData(
        of: identity, stream: ticket.stream, by: credential, untilMs: untilMs, policyVersion: ticket.policyVersion)
      let message = WorkerMessage(kind: .early, session: session.id, device: identity.device, stream: ticket.stream)
      ring.push(atMost: WorkerMessage.headerBytes) { out in
        message.write(into: &out)
        return WorkerMessage.headerBytes
      }
      unanswered += 1
      return nil
    }
  }
}

/// 0-RTT. Whoever replays a device's first flight can do no more than send its fixes once more, which are duplicates: before
/// Finished a connection displaces nothing, has no presence, is charged nothing, and hears of nothing that was there before.
extension Worker {
  /// Plaintext of a connection whose handshake is not done.
  /// - Returns: false if it takes no more.
  func takesEarlyData(_ connection: Connection, _ tls: TLSSession) -> Bool {
    guard connection.session.state == .awaitingHello else { return true }
    guard intake.hasRoom else {
      refuseEarlyData(connection, .busy, retryAfterMs: 200)
      return false
    }
    connection.session.channel = Credentials.channel(tls.engine, context.tls.current.authorities)
    let carried = tls.engine.carried
    if let code = intake.takeEarlyData(of: carried, session: &connection.session, registry: registry, wallMs: wallMs) {
      refuseEarlyData(connection, code)
      return false
    }
    handedOver = true
    link.counters.earlyData.wrappingAdd(1, ordering: .relaxed)
    return true
  }

  /// Early data holds whole frames of fixes; with anything else the connection ends.
  func refuseEarlyData(_ connection: Connection, _ code: RefusalCode, retryAfterMs: UInt32? = nil) {
    link.counters.refuse(code.rawValue)
    if retryAfterMs == nil { admission.failed(connection.source, at: now) }
    refuse(code, retryAfterMs: retryAfterMs, closing: true, connection)
    close(connection)
  }

  /// A welcomed device gets a ticket, each time: the next connection, by the same stream, may begin with its fixes.
  func giveTicket(_ connection: Connection) {
    guard let tls = connection.tls, let ticket = TicketIdentity(connection.session) else { return }
    // If this fails, so does the write of the welcome behind it.
    try? tls.engine.issueTicket(carrying: ticket.encoded)
  }
}
