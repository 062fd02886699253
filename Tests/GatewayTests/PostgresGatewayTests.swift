#if PostgreSQL
import Foundation
import GateCore
import GatePostgres
import Gateway
import Testing

extension EndToEnd {
  /// A real gateway and a real PostgreSQL, and what may become of both.
  @Suite(.serialized) struct PostgresGateway {
    private final class Scene {
      let scratch: Scratch
      let postgres: TemporaryPostgres
      let gateway: GatewayProcess
      let track: String
      let bundle: String
      let expected: [TrackRow]

      init(fixes: Int, seed: UInt64 = 11, _ settings: [String: String] = [:]) throws {
        scratch = try Scratch()
        postgres = try TemporaryPostgres()
        gateway = try GatewayProcess(settings)
        track = scratch.path + "/track.csv"
        try TrackFileText.write(to: track, fixesEach: fixes, seed: seed)
        expected = try TrackFileText.read(track)["001"] ?? []
        bundle = try gateway.addDevice("courier")
        try gateway.run(["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "warehouse"])
      }

      func send() throws -> Child { try gateway.send(track, bundle: bundle, select: "uid=001") }

      func sink(_ name: String, _ status: Status) -> Status.Sink? { status.sinks.first { $0.name == name } }

      /// The sink has all that the journal has.
      @discardableResult func drained(_ name: String, seconds: Double = 90) throws -> Status {
        try gateway.status("\(name) has all", seconds: seconds) { status in
          guard let sink = sink(name, status) else { return false }
          return sink.state == .running && sink.cursor == status.journal.end_lsn && status.fixes.pending == 0
        }
      }

      /// PostgreSQL has each fix once, and nothing else.
      func check(_ comment: Comment = "") throws {
        let rows = try postgres.rows(of: "courier")
        #expect(rows.count == expected.count, comment)
        #expect(rows == expected, comment)
        #expect(try postgres.count("SELECT count(*) FROM fixgate.fix") == expected.count, comment)
        for table in ["quarantine", "refused", "set_aside", "gap"] {
          #expect(try postgres.count("SELECT count(*) FROM fixgate.\(table)") == 0, "\(comment) \(table)")
        }
      }
    }

    @Test func whatIsWrongIsToldInOneLine() throws {
      let scene = try Scene(fixes: 1)
      func check(_ words: String, _ more: [String] = [], _ added: [String: String] = [:]) throws {
        try scene.gateway.configure(sinks: "  - sqlite\n" + scene.gateway.sink("warehouse", scene.postgres, more: more))
        let kept = scene.gateway.environment
        defer { scene.gateway.environment = kept }
        scene.gateway.environment.merge(added) { $1 }
        for command in [["config", "check"], ["store", "check"]] {
          let outcome = try scene.gateway.run(command, expecting: 78)
          let lines = outcome.output.split(separator: "\n").filter { $0.hasPrefix("FAIL") }
          #expect(lines.count == 1 && lines[0].hasPrefix("FAIL  sink warehouse: ") && lines[0].contains(words), "\(outcome.output)")
          #expect(!outcome.output.contains(TemporaryPostgres.password))
        }
      }
      try check("run 'fixgate store migrate'")
      try check("refuses user or password", [], ["FIXGATE_SINKS_WAREHOUSE_PASSWORD": "wrong"])
      try check("has no such database", ["database: nowhere"])
      try check("nowhere: the password file cannot be read", ["password_file: nowhere"])
      try scene.gateway.configure(sinks: "  - sqlite\n" + scene.gateway.sink("warehouse", scene.postgres))
      let migrated = try scene.gateway.run(["store", "migrate"]).output
      #expect(migrated.contains("sink warehouse: the tables were made"))
      #expect(try scene.gateway.run(["store", "migrate"]).output.contains("sink warehouse: the tables are up to date"))
      #expect(try scene.gateway.run(["store", "check"]).output.contains("ok    sink warehouse"))
      try scene.postgres.connect().run("UPDATE fixgate.schema SET version = 99")
      try check("has schema 99, this fixgate knows up to 1")
      try scene.postgres.connect().run("UPDATE fixgate.schema SET version = 1; DROP TABLE fixgate.gap")
      try check("lacks a table that its version promises")
      scene.postgres.kill9()
      try check("PostgreSQL cannot be reached")
      let history = try scene.gateway.run(["config", "check"], expecting: 78)
      #expect(history.output.contains("ok    store"))
    }

    /// Each of the two dies at random moments while a recording is sent. Both stores then have each fix once.
    @Test func killsLoseNothing() throws {
      let seed = ProcessInfo.processInfo.environment["FIXGATE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)
      var random = SeededRandom(seed: seed)
      let comment: Comment = "replay with FIXGATE_SEED=\(seed)"
      let scene = try Scene(
        fixes: 12_000, seed: seed,
        [
          "FIXGATE_LIMITS_BACKLOG_PER_SECOND": "300", "FIXGATE_LIMITS_BACKLOG_BURST": "1024",
          "FIXGATE_LIMITS_BACKLOG_WINDOW": "600", "FIXGATE_JOURNAL_CHECKPOINT_INTERVAL_S": "1",
        ])
      try scene.gateway.configure(
        sinks: scene.gateway.sink("warehouse", scene.postgres, more: ["batch_rows: 500"]) + "  - sqlite\n")
      try scene.gateway.run(["store", "migrate"])
      try scene.gateway.start()
      let sender = try scene.send()
      var kills = 0
      while sender.wait(seconds: Double.random(in: 0.1...0.8, using: &random)) == nil, kills < 24 {
        kills += 1
        switch random.next() % 3 {
        case 0:
          scene.gateway.kill9()
          try scene.gateway.start()
        case 1:
          scene.postgres.kill9()
          try scene.postgres.start()
        default:
          scene.postgres.kill9()
          scene.gateway.kill9()
          try scene.gateway.start()
          try scene.gateway.status("balanced without its database") { !$0.sinks.isEmpty }
          try scene.postgres.start()
        }
      }
      #expect(kills >= 6, comment)
      let outcome = try #require(sender.wait(seconds: 120), comment)
      #expect(outcome.status == 0, "\(comment) \(outcome.errors)")
      try scene.drained("warehouse")
      try scene.drained("sqlite")
      try scene.gateway.drained()
      try scene.check(comment)
      #expect(try scene.gateway.rows(of: "courier") == scene.expected, comment)
      // Nothing comes or goes in an orderly end and a start.
      #expect(try scene.gateway.terminate().status == 0, comment)
      try scene.gateway.start()
      let status = try scene.drained("warehouse")
      #expect(status.fixes.recovered == 0 && status.fixes.stored == 0, comment)
      try scene.check(comment)
    }

    /// PostgreSQL is away for longer than the journal may grow: nothing is taken then, nothing acked is lost, and the lag drains.
    @Test func anAbsenceLongerThanTheJournalLosesNothing() throws {
      let scene = try Scene(fixes: 280_000, ["FIXGATE_JOURNAL_BYTES_MAX": "\(1 << 24)"])
      try scene.gateway.configure(sinks: scene.gateway.sink("warehouse", scene.postgres))
      try scene.gateway.run(["store", "migrate"])
      scene.postgres.kill9()
      try scene.gateway.start()
      let sender = try scene.send()
      let full = try scene.gateway.status("at its bound", seconds: 150) { $0.journal.problem != nil }
      #expect(full.journal.problem?.contains("journal.bytes_max") == true)
      let sink = try #require(scene.sink("warehouse", full))
      #expect(sink.state == .failing && sink.lag_records > 0 && sink.lag_bytes > 0 && sink.lag_s > 0)
      #expect(sender.wait(seconds: 0) == nil)
      try scene.postgres.start()
      let outcome = try #require(sender.wait(seconds: 170))
      #expect(outcome.status == 0, "\(outcome.errors)")
      let drained = try scene.drained("warehouse")
      #expect(drained.journal.problem == nil && scene.sink("warehouse", drained)?.lag_s == 0)
      try scene.check()
    }

    /// A server that hangs does not hold up the end of the gateway, nor anything before.
    @Test func aFrozenServerHoldsNothingUp() throws {
      let scene = try Scene(fixes: 2_000)
      try scene.gateway.configure(sinks: "  - sqlite\n" + scene.gateway.sink("warehouse", scene.postgres))
      try scene.gateway.run(["store", "migrate"])
      try scene.gateway.start()
      try scene.drained("warehouse")
      scene.postgres.freeze()
      let sender = try scene.send()
      #expect(try #require(sender.wait(seconds: 60)).status == 0)
      try scene.gateway.drained()
      let outcome = try scene.gateway.terminate()
      #expect(outcome.status == 0 && outcome.errors.contains("sink warehouse does not take what the journal holds"))
      scene.postgres.wake()
      try scene.gateway.start()
      try scene.drained("warehouse")
      try scene.check()
    }

    @Test func sinksComeAndGoWhileFixesAreTaken() throws {
      let scene = try Scene(
        fixes: 20_000,
        ["FIXGATE_LIMITS_BACKLOG_PER_SECOND": "1000", "FIXGATE_LIMITS_BACKLOG_BURST": "1024", "FIXGATE_LIMITS_BACKLOG_WINDOW": "600"])
      let warehouse = try scene.gateway.sink("warehouse", scene.postgres)
      try scene.postgres.makeTables()
      try scene.gateway.start()
      let sender = try scene.send()
      try scene.gateway.status("under way") { $0.fixes.stored > 0 }
      func change(_ sinks: String, _ what: String, until isSo: (Status) -> Bool) throws {
        try scene.gateway.configure(sinks: sinks)
        scene.gateway.server?.signal(SIGHUP)
        let status = try scene.gateway.status(what, until: isSo)
        // Ingest goes on: the same run, one connection, nothing waiting for the journal.
        #expect(status.journal.problem == nil && status.network.accepted == 1)
      }
      // Added: it gets what the journal has kept, too.
      try change("  - sqlite\n" + warehouse, "added") { scene.sink("warehouse", $0)?.stored ?? 0 > 0 }
      try change("  - sqlite\n" + warehouse + "    paused: true\n", "paused") { scene.sink("warehouse", $0)?.state == .paused }
      let paused = try #require(scene.sink("warehouse", try scene.gateway.status()))
      let later = try scene.gateway.status("further") { $0.journal.end_lsn > paused.cursor + 1_000 }
      #expect(scene.sink("warehouse", later)?.cursor == paused.cursor)
      try change("  - sqlite\n" + warehouse, "resumed") { scene.sink("warehouse", $0)?.cursor ?? 0 > paused.cursor }
      try change("  - sqlite\n", "removed") { $0.sinks.count == 1 }
      // What would not do changes nothing.
      for (sinks, words) in [
        (warehouse + "  - sqlite\n", "the first sink counts, and stays first"),
        ("  - sqlite\n" + warehouse + "    region: elsewhere\n", "may lie in region 'local' only"),
      ] {
        try change(sinks, words) { $0.sinks.count == 1 && scene.gateway.server?.errorsSoFar.contains(words) == true }
      }
      try change("  - sqlite\n" + warehouse, "added again") { $0.sinks.count == 2 }
      let outcome = try #require(sender.wait(seconds: 90))
      #expect(outcome.status == 0, "\(outcome.errors)")
      try scene.drained("warehouse")
      try scene.check()
      #expect(try scene.gateway.rows(of: "courier") == scene.expected)
    }
  }
}
#endif
