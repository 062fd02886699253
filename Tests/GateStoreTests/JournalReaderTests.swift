import Foundation
import GateCore
import GateStore
import Synchronization
import Testing

@Suite struct JournalReaderTests {
  /// Slow and fast readers behind a writer that rolls over, fails, is reopened, trims and recycles.
  @Test(arguments: 0..<6 as Range<UInt64>) func followsTheWriter(seed: UInt64) throws {
    let folder = try JournalFolder()
    var random = SeededGenerator(seed: seed)
    var journal = try folder.openJournal(segmentBytes: 16_384)
    var slow = try JournalReader.open(directory: folder.journal, from: 0)
    var fast = try JournalReader.open(directory: folder.journal, from: 0)
    var buffers: ([UInt8], [UInt8]) = ([], [])
    for _ in 0..<400 {
      switch UInt8.random(in: 0..<32, using: &random) {
      case 0: journal.faults.sync = EIO
      case 1: journal.faults.rename = EIO
      case 2: journal.faults.syncDirectory = EIO
      case 3: journal = try folder.openJournal(floor: fast.position, segmentBytes: 16_384)
      case 4: _ = try? journal.probe()
      case 5...9: try journal.trim(below: min(slow.position, fast.position))
      case 10: slow = try JournalReader.open(directory: folder.journal, from: slow.position)
      default: break
      }
      try? journal.commitNumbers(Int.random(in: 1...60, using: &random))
      try read(&fast, upTo: journal.endLSN, batches: 100, &buffers.0)
      try read(&slow, upTo: journal.endLSN, batches: Int.random(in: 0...3, using: &random), &buffers.1)
    }
    try read(&slow, upTo: journal.endLSN, batches: 1_000, &buffers.1)
    let positions = (slow.position, fast.position)
    let end = journal.endLSN
    #expect(positions == (end, end))
  }

  private func read(_ reader: inout JournalReader, upTo durable: UInt64, batches: Int, _ buffer: inout [UInt8]) throws {
    for _ in 0..<batches {
      let position = reader.position
      guard let batch = try reader.next(upTo: durable, into: &buffer) else {
        try #require(position == durable)
        return
      }
      try #require(batch.lost.isEmpty && batch.firstLSN + UInt64(batch.skip) == position && batch.endLSN <= durable)
      let numbers = TestRecords.numbers(buffer.span.extracting(batch.records))
      try #require(numbers == Array(batch.firstLSN..<batch.endLSN))
    }
  }

  /// A start gives up empty segments, so that ids have holes: what lies before a hole still ends where the next segment
  /// begins, and a failed write behind that is not read. Found by the simulator.
  @Test func failedWriteBeforeAHoleIsNotRead() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal()
    try journal.commitNumbers(1)
    try journal.commitNumbers(1)
    journal = try folder.openJournal()
    try journal.commitNumbers(1)
    journal.faults.sync = EIO
    let wrong = TestRecords.make(1_000..<1_003)
    try? journal.commit(wrong.span, count: 3)
    try journal.probe()
    journal = try folder.openJournal()
    #expect(folder.names(".segment").count == 3)
    try journal.commitNumbers(5)
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    #expect(try reader.numbers(upTo: 8) == Array(0..<8))
  }

  /// Nothing of a failed write is ever read, even by a reader that still holds the file when both it and the empty
  /// segment behind it have been trimmed.
  @Test(arguments: [0, 2]) func holdsAFileThatIsGone(sparesMax: Int) throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal(sparesMax: sparesMax)
    try journal.commitNumbers(5)
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    #expect(try reader.numbers(upTo: 5) == Array(0..<5))
    let wrong = TestRecords.make(1_000..<1_003)
    for _ in 0..<2 {
      journal.faults.sync = EIO
      #expect(throws: JournalError.self) { try journal.commit(wrong.span, count: 3) }
      try journal.probe()
    }
    try journal.commitNumbers(3)
    try journal.trim(below: 5)
    #expect(folder.names(".segment").count == 1)
    #expect(try reader.numbers(upTo: 8) == [5, 6, 7])
  }

  @Test func startsAnywhere() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal(segmentBytes: 16_384)
    for _ in 0..<20 { try journal.commitNumbers(13) }
    for lsn in 0...260 as ClosedRange<UInt64> {
      var reader = try JournalReader.open(directory: folder.journal, from: lsn)
      #expect(try reader.numbers(upTo: 260) == Array(lsn..<260))
    }
    try journal.trim(below: 100)
    let first = journal.firstLSN
    #expect(first > 0 && first <= 100)
    #expect(throws: JournalError.unreachable(lsn: first - 1)) {
      _ = try JournalReader.open(directory: folder.journal, from: first - 1)
    }
  }

  /// Bytes that go bad under a running reader: it says what is lost and goes on.
  @Test func damageIsPassedOver() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal()
    for _ in 0..<3 { try journal.commitNumbers(10) }
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    let name = try #require(folder.names(".segment").first)
    var bytes = folder.read(name)
    bytes[2 * Limits.journalBlockBytes + 60] ^= 1
    let handle = try FileHandle(forWritingTo: URL(fileURLWithPath: folder.journal + "/" + name))
    try handle.write(contentsOf: Data(bytes))
    var buffer: [UInt8] = []
    #expect(try reader.next(upTo: 30, into: &buffer)?.lost.isEmpty == true)
    #expect(try reader.next(upTo: 30, into: &buffer)?.lost == 10..<20)
    #expect(try reader.next(upTo: 30, into: &buffer) == nil)
    var late = try JournalReader.open(directory: folder.journal, from: 10)
    #expect(throws: JournalError.unreachable(lsn: 10)) { _ = try late.next(upTo: 20, into: &buffer) }
    let position = late.position
    #expect(position == 10)
  }

  /// Passing over damage, a reader stops short of what a failed write left behind it.
  @Test func damageBeforeAnAbandonedBatch() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal()
    for _ in 0..<2 { try journal.commitNumbers(10) }
    let name = try #require(folder.names(".segment").first)
    let wrong = TestRecords.make(1_000..<1_005)
    journal.faults.sync = EIO
    #expect(throws: JournalError.self) { try journal.commit(wrong.span, count: 5) }
    try journal.commitNumbers(5)
    var bytes = folder.read(name)
    bytes[2 * Limits.journalBlockBytes + 60] ^= 1
    try folder.write(name, bytes)
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    var buffer: [UInt8] = []
    #expect(try reader.next(upTo: 25, into: &buffer)?.endLSN == 10)
    let batch = try #require(try reader.next(upTo: 25, into: &buffer))
    #expect(batch.lost == 10..<20)
    #expect(TestRecords.numbers(buffer.span.extracting(batch.records)) == Array(20..<25))
  }

  /// The real arrangement: a writer thread publishes the durable position, a reader thread follows it and tells how far
  /// it is, and the writer trims up to there.
  @Test func followsOnAnotherThread() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal(segmentBytes: 16_384)
    let path = folder.journal
    let shared = SharedPositions()
    let total: UInt64 = 4_000
    let thread = Thread {
      do {
        var reader = try JournalReader.open(directory: path, from: 0)
        var buffer: [UInt8] = []
        while reader.position < total {
          let durable = shared.durable.load(ordering: .acquiring)
          guard let batch = try reader.next(upTo: durable, into: &buffer) else {
            sched_yield()
            continue
          }
          let numbers = TestRecords.numbers(buffer.span.extracting(batch.records))
          if numbers != Array(batch.firstLSN..<batch.endLSN) || !batch.lost.isEmpty { break }
          shared.cursor.store(reader.position, ordering: .releasing)
        }
      } catch {}
      shared.isDone.store(true, ordering: .releasing)
    }
    thread.start()
    while journal.endLSN < total {
      try journal.commitNumbers(Int(min(25, total - journal.endLSN)))
      shared.durable.store(journal.endLSN, ordering: .releasing)
      try journal.trim(below: shared.cursor.load(ordering: .acquiring))
    }
    while !shared.isDone.load(ordering: .acquiring) { sched_yield() }
    #expect(shared.cursor.load(ordering: .acquiring) == total)
  }
}

private final class SharedPositions: Sendable {
  let durable = Atomic<UInt64>(0)
  let cursor = Atomic<UInt64>(0)
  let isDone = Atomic<Bool>(false)
}
