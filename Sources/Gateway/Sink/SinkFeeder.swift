import GateCore
import GateNet
import GateStore
import Synchronization

/// The thread that carries the journal into the store, at the store's own pace. Whatever happens here, ingest goes on.
final class SinkFeeder {
  struct Settings {
    var batchRows: Int
    var intervalNs: UInt64
  }

  private let settings: Settings
  private let link: SequencerLink
  private let registry: RegistryHolder
  private let log: Log
  private var drain: SinkDrain<SQLiteSink>
  private var lastCommit: Instant
  private var lastSync: Instant
  private var backOffNs: UInt64 = 0

  private static let syncNs: UInt64 = 5_000_000_000
  private static let backOffMinNs: UInt64 = 100_000_000
  private static let backOffMaxNs: UInt64 = 10_000_000_000

  init(
    settings: Settings, link: SequencerLink, registry: RegistryHolder, sink: consuming SQLiteSink,
    reader: consuming JournalReader, cipher: (any SubjectCipher)?, log: @escaping Log
  ) {
    self.settings = settings
    self.link = link
    self.registry = registry
    self.log = log
    lastCommit = SystemClock.now()
    lastSync = lastCommit
    drain = SinkDrain(batchRows: settings.batchRows, sink: sink, reader: reader, cipher: cipher)
    publish()
  }

  /// Runs until told to stop; then everything durable is in the store, unless the store does not take it in a while.
  func run() throws(NetError) {
    var giveUp: Instant?
    while true {
      let now = SystemClock.now()
      if link.isSinkStopping, giveUp == nil { giveUp = now.advanced(byNs: 30_000_000_000) }
      do {
        if try step() { continue }
        if giveUp != nil {
          try sync()
          return
        }
        if now.since(lastSync) >= SinkFeeder.syncNs { try sync() }
        try pause()
      } catch let error as NetError {
        throw error
      } catch {
        if let giveUp, now >= giveUp {
          log(.error, "the store does not take what the journal holds; the next start goes on with it: \(error)")
          return
        }
        try backOff(error)
      }
    }
  }

  /// - Returns: whether there may be more to store at once.
  private func step() throws -> Bool {
    let durable = link.durableLSN.load(ordering: .acquiring)
    let before = drain.progress.cursor
    let hadProblem = drain.progress.problem != nil
    let isFull = try drain.step(upTo: durable, names: registry.snapshot)
    guard drain.progress.cursor > before else { return isFull }
    lastCommit = SystemClock.now()
    backOffNs = 0
    if hadProblem { log(.notice, "the store takes fixes again") }
    publish()
    return isFull
  }

  private func sync() throws {
    lastSync = SystemClock.now()
    try drain.sync()
    publish()
  }

  private func publish() {
    link.sink.withLock { $0 = drain.progress }
  }

  /// Little to do: let an interval's worth gather, then wait until there is something.
  private func pause() throws(NetError) {
    let next = lastCommit.advanced(byNs: settings.intervalNs)
    if SystemClock.now() < next, !link.isSinkStopping { try link.sinkSleeper.sleep(until: next) }
    link.sinkSleeper.prepare()
    if !link.isSinkStopping, link.durableLSN.load(ordering: .acquiring) <= drain.position {
      try link.sinkSleeper.sleep(until: SystemClock.now().advanced(byNs: SinkFeeder.syncNs))
    }
    link.sinkSleeper.awake()
  }

  private func backOff(_ error: any Error) throws(NetError) {
    if drain.progress.problem == nil { log(.error, "the store is behind, fixes stay in the journal: \(error)") }
    drain.failed("\(error)")
    publish()
    backOffNs = min(max(backOffNs * 2, SinkFeeder.backOffMinNs), SinkFeeder.backOffMaxNs)
    let jitter = UInt64.random(in: 0...backOffNs / 4)
    try link.sinkSleeper.sleep(until: SystemClock.now().advanced(byNs: backOffNs + jitter))
  }
}
