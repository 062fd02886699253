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
  private var sink: SQLiteSink
  private var reader: JournalReader
  private var buffer: [UInt8] = []
  private var progress = SinkProgress()
  /// Fixes read since the last commit.
  private var uncommitted: UInt64 = 0
  private var lastCommit: Instant
  private var lastSync: Instant
  private var backOffNs: UInt64 = 0

  private static let syncNs: UInt64 = 5_000_000_000
  private static let backOffMinNs: UInt64 = 100_000_000
  private static let backOffMaxNs: UInt64 = 10_000_000_000

  init(
    settings: Settings, link: SequencerLink, registry: RegistryHolder, sink: consuming SQLiteSink,
    reader: consuming JournalReader, log: @escaping Log
  ) {
    self.settings = settings
    self.link = link
    self.registry = registry
    self.log = log
    progress.cursor = sink.cursor
    lastCommit = SystemClock.now()
    lastSync = lastCommit
    self.sink = sink
    self.reader = reader
    publish()
  }

  /// Runs until told to stop; then everything durable is in the store, unless the store does not take it in a while.
  func run() throws(NetError) {
    var giveUp: Instant?
    while true {
      let now = SystemClock.now()
      if link.isSinkStopping, giveUp == nil { giveUp = now.advanced(byNs: 30_000_000_000) }
      do {
        let rows = try fill()
        if rows > 0 || uncommitted > 0 { try commit() }
        if rows >= settings.batchRows { continue }
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

  /// Reads durable batches into the sink, about a transaction's worth.
  /// - Returns: number of records.
  private func fill() throws -> Int {
    let durable = link.durableLSN.load(ordering: .acquiring)
    var rows = 0
    while rows < settings.batchRows, reader.position < durable {
      guard let batch = try reader.next(upTo: durable, into: &buffer) else { break }
      uncommitted += SinkFeeder.countFixes(buffer, batch)
      let bytes = buffer
      try sink.write(
        bytes.span, records: batch.records, skip: batch.skip, firstLSN: batch.firstLSN, names: registry.snapshot)
      rows += batch.count - batch.skip
    }
    return rows
  }

  /// Fixes in the batch, counted here and not by the sink, so that the two can be held against each other.
  private static func countFixes(_ bytes: [UInt8], _ batch: JournalBatch) -> UInt64 {
    var count: UInt64 = 0
    var index = 0
    var at = batch.records.lowerBound
    while at + 8 <= batch.records.upperBound, index < batch.count {
      let length = Int(bytes.span.load32(at: at))
      guard length > 0 else { break }
      if index >= batch.skip, bytes[at + 4] != RecordKind.gap.rawValue { count += 1 }
      index += 1
      at += length
    }
    return count
  }

  private func commit() throws {
    let counts = try sink.commit(nextLSN: reader.position)
    lastCommit = SystemClock.now()
    backOffNs = 0
    progress.cursor = sink.cursor
    progress.consumed += uncommitted
    uncommitted = 0
    progress.stored += UInt64(counts.stored)
    progress.alreadyStored += UInt64(counts.alreadyStored)
    progress.held += UInt64(counts.held)
    progress.refused += UInt64(counts.refused)
    progress.setAside += UInt64(counts.setAside)
    progress.gaps += UInt64(counts.gaps)
    if progress.problem != nil { log(.notice, "the store takes fixes again") }
    progress.problem = nil
    publish()
  }

  private func sync() throws {
    lastSync = SystemClock.now()
    guard sink.durableCursor < sink.cursor else { return }
    try sink.makeDurable()
    progress.durableCursor = sink.durableCursor
    publish()
  }

  private func publish() {
    link.sink.withLock { $0 = progress }
  }

  /// Little to do: let an interval's worth gather, then wait until there is something.
  private func pause() throws(NetError) {
    let next = lastCommit.advanced(byNs: settings.intervalNs)
    if SystemClock.now() < next, !link.isSinkStopping { try link.sinkSleeper.sleep(until: next) }
    link.sinkSleeper.prepare()
    if !link.isSinkStopping, link.durableLSN.load(ordering: .acquiring) <= reader.position {
      try link.sinkSleeper.sleep(until: SystemClock.now().advanced(byNs: SinkFeeder.syncNs))
    }
    link.sinkSleeper.awake()
  }

  private func backOff(_ error: any Error) throws(NetError) {
    if progress.problem == nil { log(.error, "the store is behind, fixes stay in the journal: \(error)") }
    progress.failures += 1
    progress.problem = "\(error)"
    publish()
    backOffNs = min(max(backOffNs * 2, SinkFeeder.backOffMinNs), SinkFeeder.backOffMaxNs)
    let jitter = UInt64.random(in: 0...backOffNs / 4)
    try link.sinkSleeper.sleep(until: SystemClock.now().advanced(byNs: backOffNs + jitter))
  }
}
