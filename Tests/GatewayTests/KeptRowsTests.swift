import Foundation
import GateCore
import GateStore
import GateTLS
import Testing

/// Records that the store keeps as they came, under their owners' keys: held ones of subjects 1 and 2 (tenant 1) and 3 (tenant 2).
@Suite struct KeptRowsTests {
  private let scratch: Scratch
  private var path: String { scratch.path + "/fixes.db" }
  private let selection = QuarantineSelection(tenant: "demo", device: "van-1")

  init() throws { scratch = try Scratch() }

  private static func key(_ number: UInt64, _ owner: UInt32, isRetired: Bool = false) -> SubjectKeyRing.Entry {
    .init(
      number: number, owner: .subject(owner), isRetired: isRetired,
      key: [UInt8](repeating: UInt8(number), count: SubjectKeyRing.keyBytes))
  }

  private let holder = SubjectKeyHolder(SubjectKeyRing([key(1, 1), key(2, 2), key(3, 3)], highest: 3))

  private static func record(subject: UInt32, sequence: UInt64, timeMs: Int64) -> Record {
    var record = Record()
    record.kind = .held
    record.code = Verdict.heldApproximate.rawValue
    (record.tenant, record.device, record.subject, record.stream) = (subject == 3 ? 2 : 1, subject == 3 ? 2 : 1, subject, 7)
    record.receiveTimeMs = 10_000
    record.fix.sequence = sequence
    record.fix.fixTimeMs = timeMs
    record.fix.latitudeE7 = 0x1234_5678
    record.fix.longitudeE7 = 0x2345_6789
    record.fix.present = [.time, .position]
    return record
  }

  private static let place: [UInt8] = [0x78, 0x56, 0x34, 0x12, 0x89, 0x67, 0x45, 0x23]

  private func names() -> RegistrySnapshot {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "demo")
    builder.addTenant(2, name: "other")
    builder.addDevice(1, tenant: 1, subject: 1, externalID: "van-1", revoked: false)
    builder.addDevice(2, tenant: 2, subject: 3, externalID: "van-1", revoked: false)
    return RegistrySnapshot(builder, generation: 1)
  }

  /// Writes held records, and behind them bytes that are no record.
  private func store(_ records: [Record], unreadable: [UInt8] = [], cipher: (any SubjectCipher)?) throws {
    var bytes: [UInt8] = []
    for record in records {
      let start = bytes.count
      bytes += [UInt8](repeating: 0, count: record.encodedBytes)
      var out = bytes.mutableSpan
      _ = record.write(into: &out, at: start, from: Span())
    }
    bytes += unreadable
    var sink = try SQLiteSink(path: path, cipher: cipher)
    let next = sink.cursor
    try sink.write(bytes.span, records: 0..<bytes.count, skip: 0, firstLSN: next, names: names())
    _ = try sink.commit(nextLSN: next + UInt64(records.count) + (unreadable.isEmpty ? 0 : 1))
    try sink.makeDurable()
  }

  private func kept(_ table: String) throws -> [[UInt8]] {
    let connection = try SQLiteConnection(path: path, access: .readOnly)
    let statement = try SQLiteStatement(connection, "SELECT record FROM \(table) WHERE record IS NOT NULL ORDER BY rowid")
    var rows: [[UInt8]] = []
    while try statement.step() { rows.append(statement.withBytes(0) { bytes in bytes.indices.map { bytes[$0] } }) }
    return rows
  }

  private func listed(_ cipher: (any SubjectCipher)?, _ selection: QuarantineSelection? = nil) throws -> [String?] {
    var places: [String?] = []
    try Quarantine(path: path, cipher: cipher).list(selection ?? self.selection) {
      places.append($0.latitude)
      return true
    }
    return places
  }

  private func renew(_ cipher: any SubjectCipher) throws -> Int {
    var rows = try SQLiteSubjectRows(path: path, cipher: cipher)
    var changed = 0
    for table in SQLiteSubjectRows.KeptTable.allCases {
      var place: Int64? = 0
      while let start = place {
        let slice = try rows.renewKept(table, behind: start)
        changed += slice.rows
        place = slice.next
      }
    }
    return changed
  }

  @Test func whatIsHeldLiesUnderItsOwnersKey() throws {
    let cipher = try RingCipher(holder)
    try store((1...3).map { Self.record(subject: $0, sequence: UInt64($0), timeMs: 5_000) }, cipher: cipher)
    #expect(try kept("quarantine").map { KeptRecord.key($0.span) } == [1, 2, 3])
    #expect(try !kept("quarantine").contains { $0.contains(Self.place) })
    #expect(try listed(cipher) == ["30.5419896", "30.5419896"])
    // Without keys, or after the owner's was shredded, it says that it is there.
    #expect(try listed(nil) == [nil, nil])
    holder.swap(SubjectKeyRing([Self.key(2, 2)], erased: [.subject(1): [.min ... .max]], highest: 3))
    #expect(try listed(RingCipher(holder)) == [nil, "30.5419896"])
    #expect(try Quarantine(path: path, cipher: RingCipher(holder)).release(selection).released == 1)
    #expect(try Quarantine(path: path, cipher: RingCipher(holder)).release(selection).kept == 1)
  }

  /// Rows of an older version, and rows under keys that are to be shredded, come under those in force.
  @Test func rowsComeUnderNewKeys() throws {
    try store([Self.record(subject: 1, sequence: 1, timeMs: 5_000)], cipher: nil)
    #expect(try kept("quarantine")[0].contains(Self.place))
    let cipher = try RingCipher(holder)
    try store([Self.record(subject: 2, sequence: 2, timeMs: 5_000)], cipher: cipher)
    #expect(try listed(nil) == ["30.5419896", nil], "an older row is read as it is")
    #expect(try renew(cipher) == 1 && renew(cipher) == 0)
    #expect(try kept("quarantine").map { KeptRecord.key($0.span) } == [1, 2])
    holder.swap(
      SubjectKeyRing([Self.key(1, 1, isRetired: true), Self.key(4, 1), Self.key(2, 2)], highest: 4))
    #expect(try renew(RingCipher(holder)) == 1)
    holder.swap(SubjectKeyRing([Self.key(4, 1), Self.key(2, 2)], highest: 4))
    #expect(try listed(RingCipher(holder)) == ["30.5419896", "30.5419896"])
  }

  /// Erased between the journal and the store.
  @Test func whatComesForOneWhoWasErasedIsRefused() throws {
    holder.swap(SubjectKeyRing([], erased: [.subject(1): [.min ... .max]], highest: 3))
    try store([Self.record(subject: 1, sequence: 1, timeMs: 5_000)], cipher: RingCipher(holder))
    #expect(try kept("quarantine").isEmpty)
    let refused = try SQLiteConnection(path: path, access: .readOnly).integer("SELECT code FROM refused")
    #expect(refused == Int64(Verdict.erased.rawValue))
  }

  @Test func aRangeIsErasedByWhatIsSealed() throws {
    let cipher = try RingCipher(holder)
    try store((1...4).map { Self.record(subject: 1, sequence: $0, timeMs: Int64($0) * 1_000) }, cipher: cipher)
    var rows = try SQLiteSubjectRows(path: path, cipher: cipher)
    let target = SubjectRange(tenant: 1, owner: .subject(1), times: 2_000...3_000)
    #expect(try rows.count(target).held == 2)
    while try rows.erase(target) {}
    #expect(try SQLiteConnection(path: path, access: .readOnly).integer("SELECT sum(sequence) FROM quarantine") == 5)
    // A hold on a range keeps what lies in it from retention.
    let days = RetentionDays(positions: nil, events: nil, quarantine: 0, journal: nil)
    let hold = SubjectRange(tenant: 1, owner: .subject(1), times: 4_000...4_000)
    let cut = RetentionCut(tenant: 1, days: days, holds: [hold], nowMs: 20_000)
    #expect(try rows.pruneQuarantine(cut) == 1)
    #expect(try SQLiteConnection(path: path, access: .readOnly).integer("SELECT sequence FROM quarantine") == 4)
  }

  @Test func aHoldKeepsNothingOfOthers() throws {
    try store([], cipher: nil)
    // Of the one who is held, of a device that nobody carried, of another.
    try SQLiteConnection(path: path, access: .readWrite).execute(
      """
      INSERT INTO fix(device, stream, sequence, tenant, receive_time_ms, subject, fix_time_ms, latitude_e7) VALUES
      (1, 7, 1, 1, 10000, 1, 5000, 1), (1, 7, 2, 1, 10000, NULL, 5000, 1), (1, 7, 3, 1, 10000, 2, NULL, 1)
      """)
    let hold = SubjectRange(tenant: 1, owner: .subject(1))
    let cut = RetentionCut(tenant: 1, days: RetentionDays(positions: 0), holds: [hold], nowMs: 20_000)
    var rows = try SQLiteSubjectRows(path: path)
    #expect(try rows.states(cut).positions.overdue == 2)
    #expect(try rows.prune(cut, behind: 0).rows == 2)
    #expect(try SQLiteConnection(path: path, access: .readOnly).integer("SELECT sequence FROM fix") == 1)
  }

  /// What nobody can read goes with everybody who is named in it, and with nobody else.
  @Test func unreadableBytesGoWithThoseTheyName() throws {
    var unreadable: [UInt8] = []
    for subject in [UInt32(1), 3] {
      var bytes = [UInt8](repeating: 0, count: Self.record(subject: subject, sequence: 1, timeMs: 5_000).encodedBytes)
      var out = bytes.mutableSpan
      _ = Self.record(subject: subject, sequence: 1, timeMs: 5_000).write(into: &out, at: 0, from: Span())
      // Of a kind that this version does not know.
      bytes[4] = 99
      unreadable += bytes
    }
    try store([], unreadable: unreadable, cipher: RingCipher(holder))
    var rows = try SQLiteSubjectRows(path: path, cipher: RingCipher(holder))
    for (target, kept) in [
      (SubjectRange(tenant: 1, owner: .subject(2)), 1), (SubjectRange(tenant: 2, owner: .subject(1)), 1),
      (SubjectRange(tenant: 2, owner: .subject(3)), 0),
    ] {
      while try rows.erase(target) {}
      #expect(try self.kept("set_aside").count == kept, "\(target)")
    }
  }
}
