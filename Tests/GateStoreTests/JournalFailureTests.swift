import GateCore
import GateStore
import Glibc
import Testing

@Suite struct JournalFailureTests {
  enum Fault: CaseIterable {
    case write, sync, syncDirectory, rename

    func inject(into journal: inout JournalFile) {
      switch self {
      case .write: journal.faults.write = ENOSPC
      case .sync: journal.faults.sync = EIO
      case .syncDirectory: journal.faults.syncDirectory = EIO
      case .rename: journal.faults.rename = EROFS
      }
    }
  }

  /// The same records again, or other ones: the failed batch is never read, and nothing is lost.
  @Test(arguments: Fault.allCases, [false, true]) func failedCommitCountsForNothing(fault: Fault, sameAgain: Bool) throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal(segmentBytes: 16_384)
    var random = SeededGenerator(seed: 3)
    var failures = 0
    for round in 0..<40 {
      try journal.commitNumbers(Int.random(in: 1...30, using: &random))
      let end = journal.endLSN
      fault.inject(into: &journal)
      // Numbers that must never be seen, where other records follow.
      let wrong = TestRecords.make((1 << 40)..<(1 << 40) + 3)
      let right = TestRecords.make(end..<end + 3)
      do {
        try journal.commit(sameAgain ? right.span : wrong.span, count: 3)
        // A fault that only a new segment meets has not been met.
        #expect(fault == .rename || fault == .syncDirectory)
        journal.faults = InjectedFaults()
        if !sameAgain { break }
        continue
      } catch {
        failures += 1
        #expect(journal.endLSN == end)
        #expect(journal.isHealthy == false)
      }
      switch round % 3 {
      case 0: try journal.commit(right.span, count: 3)
      case 1:
        try journal.probe()
        #expect(journal.isHealthy == true)
      default:
        journal = try folder.openJournal(floor: end, segmentBytes: 16_384)
        if sameAgain, journal.endLSN != end { #expect(journal.endLSN == end + 3 && journal.recovery.rewritten == 3) }
        // Never acked, yet whole on disk: it may come back, as a batch of its own.
        if !sameAgain, journal.endLSN != end {
          #expect(journal.endLSN == end + 3)
          try journal.trim(below: journal.endLSN)
          return
        }
      }
      var reader = try JournalReader.open(directory: folder.journal, from: 0)
      #expect(try reader.numbers(upTo: journal.endLSN) == Array(0..<journal.endLSN))
    }
    if fault == .write || fault == .sync { #expect(failures > 0) }
  }

  @Test func probeFailsWhileTheDiskDoes() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal()
    journal.faults.sync = EIO
    let records = TestRecords.make(0..<1)
    expectFailure(.broken(.sync, errno: EIO)) { () throws(JournalError) in try journal.commit(records.span, count: 1) }
    journal.faults.write = ENOSPC
    expectFailure(.full(.write, errno: ENOSPC)) { () throws(JournalError) in try journal.probe() }
    #expect(journal.isHealthy == false)
    try journal.probe()
    #expect(journal.isHealthy == true)
    #expect(folder.names(".tmp").isEmpty)
    try journal.commitNumbers(4)
    #expect(try folder.openJournal().endLSN == 4)
  }

  /// A disk of 256 KiB that is really full, and then has room again. Needs the right to mount; elsewhere the end-to-end test
  /// with a file size limit is what there is.
  @Test func fullDiskRefusesAndRecovers() throws {
    let folder = try JournalFolder()
    _ = unsafe mkdir(folder.journal, 0o700)
    guard unsafe mount("tmpfs", folder.journal, "tmpfs", 0, "size=256k") == 0 else { return }
    defer { _ = unsafe umount2(folder.journal, 2) }
    var journal = try folder.openJournal()
    var failure: JournalError?
    while failure == nil {
      do throws(JournalError) { try journal.commitNumbers(100) } catch { failure = error }
    }
    #expect(failure == .full(.write, errno: ENOSPC))
    let end = journal.endLSN
    #expect(end > 0)
    expectFailure(.full(.write, errno: ENOSPC)) { () throws(JournalError) in try journal.probe() }
    expectFailure(.full(.write, errno: ENOSPC)) { () throws(JournalError) in try journal.commitNumbers(1) }
    #expect(journal.endLSN == end)
    // What is durable can still be read, and once the sink has it, there is room.
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    #expect(try reader.numbers(upTo: end) == Array(0..<end))
    try journal.trim(below: end)
    try journal.commitNumbers(100)
    #expect(try reader.numbers(upTo: end + 100) == Array(end..<end + 100))
    #expect(try folder.openJournal(floor: end).endLSN == end + 100)
  }

  @Test func errorsSayWhatToDo() {
    let cases: [(Int32, JournalError)] = [
      (ENOSPC, .full(.write, errno: ENOSPC)), (EDQUOT, .full(.write, errno: EDQUOT)), (EIO, .broken(.write, errno: EIO)),
      (EROFS, .readOnly(.write, errno: EROFS)), (EACCES, .denied(.write, errno: EACCES)),
      (EPERM, .denied(.write, errno: EPERM)), (ENOENT, .missing(.write, errno: ENOENT)),
    ]
    var texts: Set<String> = []
    for (code, expected) in cases {
      #expect(JournalError.of(.write, code) == expected)
      #expect(expected.description.contains("errno \(code)"))
      texts.insert(expected.description)
    }
    #expect(texts.count == cases.count)
  }

  @Test func missingParentIsNamed() throws {
    let folder = try JournalFolder()
    #expect(throws: JournalError.missing(.makeDirectory, errno: ENOENT)) {
      _ = try JournalFile.open(directory: folder.path + "/no/journal", durableFloor: 0)
    }
  }

  private func expectFailure(_ expected: JournalError, _ body: () throws(JournalError) -> Void) {
    do throws(JournalError) {
      try body()
      Issue.record("expected \(expected)")
    } catch {
      #expect(error == expected)
    }
  }
}
