package import GateCore

/// One thing that is held about a subject. Names and units are those of the store's columns.
package struct SubjectDatum: Equatable, Sendable {
  package enum Value: Equatable, Sendable {
    case number(Int64)
    case text(String)
  }

  /// `fix`, `held`, `refused`, `latest`, `correction`; the registry's: `assignment`, `hold`, `erasure`.
  package var kind: String
  package var fields: [(name: String, value: Value)] = []

  package init(_ kind: String) { self.kind = kind }

  package mutating func add(_ name: String, _ value: Int64?) {
    if let value { fields.append((name, .number(value))) }
  }

  package mutating func add(_ name: String, _ value: String?) {
    if let value { fields.append((name, .text(value))) }
  }

  package static func == (a: SubjectDatum, b: SubjectDatum) -> Bool {
    a.kind == b.kind && a.fields.elementsEqual(b.fields) { $0.name == $1.name && $0.value == $1.value }
  }

  func number(_ name: String) -> Int64? {
    guard case .number(let value)? = fields.first(where: { $0.name == name })?.value else { return nil }
    return value
  }
}

/// Reads all that the default sink's file holds about one owner, as of one moment, while the gateway runs.
package struct SubjectReader: ~Copyable {
  private let connection: SQLiteConnection
  private let cipher: (any SubjectCipher)?

  private static let columns =
    ["stream", "sequence", "receive_time_ms", "verdict", "lane", "transport", "policy_version", "fix_time_ms", "latitude_e7", "longitude_e7"]
    + FixTable.columnNames + ["monotonic_ms"]
  private static let texts = ["work_subject", "task", "stop", "originals", "attributes"]

  /// Every name that a datum of the store may have, in order.
  package static let names = ["device"] + columns + texts + ["code", "number", "made_ms", "reason", "corrected_by"]

  /// - Parameter cipher: opens what is held back; `nil` = of what is sealed only that it is there is told.
  package init(path: String, cipher: (any SubjectCipher)? = nil, busyMs: Int32 = 5_000) throws(StoreError) {
    let connection = try SQLiteConnection(path: path, access: .readOnly, busyMs: busyMs)
    try connection.checkVersion(supported: FixTable.migrations.count)
    // One moment for all that is read.
    try connection.execute("BEGIN")
    self.connection = connection
    self.cipher = cipher
  }

  /// - Parameter carried: devices of the owner, each with the times of receipt (ms) in which it was the owner's.
  package func read(
    _ target: SubjectRange, carried: [(device: UInt32, times: ClosedRange<Int64>)], _ body: (SubjectDatum) -> Void
  ) throws(StoreError) {
    try fixes(target, body)
    try latest(target, body)
    try held(target, body)
    try corrections(target, body)
    for (device, times) in carried { try refused(device, times, body) }
  }

  private func fixes(_ target: SubjectRange, _ body: (SubjectDatum) -> Void) throws(StoreError) {
    let names = SubjectReader.columns + SubjectReader.texts
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT (SELECT id FROM device WHERE idx = fix.device), (SELECT max(number) FROM correction c WHERE
      c.device = fix.device AND c.stream = fix.stream AND c.sequence = fix.sequence), \(names.joined(separator: ", "))
      FROM fix WHERE \(SQLiteSubjectRows.condition(target)) ORDER BY fix_time_ms, stream, sequence
      """)
    while try statement.step() {
      var datum = SubjectDatum("fix")
      datum.add("device", statement.text(0))
      for (i, name) in names.enumerated() where !statement.isNull(Int32(i + 2)) {
        if i < SubjectReader.columns.count {
          datum.add(name, statement.int64(Int32(i + 2)))
        } else {
          datum.add(name, statement.text(Int32(i + 2)))
        }
      }
      datum.add("corrected_by", statement.optional(1))
      body(datum)
    }
  }

  private func latest(_ target: SubjectRange, _ body: (SubjectDatum) -> Void) throws(StoreError) {
    let names = ["stream", "sequence", "fix_time_ms", "receive_time_ms", "latitude_e7", "longitude_e7"]
    try rows(
      "latest", names, "SELECT (SELECT id FROM device WHERE idx = latest.device), \(names.joined(separator: ", ")) FROM latest "
        + "WHERE \(SQLiteSubjectRows.condition(target))", body)
  }

  private func corrections(_ target: SubjectRange, _ body: (SubjectDatum) -> Void) throws(StoreError) {
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT (SELECT id FROM device WHERE idx = c.device), c.stream, c.sequence, c.number, c.made_ms, c.fix_time_ms,
      c.latitude_e7, c.longitude_e7, c.reason FROM correction c WHERE (c.device, c.stream, c.sequence) IN
      (SELECT device, stream, sequence FROM fix WHERE \(SQLiteSubjectRows.condition(target))) ORDER BY c.number
      """)
    let names = ["stream", "sequence", "number", "made_ms", "fix_time_ms", "latitude_e7", "longitude_e7"]
    while try statement.step() {
      var datum = SubjectDatum("correction")
      datum.add("device", statement.text(0))
      for (i, name) in names.enumerated() { datum.add(name, statement.optional(Int32(i + 1))) }
      datum.add("reason", statement.text(8))
      body(datum)
    }
  }

  private func refused(
    _ device: UInt32, _ times: ClosedRange<Int64>, _ body: (SubjectDatum) -> Void
  ) throws(StoreError) {
    let names = ["stream", "sequence", "code", "receive_time_ms"]
    try rows(
      "refused", names,
      "SELECT (SELECT id FROM device WHERE idx = refused.device), \(names.joined(separator: ", ")) FROM refused "
        + "WHERE device = \(device) AND receive_time_ms BETWEEN \(times.lowerBound) AND \(times.upperBound) ORDER BY id", body)
  }

  private func rows(
    _ kind: String, _ names: [String], _ sql: String, _ body: (SubjectDatum) -> Void
  ) throws(StoreError) {
    let statement = try SQLiteStatement(connection, sql)
    while try statement.step() {
      var datum = SubjectDatum(kind)
      datum.add("device", statement.text(0))
      for (i, name) in names.enumerated() { datum.add(name, statement.optional(Int32(i + 1))) }
      body(datum)
    }
  }

  private func held(_ target: SubjectRange, _ body: (SubjectDatum) -> Void) throws(StoreError) {
    let statement = try SQLiteStatement(
      connection,
      "SELECT (SELECT id FROM device WHERE idx = q.device), record FROM quarantine q WHERE tenant = \(target.tenant) ORDER BY id")
    while try statement.step() {
      let kept = statement.withBytes(1) { bytes in bytes.indices.map { bytes[$0] } }
      guard let bytes = KeptRecord.open(kept, with: cipher), let record = try? Record.read(bytes.span, at: 0).record, target.contains(record) else { continue }
      var datum = SubjectDatum("held")
      datum.add("device", statement.text(0))
      datum.add("stream", Int64(record.stream))
      datum.add("sequence", Int64(record.fix.sequence))
      datum.add("receive_time_ms", record.receiveTimeMs)
      datum.add("verdict", Int64(record.code))
      if record.fix.present.contains(.time) { datum.add("fix_time_ms", record.fix.fixTimeMs) }
      if record.fix.present.contains(.position) {
        datum.add("latitude_e7", Int64(record.fix.latitudeE7))
        datum.add("longitude_e7", Int64(record.fix.longitudeE7))
      }
      for column in Column.allCases {
        guard let value = record.fix[column] else { continue }
        let isUnsigned = Column.unsigned.contains(FixFields(column))
        datum.add(column.wireName, isUnsigned ? Int64(UInt32(bitPattern: value)) : Int64(value))
      }
      var text = RowText()
      if (try? text.render(record, from: bytes.span)) != nil {
        let ranges = [text.workSubject, text.task, text.stop, text.originals, text.attributes]
        for (name, range) in zip(SubjectReader.texts, ranges) {
          datum.add(name, range.map { String(decoding: text.bytes[$0], as: UTF8.self) })
        }
      }
      body(datum)
    }
  }
}
