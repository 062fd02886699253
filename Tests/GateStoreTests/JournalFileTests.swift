import GateCore
import GateStore
import Testing

@Suite struct JournalFileTests {
  @Test func startsEmptyAndCountsStarts() throws {
    let folder = try JournalFolder()
    for start in 1...3 as ClosedRange<UInt64> {
      let journal = try folder.openJournal()
      let recovery = journal.recovery
      #expect(recovery.start == start)
      #expect(recovery.endLSN == 0)
      #expect(recovery.corrupt.isEmpty && recovery.torn.isEmpty)
      #expect(folder.names(".segment").count == 1, "an empty segment is recycled by the next start")
    }
  }

  @Test func whatIsCommittedIsThereAfterEveryReopening() throws {
    let folder = try JournalFolder()
    var random = SeededGenerator(seed: 1)
    var end: UInt64 = 0
    for _ in 0..<12 {
      var journal = try folder.openJournal()
      #expect(journal.endLSN == end)
      #expect(journal.recovery.corrupt.isEmpty)
      for _ in 0..<Int.random(in: 0...9, using: &random) {
        let count = Int.random(in: 1...300, using: &random)
        try journal.commitNumbers(count)
        end += UInt64(count)
        #expect(journal.endLSN == end)
      }
      var reader = try JournalReader.open(directory: folder.journal, from: 0)
      #expect(try reader.numbers(upTo: end) == Array(0..<end))
    }
  }

  @Test func batchLargerThanASegmentGetsOneOfItsOwn() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal(segmentBytes: 8_192)
    try journal.commitNumbers(10)
    try journal.commitNumbers(1_000)
    try journal.commitNumbers(10)
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    #expect(try reader.numbers(upTo: 1_020) == Array(0..<1_020))
    journal = try folder.openJournal(segmentBytes: 16_384)
    #expect(journal.endLSN == 1_020)
  }

  /// The last batch may be in the page cache only, of a process that died between write and sync.
  @Test func unprovenTailIsWrittenAnew() throws {
    let folder = try JournalFolder()
    do {
      var journal = try folder.openJournal()
      try journal.commitNumbers(5)
      try journal.commitNumbers(7)
    }
    let old = folder.names(".segment")
    var journal = try folder.openJournal()
    #expect(journal.recovery.rewritten == 7)
    #expect(journal.endLSN == 12)
    // The new segment alone carries the tail now.
    let newest = try #require(folder.names(".segment").last)
    #expect(!old.contains(newest))
    try journal.commitNumbers(1)
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    #expect(try reader.numbers(upTo: 13) == Array(0..<13))
    // A cursor that has passed it proves it.
    #expect(try folder.openJournal(floor: 13).recovery.rewritten == 0)
  }

  /// Cuts of the last batch as a power cut makes them, on fresh and recycled files, through the real file shell.
  @Test(arguments: [false, true]) func tornTailIsCutAndWrittenOver(recycled: Bool) throws {
    let folder = try JournalFolder()
    if recycled {
      var journal = try folder.openJournal(segmentBytes: 16_384)
      for _ in 0..<4 { try journal.commitNumbers(20) }
      try journal.trim(below: journal.endLSN)
      try journal.commitNumbers(20)
    } else {
      var journal = try folder.openJournal(segmentBytes: 16_384)
      try journal.commitNumbers(20)
    }
    let before = try folder.openJournal(segmentBytes: 16_384).endLSN
    for cut in stride(from: 1, to: BatchHeader.bytes + TestRecords.make(before..<before + 2).count, by: 5) {
      let end: UInt64
      let last: String
      do {
        var journal = try folder.openJournal(segmentBytes: 16_384)
        try journal.commitNumbers(1)
        end = journal.endLSN
        try journal.commitNumbers(2)
        last = try #require(folder.names(".segment").last)
      }
      var bytes = folder.read(last)
      let scan = SegmentScanner.scan(bytes.span, named: UInt64(last.prefix(16), radix: 16)!)
      let place = try #require(scan.batches.last)
      let keep = min(cut, BatchHeader.bytes + place.header.payloadBytes - 1)
      for i in place.offset + keep..<place.offset + place.header.paddedBytes { bytes[i] = 0xa5 }
      try folder.write(last, bytes)
      var journal = try folder.openJournal(segmentBytes: 16_384)
      #expect(journal.endLSN == end)
      #expect(journal.recovery.corrupt.isEmpty)
      try journal.commitNumbers(1)
      var reader = try JournalReader.open(directory: folder.journal, from: journal.firstLSN)
      #expect(try reader.numbers(upTo: journal.endLSN) == Array(journal.firstLSN..<journal.endLSN))
      try journal.trim(below: end)
    }
  }

  @Test func corruptionIsReportedSetAsideAndReadAround() throws {
    let folder = try JournalFolder()
    do {
      var journal = try folder.openJournal()
      for _ in 0..<6 { try journal.commitNumbers(10) }
    }
    let name = try #require(folder.names(".segment").first)
    let id = try #require(UInt64(name.prefix(16), radix: 16))
    var bytes = folder.read(name)
    let place = SegmentScanner.scan(bytes.span, named: id).batches[2]
    bytes[place.offset + 100] ^= 0x10
    try folder.write(name, bytes)
    var journal = try folder.openJournal()
    #expect(journal.recovery.corrupt == [JournalDamage(segment: id, offset: place.offset, lsns: 20..<30)])
    #expect(journal.endLSN == 60)
    try journal.commitNumbers(10)
    var reader = try JournalReader.open(directory: folder.journal, from: 5)
    var buffer: [UInt8] = []
    var lost: [Range<UInt64>] = []
    var skips: [Int] = []
    while let batch = try reader.next(upTo: 70, into: &buffer) {
      if !batch.lost.isEmpty { lost.append(batch.lost) }
      skips.append(batch.skip)
    }
    #expect(lost == [20..<30])
    #expect(skips == [5, 0, 0, 0, 0, 0])
    // It is never recycled.
    try journal.trim(below: 70)
    #expect(folder.names(".corrupt") == [String(name.prefix(16)) + ".corrupt"])
    #expect(folder.names(".corrupt").map { folder.read($0) } == [bytes])
  }

  @Test func lostEndBelowTheFloorIsReportedAndNeverUsedAgain() throws {
    let folder = try JournalFolder()
    do {
      var journal = try folder.openJournal()
      try journal.commitNumbers(10)
    }
    var journal = try folder.openJournal(floor: 25)
    #expect(journal.recovery.corrupt.map(\.lsns) == [10..<25])
    #expect(journal.endLSN == 25)
    try journal.commitNumbers(5)
    var reader = try JournalReader.open(directory: folder.journal, from: 10)
    var buffer: [UInt8] = []
    let batch = try #require(try reader.next(upTo: 30, into: &buffer))
    #expect(batch.lost == 10..<25)
    #expect(batch.firstLSN == 25)
  }

  @Test func damagedHeaderLosesNoRecord() throws {
    let folder = try JournalFolder()
    do {
      var journal = try folder.openJournal(segmentBytes: 16_384)
      for _ in 0..<8 { try journal.commitNumbers(10) }
    }
    for name in folder.names(".segment") {
      var bytes = folder.read(name)
      bytes[20] ^= 1
      try folder.write(name, bytes)
    }
    let journal = try folder.openJournal(segmentBytes: 16_384)
    #expect(journal.endLSN == 80)
    #expect(journal.recovery.corrupt.count == 3)
    #expect(journal.recovery.corrupt.allSatisfy { $0.lsns.isEmpty })
    var reader = try JournalReader.open(directory: folder.journal, from: 0)
    #expect(try reader.numbers(upTo: 80) == Array(0..<80))
  }

  @Test func newerVersionStopsBeforeAnythingIsChanged() throws {
    let folder = try JournalFolder()
    do { _ = try folder.openJournal() }
    let name = try #require(folder.names("").first)
    var bytes = folder.read(name)
    bytes[8] = 3
    try folder.write(name, bytes)
    #expect(throws: JournalError.version(segment: 1, version: 3)) { _ = try folder.openJournal() }
    #expect(folder.names("") == [name])
    #expect(folder.read(name) == bytes)
  }

  @Test func trimKeepsWhatACursorNeedsAndRecycles() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal(segmentBytes: 16_384)
    var cursor: UInt64 = 0
    var random = SeededGenerator(seed: 2)
    for _ in 0..<60 {
      try journal.commitNumbers(Int.random(in: 1...40, using: &random))
      cursor = UInt64.random(in: cursor...journal.endLSN, using: &random)
      try journal.trim(below: cursor)
      #expect(journal.firstLSN <= cursor)
      var reader = try JournalReader.open(directory: folder.journal, from: cursor)
      #expect(try reader.numbers(upTo: journal.endLSN) == Array(cursor..<journal.endLSN))
    }
    #expect(folder.names(".spare").count <= 2)
    let onDisk = folder.names(".segment").count + folder.names(".spare").count
    #expect(journal.bytesOnDisk == onDisk * 16_384)
    let first = journal.firstLSN
    #expect(try folder.openJournal(floor: cursor).firstLSN == first)
  }

  @Test func sparesArePreparedInSteps() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal()
    var calls = 1
    while !(try journal.prepareSpare(16 << 10)) { calls += 1 }
    #expect(calls == 4)
    #expect(folder.names(".spare").count == 1)
    while folder.names(".segment").count == 1 { try journal.commitNumbers(100) }
    #expect(folder.names(".spare").isEmpty)
    #expect(try !journal.prepareSpare(16 << 10))
    // A half-made spare is not kept over a start.
    journal = try folder.openJournal()
    #expect(folder.names(".tmp").isEmpty)
  }

  /// Commits that take turns with pieces of the next file never have to write a whole one.
  @Test func aSpareIsReadyBeforeItIsNeeded() throws {
    let folder = try JournalFolder()
    var journal = try folder.openJournal()
    var segments = folder.names(".segment").count
    var ready = false
    for _ in 0..<100 {
      try journal.commitNumbers(1)
      if folder.names(".segment").count > segments {
        #expect(ready)
        segments = folder.names(".segment").count
      }
      while journal.isSpareBehind { _ = try journal.prepareSpare(4 << 10) }
      ready = folder.names(".spare").count == 1
    }
    #expect(segments > 5)
  }

  @Test func onlyOneProcessHoldsADirectory() throws {
    let folder = try JournalFolder()
    do {
      let lock = try DirectoryLock.take(folder.path)
      #expect(throws: JournalError.locked) { _ = try DirectoryLock.take(folder.path) }
      _ = consume lock
    }
    _ = try DirectoryLock.take(folder.path)
  }
}

/// SplitMix64.
struct SeededGenerator: RandomNumberGenerator {
  var state: UInt64
  init(seed: UInt64) { state = seed }
  mutating func next() -> UInt64 {
    state &+= 0x9e37_79b9_7f4a_7c15
    var z = state
    z = (z ^ z >> 30) &* 0xbf58_476d_1ce4_e5b9
    z = (z ^ z >> 27) &* 0x94d0_49bb_1331_11eb
    return z ^ z >> 31
  }
}
