#if PostgreSQL
import Foundation
import GateCore
import GatePostgres
import Gateway
import Testing

extension EndToEnd {
  /// A real gateway and a real PostgreSQL, and what may become of both.
  @Suite(.serialized) struct PostgresGateway {
    @Test func whatIsWrongIsToldInOneLine() throws {
      let scene = try PostgresScene(fixes: 1)
      try scene.fails("run 'fixgate store migrate'")
      try scene.fails("refuses user or password", [], ["FIXGATE_SINKS_WAREHOUSE_PASSWORD": "wrong"])
      try scene.fails("has no such database", ["database: nowhere"])
      try scene.fails("nowhere: the password file cannot be read", ["password_file: nowhere"])
      try scene.gateway.configure(sinks: "  - sqlite\n" + scene.gateway.sink("warehouse", scene.postgres))
      let migrated = try scene.gateway.run(["store", "migrate"]).output
      #expect(migrated.contains("sink warehouse: the tables were made"))
      #expect(try scene.gateway.run(["store", "migrate"]).output.contains("sink warehouse: the tables are up to date"))
      #expect(try scene.gateway.run(["store", "check"]).output.contains("ok    sink warehouse"))
      try scene.postgres.connect().run("UPDATE fixgate.schema SET version = 99")
      try scene.fails("has schema 99, this fixgate knows up to 1")
      try scene.postgres.connect().run("UPDATE fixgate.schema SET version = 1; DROP TABLE fixgate.gap")
      try scene.fails("lacks a table that its version promises")
      scene.postgres.kill9()
      try scene.fails("PostgreSQL cannot be reached")
      let history = try scene.gateway.run(["config", "check"], expecting: 78)
      #expect(history.output.contains("ok    store"))
    }

    /// Each of the two dies at random moments while a recording is sent. Both stores then have each fix once.
    @Test func killsLoseNothing() throws {
      let seed = ProcessInfo.processInfo.environment["FIXGATE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)
      var random = SeededRandom(seed: seed)
      let comment: Comment = "replay with FIXGATE_SEED=\(seed)"
      let scene = try PostgresScene(
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

    /// Under load: the journal's disk is full, then PostgreSQL is away for longer than the journal may grow, and both are killed
    /// at that. Nothing is taken meanwhile and devices hear when to come back; what was acked is there once, and the lag drains.
    @Test func aFullDiskAndALongAbsenceLoseNothing() throws {
      let scene = try PostgresScene(fixes: 280_000, ["FIXGATE_JOURNAL_BYTES_MAX": "\(1 << 24)"])
      let witness = try scene.gateway.addDevice("witness")
      try scene.gateway.configure(sinks: scene.gateway.sink("warehouse", scene.postgres))
      try scene.gateway.run(["store", "migrate"])
      let wrapper = ["/usr/bin/env", "--default-signal=XFSZ"]
      try scene.gateway.start(through: wrapper)
      try scene.gateway.limitFiles(toBytes: 1 << 20)
      let sender = try scene.send()
      let noRoom = try scene.gateway.status("without room") { $0.journal.problem != nil }
      #expect(noRoom.journal.commit_failures > 0)
      try scene.isToldToComeBack(witness)
      try scene.gateway.limitFiles(toBytes: nil)
      try scene.gateway.status("under way again") { $0.journal.problem == nil && $0.fixes.stored > 0 }

      #expect(sender.wait(seconds: 0) == nil)
      scene.postgres.kill9()
      let full = try scene.gateway.status("at its bound", seconds: 150) { $0.journal.problem != nil }
      #expect(full.journal.problem?.contains("journal.bytes_max") == true)
      let sink = try #require(scene.sink("warehouse", full))
      #expect(sink.state == .failing && sink.lag_records > 0 && sink.lag_bytes > 0 && sink.lag_s > 0)
      try scene.isToldToComeBack(witness)
      scene.gateway.kill9()
      try scene.gateway.start(through: wrapper)
      try scene.gateway.status("at its bound again") { $0.journal.problem?.contains("journal.bytes_max") == true }
      #expect(sender.wait(seconds: 0) == nil)

      try scene.postgres.start()
      let outcome = try #require(sender.wait(seconds: 170))
      #expect(outcome.status == 0, "\(outcome.errors)")
      let drained = try scene.drained("warehouse")
      #expect(drained.journal.problem == nil && scene.sink("warehouse", drained)?.lag_s == 0)
      try scene.check()
      #expect(try scene.postgres.rows(of: "witness").isEmpty)
    }

    /// A server that hangs does not hold up the end of the gateway, nor anything before.
    @Test func aFrozenServerHoldsNothingUp() throws {
      let scene = try PostgresScene(fixes: 2_000)
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

    /// A sink that is to start with what comes gets nothing from before, and everything from then on, over a kill right behind.
    @Test func aSinkMayStartWithTheNewestRecord() throws {
      let scene = try PostgresScene(fixes: 600)
      try scene.postgres.makeTables()
      let late = try scene.gateway.addDevice("late")
      try scene.gateway.start()
      let sender = try scene.send()
      #expect(try #require(sender.wait(seconds: 60)).status == 0)
      try scene.gateway.drained()
      // The database cannot be reached when the sink is added, nor before the kill.
      scene.postgres.kill9()
      try scene.gateway.configure(sinks: "  - sqlite\n" + scene.gateway.sink("warehouse", scene.postgres, more: ["start: newest"]))
      scene.gateway.server?.signal(SIGHUP)
      try scene.gateway.status("added") { $0.sinks.count == 2 }
      let later = try scene.gateway.send(scene.track, bundle: late, select: "uid=005")
      #expect(try #require(later.wait(seconds: 60)).status == 0)
      scene.gateway.kill9()
      try scene.gateway.start()
      try scene.postgres.start()
      try scene.drained("warehouse")
      #expect(try scene.postgres.rows(of: "courier").isEmpty)
      #expect(try scene.postgres.rows(of: "late") == TrackFileText.read(scene.track)["005"])
      #expect(try scene.postgres.count("SELECT count(*) FROM fixgate.set_aside") == 0)
    }

    @Test func sinksComeAndGoWhileFixesAreTaken() throws {
      let scene = try PostgresScene(
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
