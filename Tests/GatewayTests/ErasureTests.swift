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
          "FIXGATE_LISTEN_READ": "data/read.sock",
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

      /// A ride of courier c-1 that the rules hold: its clock is years ahead.
      func rideAhead() throws -> (path: String, rows: [TrackRow]) {
        let path = scratch.path + "/ahead.csv"
        let rows = (0..<20).map {
          TrackRow(sequence: $0, timeMs: 2_200_000_000_000 + $0 * 1_000, latitudeE7: 411_234_567 + $0, longitudeE7: 751_234_567 + $0)
        }
        var text = "uid,lat,lng,time\n"
        for row in rows {
          let time = Date(timeIntervalSince1970: Double(row.timeMs) / 1_000).ISO8601Format()
          text += "001,41.\(row.latitudeE7 - 410_000_000),75.\(row.longitudeE7 - 750_000_000),\(time)\n"
        }
        try Data(text.utf8).write(to: URL(fileURLWithPath: path))
        return (path, rows)
      }

      func erase(_ more: [String] = [], tenant: String = "demo", expecting status: Int32 = 0) throws -> Child.Outcome {
        try gateway.run(["subject", "erase", "--tenant", tenant] + more, expecting: status, seconds: 120)
      }

      func traces(of uid: String, in folder: String? = nil) throws -> [String: Int] {
        try Traces(rows[uid]!).search(folder ?? gateway.data)
      }
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

    /// What was copied away before the erasure is worth nothing after it: quarantine and the checkpoint's places lie under the
    /// shredded key. So it is with a range, whose rest stays readable.
    @Test(arguments: [true, false]) func aCopyFromBeforeCannotBeOpened(isWhole: Bool) throws {
      let fleet = try Fleet(fixesEach: 100)
      let gateway = fleet.gateway
      try gateway.start()
      try fleet.send()
      let (path, ahead) = try fleet.rideAhead()
      try fleet.send(path, only: "001")
      #expect(try gateway.drained().fixes.held == 20)
      let device = try RegistryStore(path: gateway.data + "/registry.db").device(tenant: "demo", id: "phone-001")
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while (try? gateway.checkpoint().latestPosition(of: Int(device))) == nil, SystemClock.now() < deadline {}
      #expect(try gateway.checkpoint().latestPosition(of: Int(device)) != nil)
      let list = ["quarantine", "list", "--tenant", "demo", "--device", "phone-001"]
      #expect(try gateway.run(list).output.contains("\t41.1234567\t75.1234567\n"))

      let names = ["fixes.db", "fixes.db-wal", CheckpointFile.name]
      let copy = fleet.scratch.path + "/copy"
      try FileManager.default.createDirectory(atPath: copy, withIntermediateDirectories: true)
      for name in names { try FileManager.default.copyItem(atPath: gateway.data + "/" + name, toPath: copy + "/" + name) }
      #expect(try Traces(ahead).search(copy) == [:])
      #expect(try fleet.traces(of: "001", in: copy).keys.allSatisfy { $0.hasPrefix("fixes.db") })

      let first = Date(timeIntervalSince1970: Double(ahead[0].timeMs) / 1_000).ISO8601Format()
      let receipt = try receipt(fleet.erase(["c-1"] + (isWhole ? [] : ["--from", first, "--to", first])))
      #expect(receipt.deleted.held == (isWhole ? 20 : 1))
      #expect(try gateway.count("SELECT count(*) FROM quarantine") == 20 - Int64(receipt.deleted.held))
      #expect(try gateway.run(list).output.split(separator: "\n").count { $0.contains("\t41.12345") } == 20 - receipt.deleted.held)

      #expect(try !isWhole || Traces(ahead).search(gateway.data) == [:])

      // Somebody brings the copy back, and has all keys that there are.
      _ = try gateway.terminate()
      for name in names {
        try? FileManager.default.removeItem(atPath: gateway.data + "/" + name)
        try FileManager.default.copyItem(atPath: copy + "/" + name, toPath: gateway.data + "/" + name)
      }
      let held = try gateway.run(list).output.split(separator: "\n")
      #expect(held.count == 20 && held.allSatisfy { $0.hasSuffix("\terased\t-\t-\t-") }, "\(held)")
      let devices = try gateway.checkpoint()
      #expect(devices.latestPosition(of: Int(device)) == nil && devices[travelOf: Int(device)] == Travel())
      #expect(devices.streamCount(of: Int(device)) == 2, "its marks stay")
    }

    /// As an older version left it, or a gateway that had no key: what quarantine and checkpoint hold is sealed by the first start
    /// that has one, whether anything comes or not.
    @Test func whatWasReadableIsSealedByTheFirstStartWithAKey() throws {
      let fleet = try Fleet(fixesEach: 100)
      let gateway = fleet.gateway
      try gateway.start(["FIXGATE_TLS_REGISTRY_KEY": "none.key"])
      let (path, ahead) = try fleet.rideAhead()
      try fleet.send(path, only: "001")
      try fleet.send()
      #expect(try gateway.drained().fixes.held == 20)
      _ = try gateway.terminate()
      #expect(try fleet.traces(of: "001")[CheckpointFile.name] != nil)
      func readable() throws -> Int64 {
        try gateway.count("SELECT count(*) FROM quarantine WHERE substr(record, 5, 1) <> x'05'")
      }
      #expect(try readable() == 20)
      try gateway.start()
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      func isCheckpointReadable() throws -> Bool {
        guard case .checkpoint(let checkpoint) = try CheckpointFile.read(in: Directory(gateway.data)) else { return true }
        return checkpoint.wasReadable
      }
      while try readable() > 0 || isCheckpointReadable(), SystemClock.now() < deadline {}
      #expect(try readable() == 0 && fleet.traces(of: "001")[CheckpointFile.name] == nil)
      #expect(try gateway.checkpoint().latestPosition(of: 1) != nil, "it is known whose they are")
      let list = try gateway.run(["quarantine", "list", "--tenant", "demo", "--device", "phone-001"]).output
      #expect(list.split(separator: "\n").count == ahead.count && list.contains("\t41.1234567\t75.1234567\n"))
    }

    /// Of an export that is killed nothing has the name that was asked for, and the next one is whole and alone.
    @Test func aKilledExportIsNotThere() throws {
      let fleet = try Fleet(fixesEach: 20_000)
      let gateway = fleet.gateway
      try gateway.start()
      try fleet.send(only: "001")
      try gateway.drained()
      let out = fleet.scratch.path + "/c-1.geojson"
      let words = ["subject", "export", "--tenant", "demo", "c-1", "--out", out, "--config", gateway.config]
      func size(_ path: String) -> Int {
        (try? FileManager.default.attributesOfItem(atPath: path)[.size] as? Int) ?? 0
      }
      let child = try Child(GatewayProcess.executable, words, environment: gateway.environment)
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while size(out + ".unfinished") == 0, SystemClock.now() < deadline {}
      child.kill9()
      #expect(size(out + ".unfinished") > 0 && !FileManager.default.fileExists(atPath: out))
      try gateway.run(Array(words.dropLast(2)))
      #expect(!FileManager.default.fileExists(atPath: out + ".unfinished"))
      let object = try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: out))) as? [String: Any]
      #expect((object?["features"] as? [Any])?.count == 20_000 + 2, "fixes, the latest position, the device carried")
      // Through the gateway: when that is killed, whoever asked is told, and has no file.
      let token = fleet.scratch.path + "/token"
      try gateway.run(["token", "add", "--tenant", "demo", "--role", "export", "--out", token])
      let other = fleet.scratch.path + "/other.geojson"
      let reader = try Child(
        GatewayProcess.executable,
        ["subject", "export", "--tenant", "demo", "c-1", "--out", other, "--token-file", token, "--socket", gateway.data + "/read.sock"])
      while size(other + ".unfinished") == 0, SystemClock.now() < deadline {}
      gateway.kill9()
      let outcome = try #require(reader.wait(seconds: 60))
      #expect(outcome.status == 1 && outcome.errors.contains("the answer was cut off"), "\(outcome.errors)")
      #expect(!FileManager.default.fileExists(atPath: other) && !FileManager.default.fileExists(atPath: other + ".unfinished"))
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

    /// The gateway died before its sequencer took the new keys: the next start finishes that, so that the old ones go. Found by the
    /// simulator.
    @Test func aRotationThatDiedIsFinished() throws {
      let fleet = try Fleet(fixesEach: 100)
      let gateway = fleet.gateway
      try gateway.start()
      try fleet.send()
      try gateway.drained()
      gateway.kill9()
      let keys = try #require(
        try SubjectKeys.open(directory: gateway.data, keyPath: gateway.folder + "/gateway/registry.key"))
      #expect(try keys.renewAll(tenant: 1) > 0)
      try gateway.start()
      let book = try SubjectBook(path: gateway.data + "/" + SubjectBook.name)
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while try book.hasRetired(), SystemClock.now() < deadline {}
      #expect(try !book.hasRetired())
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
      while try book.hasRetired(), SystemClock.now() < deadline {}
      #expect(try !book.hasRetired())
      // The checkpoint's places lie under the new ones.
      #expect(try gateway.checkpoint().latestPosition(of: 1) != nil)
    }
  }
}
