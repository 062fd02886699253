package import GateCore
package import GateStore

/// Carries durable records from the journal into one sink, a transaction's worth at a time, and keeps count. No thread and
/// no clock: `SinkFeeder` is the thread around it, and the simulator is the other interpreter.
package struct SinkDrain<Sink: FixSink & ~Copyable>: ~Copyable {
  package private(set) var sink: Sink
  package private(set) var progress: SinkProgress

  private let batchRows: Int
  private let cipher: (any SubjectCipher)?
  private let mask: FieldMask?
  private var masked: [UInt8] = []
  private var reader: JournalReader
  private var buffer: [UInt8] = []
  /// Below it the fixes are counted; those that are read all the same are counted as recovered first.
  private let accountedLSN: UInt64
  /// Below it the sink had stored all before this drain began.
  private let storedLSN: UInt64
  /// Read since the last commit.
  private var uncommitted = Uncommitted()

  private struct Uncommitted {
    var rows = 0
    var fixes: UInt64 = 0
    /// Of them, counted before.
    var again: UInt64 = 0
    /// Of them, stored before.
    var stored: UInt64 = 0
  }

  /// - Parameters:
  ///   - reader: stands at the lower of the sink's cursor and `progress`'s, or at the oldest record above.
  ///   - cipher: opens what was sealed.
  ///   - mask: what the sink may have of each record; `nil` = everything.
  ///   - progress: what has been counted of this sink; `nil` = nothing, and it goes on from the sink's own cursor.
  package init(
    batchRows: Int, sink: consuming Sink, reader: consuming JournalReader, cipher: (any SubjectCipher)? = nil,
    mask: FieldMask? = nil, progress: SinkProgress? = nil
  ) {
    self.batchRows = batchRows
    self.cipher = cipher
    self.mask = mask
    var progress = progress ?? SinkProgress(cursor: sink.cursor)
    accountedLSN = progress.cursor
    storedLSN = sink.cursor
    progress.durableCursor = sink.durableCursor
    progress.isOpen = true
    self.progress = progress
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
  /// - Throws: `JournalError` or the sink's; nothing was stored.
  package mutating func step(upTo durable: UInt64, names: RegistrySnapshot) throws -> Bool {
    cipher?.refresh()
    while uncommitted.rows < batchRows, reader.position < durable {
      guard let batch = try reader.next(upTo: durable, into: &buffer) else { break }
      var (bytes, records) = JournalBatch.opened(buffer, batch.records, with: cipher)
      count(bytes.span, records, batch)
      if let mask {
        mask.apply(to: bytes.span, records: records, into: &masked)
        (bytes, records) = (masked, 0..<masked.count)
      }
      try sink.write(bytes.span, records: records, skip: batch.skip, firstLSN: batch.firstLSN, names: names)
    }
    guard uncommitted.rows > 0 else { return false }
    let isFull = uncommitted.rows >= batchRows
    try commit()
    return isFull
  }

  /// Counts the batch's fixes here and not in the sink, so that the two can be held against each other.
  private mutating func count(_ bytes: Span<UInt8>, _ records: Range<Int>, _ batch: JournalBatch) {
    var index = 0
    var at = records.lowerBound
    while at + Record.headerBytes <= records.upperBound, index < batch.count {
      let length = Int(bytes.load32(at: at))
      guard length > 0 else { break }
      let lsn = batch.firstLSN + UInt64(index)
      if index >= batch.skip {
        if progress.waitingSinceMs == nil {
          progress.waitingSinceMs = Int64(bitPattern: bytes.load64(at: at + Record.receiveTimeOffset))
        }
        if bytes[at + 4] != RecordKind.gap.rawValue {
          uncommitted.fixes += 1
          if lsn < accountedLSN { uncommitted.again += 1 }
          if lsn < storedLSN { uncommitted.stored += 1 }
        }
      }
      index += 1
      at += length
    }
    uncommitted.rows += batch.count - batch.skip
  }

  private mutating func commit() throws(Sink.Failure) {
    // The sink has passed over what it had: a cursor never goes back.
    let counts = reader.position > sink.cursor ? try sink.commit(nextLSN: reader.position) : SinkCounts()
    progress.cursor = max(progress.cursor, reader.position)
    progress.durableCursor = sink.durableCursor
    progress.consumed += uncommitted.fixes
    progress.recovered += uncommitted.again
    progress.stored += UInt64(counts.stored)
    progress.alreadyStored += UInt64(counts.alreadyStored) + uncommitted.stored
    progress.held += UInt64(counts.held)
    progress.refused += UInt64(counts.refused)
    progress.setAside += UInt64(counts.setAside)
    progress.gaps += UInt64(counts.gaps)
    progress.problem = nil
    progress.waitingSinceMs = nil
    uncommitted = Uncommitted()
  }

  /// Lets the journal be trimmed up to the cursor.
  package mutating func sync() throws(Sink.Failure) {
    guard sink.durableCursor < sink.cursor else { return }
    try sink.makeDurable()
    progress.durableCursor = sink.durableCursor
    if uncommitted.rows == 0 { progress.problem = nil }
  }

  /// Goes on after a failure, with what was noted of it.
  package mutating func resume(_ noted: SinkProgress) {
    progress.failures = noted.failures
    progress.problem = noted.problem
    progress.waitingSinceMs = noted.waitingSinceMs
  }
}
