package import GateCore
package import GateStore

/// Carries durable records from the journal into one sink, a transaction's worth at a time, and keeps count. No thread and
/// no clock: `SinkFeeder` is the thread around it, and the simulator is the other interpreter.
package struct SinkDrain<Sink: FixSink & ~Copyable>: ~Copyable {
  package private(set) var sink: Sink
  package private(set) var progress = SinkProgress()

  private let batchRows: Int
  private let cipher: (any SubjectCipher)?
  private var reader: JournalReader
  private var buffer: [UInt8] = []
  /// Fixes and records read since the last commit.
  private var uncommitted: UInt64 = 0
  private var uncommittedRows = 0

  /// - Parameter cipher: opens what was sealed.
  package init(
    batchRows: Int, sink: consuming Sink, reader: consuming JournalReader, cipher: (any SubjectCipher)? = nil
  ) {
    self.batchRows = batchRows
    self.cipher = cipher
    progress.cursor = sink.cursor
    self.sink = sink
    self.reader = reader
  }

  /// LSN of the next record to read.
  package var position: UInt64 { reader.position }

  /// Reads what is durable into the sink, about a transaction's worth, and commits it. After an error the same records
  /// are tried again, and none are added to them.
  ///
  /// - Parameter durable: LSN behind the last durable record.
  /// - Returns: whether there may be more.
  /// - Throws: `JournalError` or `StoreError`; nothing was stored.
  package mutating func step(upTo durable: UInt64, names: RegistrySnapshot) throws -> Bool {
    cipher?.refresh()
    while uncommittedRows < batchRows, reader.position < durable {
      guard let batch = try reader.next(upTo: durable, into: &buffer) else { break }
      let (bytes, records) = JournalBatch.opened(buffer, batch.records, with: cipher)
      uncommitted += SinkDrain.countFixes(bytes, records, batch)
      uncommittedRows += batch.count - batch.skip
      try sink.write(bytes.span, records: records, skip: batch.skip, firstLSN: batch.firstLSN, names: names)
    }
    guard uncommittedRows > 0 else { return false }
    let isFull = uncommittedRows >= batchRows
    try commit()
    return isFull
  }

  /// Fixes in the batch, counted here and not by the sink, so that the two can be held against each other.
  private static func countFixes(_ bytes: [UInt8], _ records: Range<Int>, _ batch: JournalBatch) -> UInt64 {
    var count: UInt64 = 0
    var index = 0
    var at = records.lowerBound
    while at + 8 <= records.upperBound, index < batch.count {
      let length = Int(bytes.span.load32(at: at))
      guard length > 0 else { break }
      if index >= batch.skip, bytes[at + 4] != RecordKind.gap.rawValue { count += 1 }
      index += 1
      at += length
    }
    return count
  }

  private mutating func commit() throws(StoreError) {
    let counts = try sink.commit(nextLSN: reader.position)
    progress.cursor = sink.cursor
    progress.consumed += uncommitted
    uncommitted = 0
    uncommittedRows = 0
    progress.stored += UInt64(counts.stored)
    progress.alreadyStored += UInt64(counts.alreadyStored)
    progress.held += UInt64(counts.held)
    progress.refused += UInt64(counts.refused)
    progress.setAside += UInt64(counts.setAside)
    progress.gaps += UInt64(counts.gaps)
    progress.problem = nil
  }

  /// Lets the journal be trimmed up to the cursor.
  package mutating func sync() throws(StoreError) {
    guard sink.durableCursor < sink.cursor else { return }
    try sink.makeDurable()
    progress.durableCursor = sink.durableCursor
  }

  package mutating func failed(_ problem: String) {
    progress.failures += 1
    progress.problem = problem
  }
}
