import GateCore
import GateNet
import GateStore
import Synchronization

/// The thread that carries the journal into one sink, at the sink's own pace. Whatever happens here, ingest goes on.
final class SinkFeeder<Sink: FixSink & ~Copyable> {
  private let link: SinkLink
  private let sequencer: SequencerLink
  private let registry: RegistryHolder
  private let journalPath: String
  private let batchRows: Int
  private let intervalNs: UInt64
  /// Opens what was sealed.
  private let cipher: (any SubjectCipher)?
  private let open: () throws -> Sink
  /// Called now and then with the durable cursor, once it has moved.
  private let keep: (UInt64) -> Void
  private var kept: UInt64 = 0
  private let log: Log
  private var lastCommit = SystemClock.now()
  private var lastSync = SystemClock.now()
  private var backOffNs: UInt64 = 0

  private static var syncNs: UInt64 { 5_000_000_000 }
  private static var backOffMinNs: UInt64 { 100_000_000 }
  private static var backOffMaxNs: UInt64 { 10_000_000_000 }

  init(
    link: SinkLink, sequencer: SequencerLink, registry: RegistryHolder, journalPath: String, batchRows: Int,
    intervalMs: Int, cipher: (any SubjectCipher)?, log: @escaping Log, keep: @escaping (UInt64) -> Void = { _ in }, open: @escaping () throws -> Sink
  ) {
    self.link = link
    self.sequencer = sequencer
    self.registry = registry
    self.journalPath = journalPath
    self.batchRows = batchRows
    intervalNs = UInt64(intervalMs) * 1_000_000
    self.cipher = cipher
    self.log = log
    self.keep = keep
    self.open = open
  }

  /// Runs until told to stop; then everything durable is in the sink, unless it does not take that in time.
  func run() throws(NetError) {
    while true {
      do {
        try feed()
        return
      } catch let error as NetError {
        throw error
      } catch {
        if try !backOff(error) { return }
      }
    }
  }

  /// Opens the sink and feeds it until told to stop.
  /// - Throws: it could not be opened, or must be opened anew.
  private func feed() throws {
    var drain = try makeDrain()
    publish(drain.progress)
    while true {
      do {
        if try step(&drain), !link.isOver { continue }
        if link.isStopping {
          try sync(&drain)
          return
        }
        if SystemClock.now().since(lastSync) >= SinkFeeder.syncNs { try sync(&drain) }
        try pause(drain.position)
      } catch let error as NetError {
        throw error
      } catch {
        if drain.sink.isSpent || error as? JournalError == .unreachable(lsn: drain.position) { throw error }
        publish(drain.progress)
        if try !backOff(error) { return }
        drain.resume(link.progress)
      }
    }
  }

  private func makeDrain() throws -> SinkDrain<Sink> {
    let sink = try open()
    let durable = sequencer.durableLSN.load(ordering: .acquiring)
    guard sink.cursor <= durable else { throw SinkError.ahead(cursor: sink.cursor, journalLSN: durable) }
    let progress = link.progress
    let wanted = min(sink.cursor, progress.cursor)
    let first = sequencer.journalFirstLSN.load(ordering: .acquiring)
    let reader = try JournalReader.open(directory: journalPath, from: max(wanted, first))
    return SinkDrain(
      batchRows: batchRows, sink: sink, reader: reader, cipher: cipher, mask: link.settings.mask, progress: progress)
  }

  /// - Returns: whether there may be more to store at once.
  private func step(_ drain: inout SinkDrain<Sink>) throws -> Bool {
    let durable = sequencer.durableLSN.load(ordering: .acquiring)
    let before = drain.position
    let hadProblem = drain.progress.problem != nil
    let isFull = try drain.step(upTo: durable, names: registry.snapshot)
    guard drain.position > before || hadProblem, drain.progress.problem == nil else { return isFull }
    lastCommit = SystemClock.now()
    backOffNs = 0
    if hadProblem { log(.notice, "sink \(link.settings.name) takes fixes again") }
    publish(drain.progress)
    return isFull
  }

  private func sync(_ drain: inout SinkDrain<Sink>) throws {
    lastSync = SystemClock.now()
    try drain.sync()
    publish(drain.progress)
    guard drain.progress.durableCursor > kept else { return }
    kept = drain.progress.durableCursor
    keep(kept)
  }

  private func publish(_ progress: SinkProgress) { link.publish(progress) }

  /// Little to do: let an interval's worth gather, then wait until there is something.
  private func pause(_ position: UInt64) throws(NetError) {
    let next = lastCommit.advanced(byNs: intervalNs)
    if SystemClock.now() < next, !link.isStopping { try link.sleeper.sleep(until: next) }
    link.sleeper.prepare()
    if !link.isStopping, sequencer.durableLSN.load(ordering: .acquiring) <= position {
      try link.sleeper.sleep(until: SystemClock.now().advanced(byNs: SinkFeeder.syncNs))
    }
    link.sleeper.awake()
  }

  /// Waits, longer each time.
  /// - Returns: false if there is no more time to try again.
  private func backOff(_ error: any Error) throws(NetError) -> Bool {
    let name = link.settings.name
    if link.isOver {
      log(.error, "sink \(name) does not take what the journal holds; the next start goes on with it: \(error)")
      return false
    }
    if link.progress.problem == nil { log(.error, "sink \(name) is behind, fixes stay in the journal: \(error)") }
    let waitingSinceMs = link.progress.waitingSinceMs ?? oldestWaitingMs()
    link.change { progress in
      progress.failures += 1
      progress.problem = "\(error)"
      progress.waitingSinceMs = waitingSinceMs
    }
    backOffNs = min(max(backOffNs * 2, SinkFeeder.backOffMinNs), SinkFeeder.backOffMaxNs)
    let jitter = UInt64.random(in: 0...backOffNs / 4)
    try link.sleeper.sleep(until: SystemClock.now().advanced(byNs: backOffNs + jitter))
    return true
  }

  /// When the gateway received the first record that the sink has not taken.
  private func oldestWaitingMs() -> Int64? {
    let from = max(link.progress.cursor, sequencer.journalFirstLSN.load(ordering: .acquiring))
    var buffer: [UInt8] = []
    guard var reader = try? JournalReader.open(directory: journalPath, from: from),
      let batch = try? reader.next(upTo: sequencer.durableLSN.load(ordering: .acquiring), into: &buffer)
    else { return nil }
    let (bytes, records) = JournalBatch.opened(buffer, batch.records, with: cipher)
    return (try? Record.read(bytes.span, at: records.lowerBound))?.record.receiveTimeMs
  }
}

/// What keeps a sink from going on, beside its own errors.
enum SinkError: Error, Equatable {
  /// The sink has records of this gateway that its journal has not: the data directory is older than the sink.
  case ahead(cursor: UInt64, journalLSN: UInt64)
}

extension SinkError: CustomStringConvertible {
  var description: String {
    switch self {
    case .ahead(let cursor, let journalLSN):
      "it has this gateway's records up to \(cursor), the journal ends at \(journalLSN): the data directory was brought back "
        + "from an older copy. Bring back the newest, or stop the gateway and remove \(GatewayIdentity.name) there to go on as a new one"
    }
  }
}
