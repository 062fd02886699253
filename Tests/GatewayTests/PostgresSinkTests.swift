#if PostgreSQL
import Foundation
import GateCore
import GatePostgres
import GateStore
import Testing

extension EndToEnd {
  /// The sink against a real server.
  @Suite(.serialized) final class PostgresSinkTests {
    private let server: TemporaryPostgres
    private let names: RegistrySnapshot

    init() throws {
      server = try TemporaryPostgres()
      try server.makeTables()
      var builder = RegistrySnapshot.Builder()
      builder.addTenant(1, name: "demo")
      builder.addTenant(2, name: "other")
      builder.addSubject(1, name: "anna \"a\\n\", {x}")
      builder.addDevice(5, tenant: 1, subject: 1, externalID: "van-1", revoked: false)
      builder.addDevice(6, tenant: 1, subject: 0, externalID: "van-2", revoked: false)
      builder.addDevice(7, tenant: 2, subject: 0, externalID: "van-1", revoked: false)
      names = RegistrySnapshot(builder, generation: 1)
    }

    private func sink(_ gateway: String = "a") throws -> PostgresSink {
      try PostgresSink(PostgresSink.Options(server: server.server(), gateway: gateway))
    }

    private func cursor(of gateway: String) throws -> UInt64 { try sink(gateway).cursor }

    private static func record(
      _ sequence: UInt64, device: UInt32 = 5, tenant: UInt32 = 1, kind: RecordKind = .fix, timeMs: Int64 = 1_750_000_000_000
    ) -> Record {
      var record = Record()
      record.kind = kind
      record.tenant = tenant
      record.device = device
      record.stream = .max
      record.transport = 1
      record.receiveTimeMs = timeMs + 250
      record.fix.sequence = sequence
      record.fix.fixTimeMs = timeMs + Int64(sequence) * 1_000
      record.fix.latitudeE7 = 525_200_066
      record.fix.longitudeE7 = -134_049_540
      record.fix.present = [.time, .position]
      return record
    }

    private struct Batch {
      var bytes: [UInt8] = []
      var count: UInt64 = 0

      mutating func append(_ record: Record, attributes: [UInt8] = [], work: [UInt8] = []) {
        var record = record
        record.fix.attributes = Region(offset: 0, length: UInt32(attributes.count))
        record.fix.work = Region(offset: UInt32(attributes.count), length: UInt32(work.count))
        let start = bytes.count
        bytes += [UInt8](repeating: 0, count: record.encodedBytes)
        var out = bytes.mutableSpan
        _ = record.write(into: &out, at: start, from: (attributes + work).span)
        count += 1
      }
    }

    private func store(_ batch: Batch, at lsn: UInt64, in sink: inout PostgresSink) throws -> SinkCounts {
      try sink.write(batch.bytes.span, records: 0..<batch.bytes.count, skip: 0, firstLSN: lsn, names: names)
      return try sink.commit(nextLSN: lsn + batch.count)
    }

    @Test func everyColumnOfARowIsThere() throws {
      var sink = try sink()
      var record = Self.record(1)
      record.subject = 1
      record.policyVersion = 9
      record.code = 3
      record.lane = 1
      record.fix.present.formUnion([.monotonic, .columns])
      record.fix.monotonicMs = 77
      // Each column another value; the unsigned ones beyond what `integer` holds.
      for column in Column.allCases {
        let isUnsigned = Column.unsigned.contains(FixFields(column))
        record.fix.values[column.index] = (isUnsigned ? Int32.min : -1_000) + Int32(column.index)
      }
      record.originals[0] = Original(field: 3, value: 950_000_000)
      record.originalCount = 1
      // Attribute 5 = "a\0ü", as text; Work: task "T1".
      let attributes: [UInt8] = [0xFA, 0x01, 8, 0x08, 5, 0x22, 4, 0x61, 0, 0xC3, 0xBC]
      let work: [UInt8] = [0xF2, 0x01, 4, 0x12, 2, 0x54, 0x31]
      var batch = Batch()
      batch.append(record, attributes: attributes, work: work)
      // A plain row in the same transaction has NULL in all of these.
      batch.append(Self.record(2))
      let counts = try store(batch, at: 0, in: &sink)
      #expect(counts.stored == 2 && counts.setAside == 0)
      let connection = try server.connect()
      let names = Column.allCases.map(\.wireName)
      let row = try #require(try connection.query("SELECT \(names.joined(separator: ", ")) FROM fixgate.fix WHERE sequence = 1").first)
      for (column, value) in zip(Column.allCases, row) {
        let raw = record.fix.values[column.index]
        let expected = Column.unsigned.contains(FixFields(column)) ? Int64(UInt32(bitPattern: raw)) : Int64(raw)
        #expect(value == "\(expected)", "\(column)")
      }
      let rest = try connection.query(
        """
        SELECT stream, receive_time_ms, verdict, lane, transport, policy_version, fix_time_ms, latitude_e7, longitude_e7,
        monotonic_ms, task, originals->>'latitude_e7', attributes->>'5' FROM fixgate.fix WHERE sequence = 1
        """)
      #expect(
        rest == [[
          "4294967295", "1750000000250", "3", "1", "1", "9", "1750000001000", "525200066", "-134049540", "77", "T1",
          "950000000", "a\u{FFFD}ü",
        ]])
      let plain = try connection.query("SELECT battery_percent, monotonic_ms, task, subject, attributes FROM fixgate.fix WHERE sequence = 2")
      #expect(plain == [[nil, nil, nil, nil, nil]])
      let track = try connection.query(
        "SELECT tenant, device, subject, time AT TIME ZONE 'UTC', latitude FROM fixgate.track ORDER BY sequence LIMIT 1")
      #expect(track == [["demo", "van-1", "anna \"a\\n\", {x}", "2025-06-15 15:06:41", "52.5200066"]])
    }

    @Test func aFixIsStoredOnceAndTheNewestIsLatest() throws {
      var sink = try sink()
      var batch = Batch()
      for sequence in [3, 1, 2] as [UInt64] { batch.append(Self.record(sequence)) }
      batch.append(Self.record(1, device: 7, tenant: 2))
      #expect(try store(batch, at: 10, in: &sink).stored == 4)
      // Another gateway gets the same fixes, and one that is older than the newest.
      var other = try self.sink("b")
      batch = Batch()
      for sequence in [2, 3, 4] as [UInt64] { batch.append(Self.record(sequence)) }
      batch.append(Self.record(9, timeMs: 1_600_000_000_000))
      let counts = try store(batch, at: 0, in: &other)
      #expect(counts.stored == 2 && counts.alreadyStored == 2)
      #expect(try server.count("SELECT count(*) FROM fixgate.fix") == 6)
      #expect(try server.value("SELECT string_agg(sequence::text, ',' ORDER BY device) FROM fixgate.latest") == "4,1")
      #expect(try server.count("SELECT count(*) FROM fixgate.device") == 2)
      // Each has a cursor of its own, and finds it again.
      #expect(try cursor(of: "a") == 14)
      #expect(try cursor(of: "b") == 4)
    }

    @Test func heldRefusedAndGapsHaveTablesOfTheirOwn() throws {
      var sink = try sink()
      var batch = Batch()
      batch.append(Self.record(1, kind: .held))
      batch.append(Self.record(2, kind: .refused))
      var gap = Self.record(3, kind: .gap)
      gap.fix.fixTimeMs = 40
      batch.append(gap)
      let counts = try store(batch, at: 0, in: &sink)
      #expect(counts.held == 1 && counts.refused == 1 && counts.gaps == 1 && counts.stored == 0)
      #expect(try server.count("SELECT length(record) FROM fixgate.quarantine") == Self.record(1).encodedBytes)
      #expect(try server.count("SELECT count FROM fixgate.gap WHERE first = 3") == 40)
      // The same again, from another gateway.
      var other = try self.sink("b")
      #expect(try store(batch, at: 0, in: &other).alreadyStored == 2)
      // A month later they go.
      batch = Batch()
      batch.append(Self.record(4, kind: .held, timeMs: 1_750_000_000_000 + 31 * 86_400_000))
      #expect(try store(batch, at: 3, in: &other).held == 1)
      #expect(try server.value("SELECT string_agg(sequence::text, ',') FROM fixgate.quarantine") == "4")
      #expect(try server.count("SELECT count(*) FROM fixgate.refused") == 0)
    }

    /// What cannot be stored does not hold up the rest: text that is not UTF-8, a row that the operator's own rule refuses, a
    /// device that the registry does not know, records that the journal has lost.
    @Test func poisonIsSetAside() throws {
      try server.connect().run("ALTER TABLE fixgate.fix ADD CHECK (sequence % 100 <> 13)")
      var sink = try sink()
      var batch = Batch()
      for sequence in 1...300 as ClosedRange<UInt64> {
        switch sequence {
        case 50: batch.append(Self.record(sequence), work: [0xF2, 0x01, 4, 0x12, 2, 0xC3, 0x28])
        case 60: batch.append(Self.record(sequence, device: 999))
        default: batch.append(Self.record(sequence))
        }
      }
      try sink.write(batch.bytes.span, records: 0..<batch.bytes.count, skip: 0, firstLSN: 1_000, names: names)
      let counts = try sink.commit(nextLSN: 1_310)
      #expect(counts.stored == 295 && counts.setAside == 15)
      let reasons = try server.connect().query("SELECT lsn, count, reason, record IS NULL FROM fixgate.set_aside ORDER BY lsn")
      #expect(
        reasons == [
          ["1012", "1", "SQLSTATE 23514", "f"], ["1049", "1", "text or attributes unreadable", "f"],
          ["1059", "1", "device unknown to the registry", "f"], ["1112", "1", "SQLSTATE 23514", "f"],
          ["1212", "1", "SQLSTATE 23514", "f"], ["1300", "10", "lost by the journal", "t"],
        ])
    }

    /// The server dies with the commit under way: whether it was made is found out, and nothing is counted or stored twice.
    @Test func aLostAnswerIsNoQuestion() throws {
      var sink = try sink()
      var batch = Batch()
      batch.append(Self.record(1))
      #expect(try store(batch, at: 0, in: &sink).stored == 1)
      for (lsn, isMade) in [(1, true), (2, false)] as [(UInt64, Bool)] {
        batch = Batch()
        batch.append(Self.record(lsn + 1))
        try sink.write(batch.bytes.span, records: 0..<batch.bytes.count, skip: 0, firstLSN: lsn, names: names)
        // Deferred to the commit, this ends the connection behind it or before.
        try server.connect().run(
          """
          CREATE FUNCTION die() RETURNS trigger LANGUAGE plpgsql AS
          'BEGIN PERFORM pg_terminate_backend(pg_backend_pid()); RETURN NULL; END';
          CREATE CONSTRAINT TRIGGER die AFTER UPDATE ON fixgate.cursor DEFERRABLE INITIALLY DEFERRED
          FOR EACH ROW EXECUTE FUNCTION die()
          """)
        #expect(throws: PostgresError.self) { try sink.commit(nextLSN: lsn + 1) }
        try server.connect().run("DROP FUNCTION die CASCADE")
        if isMade {
          // As if the commit had been made before the connection ended.
          try server.connect().run("UPDATE fixgate.cursor SET next_lsn = \(lsn + 1)")
        }
        #expect(try sink.commit(nextLSN: lsn + 1).stored == 1)
        let cursor = sink.cursor
        #expect(cursor == lsn + 1)
      }
      // A cursor that stands anywhere else means another database: the value is spent, a new one goes on from there.
      try server.connect().run("UPDATE fixgate.cursor SET next_lsn = 1")
      #expect(throws: PostgresError.cursorMoved) { try sink.commit(nextLSN: 9) }
      let isSpent = sink.isSpent
      #expect(isSpent)
      #expect(try cursor(of: "a") == 1)
    }

    @Test(arguments: [0, 4]) func tablesAreMadeOnceAndKnowTheirVersion(partitions: Int) throws {
      try server.connect().run("DROP SCHEMA fixgate CASCADE")
      let connection = try server.connect()
      #expect(throws: PostgresError.noSchema) { try PostgresSchema.checkAll(connection) }
      #expect(try PostgresSchema.migrate(connection, partitions: partitions) == nil)
      #expect(try PostgresSchema.migrate(connection, partitions: partitions) == 1)
      try PostgresSchema.checkAll(connection)
      #expect(throws: PostgresError.partitions(found: partitions, wanted: 7)) {
        try PostgresSchema.migrate(connection, partitions: 7)
      }
      var sink = try sink()
      var batch = Batch()
      for sequence in 1...50 as ClosedRange<UInt64> {
        batch.append(Self.record(sequence, device: sequence % 2 == 0 ? 5 : 6))
      }
      #expect(try store(batch, at: 0, in: &sink).stored == 50)
      try connection.run("UPDATE fixgate.schema SET version = 99")
      #expect(throws: PostgresError.schemaTooNew(found: 99, supported: 1)) { try PostgresSchema.migrate(connection, partitions: partitions) }
      #expect(throws: PostgresError.schemaTooNew(found: 99, supported: 1)) { try cursor(of: "a") }
    }

    /// A server that has stopped answering is given up in time, also when the gateway wants to end.
    @Test func noWaitIsForever() throws {
      var options = PostgresSink.Options(server: server.server(), gateway: "a")
      options.server.timeoutS = 1
      var sink = try PostgresSink(options)
      server.freeze()
      defer { server.wake() }
      #expect(throws: PostgresError.timedOut(seconds: 1)) { try sink.commit(nextLSN: 0) }
      #expect(throws: PostgresError.timedOut(seconds: 60)) {
        var patient = options
        patient.server.timeoutS = 60
        _ = try PostgresSink(patient, isOver: { true })
      }
    }
  }
}
#endif
