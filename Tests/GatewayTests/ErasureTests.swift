import Foundation
import GateCore
import GateNet
import GateStore
import Gateway
import Testing

extension EndToEnd {
  /// Two tenants, each with a courier, on a running gateway: one is erased, and no file knows where he was.
  @Suite(.serialized) struct Erasing {
    private static let fixesEach = 3_000

    /// A gateway with courier c-1 of tenant demo and c-2 of tenant other, and their rides.
    private final class Fleet {
      let gateway: GatewayProcess
      let scratch: Scratch
      let rows: [String: [TrackRow]]
      let track: String
      private var bundles: [String: String] = [:]

      init(_ settings: [String: String] = [:], fixesEach: Int = Erasing.fixesEach) throws {
        gateway = try GatewayProcess([
          "FIXGATE_LIMITS_BACKLOG_WINDOW": "6000", "FIXGATE_JOURNAL_CHECKPOINT_INTERVAL_S": "1",
        ].merging(settings) { $1 })
        scratch = try Scratch()
        track = scratch.path + "/track.csv"
        try TrackFileText.write(to: track, fixesEach: fixesEach, seed: 11)
        rows = try TrackFileText.read(track)
        try gateway.run(["tenant", "add", "other"])
        for (uid, tenant, subject) in [("001", "demo", "c-1"), ("005", "other", "c-2")] {
          let bundle = gateway.folder + "/\(uid).bundle"
          try gateway.run(["device", "add", "--tenant", tenant, "phone-\(uid)", "--out", bundle])
          bundles[uid] = bundle
          let registry = try RegistryStore(path: gateway.data + "/registry.db")
          try registry.addSubject(tenant: tenant, name: subject, nowMs: 0)
          try registry.assign(tenant: tenant, id: "phone-\(uid)", subject: subject, sinceMs: 0)
        }
      }

      func begin(_ uid: String) throws -> Child {
        try gateway.send(track, bundle: bundles[uid]!, select: "uid=\(uid)")
      }

      func send(_ track: String? = nil, only uid: String? = nil) throws {
        for (each, bundle) in bundles where uid == nil || each == uid {
          let child = try gateway.send(track ?? self.track, bundle: bundle, select: "uid=\(each)")
          guard let outcome = child.wait(seconds: 120), outcome.status == 0 else {
            throw GatewayProcess.Failure(description: "send: \(child.kill9()?.errors ?? "")")
          }
        }
      }

      /// Fixes of another day, which were never sent.
      func moreRides() throws -> String {
        let path = scratch.path + "/more.csv"
        try TrackFileText.write(to: path, fixesEach: 200, seed: 12)
        return path
      }

      func erase(_ more: [String] = [], tenant: String = "demo", expecting status: Int32 = 0) throws -> Child.Outcome {
        try gateway.run(["subject", "erase", "--tenant", tenant] + more, expecting: status, seconds: 120)
      }

      func traces(of uid: String) throws -> [String: Int] { try Traces(rows[uid]!).search(gateway.data) }
    }

    private func receipt(_ outcome: Child.Outcome) throws -> ErasureReceipt {
      try JSONDecoder().decode(ErasureReceipt.self, from: Data(outcome.output.utf8))
    }

    @Test func noFileKnowsWhereAnErasedCourierWas() throws {
      let fleet = try Fleet()
      let gateway = fleet.gateway
      try gateway.start()
      try fleet.send()
      try gateway.drained()
      let before = try fleet.traces(of: "001")
      #expect(before.keys.contains { $0.hasPrefix("fixes.db") }, "the search finds nothing: \(before)")
      #expect(!before.keys.contains { $0.hasSuffix(".segment") || $0.hasSuffix(".spare") }, "\(before)")
      let others = try gateway.rows(of: "phone-005")

      let receipt = try receipt(fleet.erase(["c-1"]))
      #expect(receipt.deleted.fixes == Erasing.fixesEach && receipt.deleted.latest == 1 && receipt.subject == "c-1")
      let traces = try fleet.traces(of: "001")
      #expect(traces == [:])
      #expect(try gateway.rows(of: "phone-001").isEmpty)
      #expect(try gateway.rows(of: "phone-005") == others && others.count == Erasing.fixesEach)

      // What he sends now is settled, refused, and in no file; the other's is stored.
      let more = try fleet.moreRides()
      try fleet.send(more)
      let status = try gateway.drained()
      #expect(status.fixes.refused == 200)
      #expect(try Traces(TrackFileText.read(more)["001"]!).search(gateway.data) == [:])
      #expect(try gateway.count("SELECT count(*) FROM refused WHERE code = \(Verdict.erased.rawValue)") == 200)
      #expect(try gateway.rows(of: "phone-005").count == Erasing.fixesEach + 200)
      // Asked for again it is the same erasure; another tenant's subject is out of reach.
      #expect(try self.receipt(fleet.erase(["c-1"])) == receipt)
      _ = try fleet.erase(["c-1"], tenant: "other", expecting: 1)

      // What is sent again is known, though nothing of it is.
      gateway.kill9()
      try gateway.start()
      try fleet.send(only: "001")
      #expect(try gateway.drained().fixes.stored == 0)
      #expect(try fleet.traces(of: "001") == [:])
    }

    /// Whatever has been done by the time of the kill, the next start finishes it.
    @Test(arguments: ["asked", "sealed off", "counted"])
    func aKillInTheMiddleIsFinishedByTheNextStart(stage: String) throws {
      let fleet = try Fleet(["FIXGATE_SQLITE_BATCH_ROWS": "100"], fixesEach: 20_000)
      let gateway = fleet.gateway
      try gateway.start()
      try fleet.send()
      let child = try Child(
        GatewayProcess.executable,
        ["subject", "erase", "--tenant", "demo", "c-1", "--wait", "0", "--config", gateway.folder + "/gateway/fixgate.yaml"],
        environment: gateway.environment)
      let book = try SubjectBook(path: gateway.data + "/" + SubjectBook.name)
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while SystemClock.now() < deadline {
        guard let erasure = try book.erasures().first else { continue }
        if stage == "asked" || stage == "sealed off" && erasure.isSealedOff || erasure.found != nil { break }
      }
      gateway.kill9()
      _ = child.wait(seconds: 60)
      try gateway.start()
      let receipt = try receipt(fleet.erase(["c-1"]))
      #expect(receipt.erasure == 1)
      try gateway.drained()
      #expect(try gateway.rows(of: "phone-001").isEmpty)
      #expect(try gateway.rows(of: "phone-005").count == 20_000)
      let traces = try fleet.traces(of: "001")
      #expect(traces == [:])
    }

    /// The rest of his ride stays, and what lay in the journal beside it is in the store.
    @Test func aRangeIsErasedAndTheRestStays() throws {
      let fleet = try Fleet()
      let gateway = fleet.gateway
      try gateway.start()
      try fleet.send()
      let rows = fleet.rows["001"]!
      let cut = (rows[1_000].timeMs, rows[1_999].timeMs)
      let gone = rows.filter { (cut.0...cut.1).contains($0.timeMs) }
      let text = [cut.0, cut.1].map { Date(timeIntervalSince1970: Double($0) / 1_000).ISO8601Format() }
      let receipt = try receipt(fleet.erase(["c-1", "--from", text[0], "--to", text[1]]))
      #expect(receipt.deleted.fixes == gone.count && receipt.from?.prefix(19) == text[0].prefix(19), "\(receipt)")
      #expect(try gateway.rows(of: "phone-001").count == rows.count - gone.count)
      let traces = try Traces(gone).search(gateway.data)
      #expect(traces == [:])
      #expect(try gateway.rows(of: "phone-005").count == Erasing.fixesEach)
    }

    @Test func aHoldForbidsErasureUntilItIsRemoved() throws {
      let fleet = try Fleet(fixesEach: 100)
      let gateway = fleet.gateway
      try gateway.start()
      try fleet.send()
      try gateway.drained()
      let added = try gateway.run(["hold", "add", "--tenant", "demo", "c-1", "--reason", "case 17/2026"])
      #expect(added.output == "hold 1 is in force\n")
      #expect(try fleet.erase(["c-1"], expecting: 1).errors.contains("a legal hold forbids it (1)"))
      #expect(try gateway.rows(of: "phone-001").count == 100)
      try gateway.run(["hold", "remove", "--tenant", "other", "1"], expecting: 1)
      try gateway.run(["hold", "remove", "--tenant", "demo", "1"])
      #expect(try receipt(fleet.erase(["c-1"])).deleted.fixes == 100)
      #expect(try gateway.run(["hold", "list", "--tenant", "demo"]).output.isEmpty)
      #expect(try gateway.run(["hold", "list", "--tenant", "demo", "--all"]).output.contains("case 17/2026"))
    }

    /// New keys for ten thousand under load, then death: what lies in the journal under the old ones is read by the next start.
    @Test func keysAreRotatedUnderLoad() throws {
      let fleet = try Fleet(["FIXGATE_SQLITE_INTERVAL_MS": "60000"], fixesEach: 6_000)
      let gateway = fleet.gateway
      try SQLiteConnection(path: gateway.data + "/registry.db", access: .readWrite).execute(
        """
        WITH RECURSIVE n(i) AS (SELECT 1 UNION ALL SELECT i + 1 FROM n WHERE i < 10000)
        INSERT INTO subject(tenant, name, created_ms) SELECT 1, 's-' || i, 0 FROM n
        """)
      try gateway.start()
      let courier = try fleet.begin("001")
      for _ in 0..<3 {
        let rotated = try gateway.run(["subject", "rotate-keys", "--tenant", "demo"])
        #expect(rotated.output == "10002 new keys are in force\n")
      }
      #expect(courier.wait(seconds: 120)?.status == 0)
      gateway.kill9()
      try gateway.start(["FIXGATE_SQLITE_INTERVAL_MS": "10"])
      try fleet.send()
      try gateway.drained()
      #expect(try gateway.rows(of: "phone-001").map(\.latitudeE7) == fleet.rows["001"]!.map(\.latitudeE7))
      // Once the journal has nothing that the old keys open, they are gone.
      let book = try SubjectBook(path: gateway.data + "/" + SubjectBook.name)
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while try book.hasRetiredKeys(), SystemClock.now() < deadline {}
      #expect(try !book.hasRetiredKeys())
    }
  }
}

extension SubjectBook {
  fileprivate func hasRetiredKeys() throws -> Bool {
    var found = false
    try forEachKey { key, _ in found = found || key.isRetired }
    return found
  }
}
