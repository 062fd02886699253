import Foundation
import GateCore
import GateStore
import Gateway
import Testing

/// What is counted when a sink is opened anew, and where it goes on. The journal and the store are real.
@Suite struct SinkDrainTests {
  private let scratch: Scratch
  private let names: RegistrySnapshot

  init() throws {
    scratch = try Scratch()
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "demo")
    builder.addDevice(1, tenant: 1, subject: 0, externalID: "van", revoked: false)
    names = RegistrySnapshot(builder, generation: 1)
  }

  private func store() throws -> SQLiteSink {
    var options = SQLiteSink.Options()
    options.busyMs = 0
    return try SQLiteSink(path: scratch.path + "/fixes.db", options: options)
  }

  /// A journal with fixes 0..<count at LSN 0..<count, one a batch, received at 1,000 ms times their LSN.
  private func journal(_ count: UInt64) throws -> JournalFile {
    var journal = try JournalFile.open(directory: scratch.path + "/journal", segmentBytes: 65_536, durableFloor: 0)
    for lsn in 0..<count {
      var record = Record()
      record.tenant = 1
      record.device = 1
      record.stream = 7
      record.receiveTimeMs = Int64(lsn) * 1_000
      record.fix.sequence = lsn + 1
      record.fix.present = [.time, .position]
      var bytes = [UInt8](repeating: 0, count: record.encodedBytes)
      var out = bytes.mutableSpan
      _ = record.write(into: &out, at: 0, from: Span())
      try journal.commit(bytes.span, count: 1)
    }
    return journal
  }

  private func drain(from lsn: UInt64, _ progress: SinkProgress?) throws -> SinkDrain<SQLiteSink> {
    SinkDrain(
      batchRows: 4, sink: try store(),
      reader: try JournalReader.open(directory: scratch.path + "/journal", from: lsn), progress: progress)
  }

  private func run(_ drain: inout SinkDrain<SQLiteSink>, upTo durable: UInt64) throws {
    while try drain.step(upTo: durable, names: names) {}
  }

  @Test func eachFixCountsOnce() throws {
    let journal = try journal(10)
    var drain = try drain(from: 0, nil)
    try run(&drain, upTo: journal.endLSN)
    let progress = drain.progress
    #expect(progress.stored == 10 && progress.consumed == 10 && progress.cursor == 10)
    #expect(progress.recovered == 0 && progress.waitingSinceMs == nil)
  }

  /// The store is further than what was known of it when the run began: what it has is counted as there already.
  @Test func aSinkThatIsAheadHasThemAlready() throws {
    let journal = try journal(10)
    var first = try drain(from: 0, nil)
    try run(&first, upTo: 6)
    var second = try drain(from: 2, SinkProgress(cursor: 2))
    try run(&second, upTo: journal.endLSN)
    let progress = second.progress
    #expect(progress.consumed == 8 && progress.alreadyStored == 4 && progress.stored == 4)
    #expect(progress.recovered == 0 && progress.cursor == 10)
  }

  /// The store has lost what it had taken, as after a failover: it gets it again, and the equation knows.
  @Test func aSinkThatWentBackGetsThemAgain() throws {
    let journal = try journal(10)
    var progress = SinkProgress(cursor: 7)
    progress.consumed = 7
    progress.stored = 7
    var drain = try drain(from: 0, progress)
    try run(&drain, upTo: journal.endLSN)
    progress = drain.progress
    #expect(progress.consumed == 17 && progress.recovered == 7 && progress.stored == 17 && progress.cursor == 10)
  }

  /// The oldest record that waits is known while the sink fails, and forgotten once it is stored.
  @Test func theOldestRecordThatWaitsIsKnown() throws {
    let journal = try journal(10)
    var drain = try drain(from: 0, nil)
    try run(&drain, upTo: 3)
    let lock = try SQLiteConnection(path: scratch.path + "/fixes.db", access: .readWrite, busyMs: 0)
    try lock.execute("BEGIN IMMEDIATE")
    #expect(throws: StoreError.self) { try run(&drain, upTo: journal.endLSN) }
    let waitingSinceMs = drain.progress.waitingSinceMs
    #expect(waitingSinceMs == 3_000)
    try lock.execute("ROLLBACK")
    try run(&drain, upTo: journal.endLSN)
    let progress = drain.progress
    #expect(progress.waitingSinceMs == nil && progress.stored == 10)
  }

  // MARK: - What the journal keeps for them

  private func report(_ name: String, durable: UInt64, waitingSinceMs: Int64? = nil, optional: Bool = false) -> SinkReport {
    var settings = SinkSettings(name: name, type: .sqlite)
    settings.isOptional = optional
    var progress = SinkProgress(cursor: durable)
    progress.durableCursor = durable
    progress.waitingSinceMs = waitingSinceMs
    return SinkReport(settings: settings, progress: progress)
  }

  /// A commit loop over a journal of about 30 segments, in which every record waits for some sink.
  private func loop(_ change: (inout Configuration) -> Void) throws -> CommitLoop {
    var configuration = Configuration()
    change(&configuration)
    return CommitLoop(
      settings: Sequencer.Settings(configuration), workers: 1, journal: try journal(500), devices: DeviceTable(),
      recovered: 0, random: SeededRandom(seed: 1), at: Instant(ns: 1), log: { _, _ in })
  }

  /// - Returns: the journal's first record and why nothing is taken, after the chores.
  private func state(
    _ loop: inout CommitLoop, _ reports: [SinkReport], nowMs: Int64 = 1_000_000
  ) -> (firstLSN: UInt64, problem: String?) {
    _ = loop.chores(at: Instant(ns: 2_000_000_000), hold: JournalHold(reports, wallMs: nowMs), checkpointLSN: 500)
    return (loop.journal.firstLSN, loop.problem)
  }

  @Test func aSegmentStaysUntilAllHavePassedIt() throws {
    var loop = try loop { _ in }
    let first = state(&loop, [report("a", durable: 500), report("b", durable: 0, optional: true)])
    #expect(first.firstLSN == 0 && first.problem == nil)
    let second = state(&loop, [report("a", durable: 0), report("b", durable: 500, optional: true)])
    #expect(second.firstLSN == 0)
    let third = state(&loop, [report("a", durable: 500), report("b", durable: 500, optional: true)])
    #expect(third.firstLSN > 0)
  }

  @Test func atItsBoundTheJournalGoesOnWithoutTheOptionalOnly() throws {
    var loop = try loop { $0.journal.bytesMax = 1 << 20 }
    let required = [report("a", durable: 500), report("b", durable: 0), report("c", durable: 500, optional: true)]
    let first = state(&loop, required)
    #expect(first.firstLSN == 0 && first.problem?.contains("journal.bytes_max") == true)
    let second = state(
      &loop, [report("a", durable: 500), report("b", durable: 500), report("c", durable: 0, optional: true)])
    #expect(second.firstLSN > 0)
  }

  @Test func nothingIsTakenOnceARecordHasWaitedTooLong() throws {
    let day: Int64 = 86_400_000
    var loop = try loop { $0.journal.daysMax = 2 }
    let waiting = [report("a", durable: 500), report("b", durable: 0, waitingSinceMs: 0)]
    let first = state(&loop, waiting, nowMs: 2 * day)
    #expect(first.problem == nil)
    let second = state(&loop, waiting, nowMs: 2 * day + 1)
    #expect(second.problem?.contains("journal.days_max") == true && second.firstLSN == 0)
    // It has caught up: the next probe finds the journal well.
    _ = state(&loop, [report("a", durable: 500), report("b", durable: 500)], nowMs: 2 * day + 2)
    _ = loop.turn(at: Instant(ns: 9_000_000_000), stopping: false)
    let problem = loop.problem
    #expect(problem == nil)
  }

  /// About what it holds for each: all, half, nothing.
  @Test func theLagIsKnownInBytes() throws {
    let journal = try journal(500)
    let all = journal.bytes(from: 0)
    #expect(all > 500 * 4_096)
    let half = journal.bytes(from: 250)
    let nothing = journal.bytes(from: 500)
    #expect(abs(half - all / 2) <= all / 20 && nothing == 0)
  }
}
