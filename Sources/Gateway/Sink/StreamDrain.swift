#if JetStream
package import GateCore
package import GateJetStream
package import GateStore

/// Carries the records of a stream into one sink, a transaction's worth at a time, and acks them once they are stored. What was
/// stored and not acked comes again; the rows' key makes each fix one.
package struct StreamDrain<Sink: FixSink & ~Copyable>: ~Copyable {
  /// Records are numbered as they come: the sink's cursor counts what was taken from the stream, and means nothing else.
  private var sink: Sink
  private var consumer: JetStreamConsumer
  private let batchRows: Int
  private let intervalNs: UInt64
  private let mask: FieldMask?
  private let now: () -> Instant
  private var records: [UInt8] = []
  private var room = [UInt8](repeating: 0, count: Limits.recordBytesMax)
  private var poison: [[UInt8]] = []
  private var lost: UInt64 = 0

  private static var messagesAtOnce: Int { 64 }

  /// - Parameters:
  ///   - mask: what the sink may have of each record; `nil` = everything.
  ///   - intervalMs: how long a transaction gathers while little comes.
  package init(
    sink: consuming Sink, consumer: consuming JetStreamConsumer, batchRows: Int, intervalMs: Int, mask: FieldMask?,
    now: @escaping () -> Instant
  ) {
    self.sink = sink
    self.consumer = consumer
    self.batchRows = batchRows
    intervalNs = UInt64(intervalMs) * 1_000_000
    self.mask = mask
    self.now = now
  }

  /// Stores and acks what is there.
  /// - Parameter waitMs: how long to wait for the first message.
  /// - Returns: what became of it; `nil` if there was nothing.
  /// - Throws: the sink's error or the stream's; nothing was acked. Only a new value goes on.
  package mutating func step(waitMs: Int, names: inout NameIndexes) throws -> SinkCounts? {
    let started = now()
    var (rows, messages) = (0, 0)
    repeat {
      let payloads = try consumer.fetch(count: StreamDrain.messagesAtOnce, waitMs: messages == 0 ? waitMs : 20)
      if payloads.isEmpty { break }
      messages += payloads.count
      for payload in payloads { rows += take(payload, &names) }
    } while rows < batchRows && messages < ConsumerSettings.messagesMax && now().since(started) < intervalNs
    guard messages > 0 else { return nil }
    let counts = try store(rows, names.snapshot)
    try consumer.acknowledge()
    return counts
  }

  /// Messages that are not stored yet.
  package borrowing func remaining() throws -> UInt64 { try consumer.remaining() }

  private mutating func store(_ rows: Int, _ names: RegistrySnapshot) throws -> SinkCounts {
    var lsn = sink.cursor
    let (good, poison) = (masked(records), poison)
    try sink.write(good.span, records: 0..<good.count, skip: 0, firstLSN: lsn, names: names)
    // What is gone leaves a hole in the numbers.
    lsn += UInt64(rows - poison.count) + lost
    for bytes in poison {
      try sink.write(bytes.span, records: 0..<bytes.count, skip: 0, firstLSN: lsn, names: names)
      lsn += 1
    }
    let counts = lsn > sink.cursor ? try sink.commit(nextLSN: lsn) : SinkCounts()
    try sink.makeDurable()
    records.removeAll(keepingCapacity: true)
    self.poison.removeAll()
    lost = 0
    return counts
  }

  private func masked(_ records: [UInt8]) -> [UInt8] {
    guard let mask else { return records }
    var out: [UInt8] = []
    mask.apply(to: records.span, records: 0..<records.count, into: &out)
    return out
  }

  /// - Returns: how many rows it makes, what is set aside included.
  private mutating func take(_ payload: [UInt8], _ names: inout NameIndexes) -> Int {
    guard let batch = try? StoredBatch(decoding: payload.span) else {
      setAside(payload)
      return 1
    }
    for index in batch.records.indices {
      if !append(index, of: batch, payload.span, &names) { setAside(Array(payload[batch.records[index]])) }
    }
    var asides = 0
    for aside in batch.asides {
      if let record = aside.record {
        setAside(record)
        asides += 1
      } else {
        lost += min(aside.count, 1 << 40)
      }
    }
    return batch.records.count + asides
  }

  /// - Returns: false if it cannot be read.
  private mutating func append(
    _ index: Int, of batch: StoredBatch, _ payload: Span<UInt8>, _ names: inout NameIndexes
  ) -> Bool {
    guard let named = try? batch.record(index, of: payload), NameIndexes.isName(batch.tenant), NameIndexes.isName(named.device),
      named.subject.map(NameIndexes.isName) ?? true
    else { return false }
    var record = named.record
    (record.tenant, record.device) = names.device(named.device, of: batch.tenant)
    record.subject = named.subject.map { names.subject($0, of: record.tenant) } ?? 0
    var out = room.mutableSpan
    let end = record.write(into: &out, at: 0, from: payload)
    records += room[..<end]
    return true
  }

  /// Bytes that no sink takes for a record, with those that were not understood behind them: what a gateway has set aside may well be a
  /// record, of that gateway's own numbers.
  private mutating func setAside(_ bytes: [UInt8]) { poison.append([UInt8](repeating: 0, count: 8) + bytes) }
}

extension ConsumerSettings {
  /// Bound of a transaction.
  static let messagesMax = 4_096
}
#endif
