#if JetStream
import Foundation
import GateCore
import GateJetStream
import GateProto
import GateStore
import GateTrack
import Gateway
import Testing

extension EndToEnd {
  /// Real gateways, a real cluster, real consumers, and what may become of each.
  @Suite(.serialized) struct JetStreamGateway {
    private static func seed() -> UInt64 {
      ProcessInfo.processInfo.environment["FIXGATE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)
    }

    private func sink(_ name: String, _ status: Status) -> Status.Sink? { status.sinks.first { $0.name == name } }

    /// The stream has all that the journal has.
    @discardableResult private func published(_ gateway: GatewayProcess) throws -> Status {
      try gateway.status("published", seconds: 120) { status in
        guard let sink = sink("stream", status) else { return false }
        return sink.state == .running && sink.cursor == status.journal.end_lsn && status.fixes.pending == 0
      }
    }

    @Test func whatIsWrongIsToldInOneLine() throws {
      let nats = try TemporaryNATS(more: "authorization { user: fixgate, password: \"\(TemporaryNATS.password)\" }")
      let gateway = try GatewayProcess()
      let password = gateway.folder + "/gateway/nats.password"
      try Data((TemporaryNATS.password + "\n").utf8).write(to: URL(fileURLWithPath: password))
      try gateway.run(["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "stream"])
      let usual = ["user: fixgate", "password_file: nats.password"]
      func check(_ words: String, _ more: [String] = [], _ added: [String: String] = [:]) throws {
        let keys = usual.filter { key in !more.contains { $0.prefix { $0 != ":" } == key.prefix { $0 != ":" } } }
        try gateway.configure(sinks: "  - sqlite\n" + gateway.sink("stream", nats, more: keys + more))
        let kept = gateway.environment
        defer { gateway.environment = kept }
        gateway.environment.merge(added) { $1 }
        for command in [["config", "check"], ["store", "check"]] {
          let outcome = try gateway.run(command, expecting: 78)
          let lines = outcome.output.split(separator: "\n").filter { $0.hasPrefix("FAIL") }
          #expect(lines.count == 1 && lines[0].hasPrefix("FAIL  sink stream: ") && lines[0].contains(words), "\(outcome.output)")
          #expect(!outcome.output.contains(TemporaryNATS.password))
        }
      }
      try check("run 'fixgate store migrate'")
      try check("refuses user, password", [], ["FIXGATE_SINKS_STREAM_PASSWORD": "wrong"])
      try check("nowhere: cannot be read", ["password_file: nowhere"])
      try check("TLS to NATS did not come about", ["tls: true"])
      try check("lower message_bytes", ["message_bytes: 2000000"])
      try gateway.configure(sinks: "  - sqlite\n" + gateway.sink("stream", nats, more: usual))
      #expect(try gateway.run(["store", "migrate"]).output.contains("sink stream: the stream was made"))
      #expect(try gateway.run(["store", "migrate"]).output.contains("sink stream: the stream is as it should be"))
      for command in [["config", "check"], ["store", "check"]] {
        let output = try gateway.run(command).output
        #expect(output.contains("ok    sink stream: has the stream as it should be; NATS acks before it syncs: sync_interval_s (1 s)"))
      }
      try check("stream 'FIXGATE' has replicas 1, the configuration wants 3", ["replicas: 3"])
      try check("stream 'FIXGATE' has retention workqueue, the configuration wants limits", ["retention: limits"])
      nats.kill9()
      try check("NATS cannot be reached")
      // What cannot be drained.
      for (from, into, words) in [
        ("sqlite", "stream", "is no stream"), ("stream", "stream", "is a stream"), ("stream", "nowhere", "there is no sink"),
        ("stream", "sqlite", "belongs to the gateway of this data directory"),
      ] {
        let outcome = try gateway.run(["store", "drain", "--from", from, "--into", into], expecting: 1)
        #expect(outcome.errors.contains(words), "\(outcome.errors)")
      }
    }

    /// A node of the cluster, the gateway and the consumer die at random moments while a recording is sent. The database then has
    /// each fix once, and so has the gateway's own store.
    @Test func killsLoseNothing() throws {
      let seed = Self.seed()
      let comment: Comment = "replay with FIXGATE_SEED=\(seed)"
      var random = SeededRandom(seed: seed)
      let isLong = ProcessInfo.processInfo.environment["FIXGATE_LONG"] == "1"
      let scratch = try Scratch()
      let nats = try TemporaryNATS(nodes: 3)
      try nats.makeStream()
      let gateway = try GatewayProcess([
        "FIXGATE_LIMITS_BACKLOG_PER_SECOND": "300", "FIXGATE_LIMITS_BACKLOG_BURST": "1024",
        "FIXGATE_LIMITS_BACKLOG_WINDOW": "600", "FIXGATE_JOURNAL_CHECKPOINT_INTERVAL_S": "1",
      ])
      let track = scratch.path + "/track.csv"
      try TrackFileText.write(to: track, fixesEach: isLong ? 40_000 : 5_000, seed: seed)
      let expected = try #require(try TrackFileText.read(track)["001"])
      let bundle = try gateway.addDevice("courier")
      try gateway.run(["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "stream"])
      try gateway.configure(sinks: gateway.sink("stream", nats, more: ["batch_rows: 500"]) + "  - sqlite\n")
      let collector = try Collector(sinks: "  - sqlite\n" + gateway.sink("stream", nats))
      try gateway.start()
      try collector.start(into: "sqlite")
      let sender = try gateway.send(track, bundle: bundle, select: "uid=001")
      var kills = [0, 0, 0]
      while sender.wait(seconds: Double.random(in: 0.1...0.8, using: &random)) == nil, kills.reduce(0, +) < (isLong ? 200 : 24) {
        let victim = Int(random.next() % 3)
        kills[victim] += 1
        switch victim {
        case 0:
          let node = Int(random.next() % 3)
          nats.kill9(node)
          try nats.start(node)
        case 1:
          gateway.kill9()
          try gateway.start()
        default:
          collector.kill9()
          try collector.start(into: "sqlite")
        }
      }
      #expect(kills.reduce(0, +) >= 6, comment)
      let outcome = try #require(sender.wait(seconds: 120), comment)
      #expect(outcome.status == 0, "\(comment) \(outcome.errors)")
      try published(gateway)
      try gateway.drained()
      let isComplete = try collector.wait(seconds: 60) {
        try collector.count("SELECT count(*) FROM fix") >= Int64(expected.count)
      }
      #expect(isComplete, comment)
      #expect(try collector.terminate().status == 0, comment)
      #expect(try gateway.rows(of: "courier", in: collector.store) == expected, comment)
      #expect(try gateway.rows(of: "courier") == expected, comment)
      #expect(try collector.count("SELECT count(*) FROM fix") == Int64(expected.count), comment)
      for table in ["quarantine", "refused", "set_aside", "gap"] {
        #expect(try collector.count("SELECT count(*) FROM \(table)") == 0, "\(comment) \(table)")
      }
      #expect(try collector.count("SELECT count(*) FROM latest JOIN device ON idx = device WHERE sequence = \(expected.count)") == 1)
      // Nothing is left, and nothing comes of an orderly end and a start.
      #expect(try gateway.terminate().status == 0, comment)
      try gateway.start()
      try published(gateway)
      let last = try #require(try collector.spawn(into: "sqlite", ["--until-empty"]).wait(seconds: 60), comment)
      #expect(last.status == 0 && last.output.contains("stored 0 "), "\(comment) \(last)")
      print("kills: \(kills[0]) of a node, \(kills[1]) of the gateway, \(kills[2]) of the consumer, seed \(seed)")
    }

    #if PostgreSQL
    /// Two gateways with registries of their own publish to one stream; devices go to either at random, and are cut off with their
    /// acks on the way. One consumer, one database, one row a fix.
    @Test func aFleetMovesBetweenTwoGateways() throws {
      let seed = Self.seed()
      let comment: Comment = "replay with FIXGATE_SEED=\(seed)"
      var random = SeededRandom(seed: seed)
      let nats = try TemporaryNATS(nodes: 3)
      let postgres = try TemporaryPostgres()
      try postgres.makeTables()
      try nats.makeStream()
      let gateways = try (0..<2).map { number in
        let gateway = try GatewayProcess([
          "FIXGATE_LIMITS_TRUSTED_SOURCES": "127.0.0.0/8", "FIXGATE_LIMITS_LIVE_PER_SECOND": "100000",
          "FIXGATE_LIMITS_LIVE_BURST": "1000000",
        ])
        // Then nobody's number is the same in both.
        for other in 0..<3 * number { _ = try gateway.addDevice("other-\(other)") }
        try gateway.run(["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "stream"])
        try gateway.configure(sinks: gateway.sink("stream", nats) + "  - sqlite\n")
        return gateway
      }
      let devices = try (0..<6).map { number in
        try Courier("courier-\(number)", gateways, fixes: 400, seed: seed &+ UInt64(number))
      }
      for gateway in gateways { try gateway.start() }
      let collector = try Collector(
        sinks: gateways[0].sink("stream", nats) + gateways[0].sink("warehouse", postgres, more: ["password_file: \(postgres.folder)/password"]))
      try collector.start(into: "warehouse")
      var kills = 0
      for visit in 1... {
        let unfinished = devices.filter { !$0.isDone }
        guard let device = unfinished.randomElement(using: &random) else { break }
        try #require(visit < 2_000, comment)
        if visit % 40 == 0 {
          kills += 1
          let gateway = gateways[Int(random.next() % 2)]
          gateway.kill9()
          try gateway.start()
        }
        try device.visit(Int(random.next() % 2), &random)
      }
      for gateway in gateways { try published(gateway) }
      let total = devices.map(\.expected.count).reduce(0, +)
      let isComplete = try collector.wait(seconds: 60) { try postgres.count("SELECT count(*) FROM fixgate.fix") >= total }
      #expect(isComplete, comment)
      #expect(try collector.terminate().status == 0, comment)
      for device in devices { #expect(try postgres.rows(of: device.id) == device.expected, "\(comment) \(device.id)") }
      #expect(try postgres.count("SELECT count(*) FROM fixgate.fix") == total, comment)
      for table in ["quarantine", "refused", "set_aside"] {
        #expect(try postgres.count("SELECT count(*) FROM fixgate.\(table)") == 0, "\(comment) \(table)")
      }
      // It did move, and the stream had some of it twice.
      let both = try gateways.map { try $0.count("SELECT count(*) FROM fix") }
      #expect(both.allSatisfy { $0 > 0 } && both.reduce(0, +) > total, "\(comment) \(both)")
      print("\(kills) kills, \(both) fixes at the gateways, \(total) of them different, seed \(seed)")
    }

    /// A device with a token at each of the gateways.
    private final class Courier {
      let id: String
      let expected: [TrackRow]
      private let bundles: [String]
      private let fixes: [Fix]
      private var acked = 0

      private static let fixesAtOnce = 40

      init(_ id: String, _ gateways: [GatewayProcess], fixes count: Int, seed: UInt64) throws {
        self.id = id
        bundles = try gateways.map { try $0.addDevice(id) }
        var fixes = CourierRide.fixes(count: count, seed: seed, startMs: 1_718_000_000_000)
        for i in fixes.indices { fixes[i].sequence = UInt64(i) + 1 }
        self.fixes = fixes
        expected = fixes.map {
          TrackRow(
            sequence: Int64($0.sequence), timeMs: $0.fixTimeMs, latitudeE7: Int64($0.latitudeE7), longitudeE7: Int64($0.longitudeE7))
        }
      }

      var isDone: Bool { acked == fixes.count }

      /// Sends some of what is unacked. Now and then it is cut off before it hears of it.
      func visit(_ gateway: Int, _ random: inout SeededRandom) throws {
        let (from, through) = (acked, min(acked + Int.random(in: 1...Self.fixesAtOnce, using: &random), fixes.count))
        let client = try DeviceClient(bundle: bundles[gateway]) { token in
          DeviceClient.frame(
            Hello(token: token, stream: 0xC0FF_EE01, nextSequence: UInt64(fixes.count) + 1, oldestHeld: UInt64(from) + 1),
            Array(fixes[from..<through]))
        }
        if random.next() % 3 == 0 { return }
        acked = max(acked, min(Int(try client.ack(through: UInt64(through)).through), fixes.count))
      }
    }
    #endif
  }
}
#endif
