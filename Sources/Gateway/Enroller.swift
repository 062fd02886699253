package import GateCore
package import GateNet
package import GateProto
import GateStore
import GateTLS
import Synchronization

/// What became of a request for enrolment.
package enum EnrolmentAnswer: Sendable {
  /// Durable, and known to all workers.
  case enrolled(Enrolled)
  /// `retryAfterMs`: the same may succeed later.
  case refused(RefusalCode, retryAfterMs: UInt32? = nil)
}

/// The thread that enrols devices by their codes: it writes the registry, which no worker does, and answers through the worker
/// that holds the connection.
package final class Enroller: Sendable {
  package struct Request: Sendable {
    package var enrol: Enrol
    package var session: SessionID
    package var worker: WorkerLink
  }

  private let directory: String
  private let registryKeyPath: String
  private let devicesMax: Int
  private let wrongCodes: GCRA
  private let reloader: Reloader
  private let log: Log
  private let event: EventFD
  private let queue = Mutex<(waiting: [Request], isStopping: Bool)>(([], false))

  private static let retryMs: UInt32 = 5_000
  private static let wrongRetryMs: UInt32 = 60_000

  package init(
    configuration: Configuration, folder: String, directory: String, reloader: Reloader, log: @escaping Log
  ) throws(NetError) {
    self.directory = directory
    let path = configuration.tls.registryKey
    registryKeyPath = path.hasPrefix("/") ? path : folder + "/" + path
    devicesMax = configuration.data.devicesMax
    wrongCodes = configuration.limits.wrongCodes.gcra
    self.reloader = reloader
    self.log = log
    event = try EventFD()
  }

  /// Takes a request, to be answered by `WorkerCommand.enrolled`.
  /// - Returns: false if too many wait.
  package func offer(_ request: Request) -> Bool {
    let isTaken = queue.withLock { queue in
      guard !queue.isStopping, queue.waiting.count < Limits.enrolmentsWaitingMax else { return false }
      queue.waiting.append(request)
      return true
    }
    if isTaken { event.signal() }
    return isTaken
  }

  /// Takes nothing more. What was taken is answered before `run` returns.
  package func stop() {
    queue.withLock { $0.isStopping = true }
    event.signal()
  }

  package func run() throws(NetError) {
    var wrongWord: UInt64 = 0
    while true {
      let (requests, isStopping) = queue.withLock { queue in
        defer { queue.waiting = [] }
        return queue
      }
      if requests.isEmpty {
        if isStopping { return }
        do throws(NetError) {
          try event.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: 60_000_000_000))
        } catch .timedOut {}
        event.clear()
        continue
      }
      let answers = answers(to: requests, &wrongWord)
      for (request, answer) in zip(requests, answers) { request.worker.send(.enrolled(request.session, answer)) }
    }
  }

  private func answers(to requests: [Request], _ wrongWord: inout UInt64) -> [EnrolmentAnswer] {
    let later = EnrolmentAnswer.refused(.storageUnavailable, retryAfterMs: Enroller.retryMs)
    var answers: [EnrolmentAnswer] = []
    do {
      let store = try RegistryStore(path: directory + "/" + GatewayServer.registryName)
      for request in requests { answers.append(answer(request.enrol, store, &wrongWord)) }
    } catch {
      log(.error, "nobody can enrol: \(error)")
      return requests.map { _ in later }
    }
    let enrolled = answers.count { if case .enrolled = $0 { true } else { false } }
    guard enrolled > 0 else { return answers }
    // What the workers do not know yet would be refused if the device came at once.
    if let problem = reloader.reloadRegistry().problem {
      log(.error, "devices have enrolled that the gateway does not know yet: \(problem)")
      return answers.map { if case .enrolled = $0 { later } else { $0 } }
    }
    log(.notice, "devices enrolled by code: \(enrolled)")
    return answers
  }

  private func answer(
    _ enrol: Enrol, _ store: borrowing RegistryStore, _ wrongWord: inout UInt64
  ) -> EnrolmentAnswer {
    guard case .granted(let word) = wrongCodes.charge(wrongWord, units: 1, at: SystemClock.now()) else {
      return .refused(.busy, retryAfterMs: Enroller.wrongRetryMs)
    }
    guard let code = EnrolmentCode(enrol.code) else {
      wrongWord = word
      return .refused(.unknownCredential)
    }
    do {
      return .enrolled(try self.enrol(enrol, code, store))
    } catch let error as RegistryError {
      switch error {
      case .unknownCode:
        wrongWord = word
        return .refused(.unknownCredential)
      case .codeEnded: return .refused(.credentialExpired)
      case .deviceRevoked: return .refused(.revoked)
      case .invalidName: return .refused(.malformed)
      default:
        log(.error, "a device could not enrol: \(error)")
        return .refused(.storageUnavailable, retryAfterMs: Enroller.wrongRetryMs)
      }
    } catch {
      log(.error, "a device could not enrol: \(error)")
      return .refused(.storageUnavailable, retryAfterMs: Enroller.wrongRetryMs)
    }
  }

  private func enrol(
    _ enrol: Enrol, _ code: EnrolmentCode, _ store: borrowing RegistryStore
  ) throws -> Enrolled {
    let nowMs = SystemClock.wallMs()
    let request = EnrolmentRequest(
      code: SecretHash(Digest.sha256(code.bytes.span).span), key: SecretHash(Digest.sha256(enrol.key.span).span),
      label: enrol.label)
    return try store.together {
      // The code first: without a good one nothing is made, and nothing can fail that the log would tell of.
      let place = try store.admit(request, devicesMax: devicesMax, nowMs: nowMs)
      let credential: NewCredential
      let secret: Enrolled.Credential
      switch enrol.kind {
      case .token:
        let made = try Credentials.make()
        credential = .token(selector: made.selector, hash: made.hash)
        secret = .token(made.token)
      case .psk:
        // Read within the transaction: see `RegistryKeys`.
        let made = try Credentials.makeKey(sealedUnder: try RegistryKeys.read(registryKeyPath))
        credential = made.credential
        secret = .psk(identity: String(decoding: made.key.identity, as: UTF8.self), secret: made.key.secret)
      }
      try store.give(credential, to: place, nowMs: nowMs)
      let device = try store.device(tenant: place.tenant, id: place.id)
      try AuditLog(directory).append(
        AuditEntry(.added, by: .gateway, tenant: place.tenant, device: device, about: "device by code"), timeMs: nowMs)
      return Enrolled(tenant: place.tenant, device: place.id, credential: secret)
    }
  }
}
