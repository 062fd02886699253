package import GateCore

/// Which held fixes an operator means: all that fit.
package struct QuarantineSelection: Equatable, Sendable {
  package var tenant: String
  package var device: String?
  /// Raw value of a `Verdict`.
  package var code: UInt16?
  /// Numbers of single fixes, as `HeldFix.id` tells them; empty = any.
  package var ids: Set<Int64> = []

  package init(tenant: String, device: String? = nil, code: UInt16? = nil) {
    self.tenant = tenant
    self.device = device
    self.code = code
  }
}

/// What became of the fixes that a change was about.
package struct QuarantineChange: Equatable, Sendable {
  /// Now rows of the track.
  package var released = 0
  /// Now among the refused: the policy lets nobody have them.
  package var refused = 0
  package var dropped = 0
  /// Still held, with another code than before.
  package var changed = 0
  /// Left where they are: still held, or they have no place in a track.
  package var kept = 0

  package init() {}
}

/// What the default sink holds back, for an operator to look at and decide about while the gateway runs.
///
/// Each change is a few hundred fixes a transaction, synced before the call returns: a fix leaves quarantine and enters the
/// track, or the list of the refused, in one. It cannot come back: the gateway's cursor lies behind it in the same file, and
/// its sequence is settled. The gateway's counts are of what it decided itself and do not follow.
package struct Quarantine: ~Copyable {
  private let connection: SQLiteConnection
  private let statements: SinkStatements
  private let inserter = RowInserter()
  private let cipher: (any SubjectCipher)?

  /// Fixes in one transaction: the gateway's own wait for no longer than these take.
  private static let atOnce = 256

  /// - Parameter cipher: opens what is sealed, and seals what stays; `nil` = of what is sealed nothing is known.
  package init(path: String, cipher: (any SubjectCipher)? = nil, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try Quarantine.open(path, busyMs)
    statements = try SinkStatements(connection)
    self.connection = connection
    self.cipher = cipher
  }

  private static func open(_ path: String, _ busyMs: Int32) throws(StoreError) -> SQLiteConnection {
    let connection = try SQLiteConnection(path: path, access: .readWrite, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    // The gateway moves the log into the file itself, and must hear of it when that fails.
    try connection.execute("PRAGMA synchronous = FULL; PRAGMA wal_autocheckpoint = 0")
    return connection
  }

  // MARK: Looking

  /// Hands each held fix to `body`, in the order in which they were held.
  /// - Parameter body: returns whether to go on.
  package func list(_ selection: QuarantineSelection, _ body: (HeldFix) -> Bool) throws(HistoryError) {
    let (tenant, device) = try locate(selection)
    do throws(StoreError) {
      var last: Int64 = 0
      while true {
        let rows = try read(selection, tenant, device, after: last)
        for row in rows { if !body(row) { return } }
        guard let end = rows.last else { return }
        last = end.id
      }
    } catch {
      throw .store(error)
    }
  }

  // MARK: Deciding

  /// Puts fixes into the track as they are, their verdict kept, so that it can be seen there. Those without a time or a place
  /// on Earth stay: a track has none for them. The latest position does not move: the rules have not changed their mind.
  package func release(_ selection: QuarantineSelection) throws(HistoryError) -> QuarantineChange {
    try change(selection) { (held, change) throws(StoreError) in
      guard held.canBeReleased else {
        change.kept += 1
        return
      }
      var record = held.record
      record.kind = .fix
      try insert(record, held.bytes, held.id)
      change.released += 1
    }
  }

  /// Deletes fixes for good. That there were such is kept, without their content, among the refused.
  package func drop(_ selection: QuarantineSelection) throws(HistoryError) -> QuarantineChange {
    try change(selection) { (held, change) throws(StoreError) in
      _ = try statements.refuse(held.record, connection)
      try delete(held.id)
      change.dropped += 1
    }
  }

  /// Runs the rules again, and the tenant's policy, since a fix may get another time by them. What they now store goes into the
  /// track, corrected as they say, and may become the latest position.
  package func recheck(
    _ selection: QuarantineSelection, with normaliser: Normaliser, policies: PrivacyTable
  ) throws(HistoryError) -> QuarantineChange {
    var kept = [UInt8](repeating: 0, count: Minimiser.keptBytesMax)
    return try change(selection) { (held, change) throws(StoreError) in
      var record = held.record
      guard record.kind == .held else {
        change.kept += 1
        return
      }
      normaliser.recheck(&record)
      var room = kept.mutableSpan
      _ = policies.apply(to: &record, from: held.bytes.span, keeping: &room)
      if record.kind == .refused {
        _ = try statements.refuse(record, connection)
        try delete(held.id)
        change.refused += 1
      } else if record.kind == .fix {
        try insert(record, kept, held.id)
        if LatestPosition(record) != nil { try statements.moveLatest(record) }
        change.released += 1
      } else if record.code != held.record.code {
        try update(record, kept, held.id)
        change.changed += 1
      } else {
        change.kept += 1
      }
    }
  }

  private func change(
    _ selection: QuarantineSelection, _ body: (HeldFix, inout QuarantineChange) throws(StoreError) -> Void
  ) throws(HistoryError) -> QuarantineChange {
    let (tenant, device) = try locate(selection)
    var total = QuarantineChange()
    do throws(StoreError) {
      var last: Int64 = 0
      while true {
        var change = total
        // Another command may be at the same fixes: they are read and changed in one.
        try connection.begin()
        cipher?.refresh()
        do throws(StoreError) {
          let rows = try read(selection, tenant, device, after: last)
          for row in rows { try body(row, &change) }
          try connection.commit()
          guard let end = rows.last else { return change }
          last = end.id
        } catch {
          inserter.discard()
          connection.rollBack()
          throw error
        }
        total = change
      }
    } catch {
      throw .store(error)
    }
  }

  private func insert(_ record: Record, _ bytes: [UInt8], _ id: Int64) throws(StoreError) {
    do throws(RowInserter.Failure) {
      try inserter.insert(record, from: bytes.span, into: connection)
    } catch {
      switch error {
      // Such bytes were never taken; if the disk made them so, the fix is not lost by staying where it is.
      case .unreadable: throw .corrupt(code: 0)
      case .store(let error): throw error
      }
    }
    try inserter.flush()
    try delete(id)
  }

  private func delete(_ id: Int64) throws(StoreError) {
    let statement = try SQLiteStatement(connection, "DELETE FROM quarantine WHERE id = ?")
    statement.bind(id, at: 1)
    try statement.run()
  }

  private func update(_ record: Record, _ source: [UInt8], _ id: Int64) throws(StoreError) {
    var bytes = [UInt8](repeating: 0, count: record.encodedBytes)
    var out = bytes.mutableSpan
    _ = record.write(into: &out, at: 0, from: source.span)
    var random = SystemRandomNumberGenerator()
    if let cipher, let sealed = KeptRecord.seal(bytes, with: cipher, using: &random) { bytes = sealed }
    let statement = try SQLiteStatement(connection, "UPDATE quarantine SET code = ?, record = ? WHERE id = ?")
    statement.bind(Int64(record.code), at: 1)
    statement.bind(bytes.span, at: 2)
    statement.bind(id, at: 3)
    try statement.run()
  }

  // MARK: Reading

  private func locate(_ selection: QuarantineSelection) throws(HistoryError) -> (tenant: Int64, device: Int64?) {
    guard let device = selection.device else { return (try connection.locate(tenant: selection.tenant), nil) }
    let found = try connection.locate(tenant: selection.tenant, device: device)
    return (found.tenant, found.device)
  }

  private func read(
    _ selection: QuarantineSelection, _ tenant: Int64, _ device: Int64?, after last: Int64
  ) throws(StoreError) -> [HeldFix] {
    var rows: [HeldFix] = []
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT q.id, q.record, coalesce(d.id, '') FROM quarantine q LEFT JOIN device d ON d.idx = q.device
      WHERE q.id > ?1 AND q.tenant = ?2 AND (?3 IS NULL OR q.device = ?3) AND (?4 IS NULL OR q.code = ?4) ORDER BY q.id
      """)
    statement.bind(last, at: 1)
    statement.bind(tenant, at: 2)
    statement.bind(device, at: 3)
    statement.bind(selection.code.map { Int64($0) }, at: 4)
    while rows.count < Quarantine.atOnce, try statement.step() {
      let id = statement.int64(0)
      guard selection.ids.isEmpty || selection.ids.contains(id) else { continue }
      let kept = statement.withBytes(1) { span in span.indices.map { span[$0] } }
      guard let bytes = KeptRecord.open(kept, with: cipher), let record = try? Record.read(bytes.span, at: 0).record else { continue }
      rows.append(HeldFix(id: id, device: statement.text(2), record: record, bytes: bytes))
    }
    return rows
  }
}

/// One fix in quarantine.
package struct HeldFix: Sendable {
  package let id: Int64
  package let device: String
  package let record: Record
  /// What `record` was read from, opened. Where its key was shredded it says no more than that there is something.
  package let bytes: [UInt8]

  package var verdict: Verdict? { Verdict(rawValue: record.code) }

  /// Whether a track has a place for it.
  package var canBeReleased: Bool {
    record.fix.present.contains(.time)
      && (!record.fix.present.contains(.position) || (-900_000_000...900_000_000).contains(record.fix.latitudeE7))
  }

  package var receiveTime: String { HeldFix.text { $0.append(time: record.receiveTimeMs) } }
  package var fixTime: String? {
    record.fix.present.contains(.time) ? HeldFix.text { $0.append(time: record.fix.fixTimeMs) } : nil
  }
  /// Degrees, exact.
  package var latitude: String? {
    record.fix.present.contains(.position) ? HeldFix.text { $0.append(fixed: Int64(record.fix.latitudeE7), places: 7) } : nil
  }
  package var longitude: String? {
    record.fix.present.contains(.position) ? HeldFix.text { $0.append(fixed: Int64(record.fix.longitudeE7), places: 7) } : nil
  }

  /// Everything that is known about it, by the names of table `fix`; originals and attributes as JSON.
  package var fields: [(name: String, value: String)] {
    var fields = [
      ("id", "\(id)"), ("device", device), ("stream", "\(record.stream)"), ("sequence", "\(record.fix.sequence)"),
      ("verdict", verdict.map { "\($0)" } ?? "\(record.code)"), ("code", "\(record.code)"), ("received", receiveTime),
    ]
    if let fixTime { fields.append(("time", fixTime)) }
    if let latitude, let longitude { fields += [("latitude", latitude), ("longitude", longitude)] }
    for column in Column.allCases {
      guard let value = record.fix[column] else { continue }
      let number = Column.unsigned.contains(FixFields(column)) ? Int64(UInt32(bitPattern: value)) : Int64(value)
      fields.append((column.wireName, "\(number)"))
    }
    if record.fix.present.contains(.monotonic) { fields.append(("monotonic_ms", "\(record.fix.monotonicMs)")) }
    var text = RowText()
    guard (try? text.render(record, from: bytes.span)) != nil else { return fields }
    for (name, range) in [
      ("work_subject", text.workSubject), ("task", text.task), ("stop", text.stop), ("originals", text.originals),
      ("attributes", text.attributes),
    ] {
      if let range { fields.append((name, String(decoding: text.bytes[range], as: UTF8.self))) }
    }
    return fields
  }

  private static func text(_ write: (inout [UInt8]) -> Void) -> String {
    var bytes: [UInt8] = []
    write(&bytes)
    return String(decoding: bytes, as: UTF8.self)
  }
}
