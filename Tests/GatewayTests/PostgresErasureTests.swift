#if PostgreSQL
import Foundation
import GateCore
import GateNet
import GateStore
import Gateway
import Testing

extension EndToEnd {
  /// An erasure where the tenant's data went to PostgreSQL too.
  @Suite(.serialized) struct PostgresErasing {
    private final class Scene {
      let scratch: Scratch
      let postgres: TemporaryPostgres
      let gateway: GatewayProcess
      let rows: [String: [TrackRow]]

      init() throws {
        scratch = try Scratch()
        postgres = try TemporaryPostgres()
        gateway = try GatewayProcess()
        let track = scratch.path + "/track.csv"
        try TrackFileText.write(to: track, fixesEach: 500, seed: 21)
        rows = try TrackFileText.read(track)
        try gateway.run(["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "warehouse"])
        try gateway.configure(sinks: "  - sqlite\n" + gateway.sink("warehouse", postgres))
        try gateway.run(["store", "migrate"])
        var bundles: [String: String] = [:]
        for (uid, subject) in [("001", "c-1"), ("005", "c-2")] {
          bundles[uid] = try gateway.addDevice("phone-\(uid)")
          let registry = try RegistryStore(path: gateway.data + "/registry.db")
          try registry.addSubject(tenant: "demo", name: subject, nowMs: 0)
          try registry.assign(tenant: "demo", id: "phone-\(uid)", subject: subject, sinceMs: 0)
        }
        try gateway.start()
        for (uid, bundle) in bundles {
          // One that the rules hold, in front of his ride.
          let path = scratch.path + "/\(uid).csv"
          let ride = try String(contentsOfFile: track, encoding: .utf8).split(separator: "\n").filter { $0.hasSuffix("," + uid) }
          let text = "lat,lng,datetime,uid\n41.1234567,75.1234567,2039-01-01 00:00:00,\(uid)\n" + ride.joined(separator: "\n") + "\n"
          try Data(text.utf8).write(to: URL(fileURLWithPath: path))
          #expect(try gateway.send(path, bundle: bundle, select: "uid=\(uid)").wait(seconds: 60)?.status == 0)
        }
        try gateway.status("the warehouse has all") { status in
          status.fixes.pending == 0 && status.sinks.allSatisfy { $0.cursor == status.journal.end_lsn }
        }
      }

      func count(_ table: String) throws -> Int { try postgres.count("SELECT count(*) FROM fixgate.\(table)") }

      func erase(_ more: [String]) throws -> ErasureReceipt {
        let outcome = try gateway.run(["subject", "erase", "--tenant", "demo", "c-1"] + more, seconds: 120)
        return try JSONDecoder().decode(ErasureReceipt.self, from: Data(outcome.output.utf8))
      }
    }

    @Test func itIsErasedThereToo() throws {
      let scene = try Scene()
      #expect(try scene.count("fix") == 1_000 && scene.count("quarantine") == 2 && scene.count("latest") == 2)
      let cut = scene.rows["001"]![100].timeMs
      let gone = scene.rows["001"]!.count { $0.timeMs <= cut }
      let to = Date(timeIntervalSince1970: Double(cut) / 1_000).ISO8601Format()
      let range = try scene.erase(["--to", to])
      #expect(range.sinks == [.init(name: "sqlite", erased: true), .init(name: "warehouse", erased: true, left: "its pages, logs and backups")])
      #expect(try scene.count("fix") == 1_000 - gone && scene.count("quarantine") == 2 && scene.count("latest") == 2)
      _ = try scene.erase([])
      #expect(try scene.count("fix") == 500 && scene.count("quarantine") == 1 && scene.count("latest") == 1)
      #expect(try scene.postgres.rows(of: "phone-001").isEmpty)
      #expect(try scene.postgres.rows(of: "phone-005").map(\.latitudeE7) == scene.rows["005"]!.map(\.latitudeE7))
      let report = try scene.gateway.run(["privacy", "report", "--tenant", "demo"]).output
      #expect(report.contains("sink warehouse: erasure reaches it, and leaves to whoever runs it its pages, logs and backups; retention reaches it"))
    }

    /// The embedded store is done without it; the receipt comes when it is back, over a kill of the gateway too.
    @Test func aServerThatIsAwayIsErasedWhenItIsBack() throws {
      let scene = try Scene()
      scene.postgres.kill9()
      let asked = try scene.gateway.run(["subject", "erase", "--tenant", "demo", "c-1", "--wait", "0"])
      #expect(asked.output.isEmpty && asked.errors.contains("erasure 1 is written down"))
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while try !scene.gateway.rows(of: "phone-001").isEmpty, SystemClock.now() < deadline {}
      #expect(try scene.gateway.rows(of: "phone-001").isEmpty)
      let book = try SubjectBook(path: scene.gateway.data + "/" + SubjectBook.name)
      #expect(try book.erasures(pending: true).count == 1)
      scene.gateway.kill9()
      try scene.postgres.start()
      try scene.gateway.start()
      #expect(try scene.erase([]).sinks?.last?.erased == true)
      #expect(try scene.count("fix") == 500 && scene.count("quarantine") == 1)
    }
  }
}
#endif
