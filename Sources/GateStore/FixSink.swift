package import GateCore

/// A place that the journal is drained to: batches of records in, a durable cursor out. A value lives on one thread; what it
/// stores is keyed by (device, stream, sequence), so that a record which comes twice is stored once.
package protocol FixSink: ~Copyable {
  associatedtype Failure: Error

  /// LSN of the next record to read, as committed; 0 = it has seen none, and starts with the oldest one kept.
  var cursor: UInt64 { get }
  /// All below survives a power cut.
  var durableCursor: UInt64 { get }
  /// Whether only a new value can go on: the place has another cursor now.
  var isSpent: Bool { get }

  /// Buffers records of one journal batch; those below the cursor or buffered already are passed over.
  mutating func write(
    _ bytes: Span<UInt8>, records: Range<Int>, skip: Int, firstLSN: UInt64, names: RegistrySnapshot
  ) throws(Failure)
  /// Stores what is buffered, and the cursor with it. What cannot be stored is set aside with a reason and does not hold
  /// up the rest. On error the buffer stays: call it again.
  mutating func commit(nextLSN: UInt64) throws(Failure) -> SinkCounts
  /// Makes all commits survive a power cut.
  mutating func makeDurable() throws(Failure)
}

extension FixSink where Self: ~Copyable {
  package var isSpent: Bool { false }
}

extension SQLiteSink: FixSink {}
