import GateCore
import GateProto

/// A connection that asks for a credential: it asks once, hears once, and ends.
extension Worker {
  /// - Parameter range: of the message in `plain`.
  func enrol(_ range: Range<Int>, _ connection: Connection) {
    guard let request = try? Enrol.decode(plain.span, range) else { preconditionFailure("it was read before") }
    connection.isEnrolling = true
    let isTaken = context.enroller.offer(
      Enroller.Request(enrol: request, session: connection.session.id, worker: link))
    if !isTaken { enrolled(connection.session.id, .refused(.busy, retryAfterMs: 5_000)) }
  }

  func enrolled(_ id: SessionID, _ result: EnrolmentAnswer) {
    guard let connection = connection(id), !connection.isClosing else { return }
    switch result {
    case .enrolled(let enrolled):
      ReplyFrames.append(enrolled, to: &answer)
      sendAnswer(connection)
    case .refused(let code, let retryAfterMs):
      link.counters.refuse(code.rawValue)
      // Who guesses codes is a source that fails.
      if code == .unknownCredential { admission.failed(connection.source, at: now) }
      refuse(code, retryAfterMs: retryAfterMs, closing: true, connection)
    }
    close(connection)
  }
}
