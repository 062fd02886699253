#if JetStream
import Foundation
import GateCore
import GateJetStream
import GateNet
import GateStore
import Gateway
import Testing

extension EndToEnd {
  /// What a consumer makes of a stream, whoever has written into it. Server and store are real.
  @Suite(.serialized) final class StreamDrainTests {
    private let nats: TemporaryNATS
    private let scratch: Scratch
    private var names = NameIndexes()

    init() throws {
      nats = try TemporaryNATS()
      scratch = try Scratch()
      try nats.makeStream()
    }

    private var path: String { scratch.path + "/fixes.db" }

    /// Takes all that is there, with a new consumer and a new sink.
    private func drain(_ mask: FieldMask? = nil) throws -> SinkCounts {
      let consumer = try JetStreamConsumer(
        nats.server(), nats.settings(), ConsumerSettings(name: "test", ackWaitS: 30, messagesMax: 1_000))
      var drain = StreamDrain(
        sink: try SQLiteSink(path: path), consumer: consumer, batchRows: 1_000, intervalMs: 200, mask: mask,
        now: { SystemClock.now() })
      var total = SinkCounts()
      while let counts = try drain.step(waitMs: 300, names: &names) { total += counts }
      let remaining = try drain.remaining()
      #expect(remaining == 0)
      return total
    }

    private func count(_ sql: String) throws -> Int64 { try SQLiteConnection(path: path, access: .readOnly).integer(sql) }

    private func record(_ sequence: UInt64, device: UInt32, subject: UInt32 = 0) -> Record {
      var record = Record()
      record.device = device
      record.subject = subject
      record.stream = 7
      record.receiveTimeMs = 1_750_000_000_000
      record.fix.sequence = sequence
      record.fix.fixTimeMs = 1_750_000_000_000
      record.fix.latitudeE7 = 525_200_066
      record.fix.present = [.time, .position]
      record.fix[.batteryPercent] = 80
      return record
    }

    private func message(
      _ gateway: String, tenant: String = "demo", device: String = "van-1", subject: String = "", _ sequences: ClosedRange<UInt64>
    ) -> [UInt8] {
      var writer = StoredBatchWriter(gateway: gateway, tenant: tenant)
      for sequence in sequences {
        writer.append(record(sequence, device: 9, subject: 4), lsn: sequence, device: device, subject: subject, from: Span())
      }
      return writer.finish()
    }

    private var subjects = 0

    /// On a subject of its own.
    private func publish(_ bytes: [UInt8]) throws {
      subjects += 1
      _ = try JetStreamConnection.open(nats.server()).publish(
        bytes, on: "fixgate.demo.\(subjects)", after: nil, to: "FIXGATE")
    }

    /// Gateways number alike what is not the same; names decide. So they do over a restart.
    @Test func namesDecide() throws {
      try publish(message("a", subject: "anna", 1...20))
      try publish(message("b", device: "van-2", subject: "bert", 1...20))
      #expect(try drain().stored == 40)
      names = try NameIndexes(file: path)
      try publish(message("b", subject: "anna", 15...30))
      try publish(message("b", tenant: "other", subject: "anna", 1...5))
      let counts = try drain()
      #expect(counts.stored == 15 && counts.alreadyStored == 6)
      #expect(try count("SELECT count(*) FROM fix") == 55)
      #expect(try count("SELECT count(*) FROM device") == 3)
      #expect(try count("SELECT count(*) FROM track WHERE tenant = 'demo' AND device = 'van-1' AND subject = 'anna'") == 30)
      #expect(try count("SELECT count(*) FROM track WHERE tenant = 'other' AND device = 'van-1' AND subject = 'anna'") == 5)
      #expect(try count("SELECT sequence FROM latest JOIN device ON idx = device WHERE id = 'van-1' AND latest.tenant = 1") == 30)
    }

    /// What nobody can read does not hold up the rest, and is kept where it can be looked at.
    @Test func poisonIsSetAside() throws {
      try publish(message("a", 1...10))
      try publish(Array("no protobuf at all".utf8))
      try publish(message("a", device: "a name with spaces", 1...2))
      // A record that a gateway has set aside, in the gateway's own numbers: it must not be taken for one of ours.
      let foreign = record(99, device: 1)
      var bytes = [UInt8](repeating: 0, count: foreign.encodedBytes)
      var out = bytes.mutableSpan
      _ = foreign.write(into: &out, at: 0, from: Span())
      try publish(
        StoredBatchWriter.asides(
          gateway: "a",
          [
            StoredAside(lsn: 7, count: 1, reason: "device unknown to the registry", record: bytes),
            StoredAside(lsn: 8, count: 40, reason: "lost by the journal", record: nil),
          ]))
      try publish(message("a", 11...20))
      let counts = try drain()
      #expect(counts.stored == 20 && counts.setAside == 44)
      #expect(try count("SELECT count(*) FROM fix") == 20)
      #expect(try count("SELECT sum(count) FROM set_aside WHERE reason = 'unreadable'") == 4)
      #expect(try count("SELECT sum(count) FROM set_aside WHERE reason = 'lost by the journal'") == 40)
      #expect(try count("SELECT count(*) FROM set_aside WHERE instr(record, 'no protobuf at all') > 0") == 1)
    }

    @Test func aSinkGetsItsFieldsOnly() throws {
      try publish(message("a", 1...3))
      #expect(try drain(FieldMask(["battery_percent"])).stored == 3)
      #expect(try count("SELECT count(*) FROM fix WHERE battery_percent = 80 AND latitude_e7 IS NULL") == 3)
    }
  }
}
#endif
