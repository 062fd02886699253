#if JetStream
import Foundation
import GateCore
import GateJetStream
import GateStore
import GateTLS
import Testing

extension EndToEnd {
  /// The sink against a real server.
  @Suite(.serialized) final class JetStreamSinkTests {
    private let nats: TemporaryNATS
    private let names: RegistrySnapshot

    init() throws {
      nats = try TemporaryNATS()
      try nats.makeStream()
      var builder = RegistrySnapshot.Builder()
      builder.addTenant(1, name: "demo")
      builder.addTenant(2, name: "other.org")
      builder.addSubject(1, name: "anna")
      builder.addDevice(5, tenant: 1, subject: 1, externalID: "van-1", revoked: false)
      builder.addDevice(6, tenant: 1, subject: 0, externalID: "van-2", revoked: false)
      builder.addDevice(7, tenant: 2, subject: 0, externalID: "van-1", revoked: false)
      names = RegistrySnapshot(builder, generation: 1)
    }

    private func sink(
      _ gateway: String = "a", mark: UInt64 = 0, syncIntervalS: Int = 120, window: Int = 8,
      _ change: (inout StreamSettings) -> Void = { _ in }
    ) throws -> JetStreamSink {
      try JetStreamSink(
        JetStreamSink.Options(
          server: nats.server(), stream: nats.settings(change), gateway: gateway, shards: 4, window: window,
          syncIntervalS: syncIntervalS), mark: mark)
    }

    private func consumer(_ name: String = "test", ackWaitS: Int = 30) throws -> JetStreamConsumer {
      try JetStreamConsumer(
        nats.server(), nats.settings(), ConsumerSettings(name: name, ackWaitS: ackWaitS, messagesMax: 1_000))
    }

    /// All messages that wait for the consumer.
    private func batches(_ consumer: inout JetStreamConsumer) throws -> [(batch: StoredBatch, bytes: [UInt8])] {
      var all: [(StoredBatch, [UInt8])] = []
      while true {
        let payloads = try consumer.fetch(count: 100, waitMs: 300)
        if payloads.isEmpty { return all }
        for bytes in payloads { all.append((try StoredBatch(decoding: bytes.span), bytes)) }
      }
    }

    private static func record(_ sequence: UInt64, device: UInt32 = 5, kind: RecordKind = .fix) -> Record {
      var record = Record()
      record.kind = kind
      record.tenant = device == 7 ? 2 : 1
      record.device = device
      record.subject = device == 5 ? 1 : 0
      record.stream = .max
      record.transport = 1
      record.receiveTimeMs = 1_750_000_000_250
      record.fix.sequence = sequence
      record.fix.fixTimeMs = 1_750_000_000_000 + Int64(sequence) * 1_000
      record.fix.latitudeE7 = 525_200_066
      record.fix.longitudeE7 = -134_049_540
      record.fix.present = [.time, .position]
      return record
    }

    private func write(
      _ records: [Record], work: [Int: [UInt8]] = [:], at lsn: UInt64, in sink: inout JetStreamSink
    ) throws {
      var bytes: [UInt8] = []
      for (index, record) in records.enumerated() {
        let text = work[index] ?? []
        var record = record
        record.fix.work = Region(offset: 0, length: UInt32(text.count))
        let start = bytes.count
        bytes += [UInt8](repeating: 0, count: record.encodedBytes)
        var out = bytes.mutableSpan
        _ = record.write(into: &out, at: start, from: text.span)
      }
      try sink.write(bytes.span, records: 0..<bytes.count, skip: 0, firstLSN: lsn, names: names)
    }

    private func store(_ records: [Record], at lsn: UInt64, in sink: inout JetStreamSink) throws -> SinkCounts {
      try write(records, at: lsn, in: &sink)
      return try sink.commit(nextLSN: lsn + UInt64(records.count))
    }

    @Test func recordsGoByTenantAndShard() throws {
      var sink = try sink()
      let records = (1...600 as ClosedRange<UInt64>).map { Self.record($0, device: [5, 6, 7][Int($0 % 3)]) }
      #expect(try store(records, at: 10, in: &sink).stored == 600)
      var consumer = try consumer()
      var sequences: [String: [UInt64]] = [:]
      let all = try batches(&consumer)
      // Cut at about 4 KiB, and not one a record.
      #expect(all.count > 4 && all.count < 30)
      for (batch, bytes) in all {
        #expect(batch.gateway == "a" && bytes.count < 4_096 + 200 && batch.devices.count <= 2)
        for index in batch.records.indices {
          let named = try batch.record(index, of: bytes.span)
          #expect(named.subject == (named.device == "van-1" && batch.tenant == "demo" ? "anna" : nil))
          #expect(named.record.fix.latitudeE7 == 525_200_066 && named.record.stream == .max)
          sequences[batch.tenant + "/" + named.device, default: []].append(named.record.fix.sequence)
        }
      }
      // A device's records stay in their order.
      for (index, name) in ["demo/van-1", "demo/van-2", "other.org/van-1"].enumerated() {
        #expect(sequences[name] == (1...600).filter { $0 % 3 == UInt64(index) }, "\(name)")
      }
    }

    /// What is published again with the same content is one message within the server's window; other content is another.
    @Test func aRetryIsOneMessage() throws {
      let records = (1...50 as ClosedRange<UInt64>).map { Self.record($0) }
      for _ in 0..<3 {
        // As after a kill before the cursor was published: a new value begins anew.
        try JetStreamConnection.open(nats.server()).purge("fixgate.a", below: 1 << 40, of: "FIXGATE")
        var sink = try sink()
        let cursor = sink.cursor
        #expect(cursor == 0)
        #expect(try store(records, at: 0, in: &sink).stored == 50)
      }
      let consumer = try consumer()
      let once = try consumer.remaining()
      #expect(once == 1)
      try JetStreamConnection.open(nats.server()).purge("fixgate.a", below: 1 << 40, of: "FIXGATE")
      var sink = try sink()
      #expect(try store(records + [Self.record(51)], at: 0, in: &sink).stored == 51)
      let both = try consumer.remaining()
      #expect(both == once + 1)
    }

    @Test func theCursorIsInTheStream() throws {
      var first = try sink(syncIntervalS: 3_600)
      _ = try store([Self.record(1)], at: 100, in: &first)
      try first.makeDurable()
      // Acked, and not yet certain to be synced.
      let trailing = [first.cursor, first.durableCursor]
      #expect(trailing == [101, 0])
      var second = try sink(mark: 40, syncIntervalS: 0)
      let found = [second.cursor, second.durableCursor]
      #expect(found == [101, 40])
      _ = try store([Self.record(2)], at: 101, in: &second)
      try second.makeDurable()
      let durable = second.durableCursor
      #expect(durable == 102)
      // Another gateway has another; where the stream has none, the mark counts.
      #expect(try cursor(of: "b", mark: 7) == 7)
      // None of that is a consumer's, and old cursors are gone.
      let remaining = try consumer().remaining()
      #expect(remaining == 2)
      #expect(try messagesInStream() == 3)
    }

    /// The server loses the end of the stream, as by a power cut before its sync: what was lost is found out, before the journal
    /// may forget it.
    @Test(arguments: [true, false]) func whatTheServerLosesIsPublishedAgain(isIdle: Bool) throws {
      var sink = try sink(syncIntervalS: 0)
      _ = try store([Self.record(1)], at: 0, in: &sink)
      try sink.makeDurable()
      let durable = sink.durableCursor
      #expect(durable == 1)
      nats.kill9()
      let (live, copy) = (nats.folder + "/n0", nats.folder + "/copy")
      try FileManager.default.copyItem(atPath: live, toPath: copy)
      try nats.start()
      try write([Self.record(2)], at: 1, in: &sink)
      try retried { _ = try sink.commit(nextLSN: 2) }
      nats.kill9()
      try FileManager.default.removeItem(atPath: live)
      try FileManager.default.moveItem(atPath: copy, toPath: live)
      try nats.start()
      // Others have published since, so that the places in the stream are taken.
      var other = try self.sink("b")
      for lsn in 0..<9 as Range<UInt64> { _ = try store([Self.record(lsn + 1, device: 6)], at: lsn, in: &other) }
      // Whichever it does next, it finds out.
      if isIdle {
        #expect(throws: JetStreamError.acksLost) { try retried { try sink.makeDurable() } }
      } else {
        try write([Self.record(3)], at: 2, in: &sink)
        #expect(throws: JetStreamError.acksLost) { try retried { _ = try sink.commit(nextLSN: 3) } }
      }
      let isSpent = sink.isSpent
      #expect(isSpent)
      #expect(try cursor(of: "a") == 1)
    }

    /// The answer to a commit is lost: whether it was made is found out.
    @Test(arguments: [true, false]) func aLostAnswerIsNoQuestion(isMade: Bool) throws {
      var first = try sink()
      _ = try store([Self.record(1)], at: 0, in: &first)
      var options = JetStreamSink.Options(
        server: nats.server(timeoutS: 1), stream: nats.settings(), gateway: "a", shards: 4, window: 8, syncIntervalS: 120)
      options.server.addresses = nats.addresses
      var sink = try JetStreamSink(options, mark: 0)
      try write([Self.record(2)], at: 1, in: &sink)
      nats.freeze()
      #expect(throws: JetStreamError.timedOut(seconds: 1)) { try sink.commit(nextLSN: 2) }
      nats.wake()
      // As if it had been made before the connection ended.
      if isMade { _ = try store([Self.record(2)], at: 1, in: &first) }
      #expect(try sink.commit(nextLSN: 2).stored == 1)
      #expect(try cursor(of: "a") == 2)
      // A second gateway of the same identity is found out.
      #expect(throws: JetStreamError.acksLost) {
        try write([Self.record(3)], at: isMade ? 2 : 1, in: &first)
        _ = try first.commit(nextLSN: 3)
      }
    }

    /// The connection that has died is noticed with the first call.
    private func retried(_ body: () throws -> Void) throws {
      do { try body() } catch JetStreamError.lost { try body() }
    }

    private func cursor(of gateway: String, mark: UInt64 = 0) throws -> UInt64 { try sink(gateway, mark: mark).cursor }

    private func messagesInStream() throws -> UInt64 {
      try JetStreamConnection.open(nats.server()).messageCount(nats.settings())
    }

    @Test func poisonIsSetAside() throws {
      var sink = try sink()
      let records = (1...30 as ClosedRange<UInt64>).map { Self.record($0, device: $0 == 20 ? 999 : 5) }
      try write(records, work: [9: [0xF2, 0x01, 4, 0x12, 2, 0xC3, 0x28]], at: 1_000, in: &sink)
      let counts = try sink.commit(nextLSN: 1_040)
      #expect(counts.stored == 28 && counts.setAside == 12)
      var consumer = try consumer()
      let asides = try batches(&consumer).flatMap(\.batch.asides).sorted { $0.lsn < $1.lsn }
      #expect(asides.map(\.lsn) == [1_009, 1_019, 1_030] && asides.map(\.count) == [1, 1, 10])
      #expect(
        asides.map(\.reason) == ["text or attributes unreadable", "device unknown to the registry", "lost by the journal"])
      #expect(asides[0].record != nil && asides[2].record == nil)
    }

    @Test func heldRefusedAndGapsComeToo() throws {
      var sink = try sink()
      var gap = Self.record(3, kind: .gap)
      gap.fix.present = []
      gap.fix.fixTimeMs = 40
      let counts = try store([Self.record(1, kind: .held), Self.record(2, kind: .refused), gap], at: 0, in: &sink)
      #expect(counts.held == 1 && counts.refused == 1 && counts.gaps == 1 && counts.stored == 0)
      var consumer = try consumer()
      let (batch, bytes) = try #require(try batches(&consumer).first)
      let read = try (0..<3).map { try batch.record($0, of: bytes.span).record }
      #expect(read.map(\.kind) == [.held, .refused, .gap] && read.map(\.fix.sequence) == [1, 2, 3])
      #expect(read[0].fix.present.contains(.position) && read[1].fix.present.isEmpty && read[2].fix.fixTimeMs == 40)
    }

    /// What was fetched and not acked comes again: at once when it is given back, later after a kill.
    @Test func whatIsNotAckedComesAgain() throws {
      var sink = try sink()
      _ = try store([Self.record(1)], at: 0, in: &sink)
      do {
        var first = try consumer()
        #expect(try batches(&first).count == 1)
        let remaining = try first.remaining()
        #expect(remaining == 1)
      }
      var second = try consumer()
      #expect(try batches(&second).count == 1)
      try second.acknowledge()
      let remaining = try second.remaining()
      #expect(remaining == 0)
      var third = try consumer()
      #expect(try batches(&third).isEmpty)
    }

    // MARK: What would not do

    @Test func aStreamWithOtherSettingsIsNotTouched() throws {
      func expect(_ setting: String, _ found: String, _ wanted: String, _ change: (inout StreamSettings) -> Void) {
        #expect(throws: JetStreamError.otherStream("FIXGATE", setting: setting, found: found, wanted: wanted)) {
          _ = try sink { change(&$0) }
        }
      }
      expect("replicas", "1", "3") { $0.replicas = 3 }
      expect("retention", "workqueue", "limits") { $0.retention = .limits }
      expect("max_age in seconds", "0", "86400") { $0.maxAgeS = 86_400 }
      expect("max_bytes", "0", "1000000") { $0.maxBytes = 1_000_000 }
      expect("subjects", "fixgate.*.*,fixgate.*", "gate.*.*") { $0.subject = "gate" }
      #expect(throws: JetStreamError.noStream("OTHER")) { _ = try sink { $0.name = "OTHER" } }
      let connection = try JetStreamConnection.open(nats.server())
      #expect(throws: JetStreamError.subjectsTaken("OTHER")) { _ = try connection.migrate(nats.settings { $0.name = "OTHER" }) }
      #expect(throws: JetStreamError.notClustered(replicas: 3)) {
        _ = try connection.migrate(
          nats.settings {
            $0.name = "OTHER"
            $0.subject = "gate"
            $0.replicas = 3
          })
      }
      #expect(throws: JetStreamError.tooLarge(bytes: (1 << 20) + 5_120, max: 1 << 20)) {
        _ = try sink { $0.messageBytes = 1 << 20 }
      }
      let isMade = try connection.migrate(nats.settings())
      #expect(!isMade)
    }

    /// A stream that is full refuses, and drops nothing; once there is room it goes on.
    @Test func aFullStreamRefuses() throws {
      let small = nats.settings {
        $0.name = "SMALL"
        $0.subject = "small"
        $0.maxBytes = 60_000
      }
      try nats.makeStream(small)
      var sink = try sink { $0 = small }
      try write((1...2_000 as ClosedRange<UInt64>).map { Self.record($0) }, at: 0, in: &sink)
      #expect(try !takesAll(&sink))
      var consumer = try JetStreamConsumer(
        nats.server(), small, ConsumerSettings(name: "test", ackWaitS: 30, messagesMax: 1_000))
      var seen = try sequences(&consumer)
      #expect(!seen.isEmpty && seen.count < 2_000)
      // What the stream refuses is published again until all of it was there.
      var attempts = 1
      while try !takesAll(&sink), attempts < 50 {
        seen.formUnion(try sequences(&consumer))
        attempts += 1
      }
      seen.formUnion(try sequences(&consumer))
      #expect(seen == Set(1...2_000))
    }

    private func takesAll(_ sink: inout JetStreamSink) throws -> Bool {
      do throws(JetStreamError) {
        return try sink.commit(nextLSN: 2_000).stored == 2_000
      } catch {
        guard case .full = error else { throw error }
        return false
      }
    }

    /// Of all records that wait, which are acked.
    private func sequences(_ consumer: inout JetStreamConsumer) throws -> Set<UInt64> {
      var seen: Set<UInt64> = []
      for (batch, bytes) in try batches(&consumer) {
        for index in batch.records.indices { seen.insert(try batch.record(index, of: bytes.span).record.fix.sequence) }
      }
      try consumer.acknowledge()
      return seen
    }

    @Test func noWaitIsForever() throws {
      var options = JetStreamSink.Options(
        server: nats.server(timeoutS: 1), stream: nats.settings(), gateway: "a", shards: 1, window: 4, syncIntervalS: 0)
      var sink = try JetStreamSink(options, mark: 0)
      try write([Self.record(1)], at: 0, in: &sink)
      nats.freeze()
      defer { nats.wake() }
      #expect(throws: JetStreamError.timedOut(seconds: 1)) { try sink.commit(nextLSN: 1) }
      options.server.timeoutS = 60
      #expect(throws: JetStreamError.self) { _ = try JetStreamSink(options, mark: 0, isOver: { true }) }
    }
  }

  /// Who may connect, and how.
  @Suite(.serialized) struct JetStreamLogins {
    private func opens(_ nats: TemporaryNATS, _ login: JetStreamServer.Login) throws(JetStreamError) {
      _ = try JetStreamConnection.open(nats.server(login))
    }

    @Test func userAndPassword() throws {
      let nats = try TemporaryNATS(more: "authorization { user: fixgate, password: \"\(TemporaryNATS.password)\" }")
      try opens(nats, .user("fixgate", password: TemporaryNATS.password))
      for login in [.none, .user("fixgate", password: "wrong"), .token("x")] as [JetStreamServer.Login] {
        #expect(throws: JetStreamError.refused) { try opens(nats, login) }
      }
    }

    @Test func token() throws {
      let nats = try TemporaryNATS(more: "authorization { token: \"\(TemporaryNATS.password)\" }")
      try opens(nats, .token(TemporaryNATS.password))
      #expect(throws: JetStreamError.refused) { try opens(nats, .token("wrong")) }
    }

    @Test func credentialsFile() throws {
      let scratch = try Scratch()
      let accounts = try (0..<2).map { _ in try NATSAccount(folder: scratch.path) }
      let nats = try TemporaryNATS(more: accounts[0].configuration)
      let files = try accounts.enumerated().map { index, account in
        let path = scratch.path + "/\(index).creds"
        try Data(account.credentials.utf8).write(to: URL(fileURLWithPath: path))
        return path
      }
      let connection = try JetStreamConnection.open(nats.server(.credentials(path: files[0])))
      let isMade = try connection.migrate(nats.settings())
      #expect(isMade)
      // Another operator's user; and one without any.
      #expect(throws: JetStreamError.refused) { try opens(nats, .credentials(path: files[1])) }
      #expect(throws: JetStreamError.refused) { try opens(nats, .none) }
    }

    @Test func serversThatAreAwayOrCannot() throws {
      let nats = try TemporaryNATS(hasJetStream: false)
      let connection = try JetStreamConnection.open(nats.server())
      #expect(throws: JetStreamError.notEnabled) { try connection.check(nats.settings()) }
      // One of several that is away does not matter.
      var server = nats.server()
      server.addresses.insert("127.0.0.1:\(try GatewayProcess.freePort())", at: 0)
      for _ in 0..<8 { _ = try JetStreamConnection.open(server) }
      server.addresses.removeLast()
      do {
        _ = try JetStreamConnection.open(server)
        Issue.record("nobody was there")
      } catch JetStreamError.unreachable {}
    }

    /// The server is the one that it says it is, and knows who we are.
    @Test func certificates() throws {
      let scratch = try Scratch()
      let nowS = Int64(Date().timeIntervalSince1970)
      func write(_ name: String, _ bytes: [UInt8]) throws -> String {
        let path = scratch.path + "/" + name
        try Data(bytes).write(to: URL(fileURLWithPath: path))
        return path
      }
      let authority = try DevelopmentCA.make(nowS: nowS)
      let stranger = try DevelopmentCA.make(nowS: nowS)
      let root = try write("ca.crt", authority.certificatePEM)
      let identity = try authority.serverIdentity(nowS: nowS)
      let client = try authority.deviceIdentity(tenant: "demo", device: "gateway", nowS: nowS)
      let files = (
        certificate: try write("server.crt", identity.certificatePEM), key: try write("server.key", identity.keyPEM)
      )
      let nats = try TemporaryNATS(
        more: """
          tls { cert_file: "\(files.certificate)", key_file: "\(files.key)", ca_file: "\(root)", verify: true, timeout: 5 }
          """)
      func open(
        host: String = "localhost", root: String?, _ change: (inout JetStreamServer.TLS) -> Void = { _ in }
      ) throws(JetStreamError) {
        var server = nats.server()
        server.addresses = ["\(host):\(nats.ports[0])"]
        var tls = JetStreamServer.TLS(rootCertificate: root, certificate: nil, key: nil)
        change(&tls)
        server.tls = tls
        _ = try JetStreamConnection.open(server)
      }
      let own = (certificate: try write("client.crt", client.certificatePEM), key: try write("client.key", client.keyPEM))
      func withClient(_ tls: inout JetStreamServer.TLS) { (tls.certificate, tls.key) = (own.certificate, own.key) }
      try open(root: root, withClient)
      let other = try write("other.crt", stranger.certificatePEM)
      // Another authority's, and another name of the same address.
      for (host, root) in [("localhost", other), ("127.1", root)] {
        do {
          try open(host: host, root: root, withClient)
          Issue.record("\(host) with \(root) was let in")
        } catch JetStreamError.tls {}
      }
      // Without a certificate of ours; and without TLS.
      #expect(throws: JetStreamError.self) { try open(root: root) }
      #expect(throws: JetStreamError.self) { _ = try JetStreamConnection.open(nats.server()) }
      #expect(throws: JetStreamError.file(path: "/nowhere")) { try open(root: "/nowhere") }
      let plain = try TemporaryNATS()
      var server = plain.server()
      server.tls = JetStreamServer.TLS(rootCertificate: root, certificate: nil, key: nil)
      do {
        _ = try JetStreamConnection.open(server)
        Issue.record("there is no TLS")
      } catch JetStreamError.tls {}
    }
  }
}
#endif
