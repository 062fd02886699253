import ArgumentParser
import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateStore
import GateTLS

extension EnrolCommand {
  struct Use: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Enrol as a device would, by a code, and write the bundle that 'send' takes.",
      discussion: """
        Until the bundle is written, OUT.enrolling keeps the random key that makes the request repeatable: after any \
        interruption run the same command again, and no second device comes of it.
        """)

    @Option(help: "The gateway, host:port; its certificate must bear the host's name.")
    var gateway: String

    @Option(help: "Certificates of the authority to check the gateway against, PEM.")
    var ca: String

    @Option(help: "The code, from 'fixgate enrol open'.")
    var code: String

    @Option(help: "Where to write the bundle. It holds the device's secret.")
    var out: String

    @Option(help: "Last part of the device's name, 1 to 32 letters, digits, '.', '_' or '-'. Default: a number.")
    var label: String?

    @Flag(help: "Ask for a pre-shared key of TLS 1.3 instead of a token.")
    var psk = false

    @Option(help: "Seconds after which it gives up.")
    var patience = 60

    func run() throws {
      guard let endpoint = GateDevice.Bundle.Endpoint(gateway) else {
        throw Complaint("'\(gateway)' is not host:port or [address]:port")
      }
      guard EnrolmentCode(code) != nil else {
        throw Complaint("'\(code)' is no code: it has 12 letters and digits, such as 7K3M-9QXA-2BRD")
      }
      try Installation.refuseToOverwrite(out)
      Signals.ignoreWriteSignals()
      let authority: [UInt8]
      do throws(TLSError) { authority = try PEM.read(ca, as: .authority) } catch {
        throw Complaint("\(ca): \(error)")
      }
      let pending = PendingKey(path: out + ".enrolling")
      let request = Enrol(code: code, key: try pending.take(), label: label, kind: psk ? .psk : .token)
      let client = EnrolmentClient(
        gateway: HostPort(host: endpoint.host, port: endpoint.port),
        context: try TLSClientContext(authorityPEM: authority),
        until: SystemClock.now().advanced(byNs: UInt64(max(patience, 1)) * 1_000_000_000))
      let enrolled: Enrolled
      do {
        enrolled = try client.enrol(request)
      } catch let failure as EnrolmentClient.Failure {
        // The same request can never succeed, so its key is of no use.
        if case .refused = failure { pending.remove() }
        throw failure
      }
      var bundle = GateDevice.Bundle(
        gateways: [endpoint], serverName: endpoint.host, tenant: enrolled.tenant, device: enrolled.device, token: [],
        certificates: String(decoding: authority, as: UTF8.self))
      switch enrolled.credential {
      case .token(let token): bundle.token = token
      case .psk(let identity, let secret): bundle.psk = .init(identity: identity, secret: secret)
      }
      try Installation.write(Array(bundle.text.utf8), to: out, mode: 0o600)
      pending.remove()
      print("enrolled as \(enrolled.tenant)/\(enrolled.device); its bundle is \(out)")
    }
  }
}

/// The random key of a request whose answer is not stored yet.
private struct PendingKey {
  let path: String

  func take() throws -> [UInt8] {
    if let bytes = FileManager.default.contents(atPath: path), bytes.count == Enrol.keyBytes { return Array(bytes) }
    remove()
    let key = try randomBytes(Enrol.keyBytes)
    try Installation.write(key, to: path, mode: 0o600)
    return key
  }

  func remove() { try? FileManager.default.removeItem(atPath: path) }
}

/// Asks for a credential, again and again until there is an answer that counts.
private struct EnrolmentClient {
  let gateway: HostPort
  let context: TLSClientContext
  let until: Instant

  enum Failure: Error, CustomStringConvertible {
    case refused(RefusalCode)
    case outOfPatience(last: String)

    var description: String {
      switch self {
      case .refused(.unknownCredential):
        "the gateway does not know this code: check how it is spelt, and that this is the gateway that it is for"
      case .refused(.credentialExpired): "the code is used up, closed or too old: ask for a new one"
      case .refused(.revoked): "this device was enrolled by this code and has been revoked: ask for a new code"
      case .refused(.malformed): "the gateway does not take the label: use 1 to 32 letters, digits, '.', '_' or '-'"
      case .refused(let code): "the gateway refuses for good: \(code)"
      case .outOfPatience(let last): "no answer that counts; run the same command again to go on. Last problem: \(last)"
      }
    }
  }

  private static let restNs: UInt64 = 500_000_000

  func enrol(_ request: Enrol) throws -> Enrolled {
    var problem = "none"
    var waitNs: UInt64 = 0
    while true {
      let now = SystemClock.now()
      guard now.advanced(byNs: waitNs) < until else { throw Failure.outOfPatience(last: problem) }
      Thread.sleep(forTimeInterval: Double(waitNs) / 1e9)
      waitNs = min(max(waitNs * 2, EnrolmentClient.restNs), 16 * EnrolmentClient.restNs)
      do {
        let answer = try ask(request)
        if let enrolled = answer?.enrolled { return enrolled }
        guard let refusal = answer?.refusals.last else {
          problem = "the gateway closed the connection without an answer"
          continue
        }
        guard refusal.retry else { throw Failure.refused(refusal.code) }
        problem = "the gateway refused for now: \(refusal.code)"
        waitNs = max(waitNs, UInt64(refusal.retryAfterMs ?? 0) * 1_000_000)
      } catch let error as NetError {
        problem = "\(error)"
      } catch let error as TLSError {
        switch error {
        case .certificateRefused, .nameMismatch: throw error
        default: problem = "\(error)"
        }
      } catch is ProtoError {
        problem = "the answer cannot be read; this fixgate may be too old for the gateway"
      }
    }
  }

  /// One connection.
  /// - Returns: the first answer; `nil` if the gateway closes without.
  private func ask(_ request: Enrol) throws -> Downlink? {
    let stream = try TCPStream.connect(to: gateway, until: until)
    var engine = try TLSEngine(client: context, serverName: gateway.host)
    var received: [UInt8] = []
    var isSent = false
    var isOpen = true
    while isOpen {
      if engine.isEstablished, !isSent {
        isSent = true
        var frame: [UInt8] = []
        request.append(into: &frame)
        Frame.close(from: 0, in: &frame)
        try engine.write(frame.span)
      }
      try EnrolmentClient.flush(&engine, to: stream, until: until)
      isOpen = try EnrolmentClient.receive(&engine, from: stream, into: &received, until: until)
      let frame = try FrameScanner.next(in: received.span, from: 0, to: received.count)
      if let frame { return try Downlink.decode(received.span, frame) }
    }
    return nil
  }

  /// - Returns: false once the gateway has closed.
  private static func receive(
    _ engine: inout TLSEngine, from stream: borrowing TCPStream, into received: inout [UInt8], until: Instant
  ) throws -> Bool {
    try stream.descriptor.wait(readable: true, writable: false, until: until)
    var cipher = [UInt8](repeating: 0, count: 16_384)
    var count = 0
    switch try read(stream, &cipher, &count) {
    case .wouldBlock: return true
    case .closed: return false
    case .bytes: break
    }
    // More than all that comes out of what was read.
    var plain = [UInt8](repeating: 0, count: 65_536)
    var end = 0
    let progress = try decrypt(&engine, cipher, 0..<count, &plain, &end)
    received += plain[..<end]
    return progress != .closed
  }

  private static func flush(_ engine: inout TLSEngine, to stream: borrowing TCPStream, until: Instant) throws {
    var bytes: [UInt8] = []
    engine.drainOutput(into: &bytes)
    var sent = 0
    while sent < bytes.count {
      switch try stream.write(bytes.span.extracting(sent...)) {
      case .bytes(let count): sent += count
      case .wouldBlock: try stream.descriptor.wait(readable: false, writable: true, until: until)
      case .closed: return
      }
    }
  }

  private static func read(
    _ stream: borrowing TCPStream, _ bytes: inout [UInt8], _ count: inout Int
  ) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try stream.read(into: &room, at: &count)
  }

  private static func decrypt(
    _ engine: inout TLSEngine, _ cipher: [UInt8], _ range: Range<Int>, _ plain: inout [UInt8], _ end: inout Int
  ) throws(TLSError) -> TLSProgress {
    var room = plain.mutableSpan
    return try engine.receive(cipher.span.extracting(range), plaintext: &room, at: &end)
  }
}
