#if JetStream
package import GateCore
package import GateStore

/// Journal records into a JetStream stream, at least once: whoever takes them from there finds each fix by its key.
///
/// The cursor lies in the stream itself: each commit ends with a message on this gateway's own subject that says how far its journal
/// has been acked, and that the server takes only if the one before is still there. nats-server acks before it syncs; what it loses by
/// that is the end of the stream, and so the newest cursors with it. Hence a cursor that is there proves all before it, and one that is there
/// after the server has certainly synced lets the journal go. One that is gone means that acked messages are gone: they are published again,
/// from the newest cursor that is left. (A server that has lost its page cache is not back within one commit.)
package struct JetStreamSink: ~Copyable {
  package struct Options: Sendable {
    package var server: JetStreamServer
    package var stream: StreamSettings
    /// Names this gateway's journal among those of all gateways.
    package var gateway: String
    package var shards: Int
    /// Messages that may be under way unacked.
    package var window: Int
    /// The server syncs what it has acked at least so often.
    package var syncIntervalS: Int

    package init(
      server: JetStreamServer, stream: StreamSettings, gateway: String, shards: Int, window: Int, syncIntervalS: Int
    ) {
      self.server = server
      self.stream = stream
      self.gateway = gateway
      self.shards = shards
      self.window = window
      self.syncIntervalS = syncIntervalS
    }
  }

  package private(set) var cursor: UInt64
  package private(set) var durableCursor: UInt64
  package private(set) var isSpent = false

  private final class Link {
    let connection: JetStreamConnection
    init(_ connection: consuming JetStreamConnection) { self.connection = connection }
  }

  private let options: Options
  private let isOver: () -> Bool
  private var link: Link?
  private var registry = RegistrySnapshot.empty
  private var pending: PendingRecords
  private var trail: SyncTrail
  /// Where the cursor may be if the answer to a commit was lost.
  private var attempted: UInt64

  /// Connects, checks the stream and reads the cursor.
  /// - Parameters:
  ///   - mark: all below was durable in the stream once; counts where the stream has no cursor any more.
  ///   - isOver: asked while the server is waited for; true = give up.
  package init(_ options: Options, mark: UInt64, isOver: @escaping () -> Bool = { false }) throws(JetStreamError) {
    let opened = try JetStreamSink.open(options, isOver)
    let found = try JetStreamSink.newestCursor(opened.connection, options)
    var trail = SyncTrail(intervalNs: UInt64(options.syncIntervalS) * 1_000_000_000)
    if let found { trail.append(found) }
    let cursor = found?.lsn ?? mark
    self.options = options
    self.isOver = isOver
    self.cursor = cursor
    self.trail = trail
    attempted = cursor
    durableCursor = min(mark, cursor)
    pending = PendingRecords(expected: cursor == 0 ? nil : cursor)
    link = opened
  }

  private static func open(_ options: Options, _ isOver: @escaping () -> Bool) throws(JetStreamError) -> Link {
    let link = Link(try JetStreamConnection.open(options.server, window: options.window, isOver: isOver))
    try link.connection.check(options.stream)
    return link
  }

  /// As acked now: when it was is not known.
  private static func newestCursor(
    _ connection: borrowing JetStreamConnection, _ options: Options
  ) throws(JetStreamError) -> SyncTrail.Mark? {
    let subject = options.stream.gatewaySubject(options.gateway)
    guard let found = try connection.last(on: subject, of: options.stream.name), let lsn = cursor(in: found.bytes) else { return nil }
    return SyncTrail.Mark(lsn: lsn, sequence: found.sequence, ackedAt: MonotonicClock.now())
  }

  private static func cursor(in bytes: [UInt8]) -> UInt64? { (try? StoredBatch(decoding: bytes.span))?.nextLSN }

  package mutating func write(
    _ bytes: Span<UInt8>, records: Range<Int>, skip: Int, firstLSN: UInt64, names: RegistrySnapshot
  ) throws(JetStreamError) {
    registry = names
    pending.take(bytes, records: records, skip: skip, firstLSN: firstLSN)
  }

  /// Publishes what is buffered and waits for the acks, then publishes the cursor. After an error all of it is published again.
  /// - Throws: `.acksLost`: the value is spent.
  package mutating func commit(nextLSN: UInt64) throws(JetStreamError) -> SinkCounts {
    precondition(nextLSN >= cursor, "a cursor never goes back")
    pending.close(at: nextLSN)
    let messages = StreamMessages(
      pending, registry, gateway: options.gateway, settings: options.stream, shards: options.shards)
    let (name, subject) = (options.stream.name, options.stream.gatewaySubject(options.gateway))
    let bytes = StoredBatchWriter.cursor(gateway: options.gateway, nextLSN: nextLSN)
    let mark = try use(attempting: nextLSN) { connection, newest throws(JetStreamError) in
      try connection.publish(messages.messages, to: name)
      let sequence = try connection.publish(bytes, on: subject, after: newest?.sequence, to: name)
      return SyncTrail.Mark(lsn: nextLSN, sequence: sequence, ackedAt: MonotonicClock.now())
    }
    trail.append(mark)
    cursor = nextLSN
    pending.forget()
    return messages.counts
  }

  /// Moves the durable cursor to the newest that must be synced by now.
  /// - Throws: `.acksLost`: the value is spent.
  package mutating func makeDurable() throws(JetStreamError) {
    guard let mark = trail.settled(at: MonotonicClock.now()) else { return }
    let (name, subject) = (options.stream.name, options.stream.gatewaySubject(options.gateway))
    try use(attempting: cursor) { connection, _ throws(JetStreamError) in
      guard let found = try connection.message(at: mark.sequence, of: name), JetStreamSink.cursor(in: found.bytes) == mark.lsn
      else { throw .acksLost }
      try connection.purge(subject, below: mark.sequence, of: name)
    }
    durableCursor = max(durableCursor, mark.lsn)
    trail.settle(mark)
  }

  /// Hands out the connection, made anew where it was lost, and the newest cursor. After an error it is not used again.
  private mutating func use<Result>(
    attempting nextLSN: UInt64, _ body: (borrowing JetStreamConnection, SyncTrail.Mark?) throws(JetStreamError) -> Result
  ) throws(JetStreamError) -> Result {
    do throws(JetStreamError) {
      let opened: Link
      if let link { opened = link } else { opened = try reopened() }
      link = nil
      attempted = max(attempted, nextLSN)
      let result = try body(opened.connection, trail.newest)
      link = opened
      return result
    } catch {
      if error == .acksLost { isSpent = true }
      throw error
    }
  }

  /// A new connection, if the stream's cursor is where it was left, or where a lost answer has left it.
  private mutating func reopened() throws(JetStreamError) -> Link {
    let opened = try JetStreamSink.open(options, isOver)
    let found = try JetStreamSink.newestCursor(opened.connection, options)
    if found?.sequence == trail.newest?.sequence { return opened }
    guard let found, found.lsn >= cursor, found.lsn <= attempted, found.sequence > trail.newest?.sequence ?? 0 else {
      throw .acksLost
    }
    trail.append(found)
    return opened
  }
}

extension JetStreamSink: FixSink {}
#endif
