#if PostgreSQL
package import GateCore
package import GateStore

/// Journal records into PostgreSQL: per transaction one binary COPY into a temporary table, an insert of what is new from there,
/// and the cursor. Several gateways may write one database, each with a cursor of its own.
///
/// A commit whose answer was lost is not a question: the next transaction reads the cursor, under a lock, before it writes.
package struct PostgresSink: ~Copyable {
  package struct Options: Sendable {
    package var server: PostgresServer
    /// Names this gateway's journal among those of all gateways.
    package var gateway: String
    /// Held and refused records are kept for this long, by the gateway's clock.
    package var quarantineMs: Int64
    /// Where a database that has nothing of this gateway begins; 0 = with the oldest record there is.
    package var firstLSN: UInt64

    package init(
      server: PostgresServer, gateway: String, quarantineMs: Int64 = 30 * 86_400_000, firstLSN: UInt64 = 0
    ) {
      self.server = server
      self.gateway = gateway
      self.quarantineMs = quarantineMs
      self.firstLSN = firstLSN
    }
  }

  package private(set) var cursor: UInt64 = 0
  /// A commit is synced before the server answers; see `open`.
  package var durableCursor: UInt64 { cursor }
  package private(set) var isSpent = false

  private final class Link {
    let connection: PostgresConnection
    init(_ connection: consuming PostgresConnection) { self.connection = connection }
  }

  private let options: Options
  private let isOver: () -> Bool
  private var link: Link?
  private var names = PostgresNames()
  private var registry = RegistrySnapshot.empty
  private var pending: PendingRecords
  private var rows = FixRows()
  /// The last commit that was tried and not answered: where the cursor is if it was made, and what it counted.
  private var attempt: (nextLSN: UInt64, counts: SinkCounts)?
  /// Gateway's clock, of the newest record when quarantine was last pruned.
  private var prunedAtMs = Int64.min

  private static let pruneEveryMs: Int64 = 600_000

  /// Connects and reads the cursor.
  /// - Parameter isOver: asked while the server is waited for; true = give up.
  package init(_ options: Options, isOver: @escaping () -> Bool = { false }) throws(PostgresError) {
    self.options = options
    self.isOver = isOver
    let opened = try PostgresSink.open(options, isOver)
    let words = try opened.connection.query("SELECT next_lsn FROM fixgate.cursor WHERE gateway = $1", [options.gateway])
    let found = words.first?.first?.flatMap { UInt64($0) }
    if found == nil {
      _ = try opened.connection.query(
        "INSERT INTO fixgate.cursor(gateway, next_lsn) VALUES ($1, $2) ON CONFLICT DO NOTHING",
        [options.gateway, "\(options.firstLSN)"])
    }
    cursor = found ?? options.firstLSN
    pending = PendingRecords(expected: cursor == 0 ? nil : cursor)
    link = opened
  }

  /// A connection that is ready for commits.
  private static func open(_ options: Options, _ isOver: @escaping () -> Bool) throws(PostgresError) -> Link {
    let link = Link(try PostgresConnection.open(options.server, isOver: isOver))
    try PostgresSchema.check(link.connection)
    // An acknowledged commit must survive the server's power cut; what is stricter than that is the operator's choice.
    try link.connection.run(
      """
      SELECT set_config('synchronous_commit', 'on', false) WHERE current_setting('synchronous_commit') = 'off';
      \(PostgresSchema.staging)
      """)
    return link
  }

  package mutating func write(
    _ bytes: Span<UInt8>, records: Range<Int>, skip: Int, firstLSN: UInt64, names: RegistrySnapshot
  ) throws(PostgresError) {
    registry = names
    pending.take(bytes, records: records, skip: skip, firstLSN: firstLSN)
  }

  package mutating func makeDurable() throws(PostgresError) {}

  // MARK: Committing

  /// - Throws: `.cursorMoved`: the value is spent. Otherwise call it again; a new connection is made where it needs one.
  package mutating func commit(nextLSN: UInt64) throws(PostgresError) -> SinkCounts {
    precondition(nextLSN >= cursor, "a cursor never goes back")
    pending.close(at: nextLSN)
    do throws(PostgresError) {
      let counts = try store(nextLSN)
      cursor = nextLSN
      attempt = nil
      if isPruneDue { prunedAtMs = pending.newestReceiveMs }
      pending.forget()
      return counts
    } catch {
      if case .server = error, let link, (try? link.connection.run("ROLLBACK")) != nil { throw error }
      link = nil
      throw error
    }
  }

  private mutating func store(_ nextLSN: UInt64) throws(PostgresError) -> SinkCounts {
    let link = try connected()
    try names.resolve(pending, registry, link.connection)
    try link.connection.run("BEGIN")
    let found = try link.connection.query(
      "SELECT next_lsn FROM fixgate.cursor WHERE gateway = $1 FOR UPDATE", [options.gateway]
    ).first?.first?.flatMap { UInt64($0) }
    if let attempt, attempt.nextLSN == nextLSN, found == nextLSN {
      try link.connection.run("ROLLBACK")
      return attempt.counts
    }
    guard found == cursor else {
      isSpent = true
      throw .cursorMoved
    }
    var counts = SinkCounts()
    var asides = pending.asides
    try insertFixes(link.connection, &counts, &asides)
    try insertOthers(link.connection, &counts, &asides)
    for aside in asides {
      try setAside(aside, link.connection)
      counts.setAside += aside.number
    }
    try prune(link.connection)
    attempt = (nextLSN, counts)
    try link.connection.run(
      """
      UPDATE fixgate.cursor SET next_lsn = \(nextLSN), stored = stored + \(counts.stored),
      already_stored = already_stored + \(counts.alreadyStored), held = held + \(counts.held),
      refused = refused + \(counts.refused), gaps = gaps + \(counts.gaps), set_aside = set_aside + \(counts.setAside),
      changed = now() WHERE gateway = '\(options.gateway)'; COMMIT
      """)
    return counts
  }

  /// The connection, made anew where it was lost. A server that took over may number names otherwise.
  private mutating func connected() throws(PostgresError) -> Link {
    if let link { return link }
    names = PostgresNames()
    let opened = try PostgresSink.open(options, isOver)
    link = opened
    return opened
  }

  // MARK: Fixes

  private mutating func insertFixes(
    _ connection: borrowing PostgresConnection, _ counts: inout SinkCounts, _ asides: inout [PendingRecords.Aside]
  ) throws(PostgresError) {
    let places = FixRows.places(of: pending, names, &asides)
    if places.isEmpty { return }
    let columns = FixRows.Columns(places, pending.bytes.span)
    try insert(places[...], columns, connection, &counts, &asides)
  }

  /// Inserts these rows. Where the server refuses one, halves are tried until it stands alone, and is set aside.
  private mutating func insert(
    _ places: ArraySlice<FixRows.Place>, _ columns: FixRows.Columns, _ connection: borrowing PostgresConnection,
    _ counts: inout SinkCounts, _ asides: inout [PendingRecords.Aside]
  ) throws(PostgresError) {
    let bytes = pending.bytes
    let names = names
    var rows = FixRows()
    swap(&rows, &self.rows)
    defer { swap(&rows, &self.rows) }
    var unreadable: [FixRows.Place] = []
    var at = places.startIndex
    do throws(PostgresError) {
      // Few journeys: each waits for the server.
      try connection.copy("SAVEPOINT rows; " + columns.copyText) {
        guard at < places.endIndex else { return nil }
        let end = FixRows.pieceEnd(of: places, from: at)
        unreadable += rows.render(
          places[at..<end], isFirst: at == places.startIndex, isLast: end == places.endIndex, columns, bytes.span, names)
        at = end
        return rows.rows
      }
      let stored = try connection.run(columns.insertText)
      try connection.run((columns.hasPositions ? FixRows.latestText + "; " : "") + "RELEASE SAVEPOINT rows")
      counts.stored += stored
      counts.alreadyStored += places.count - unreadable.count - stored
    } catch {
      guard error.concernsRows, case .server(let state) = error else { throw error }
      try connection.run("ROLLBACK TO SAVEPOINT rows; RELEASE SAVEPOINT rows")
      guard places.count > 1 else {
        for place in places { asides.append(aside(place, "SQLSTATE \(state)")) }
        return
      }
      let middle = places.startIndex + places.count / 2
      try insert(places[..<middle], columns, connection, &counts, &asides)
      try connection.run("TRUNCATE staged_fix")
      try insert(places[middle...], columns, connection, &counts, &asides)
      return
    }
    for place in unreadable { asides.append(aside(place, "text or attributes unreadable")) }
  }

  private func aside(_ place: FixRows.Place, _ reason: String) -> PendingRecords.Aside {
    PendingRecords.Aside(lsn: place.entry.lsn, count: 1, reason: reason, range: pending.range(of: place.entry))
  }

  // MARK: The rest

  private mutating func insertOthers(
    _ connection: borrowing PostgresConnection, _ counts: inout SinkCounts, _ asides: inout [PendingRecords.Aside]
  ) throws(PostgresError) {
    guard let others = OtherRows.render(pending, names, &asides) else { return }
    var left: CopyRows? = others.rows
    try connection.copy(OtherRows.copyText) { left.take() }
    counts.held = try connection.run(OtherRows.heldText)
    counts.refused = try connection.run(OtherRows.refusedText)
    counts.gaps = try connection.run(OtherRows.gapText)
    counts.alreadyStored += others.fixes - counts.held - counts.refused
  }

  private var isPruneDue: Bool {
    let newest = pending.newestReceiveMs
    return newest > Int64.min && (prunedAtMs == Int64.min || newest - prunedAtMs >= PostgresSink.pruneEveryMs)
  }

  /// Deletes what quarantine has kept for long enough.
  private func prune(_ connection: borrowing PostgresConnection) throws(PostgresError) {
    guard isPruneDue else { return }
    let oldest = pending.newestReceiveMs.subtractingReportingOverflow(options.quarantineMs).partialValue
    try connection.run(
      """
      DELETE FROM fixgate.quarantine WHERE receive_time_ms < \(oldest);
      DELETE FROM fixgate.refused WHERE receive_time_ms < \(oldest)
      """)
  }

  private func setAside(
    _ aside: PendingRecords.Aside, _ connection: borrowing PostgresConnection
  ) throws(PostgresError) {
    var hex = "\\x"
    for i in aside.range { hex += (pending.bytes[i] < 16 ? "0" : "") + String(pending.bytes[i], radix: 16) }
    _ = try connection.query(
      """
      INSERT INTO fixgate.set_aside(gateway, lsn, count, reason, record) VALUES ($1, $2, $3, $4, nullif($5, '\\x')::bytea)
      ON CONFLICT (gateway, lsn) DO UPDATE SET count = excluded.count, reason = excluded.reason, record = excluded.record
      """, [options.gateway, "\(aside.lsn)", "\(aside.number)", aside.reason, hex])
  }
}

extension PostgresSink: FixSink {}
#endif
