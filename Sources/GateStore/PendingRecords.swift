package import GateCore

/// Records on their way from the journal into a database: the bytes of one transaction, and what each part of them is.
package struct PendingRecords: Sendable {
  package struct Entry: BitwiseCopyable, Sendable {
    /// Device above stream.
    package var key: UInt64
    package var sequence: UInt64
    package var lsn: UInt64
    /// Position in `bytes`.
    package var at: Int

    package var device: UInt32 { UInt32(key >> 32) }
  }

  /// Records that cannot be stored, or that are lost.
  package struct Aside: Sendable {
    package var lsn: UInt64
    /// `nil`: up to the next record that can be read.
    package var count: Int?
    package var reason: String
    /// Position in `bytes`; empty for what is lost.
    package var range: Range<Int>

    package init(lsn: UInt64, count: Int?, reason: String, range: Range<Int>) {
      self.lsn = lsn
      self.count = count
      self.reason = reason
      self.range = range
    }

    /// Without anything behind it to say how many there were, it counts as one.
    package var number: Int { count ?? 1 }
  }

  /// The records, one behind the other.
  package private(set) var bytes: [UInt8] = []
  package private(set) var fixes: [Entry] = []
  /// Held, refused, gaps.
  package private(set) var others: [Entry] = []
  package private(set) var asides: [Aside] = []
  /// Gateway's clock, of all records that were ever taken.
  package private(set) var newestReceiveMs = Int64.min
  /// LSN behind the last record; `nil` before the first one of a new store.
  private var expected: UInt64?

  /// - Parameter expected: LSN of the next record; `nil` = whichever comes.
  package init(expected: UInt64?) { self.expected = expected }

  /// Takes the records of one journal batch. Those below what is expected are passed over; a hole in the LSNs is lost.
  /// Parameters as in `FixSink.write`; the records are copied.
  package mutating func take(_ bytes: Span<UInt8>, records: Range<Int>, skip: Int, firstLSN: UInt64) {
    var at = records.lowerBound
    var lsn = firstLSN
    let start = firstLSN + UInt64(skip)
    if expected == nil { expected = start }
    let wanted = max(start, expected ?? start)
    let bytes = bytes.extracting(first: records.upperBound)
    while at < records.upperBound {
      let record: Record
      let end: Int
      do throws(RecordError) {
        (record, end) = try Record.read(bytes, at: at)
      } catch {
        // Its length cannot be trusted either: all up to the end of the batch goes aside.
        if lsn >= wanted { reach(lsn) }
        let copy = append(bytes, at..<records.upperBound)
        asides.append(Aside(lsn: max(lsn, wanted), count: nil, reason: "unreadable", range: copy))
        expected = max(lsn, wanted)
        return
      }
      if lsn >= wanted {
        reach(lsn)
        let copy = append(bytes, at..<end)
        take(record, lsn, copy)
        expected = lsn + 1
      }
      lsn += 1
      at = end
    }
  }

  private mutating func take(_ record: Record, _ lsn: UInt64, _ copy: Range<Int>) {
    newestReceiveMs = max(newestReceiveMs, record.receiveTimeMs)
    guard record.fix.sequence <= Limits.sequenceMax else {
      asides.append(Aside(lsn: lsn, count: 1, reason: "sequence above 2^62", range: copy))
      return
    }
    let entry = Entry(
      key: UInt64(record.device) << 32 | UInt64(record.stream), sequence: record.fix.sequence, lsn: lsn, at: copy.lowerBound)
    if record.kind == .fix { fixes.append(entry) } else { others.append(entry) }
  }

  /// Ends what is to go together: whatever is missing below `nextLSN` is lost.
  package mutating func close(at nextLSN: UInt64) {
    if expected == nil { expected = nextLSN }
    reach(nextLSN)
  }

  /// Settles how many records lie between the last one and `lsn`.
  private mutating func reach(_ lsn: UInt64) {
    guard let expected, lsn > expected else { return }
    if let last = asides.last, last.count == nil {
      asides[asides.count - 1].count = Int(lsn - last.lsn)
    } else {
      asides.append(Aside(lsn: expected, count: Int(lsn - expected), reason: "lost by the journal", range: 0..<0))
    }
    self.expected = lsn
  }

  private mutating func append(_ source: Span<UInt8>, _ range: Range<Int>) -> Range<Int> {
    let start = bytes.count
    unsafe source.extracting(range).withUnsafeBufferPointer { unsafe bytes.append(contentsOf: $0) }
    return start..<bytes.count
  }

  /// In the order of the key, so that a transaction touches each leaf of the index once.
  package mutating func sortFixes() { fixes.sort { ($0.key, $0.sequence) < ($1.key, $1.sequence) } }

  /// Where the entry's record lies in `bytes`.
  package func range(of entry: Entry) -> Range<Int> { entry.at..<entry.at + Int(bytes.span.load32(at: entry.at)) }

  /// The record at `at`, which was read once before.
  package static func record(_ bytes: Span<UInt8>, _ at: Int) -> Record {
    guard let record = try? Record.read(bytes, at: at).record else {
      preconditionFailure("a record that was read once can be read again")
    }
    return record
  }

  /// All of it is stored.
  package mutating func forget() {
    bytes.removeAll(keepingCapacity: true)
    fixes.removeAll(keepingCapacity: true)
    others.removeAll(keepingCapacity: true)
    asides.removeAll(keepingCapacity: true)
  }
}
