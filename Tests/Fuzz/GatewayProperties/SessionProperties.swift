import GateCore
import GateMemory
import GateProto
import GateTLS
import Gateway

/// What must hold whatever a device sends behind TLS or DTLS: the worker's path from bytes to the sequencer's ring. Traps where it does
/// not: for the fuzzer, and for the replay of what it found.
package enum SessionProperties {
  /// The token of the one device there is; the fuzzer finds it in the corpus.
  package static let token = [UInt8](repeating: 0x41, count: 32)
  private static let nowMs: Int64 = 1_777_886_100_000

  private static let registry: RegistrySnapshot = {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "demo")
    builder.addDevice(1, tenant: 1, subject: 0, externalID: "one", revoked: false)
    let selector: UInt64 = 0x4141_4141_4141_4141
    builder.addToken(selector: selector, hash: SecretHash(Digest.sha256(token.span).span), device: 1, revoked: false)
    return RegistrySnapshot(builder, generation: 1)
  }()

  /// - Parameter bytes: the first says whether the session is open already (bit 0) and over UDP (bit 1); then the stream of
  ///   frames, whose payloads stand for messages over UDP.
  package static func check(_ bytes: [UInt8]) {
    let configuration = Configuration()
    let ring = ByteRing(capacity: 1 << 22)
    let limiters = LimiterTable(settings: configuration.limits.table, devices: 4, tenants: 4)
    var intake = Intake(
      settings: Intake.Settings(configuration), ring: ring, limiters: limiters,
      privacy: PrivacyContext(devices: 4, tenants: 4))
    let transport: Transport = (bytes.first ?? 0) & 2 == 0 ? .stream : .datagram
    var session = Session(id: SessionID(slot: 1, generation: 1), transport: transport)
    var word: UInt64 = 0
    let now = Instant(ns: 1_000_000_000)
    var stream = bytes.dropFirst()
    if let first = bytes.first, first & 1 == 1 {
      var hello: [UInt8] = []
      Hello(token: token, stream: 7, nextSequence: 1).append(into: &hello)
      var framed: [UInt8] = []
      Frame.append(hello, into: &framed)
      stream = framed + stream
    }
    var buffer = [UInt8](repeating: 0, count: Limits.workBytesMax) + stream
    var start = Limits.workBytesMax
    var out: [UInt8] = []
    while true {
      for i in session.work.indices { buffer[i] = session.work[i] }
      let outcome: Intake.Outcome
      do throws(FrameError) {
        guard let frame = try FrameScanner.next(in: buffer.span, from: start, to: buffer.count) else { break }
        start = frame.upperBound
        outcome =
          transport == .datagram && frame.count > Limits.datagramBytesMax
          ? intake.refuse(tooLarge: &session, out: &out)
          : intake.take(
            buffer.span, frame: frame, session: &session, word: &word, registry: registry, at: now, wallMs: nowMs, out: &out)
      } catch {
        outcome = intake.refuse(error, session: &session, out: &out)
      }
      let answerable = drain(ring)
      let refusals = refusals(in: out, over: transport)
      out = []
      switch outcome {
      case .taken(let unanswered): precondition(answerable == unanswered)
      case .refused(let code): precondition(answerable == 0 && refusals.contains(code))
      case .close(let code):
        // Nothing was handed over by the frame that closes, so that nobody waits for an answer.
        precondition(answerable == 0 && refusals.last == code)
        return
      case .enrol:
        precondition(answerable == 0 && refusals.isEmpty && session.state == .closing)
        return
      }
    }
  }

  /// Takes what the frame brought into the ring and reads all of it as the sequencer would.
  /// - Returns: messages that the sequencer will answer.
  private static func drain(_ ring: ByteRing) -> Int {
    var answerable = 0
    while ring.pop({ message in
      let header = WorkerMessage(reading: message)
      precondition(header.device == 1)
      if header.kind != .limited { answerable += 1 }
      guard header.kind == .records else { return }
      var at = WorkerMessage.headerBytes
      var fixes: UInt32 = 0
      while at < message.count {
        guard let (record, end) = try? Record.read(message, at: at) else { preconditionFailure("no record") }
        precondition(end > at && end - at <= Limits.recordBytesMax && record.tenant == 1 && record.device == 1)
        if record.kind == .fix { check(record.fix) }
        if record.kind != .gap { fixes += 1 }
        at = end
      }
      precondition(at == message.count && fixes == header.count)
    }) {}
    return answerable
  }

  private static func check(_ fix: Fix) {
    precondition(fix.sequence >= 1 && fix.sequence <= Limits.sequenceMax)
  }

  /// What the device is told must be frames that it can read; over UDP one message, and not too long.
  private static func refusals(in out: [UInt8], over transport: Transport) -> [RefusalCode] {
    if transport == .datagram {
      guard out.count <= Limits.datagramBytesMax, let downlink = try? Downlink.decode(out.span, 0..<out.count) else {
        preconditionFailure("an answer that is no message")
      }
      return downlink.refusals.map(\.code)
    }
    var codes: [RefusalCode] = []
    var at = 0
    while at < out.count {
      guard let frame = try? FrameScanner.next(in: out.span, from: at, to: out.count),
        let downlink = try? Downlink.decode(out.span, frame)
      else { preconditionFailure("an answer that is no frame") }
      codes += downlink.refusals.map(\.code)
      at = frame.upperBound
    }
    return codes
  }
}
