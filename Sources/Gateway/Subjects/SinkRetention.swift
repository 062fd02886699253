import GateCore
import GateNet
import GatePostgres
import GateStore
import Synchronization

/// The thread that keeps retention in the sinks beside the embedded store: one that is away, or has much to delete, holds up
/// nothing but itself.
final class SinkRetention: Sendable {
  /// Relative paths of the configuration start here.
  private let folder: String
  /// The data directory.
  private let directory: String
  private let link: SequencerLink
  private let log: Log
  private let sleeper: Sleeper
  private let stopping = Atomic(false)
  private let wantsRound = Atomic(false)

  private static let roundNs: UInt64 = 3_600_000_000_000
  /// After a round that failed, and between two looks at which sinks there are.
  private static let idleNs: UInt64 = 5_000_000_000
  /// Between two transactions.
  private static let waitNs: UInt64 = 20_000_000

  init(folder: String, directory: String, link: SequencerLink, log: @escaping Log) throws(NetError) {
    self.folder = folder
    self.directory = directory
    self.link = link
    self.log = log
    sleeper = try Sleeper()
  }

  func beginRound() {
    wantsRound.store(true, ordering: .releasing)
    sleeper.event.signal()
  }

  func stop() {
    stopping.store(true, ordering: .releasing)
    sleeper.event.signal()
  }

  func run() throws {
    var nextRounds: [String: Instant] = [:]
    var failing: Set<String> = []
    while !isStopping {
      let isAsked = wantsRound.exchange(false, ordering: .acquiring)
      for sink in link.sinks.withLock({ $0 }).map(\.settings) where sink.type == .postgresql && !isStopping {
        let isDue = nextRounds[sink.name].map { SystemClock.now() >= $0 } ?? true
        guard isAsked || isDue else { continue }
        do {
          try keep(in: sink)
          nextRounds[sink.name] = SystemClock.now().advanced(byNs: SinkRetention.roundNs)
          if failing.remove(sink.name) != nil { log(.notice, "sink \(sink.name): retention has caught up") }
        } catch {
          if isStopping { return }
          nextRounds[sink.name] = SystemClock.now().advanced(byNs: SinkRetention.idleNs)
          if failing.insert(sink.name).inserted {
            log(.error, "sink \(sink.name): retention waits, and is tried again: \(error)")
          }
        }
      }
      if wantsRound.load(ordering: .acquiring) { continue }
      try sleeper.sleep(until: SystemClock.now().advanced(byNs: SinkRetention.idleNs))
    }
  }

  /// One round in one sink.
  private func keep(in sink: SinkSettings) throws {
    #if PostgreSQL
    let rules = try RetentionRule.all(
      try RegistryStore(path: directory + "/" + GatewayServer.registryName),
      try SubjectBook(path: directory + "/" + SubjectBook.name), nowMs: SystemClock.wallMs()
    ).filter { !$0.cut.isEmpty }
    if rules.isEmpty { return }
    let rows = try PostgresSubjectRows(
      PostgresServer(sink, folder: folder), gateway: GatewayIdentity.take(in: Directory(directory)),
      isOver: { [self] in isStopping })
    for rule in rules where !isStopping {
      let changed = try rows.prune(rule, pause: breathe)
      if changed > 0 {
        try AuditLog(directory).append(
          AuditEntry(
            .expired, by: .gateway, about: "rows in \(sink.name)",
            numbers: ["tenant": Int64(rule.cut.tenant), "rows": Int64(changed)]))
      }
    }
    #endif
  }

  /// Lets the sinks have the database between two transactions.
  /// - Returns: false if the gateway stops.
  private func breathe() -> Bool {
    (try? sleeper.sleep(until: SystemClock.now().advanced(byNs: SinkRetention.waitNs))) != nil && !isStopping
  }

  private var isStopping: Bool { stopping.load(ordering: .acquiring) }
}
