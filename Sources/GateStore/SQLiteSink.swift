package import GateCore
import Glibc

/// What became of the records of one commit, or of all since the file was made. Each record counts once.
package struct SinkCounts: Equatable, Sendable {
  /// Fixes that became a row of `fix`.
  package var stored = 0
  /// Records of any kind whose row was there already: read again after a crash.
  package var alreadyStored = 0
  package var held = 0
  package var refused = 0
  package var gaps = 0
  /// Records that could not be read or stored, and those that the journal has lost.
  package var setAside = 0

  package init() {}

  package static func += (a: inout SinkCounts, b: SinkCounts) {
    a.stored += b.stored
    a.alreadyStored += b.alreadyStored
    a.held += b.held
    a.refused += b.refused
    a.gaps += b.gaps
    a.setAside += b.setAside
  }
}

/// The default sink: journal records into one SQLite file, which anybody may read meanwhile (WAL). Schema: `FixTable`.
///
/// Rows and cursor go in one transaction. `write` only buffers, `commit` writes all in the order of the key, so that it
/// touches each leaf of the index once: the more rows a commit has of each device the better. A commit that throws has written nothing and keeps the buffer:
/// call it again.
package struct SQLiteSink: ~Copyable {
  package struct Options: Sendable {
    /// Only for a new file.
    package var pageBytes = 8_192
    package var cacheBytes = 64 << 20
    /// Journal bytes after which the write-ahead log is moved into the file.
    package var checkpointBytes = 64 << 20
    /// Held and refused records are kept for this long, by the gateway's clock,
    package var quarantineMs: Int64 = 30 * 86_400_000
    /// and at most this many of each.
    package var quarantineRowsMax: Int64 = 100_000
    package var busyMs: Int32 = 5_000

    package init() {}
  }

  /// LSN of the next record to read, as committed. 0 for a new file.
  package private(set) var cursor: UInt64
  /// All below survives a power cut. 0 until the first `makeDurable`: what an earlier run left is not known to be synced.
  package private(set) var durableCursor: UInt64 = 0
  /// Of all commits since the file was made.
  package private(set) var totals: SinkCounts

  private let connection: SQLiteConnection
  private let directory: String
  private let options: Options
  private let cipher: (any SubjectCipher)?
  private var random = SystemRandomNumberGenerator()
  private let statements: SinkStatements
  private let inserter = RowInserter()
  private let usage = UsageBook()

  private var pending: PendingRecords
  private var names = RegistrySnapshot.empty
  /// Devices whose names are in the file, by index.
  private var named: [Bool] = []
  private var bytesSinceCheckpoint = 0
  /// SQLite's log, opened when there is something to write ahead of its sync.
  private var writeAheadLog: DiskFile?
  private let writeAheadLogName: String
  private var hasOpenedLog = false
  private var bytesLazy = 0
  private var prunedAtMs = Int64.min
  private var syncFailed = false
  private var directorySynced = false

  /// Opens the file, creating it (mode 0600) or bringing it to today's schema.
  /// - Parameter cipher: seals what is held back or set aside; `nil` = it can be read in the file.
  package init(
    path: String, options: Options = Options(), cipher: (any SubjectCipher)? = nil
  ) throws(StoreError) {
    let connection = try SQLiteSink.open(path, options)
    let statements = try SinkStatements(connection)
    let state = try SQLiteStatement(
      connection, "SELECT next_lsn, stored, already_stored, held, refused, gaps, set_aside FROM cursor")
    var totals = SinkCounts()
    var position: UInt64?
    if try state.step() {
      position = UInt64(bitPattern: state.int64(0))
      totals.stored = Int(state.int64(1))
      totals.alreadyStored = Int(state.int64(2))
      totals.held = Int(state.int64(3))
      totals.refused = Int(state.int64(4))
      totals.gaps = Int(state.int64(5))
      totals.setAside = Int(state.int64(6))
    }
    cursor = position ?? 0
    pending = PendingRecords(expected: position)
    self.totals = totals
    self.statements = statements
    self.options = options
    self.cipher = cipher
    directory = Directory.parent(of: path)
    writeAheadLogName = (path.split(separator: "/").last.map(String.init) ?? path) + "-wal"
    self.connection = connection
  }

  private static func open(_ path: String, _ options: Options) throws(StoreError) -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path, access: .create, busyMs: options.busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    // Checkpoints are our own: SQLite's automatic ones swallow their errors, and a failed sync must be known.
    try connection.execute(
      """
      PRAGMA page_size = \(options.pageBytes); PRAGMA journal_mode = WAL; PRAGMA synchronous = NORMAL;
      PRAGMA cache_size = -\(options.cacheBytes / 1_024); PRAGMA wal_autocheckpoint = 0; PRAGMA secure_delete = ON;
      PRAGMA journal_size_limit = \(2 * options.checkpointBytes)
      """)
    try connection.migrate(FixTable.migrations)
    return connection
  }

  /// Bounds the file, in pages; more is `.full`, as on a full disk.
  package mutating func limit(pages: Int) throws(StoreError) {
    try connection.execute("PRAGMA max_page_count = \(pages)")
  }

  // MARK: Buffering

  /// Buffers records of one journal batch. Those below the cursor or buffered already are passed over; a hole in the
  /// LSNs is set aside as lost.
  ///
  /// - Parameter records: where the batch's records lie in `bytes`; they are copied.
  /// - Parameter skip: records at the front to pass over.
  /// - Parameter firstLSN: of the first record in `records`, the skipped ones included. Each record has one LSN.
  package mutating func write(
    _ bytes: Span<UInt8>, records: Range<Int>, skip: Int, firstLSN: UInt64, names: RegistrySnapshot
  ) throws(StoreError) {
    self.names = names
    pending.take(bytes, records: records, skip: skip, firstLSN: firstLSN)
  }

  // MARK: Committing

  /// Writes what is buffered and the cursor in one transaction. Survives kill -9, but not yet a power cut.
  ///
  /// - Parameter nextLSN: behind the last record of the last `write`.
  /// - Throws: nothing was written, the buffer stays; try again.
  package mutating func commit(nextLSN: UInt64) throws(StoreError) -> SinkCounts {
    pending.close(at: nextLSN)
    precondition(nextLSN >= cursor, "a cursor never goes back")
    pending.sortFixes()
    var counts = SinkCounts()
    var newlyNamed: [Int] = []
    try connection.begin()
    // Whoever shreds keys waits for the lock first: what is sealed from here on lies under keys that he knows.
    cipher?.refresh()
    do throws(StoreError) {
      try insertFixes(&counts)
      for entry in pending.others { try insertOther(entry, &counts) }
      for aside in pending.asides { try setAside(aside, &counts) }
      newlyNamed = try insertNames()
      for entry in pending.fixes { usage.count(pending.bytes.span, at: entry.at) }
      for entry in pending.others { usage.count(pending.bytes.span, at: entry.at) }
      try usage.write(connection)
      try prune()
      var sum = totals
      sum += counts
      try statements.setCursor(nextLSN, sum)
      try connection.commit()
    } catch {
      inserter.discard()
      usage.discard()
      connection.rollBack()
      throw error
    }
    usage.committed()
    totals += counts
    cursor = nextLSN
    for device in newlyNamed { mark(device) }
    bytesSinceCheckpoint += pending.bytes.count
    prunedAtMs = max(prunedAtMs, pending.newestReceiveMs)
    beginWriting()
    pending.forget()
    // The rows are in: trouble with the log is not theirs. `makeDurable` will hear of a disk that cannot sync.
    if bytesSinceCheckpoint >= options.checkpointBytes { try? checkpoint() }
    return counts
  }

  /// The log would lie in memory until a checkpoint syncs all of it at once, and the journal's syncs, and with them all acks, would
  /// wait for that: some 300 ms each time. So the kernel is told to begin every MiB or so.
  private mutating func beginWriting() {
    bytesLazy += pending.bytes.count
    guard bytesLazy >= 1 << 20 else { return }
    bytesLazy = 0
    if !hasOpenedLog {
      // SQLite's locks lie in other files: this descriptor may be closed at any time.
      writeAheadLog = try? DiskFile(writeAheadLogName, in: Directory(directory), flags: O_RDONLY)
      hasOpenedLog = true
    }
    writeAheadLog?.beginWriting()
  }

  private mutating func insertFixes(_ counts: inout SinkCounts) throws(StoreError) {
    var newest: (entry: PendingRecords.Entry, position: LatestPosition)?
    let before = connection.totalChanges
    var refused = 0
    var latestChanges = 0
    for entry in pending.fixes {
      let record = PendingRecords.record(pending.bytes.span, entry.at)
      do throws(RowInserter.Failure) {
        try inserter.insert(record, from: pending.bytes.span, into: connection)
      } catch {
        let reason: String
        switch error {
        case .unreadable: reason = "attributes or work unreadable"
        case .store(.sqlite(let code)) where SQLiteConnection.concernsOneRow(code): reason = "SQLite \(code)"
        case .store(let error): throw error
        }
        refused += 1
        var aside = SinkCounts()
        let beforeAside = connection.totalChanges
        try setAside(PendingRecords.Aside(lsn: entry.lsn, count: 1, reason: reason, range: pending.range(of: entry)), &aside)
        latestChanges += connection.totalChanges - beforeAside
        counts.setAside += aside.setAside
        continue
      }
      guard let position = LatestPosition(record) else { continue }
      if let known = newest, known.entry.device != entry.device {
        let beforeLatest = connection.totalChanges
        try moveLatest(known.entry)
        latestChanges += connection.totalChanges - beforeLatest
        newest = (entry, position)
      } else if let known = newest, !position.isNewer(than: known.position) {
        continue
      } else {
        newest = (entry, position)
      }
    }
    try inserter.flush()
    let inserted = connection.totalChanges - before - latestChanges
    counts.stored += inserted
    counts.alreadyStored += pending.fixes.count - refused - inserted
    if let newest { try moveLatest(newest.entry) }
  }

  private func moveLatest(_ entry: PendingRecords.Entry) throws(StoreError) {
    try statements.moveLatest(PendingRecords.record(pending.bytes.span, entry.at))
  }

  private mutating func insertOther(_ entry: PendingRecords.Entry, _ counts: inout SinkCounts) throws(StoreError) {
    let record = PendingRecords.record(pending.bytes.span, entry.at)
    let isNew: Bool
    switch record.kind {
    case .fix: preconditionFailure("fixes are not among the others")
    case .held:
      let bytes = Array(pending.bytes[pending.range(of: entry)])
      guard let kept = kept(bytes) else {
        var erased = record
        erased.refuse(.erased)
        isNew = try statements.refuse(erased, connection)
        if isNew { counts.refused += 1 }
        break
      }
      isNew = try statements.quarantine(record, kept.span, connection)
      if isNew { counts.held += 1 }
    case .refused:
      isNew = try statements.refuse(record, connection)
      if isNew { counts.refused += 1 }
    case .gap:
      isNew = try statements.insertGap(record, connection)
      if isNew { counts.gaps += 1 }
    }
    if !isNew { counts.alreadyStored += 1 }
  }

  private mutating func setAside(_ aside: PendingRecords.Aside, _ counts: inout SinkCounts) throws(StoreError) {
    let kept = kept(Array(pending.bytes[aside.range])) ?? []
    try statements.setAside(lsn: aside.lsn, count: aside.number, reason: aside.reason, kept.span)
    counts.setAside += aside.number
  }

  /// A record as it is kept on its own: under its owner's key, if there is one.
  /// - Returns: `nil` if its owner was erased meanwhile.
  private mutating func kept(_ bytes: [UInt8]) -> [UInt8]? {
    guard let cipher, let record = try? Record.read(bytes.span, at: 0).record else { return bytes }
    if let sealed = KeptRecord.seal(bytes, with: cipher, using: &random) { return sealed }
    return cipher.isErased(KeyOwner(subject: record.subject, device: record.device), fixTimeMs: nil) ? nil : bytes
  }

  /// Copies the names of devices not seen before, so that the file explains itself. Names never change.
  /// - Returns: the devices whose names are in the file if the transaction succeeds.
  private func insertNames() throws(StoreError) -> [Int] {
    var done: [Int] = []
    var last: UInt32 = 0
    for entry in pending.fixes {
      let device = entry.device
      if device == last { continue }
      last = device
      try insertName(device, &done)
    }
    for entry in pending.others { try insertName(entry.device, &done) }
    // Subjects come and go: whoever carries a device of this batch.
    var lastSubject: UInt32 = 0
    for entry in pending.fixes {
      let subject = pending.bytes.span.load32(at: entry.at + 16)
      if subject == lastSubject { continue }
      lastSubject = subject
      let name = names.subjectName(subject)
      if !name.isEmpty { try statements.nameSubject(subject, name) }
    }
    return done
  }

  private func insertName(_ device: UInt32, _ done: inout [Int]) throws(StoreError) {
    let index = Int(device)
    // A device that this snapshot does not know yet gets its name with its next fix.
    guard index >= named.count || !named[index], names.knows(device: device), done.last != index else { return }
    let tenant = names.tenant(ofDevice: device)
    try statements.nameTenant(tenant, names.tenantName(tenant))
    try statements.nameDevice(device, tenant, names.externalID(ofDevice: device))
    done.append(index)
  }

  private mutating func mark(_ device: Int) {
    while named.count <= device { named.append(false) }
    named[device] = true
  }

  /// Deletes what quarantine has kept for long enough; ids ascend, so the count is bounded by them.
  private func prune() throws(StoreError) {
    if !pending.others.isEmpty { try statements.pruneByCount(options.quarantineRowsMax) }
    guard pending.newestReceiveMs > prunedAtMs else { return }
    try statements.pruneByAge(before: pending.newestReceiveMs.subtractingReportingOverflow(options.quarantineMs).partialValue)
  }

  // MARK: Durability

  /// Makes all commits survive a power cut; then `durableCursor` is `cursor`, and the journal below may go.
  ///
  /// With synchronous = NORMAL a commit reaches the page cache only. A checkpoint alone is no proof: it succeeds without
  /// syncing anything while a reader pins the log just where the last checkpoint ended. A commit with synchronous = FULL
  /// always syncs the log, and with it every commit before; so one is made here, which changes a counter, since a
  /// transaction that changes no page is not written. Then a checkpoint, which keeps the log short.
  ///
  /// - Throws: the durable cursor stays; try again. After a sync that failed it stays until the file is opened anew: the kernel
  ///   may have dropped the pages, and a later sync that succeeds would prove nothing about them.
  package mutating func makeDurable() throws(StoreError) {
    if durableCursor == cursor, bytesSinceCheckpoint == 0, directorySynced { return }
    if syncFailed { throw .io(code: 0) }
    if !directorySynced {
      do { try Directory(directory).sync() } catch { throw .io(code: 0) }
      directorySynced = true
    }
    try connection.execute("PRAGMA synchronous = FULL")
    do throws(StoreError) {
      try connection.begin()
      try statements.countSync(cursor, totals)
      try connection.commit()
    } catch {
      connection.rollBack()
      try connection.execute("PRAGMA synchronous = NORMAL")
      if error.isFailedSync { syncFailed = true }
      throw error
    }
    try connection.execute("PRAGMA synchronous = NORMAL")
    try checkpoint()
    durableCursor = cursor
  }

  private mutating func checkpoint() throws(StoreError) {
    do throws(StoreError) {
      try connection.checkpoint()
      bytesSinceCheckpoint = 0
    } catch {
      if case .locked = error { return }
      if error.isFailedSync { syncFailed = true }
      throw error
    }
  }
}
