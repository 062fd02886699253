package import GateCore

/// Where a journal is drained to. Rows and cursor change together or not at all.
package protocol FixSink: ~Copyable {
  /// LSN of the next record to read, as committed.
  var cursor: UInt64 { get }
  /// All below survives a power cut.
  var durableCursor: UInt64 { get }

  /// Buffers records of one journal batch; those below the cursor or buffered already are passed over.
  mutating func write(
    _ bytes: Span<UInt8>, records: Range<Int>, skip: Int, firstLSN: UInt64, names: RegistrySnapshot
  ) throws(StoreError)
  /// Writes what is buffered and the cursor in one transaction. On error nothing was written, the buffer stays.
  mutating func commit(nextLSN: UInt64) throws(StoreError) -> SinkCounts
  /// Makes all commits survive a power cut.
  mutating func makeDurable() throws(StoreError)
}

extension SQLiteSink: FixSink {}
