import Foundation
import GateCore
import GateStore
import Gateway
import Testing

@testable import GateSim

@Suite struct CommitLoopTests {
  /// The checkpoint's file could not be written: it is handed out again though nothing new was committed. Otherwise a
  /// journal that is full of records already stored is never trimmed. Found by the simulator.
  @Test func checkpointIsMadeUntilItIsOnDisk() throws {
    let path = FileManager.default.temporaryDirectory.path + "/fixgate-loop-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: path) }
    var configuration = Configuration()
    configuration.journal.checkpointIntervalS = 1
    let journal = try JournalFile.open(directory: path, segmentBytes: 65_536, durableFloor: 0)
    let start = Instant(ns: 1)
    var loop = CommitLoop(
      settings: Sequencer.Settings(configuration), workers: 1, journal: journal, devices: DeviceTable(), recovered: 0,
      random: SeededRandom(seed: 1), at: start, log: { _, _ in })
    let session = SessionID(slot: 0, generation: 1)
    var hello = WorkerMessage(kind: .hello, session: session, device: 1, stream: 7)
    hello.next = 2
    loop.take(CommitLoopTests.bytes(hello, []).span, from: 0, receiveTimeMs: 0)
    var record = Record()
    record.device = 1
    record.stream = 7
    record.fix.sequence = 1
    var message = WorkerMessage(kind: .records, session: session, device: 1, stream: 7)
    message.count = 1
    loop.take(CommitLoopTests.bytes(message, [record]).span, from: 0, receiveTimeMs: 0)
    let committed = loop.turn(at: start, stopping: false)
    let end = loop.durableLSN
    #expect(committed && end == 1)

    var handedOut: [UInt64?] = []
    for (second, onDisk) in [(2, 0), (4, 0), (6, 1), (8, 1)] as [(UInt64, UInt64)] {
      let at = Instant(ns: second * 1_000_000_000)
      handedOut.append(loop.chores(at: at, hold: JournalHold(lsn: 1), checkpointLSN: onDisk)?.lsn)
    }
    #expect(handedOut == [1, 1, nil, nil])
  }

  /// No commit has to write the next segment's file: it is ready when the current one is full, without a single chore.
  @Test func theNextSegmentIsReadyInTime() throws {
    let path = FileManager.default.temporaryDirectory.path + "/fixgate-loop-" + UUID().uuidString
    defer { try? FileManager.default.removeItem(atPath: path) }
    func names(_ suffix: String) throws -> Int {
      try FileManager.default.contentsOfDirectory(atPath: path).count { $0.hasSuffix(suffix) }
    }
    let journal = try JournalFile.open(directory: path, segmentBytes: 65_536, durableFloor: 0)
    var loop = CommitLoop(
      settings: Sequencer.Settings(Configuration()), workers: 1, journal: journal, devices: DeviceTable(), recovered: 0,
      random: SeededRandom(seed: 1), at: Instant(ns: 1), log: { _, _ in })
    let session = SessionID(slot: 0, generation: 1)
    let hello = WorkerMessage(kind: .hello, session: session, device: 1, stream: 7)
    loop.take(CommitLoopTests.bytes(hello, []).span, from: 0, receiveTimeMs: 0)
    var rolls = 0
    for sequence in 1...60 as ClosedRange<UInt64> {
      var record = Record()
      record.device = 1
      record.stream = 7
      record.fix.sequence = sequence
      var message = WorkerMessage(kind: .records, session: session, device: 1, stream: 7)
      message.count = 1
      loop.take(CommitLoopTests.bytes(message, [record]).span, from: 0, receiveTimeMs: 0)
      let (segments, spares) = (try names(".segment"), try names(".spare"))
      _ = loop.turn(at: Instant(ns: 1), stopping: true)
      loop.clearReplies()
      if try names(".segment") > segments {
        rolls += 1
        #expect(spares == 1)
      }
      loop.prepareAhead()
    }
    let end = loop.durableLSN
    #expect(rolls >= 3 && end == 60)
  }

  /// Keys change while the disk fails. What a failed commit has left in the journal's file lies under the old ones, and the next start
  /// may take it in: nobody may be told that the old keys are needed no more. Found by the simulator.
  @Test func keysChangeWithANewSegmentOnly() throws {
    let disk = SimDisk(seed: 1)
    let folder = disk.makeFolder()
    func open() throws -> JournalFile {
      try JournalFile.open(in: Directory(folder), segmentBytes: 65_536, durableFloor: 0, salts: SeededRandom(seed: 1))
    }
    do {
      var loop = CommitLoop(
        settings: Sequencer.Settings(Configuration()), workers: 1, journal: try open(), devices: DeviceTable(), recovered: 0,
        random: SeededRandom(seed: 1), at: Instant(ns: 1), log: { _, _ in })
      let session = SessionID(slot: 0, generation: 1)
      let hello = WorkerMessage(kind: .hello, session: session, device: 1, stream: 7)
      loop.take(CommitLoopTests.bytes(hello, []).span, from: 0, receiveTimeMs: 0)
      var record = Record()
      record.device = 1
      record.stream = 7
      record.fix.sequence = 1
      var message = WorkerMessage(kind: .records, session: session, device: 1, stream: 7)
      message.count = 1
      loop.take(CommitLoopTests.bytes(message, [record]).span, from: 0, receiveTimeMs: 0)
      // Written, but not synced.
      disk.rates = SimDisk.Rates(sync: 1_024, names: 1_024)
      let committed = loop.turn(at: Instant(ns: 1), stopping: true)
      let durable = loop.durableLSN
      #expect(committed && durable == 0)
      var hasFailed = false
      do throws(JournalError) { _ = try loop.forget([]) } catch { hasFailed = true }
      #expect(hasFailed)
    }
    disk.rates = SimDisk.Rates()
    disk.restart(powerCut: false)
    let found = try open()
    let end = found.endLSN
    #expect(end == 1)
    // With a new segment it is left behind.
    var loop = CommitLoop(
      settings: Sequencer.Settings(Configuration()), workers: 1, journal: found, devices: DeviceTable(), recovered: 1,
      random: SeededRandom(seed: 1), at: Instant(ns: 1), log: { _, _ in })
    let lsn = try loop.forget([]).lsn
    #expect(lsn == 1)
  }

  private static func bytes(_ message: WorkerMessage, _ records: [Record]) -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: WorkerMessage.headerBytes + records.reduce(0) { $0 + $1.encodedBytes })
    var out = bytes.mutableSpan
    message.write(into: &out)
    var at = WorkerMessage.headerBytes
    for record in records { at = record.write(into: &out, at: at, from: Span()) }
    return bytes
  }
}
