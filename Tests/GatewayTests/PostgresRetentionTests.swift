#if PostgreSQL
import Foundation
import GateCore
import GateNet
import GatePostgres
import GateStore
import Gateway
import Testing

extension EndToEnd {
  /// What has had its time in a database, without a gateway: slices, and who stands in their way.
  @Suite(.serialized) final class PostgresRetentionRows {
    private let server: TemporaryPostgres
    private static let nowMs: Int64 = 1_800_000_000_000

    init() throws { server = try TemporaryPostgres() }

    /// Fixes of tenant demo: received from 400 until 390 days ago, and as many in one moment.
    private func fill(partitions: Int, rows: Int) throws {
      try server.makeTables(partitions: partitions)
      let start = Self.nowMs - 400 * RetentionCut.dayMs
      try server.connect().run(
        """
        INSERT INTO fixgate.tenant(name) VALUES ('demo'), ('other');
        INSERT INTO fixgate.device(tenant, id) VALUES (1, 'van-1'), (2, 'van-1');
        INSERT INTO fixgate.fix(tenant, device, stream, sequence, receive_time_ms, verdict, lane, transport, latitude_e7, longitude_e7)
        SELECT 1, 1, 1, i, \(start) + i * \(10 * RetentionCut.dayMs / Int64(rows)), 0, 0, 1, 1, 1 FROM generate_series(1, \(rows)) i
        UNION ALL SELECT 1, 1, 2, i, \(start), 0, 0, 1, 1, 1 FROM generate_series(1, \(rows)) i
        UNION ALL SELECT 2, 2, 1, i, \(start), 0, 0, 1, 1, 1 FROM generate_series(1, 10) i
        """)
    }

    private func rule(positions: Int64) -> RetentionRule {
      let days = RetentionDays(positions: positions)
      return RetentionRule(
        tenant: "demo", days: days, cut: RetentionCut(tenant: 9, days: days, holds: [], nowMs: Self.nowMs), held: [])
    }

    private func left(_ tenant: Int) throws -> Int { try server.count("SELECT count(*) FROM fixgate.fix WHERE tenant = \(tenant)") }

    @Test(arguments: [0, 4]) func itGoesInShortTransactions(partitions: Int) throws {
      try fill(partitions: partitions, rows: 25_000)
      let rows = try PostgresSubjectRows(server.server(), gateway: "a")
      // Nothing of the second half of the ten days yet.
      let states = try rows.states(rule(positions: 395))
      #expect(states.positions.overdue == 37_499 && states.positions.oldest_ms == Self.nowMs - 400 * RetentionCut.dayMs)
      var counts = [try left(1)]
      let changed = try rows.prune(rule(positions: 395)) {
        counts.append((try? left(1)) ?? -1)
        return true
      }
      #expect(changed == 37_499 && counts.last == 12_501)
      #expect(zip(counts, counts.dropFirst()).allSatisfy { $0 - $1 > 0 && $0 - $1 <= 10_000 }, "\(counts)")
      #expect(try rows.states(rule(positions: 395)).positions.overdue == 0)
      // One that is stopped goes on the next time.
      #expect(try rows.prune(rule(positions: 5)) { false } > 0)
      #expect(try left(1) > 0)
      #expect(try rows.prune(rule(positions: 5)) { true } > 0)
      #expect(try left(1) == 0 && left(2) == 10)
    }

    @Test func aUserWhoMayNotDeleteIsTold() throws {
      try server.makeTables()
      try server.connect().run(
        """
        CREATE ROLE writer LOGIN PASSWORD 'w'; GRANT USAGE ON SCHEMA fixgate TO writer;
        GRANT SELECT, INSERT, UPDATE ON ALL TABLES IN SCHEMA fixgate TO writer
        """)
      var writer = server.server(password: "w")
      writer.user = "writer"
      let connection = try PostgresConnection.open(writer)
      #expect(throws: PostgresError.server(state: "42501")) { try PostgresSchema.checkAll(connection) }
      try server.connect().run("GRANT DELETE ON fixgate.fix, fixgate.latest, fixgate.quarantine, fixgate.refused TO writer")
      try PostgresSchema.checkAll(connection)
    }

    /// A sink writes latest positions, and somebody looks at rows: nobody waits for the other.
    @Test func itGoesAroundWhatIsLocked() throws {
      try fill(partitions: 0, rows: 100)
      let old = Self.nowMs - 400 * RetentionCut.dayMs
      let other = try server.connect()
      try other.run(
        """
        INSERT INTO fixgate.latest VALUES (1, 1, NULL, 1, 1, 0, \(old), 1, 1, NULL, NULL, NULL, NULL),
        (3, 1, NULL, 1, 1, 0, \(old), 1, 1, NULL, NULL, NULL, NULL);
        """)
      try other.run("BEGIN; SELECT 1 FROM fixgate.latest WHERE device = 1 FOR UPDATE")
      try other.run("SELECT 1 FROM fixgate.fix WHERE stream = 2 FOR UPDATE")
      let rows = try PostgresSubjectRows(server.server(), gateway: "a")
      #expect(try rows.prune(rule(positions: 5)) { true } == 101)
      #expect(try left(1) == 100 && server.count("SELECT count(*) FROM fixgate.latest") == 1)
      try other.run("COMMIT")
      #expect(try rows.prune(rule(positions: 5)) { true } == 101)
      #expect(try left(1) == 0 && server.count("SELECT count(*) FROM fixgate.latest") == 0)
    }
  }

  /// A gateway whose two tenants' data went to PostgreSQL too; only one of them has a policy.
  @Suite(.serialized) struct PostgresKeeping {
    private final class Scene {
      let scratch: Scratch
      let postgres: TemporaryPostgres
      let gateway: GatewayProcess

      /// Of each tenant a ride of a courier, one of a bike that nobody carries, a held fix of each; received ten days ago.
      init() throws {
        scratch = try Scratch()
        postgres = try TemporaryPostgres()
        gateway = try GatewayProcess()
        try gateway.run(["tenant", "add", "other"])
        for tenant in ["demo", "other"] {
          try gateway.run(["tenant", "egress", tenant, "--sink", "sqlite", "--sink", "warehouse"])
        }
        try gateway.configure(sinks: "  - sqlite\n" + gateway.sink("warehouse", postgres))
        try gateway.run(["store", "migrate"])
        var text = "lat,lng,time\n43.5,76.5,2039-01-01T00:00:00Z\n"
        for i in 0..<100 {
          let time = Date(timeIntervalSince1970: 1_718_000_000 + Double(i)).ISO8601Format()
          text += "43.\(1_000_000 + i),76.\(2_000_000 + i),\(time)\n"
        }
        try Data(text.utf8).write(to: URL(fileURLWithPath: scratch.path + "/ride.csv"))
        var bundles: [String] = []
        for tenant in ["demo", "other"] {
          for device in ["bike-1", "bike-2"] {
            let bundle = gateway.folder + "/\(tenant)-\(device).bundle"
            try gateway.run(["device", "add", "--tenant", tenant, device, "--out", bundle])
            bundles.append(bundle)
          }
          let registry = try RegistryStore(path: gateway.data + "/registry.db")
          try registry.addSubject(tenant: tenant, name: "c-1", nowMs: 0)
          try registry.assign(tenant: tenant, id: "bike-1", subject: "c-1", sinceMs: 0)
        }
        try gateway.start()
        for bundle in bundles { #expect(try gateway.send(scratch.path + "/ride.csv", bundle: bundle).wait(seconds: 60)?.status == 0) }
        try gateway.status("the warehouse has all") { status in
          status.fixes.pending == 0 && status.sinks.allSatisfy { $0.cursor == status.journal.end_lsn }
        }
        // A track has no events, and the gateway's clock cannot be moved.
        try postgres.connect().run("UPDATE fixgate.fix SET event = 1 WHERE sequence % 50 = 7")
        for table in ["fix", "latest", "quarantine"] {
          try postgres.connect().run("UPDATE fixgate.\(table) SET receive_time_ms = receive_time_ms - \(10 * RetentionCut.dayMs)")
        }
        #expect(try count("fix") == 200 && count("quarantine") == 2 && count("latest") == 2)
      }

      func setPolicy(positions: Int, events: Int, quarantine: Int) throws {
        let path = scratch.path + "/policy.yaml"
        let policy = """
          retention_positions_days: \(positions)
          retention_events_days: \(events)
          retention_quarantine_days: \(quarantine)

          """
        try Data(policy.utf8).write(to: URL(fileURLWithPath: path))
        try gateway.run(["policy", "set", "--tenant", "demo", path])
      }

      /// Rows of the tenant with the policy.
      func count(_ table: String, tenant: String = "demo", _ rows: String = "TRUE") throws -> Int {
        try postgres.count(
          "SELECT count(*) FROM fixgate.\(table) WHERE (\(rows)) AND tenant = (SELECT idx FROM fixgate.tenant WHERE name = '\(tenant)')")
      }

      func wait(_ what: String, until isSo: () throws -> Bool) throws {
        let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
        while try !isSo() {
          guard SystemClock.now() < deadline else { throw GatewayProcess.Failure(description: "not \(what)") }
        }
      }

      struct Line: Codable {
        var tenant: String
        var kind: String
        var sink: String?
        var state: RetentionState?
        var note: String?
      }

      func report(expecting status: Int32 = 0) throws -> [Line] {
        let text = try gateway.run(["retention", "report", "--tenant", "demo", "--format", "json"], expecting: status).output
        return try JSONDecoder().decode([Line].self, from: Data(text.utf8)).filter { $0.sink == "warehouse" }
      }

      func states() throws -> [String: RetentionState] {
        Dictionary(uniqueKeysWithValues: try report().map { ($0.kind, $0.state ?? RetentionState()) })
      }

      func othersAreWhole() throws -> Bool {
        try count("fix", tenant: "other") == 200 && count("fix", tenant: "other", "latitude_e7 IS NULL") == 0
          && count("quarantine", tenant: "other") == 2 && count("latest", tenant: "other") == 2
      }
    }

    @Test func eachKindGoesAfterItsTime() throws {
      let scene = try Scene()
      try scene.setPolicy(positions: 5, events: 20, quarantine: 5)
      let before = try scene.states()
      #expect(before["positions"]?.overdue == 200 && before["events"]?.overdue == 0 && before["quarantine"]?.overdue == 2)
      try scene.gateway.run(["retention", "apply"])
      // Latest positions go last.
      try scene.wait("without latest positions") { try scene.count("latest") == 0 }
      let after = try scene.states()
      #expect(after["positions"] == RetentionState() && after["quarantine"] == RetentionState())
      #expect(after["events"]?.oldest_ms != nil && after["events"]?.overdue == 0)
      // Events stay, without their places.
      #expect(try scene.count("fix") == 4 && scene.count("fix", tenant: "demo", "event IS NULL OR latitude_e7 IS NOT NULL") == 0)
      #expect(try scene.othersAreWhole())
      let page = try scene.gateway.run(["privacy", "report", "--tenant", "demo"]).output
      #expect(page.contains("sink warehouse: events from ") && !page.contains("sink warehouse: positions from "))
      try scene.setPolicy(positions: 5, events: 5, quarantine: 5)
      try scene.gateway.run(["retention", "apply"])
      try scene.wait("without events") { try scene.count("fix") == 0 }
      #expect(try scene.othersAreWhole())
    }

    @Test func aHoldKeepsWhatIsOverdue() throws {
      let scene = try Scene()
      try scene.gateway.run(["hold", "add", "--tenant", "demo", "c-1", "--reason", "case 1", "--to", "2024-06-10T06:14:09Z"])
      try scene.setPolicy(positions: 5, events: 5, quarantine: 5)
      try scene.gateway.run(["retention", "apply"])
      // Of the courier the first half is held; of the bike that nobody carries nothing.
      try scene.wait("rid of what is not held") { try scene.count("fix") == 50 && scene.count("latest") == 0 }
      #expect(try scene.count("fix", tenant: "demo", "subject IS NULL OR fix_time_ms > 1718000049000") == 0)
      let states = try scene.states()
      #expect(states["positions"]?.held == 50 && states["positions"]?.overdue == 0 && states["events"]?.held == 1)
      #expect(states["quarantine"]?.held == 1 && states["quarantine"]?.overdue == 0)
      #expect(try scene.count("quarantine") == 1 && scene.othersAreWhole())
      try scene.gateway.run(["hold", "remove", "--tenant", "demo", "1"])
      try scene.gateway.run(["retention", "apply"])
      try scene.wait("rid of all") { try scene.count("fix") == 0 && scene.count("quarantine") == 0 }
    }

    /// Killed between two of its transactions: the second one waits for a lock.
    @Test func aKillInTheMiddleIsFinishedByTheNextStart() throws {
      let scene = try Scene()
      try scene.setPolicy(positions: 5, events: 5, quarantine: 5)
      let other = try scene.postgres.connect()
      try other.run("BEGIN; LOCK TABLE fixgate.quarantine IN ACCESS EXCLUSIVE MODE")
      try scene.gateway.run(["retention", "apply"])
      try scene.wait("rid of fixes") { try scene.count("fix") == 0 }
      scene.gateway.kill9()
      try other.run("COMMIT")
      #expect(try scene.count("latest") == 2)
      try scene.gateway.start()
      try scene.wait("finished") { try scene.count("quarantine") == 0 && scene.count("latest") == 0 }
      #expect(try scene.othersAreWhole())
    }

    /// It is told once, holds up nothing else, and is caught up with.
    @Test func aServerThatIsAwayIsCaughtUpWith() throws {
      let scene = try Scene()
      scene.postgres.kill9()
      try scene.setPolicy(positions: 0, events: 0, quarantine: 0)
      try scene.gateway.run(["retention", "apply"])
      try scene.wait("rid of the embedded store's rows") {
        try scene.gateway.count("SELECT count(*) FROM fix WHERE tenant = 1") == 0
      }
      let lines = try scene.report(expecting: 1)
      #expect(lines.count == 1 && lines[0].note?.contains("PostgreSQL cannot be reached") == true)
      try scene.postgres.start()
      try scene.wait("caught up") { try scene.count("fix") == 0 && scene.count("quarantine") == 0 && scene.count("latest") == 0 }
      #expect(try scene.othersAreWhole())
      let log = try scene.gateway.terminate().errors
      #expect(log.ranges(of: "sink warehouse: retention waits").count == 1, "\(log)")
      #expect(log.contains("sink warehouse: retention has caught up"))
    }
  }
}
#endif
