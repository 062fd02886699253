import GateCore
import GateStore

/// A database of one table, as a sink sees it. It has no unique index on purpose: a row that comes twice is a finding, not
/// something to pass over.
final class SimTable {
  struct Key: Hashable, Comparable {
    var device: UInt32
    var stream: UInt32
    var sequence: UInt64
    static func < (a: Key, b: Key) -> Bool {
      (a.device, a.stream, a.sequence) < (b.device, b.stream, b.sequence)
    }
  }

  struct Row {
    var lsn: UInt64
    var key: Key
    var record: Record
  }

  /// A transaction's end: survives a kill; a power cut takes back what was not made durable, whole transactions at a time.
  private struct Mark {
    var rows: Int
    var cursor: UInt64
  }

  private(set) var rows: [Row] = []
  /// Records that the sink was told are lost.
  private(set) var lost = 0
  /// Chance in 1,024 that a transaction or a sync fails.
  var failing: UInt64 = 0
  private var marks = [Mark(rows: 0, cursor: 0)]
  private var durableMarks = 1

  var cursor: UInt64 { marks[marks.count - 1].cursor }

  /// One transaction.
  func commit(_ new: [Row], cursor: UInt64) {
    rows += new
    marks.append(Mark(rows: rows.count, cursor: cursor))
  }

  /// Deletes what an erasure is about, for good: the file is written anew.
  /// - Returns: the rows.
  func erase(_ target: SubjectRange) -> [Row] {
    let erased = rows.filter { target.tells($0.record) }
    rows.removeAll { target.tells($0.record) }
    marks = [Mark(rows: rows.count, cursor: cursor)]
    durableMarks = 1
    return erased
  }

  func noteLost(_ count: Int) { lost += count }

  func makeDurable() { durableMarks = marks.count }

  /// - Parameter all: nothing survives but what is durable.
  func cutPower(_ random: inout SeededRandom, all: Bool) {
    let kept = all ? durableMarks : Int.random(in: durableMarks...marks.count, using: &random)
    marks.removeLast(marks.count - kept)
    rows.removeLast(rows.count - marks[kept - 1].rows)
    durableMarks = kept
  }
}

/// `FixSink` over a `SimTable`: what `SQLiteSink` does, without SQLite. Where there is a store, the real one does the same beside
/// it, and its counts are the ones that are told.
struct SimSink: FixSink, ~Copyable {
  private let table: SimTable
  private let store: SimStore?
  private var real: SQLiteSink?
  private let disk: SimDisk
  private var random: SeededRandom
  private var buffered: [SimTable.Row] = []
  private var expected: UInt64
  private(set) var cursor: UInt64
  private(set) var durableCursor: UInt64 = 0

  /// - Throws: `.corrupt` if table and store do not stand at the same record.
  init(_ table: SimTable, _ store: SimStore?, _ disk: SimDisk, seed: UInt64) throws(StoreError) {
    self.table = table
    self.store = store
    real = try store?.open()
    if let cursor = real?.cursor, cursor != table.cursor { throw .corrupt(code: 0) }
    self.disk = disk
    random = SeededRandom(seed: seed)
    cursor = table.cursor
    expected = table.cursor
  }

  var bufferedRows: Int { buffered.count }

  mutating func write(
    _ bytes: Span<UInt8>, records: Range<Int>, skip: Int, firstLSN: UInt64, names: RegistrySnapshot
  ) throws(StoreError) {
    try real?.write(bytes, records: records, skip: skip, firstLSN: firstLSN, names: names)
    var at = records.lowerBound
    var lsn = firstLSN
    while at < records.upperBound {
      guard let (record, end) = try? Record.read(bytes, at: at) else { throw .corrupt(code: 0) }
      if lsn >= max(expected, firstLSN + UInt64(skip)) {
        reach(lsn)
        let key = SimTable.Key(device: record.device, stream: record.stream, sequence: record.fix.sequence)
        buffered.append(SimTable.Row(lsn: lsn, key: key, record: record))
        expected = lsn + 1
      }
      lsn += 1
      at = end
    }
  }

  private mutating func reach(_ lsn: UInt64) {
    guard lsn > expected else { return }
    table.noteLost(Int(lsn - expected))
    expected = lsn
  }

  mutating func commit(nextLSN: UInt64) throws(StoreError) -> SinkCounts {
    reach(nextLSN)
    if disk.isDown || fails() { throw .io(code: 0) }
    let counts = try real?.commit(nextLSN: nextLSN) ?? countBuffered()
    table.commit(buffered, cursor: nextLSN)
    cursor = nextLSN
    buffered.removeAll()
    return counts
  }

  private func countBuffered() -> SinkCounts {
    var counts = SinkCounts()
    for row in buffered {
      switch row.record.kind {
      case .fix: counts.stored += 1
      case .held: counts.held += 1
      case .refused: counts.refused += 1
      case .gap: counts.gaps += 1
      }
    }
    return counts
  }

  mutating func makeDurable() throws(StoreError) {
    if disk.isDown || fails() { throw .io(code: 0) }
    try real?.makeDurable()
    store?.makeDurable()
    table.makeDurable()
    durableCursor = cursor
  }

  private mutating func fails() -> Bool { table.failing > 0 && random.next() % 1_024 < table.failing }
}
