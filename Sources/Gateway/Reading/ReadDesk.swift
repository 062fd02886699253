import GateCore
import GateNet
import GateStore
import GateTLS
import Synchronization

/// Decides who may read what, and notes it in the audit log before anything is read.
final class ReadDesk: Sendable {
  private let directory: String
  private let storePath: String
  private let keys: SubjectKeyHolder?
  private let subjects: SubjectKeeper?
  private let marks: TenantReader.Marks
  private let places: TenantReader.Places
  private let audit: AuditLog
  private let meters = Mutex(Meters())

  /// Words of the limiters, by who is limited.
  private struct Meters {
    /// Wrong tokens, by user of the operating system.
    var failures = MeterTable<UInt32>(GCRA(perSecond: 1, burst: 20))
    /// Reads, by token: each is an entry of the audit log, which is bounded.
    var reads = MeterTable<Int64>(GCRA(perSecond: 2, burst: 100))
  }

  init(
    directory: String, storePath: String, keys: SubjectKeyHolder?, subjects: SubjectKeeper?,
    marks: @escaping TenantReader.Marks, places: @escaping TenantReader.Places
  ) {
    self.directory = directory
    self.storePath = storePath
    self.keys = keys
    self.subjects = subjects
    self.marks = marks
    self.places = places
    audit = AuditLog(directory)
  }

  private var bookPath: String { directory + "/" + SubjectBook.name }
  private var registryPath: String { directory + "/" + GatewayServer.registryName }

  /// - Parameter user: number of the user at the other end.
  /// - Throws: `ReadProblem` and whatever reading meets; nothing was written then, unless `out` itself has thrown.
  func answer(_ request: ReadRequest, user: UInt32, at now: Instant, into out: ReadOutput) throws {
    let token = try admit(request.token, user, now)
    let kind = request.query.kind
    func refuse(_ words: String) throws -> Never {
      try audit.append(
        AuditEntry(.refused, by: .token(token.number), tenant: token.tenant, about: kind.rawValue, numbers: ["user": Int64(user)]))
      throw ReadProblem(words)
    }
    // Says nothing of whether there is such a tenant.
    guard request.tenant ?? token.tenant == token.tenant else { try refuse("this token is for another tenant") }
    guard token.roles.isSuperset(of: kind.role) else {
      try refuse(
        "this token has the role \(token.roles.names.joined(separator: ", ")), and this takes \(kind.role.names.joined()): "
          + "ask for one that has it")
    }
    let keys = keys
    let reader = TenantReader(
      tenant: token.tenant, storePath: storePath, registryPath: registryPath, bookPath: bookPath,
      cipher: { try keys.map { try RingCipher($0) } }, marks: marks, places: places)
    let device = try request.query.device.map { try reader.index(ofDevice: $0) }
    let subject = try request.query.subject.map { try reader.index(ofSubject: $0) }
    try audit.append(
      AuditEntry(
        kind.action, by: .token(token.number), tenant: token.tenant, subject: subject, device: device,
        numbers: ["user": Int64(user)]))
    if kind == .erase {
      try erase(request.query.target(ofTenant: token.tenant, in: RegistryStore(path: registryPath)), into: out)
    } else {
      try reader.answer(request.query, into: out)
    }
  }

  /// Writes the erasure down; asked for again it is the same one, and tells its receipt once it is done.
  private func erase(_ target: SubjectRange, into out: ReadOutput) throws {
    guard let subjects else { throw ReadProblem(SubjectKeeper.noKeys) }
    let book = try SubjectBook(path: bookPath)
    let number = try book.ask(target, nowMs: SystemClock.wallMs())
    _ = subjects.answer(.subjects)
    let receipt = try book.erasures(tenant: target.tenant).first { $0.number == number }?.receipt
    out.write((receipt ?? "erasure \(number) is under way: ask again for its receipt") + "\n")
    try out.end()
  }

  /// All that is wrong with a token is told in the same words, and takes the same time.
  private func admit(_ text: String, _ user: UInt32, _ now: Instant) throws -> ReadTokenEntry {
    guard meters.withLock({ $0.failures.hasRoom(user, at: now) }) else {
      throw ReadProblem("too many wrong tokens have come from this user of late: try again in a minute")
    }
    let token = ReadToken(text)
    let secret = token?.bytes ?? []
    let digest = Digest.sha256(secret.span)
    let hash = SecretHash(digest.span)
    let entry = try RegistryStore(path: registryPath).readToken(token?.number ?? 0)
    // Compared in any case.
    let fits = entry?.hash ?? SecretHash(InlineArray<32, UInt8>(repeating: 0)) == hash
    guard let entry, fits, token != nil, entry.state(at: SystemClock.wallMs()) == .good else {
      meters.withLock { _ = $0.failures.charge(user, at: now) }
      throw ReadProblem("this token is not good: it is unknown, revoked or too old; ask the operator for a new one")
    }
    guard meters.withLock({ $0.reads.charge(entry.number, at: now) }) else {
      throw ReadProblem("this token has been used too often of late: twice a second is what it may; try again soon")
    }
    return entry
  }
}

/// Limiter words by key, bounded: beyond the bound all others share one.
struct MeterTable<Key: Hashable & Sendable>: Sendable {
  private let rate: GCRA
  private var words: [Key: UInt64] = [:]
  private var others: UInt64 = 0
  private static var keysMax: Int { 1_024 }

  init(_ rate: GCRA) { self.rate = rate }

  /// Whether one more would be granted.
  func hasRoom(_ key: Key, at now: Instant) -> Bool {
    if case .granted = rate.charge(words[key] ?? (isFull ? others : 0), units: 1, at: now) { true } else { false }
  }

  /// - Returns: whether it was granted.
  mutating func charge(_ key: Key, at now: Instant) -> Bool {
    // Who has rested has a full allowance, known or not.
    if isFull, words[key] == nil { words = words.filter { $0.value > now.ns } }
    let isKnown = words[key] != nil || !isFull
    guard case .granted(let word) = rate.charge(isKnown ? words[key] ?? 0 : others, units: 1, at: now) else { return false }
    if isKnown { words[key] = word } else { others = word }
    return true
  }

  private var isFull: Bool { words.count >= Self.keysMax }
}
