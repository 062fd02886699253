import Foundation
import GateCore
import GateNet
import GateStore
import Gateway
import Testing

extension EndToEnd {
  /// What is kept for how long, and what one can be given of himself.
  @Suite(.serialized) struct Keeping {
    private struct Line: Codable {
      var tenant: String
      var kind: String
      var days: Int64?
      var state: RetentionState
    }

    /// A courier's ride in the store, as if it had been received some days ago.
    private func gateway(receivedDaysAgo days: Int64) throws -> GatewayProcess {
      let gateway = try GatewayProcess(["FIXGATE_JOURNAL_CHECKPOINT_INTERVAL_S": "1"])
      let bundle = try gateway.addDevice("bike-1")
      let registry = try RegistryStore(path: gateway.data + "/registry.db")
      try registry.addSubject(tenant: "demo", name: "c-1", nowMs: 0)
      try registry.assign(tenant: "demo", id: "bike-1", subject: "c-1", sinceMs: 0)
      let scratch = try Scratch()
      var text = "lat,lng,time\n"
      for i in 0..<300 {
        let time = Date(timeIntervalSince1970: 1_718_000_000 + Double(i)).ISO8601Format()
        text += "43.\(1_000_000 + i),76.\(2_000_000 + i),\(time)\n"
      }
      // One that the rules hold.
      text += "43.5,76.5,2039-01-01T00:00:00Z\n"
      try Data(text.utf8).write(to: URL(fileURLWithPath: scratch.path + "/ride.csv"))
      try gateway.start()
      let child = try gateway.send(scratch.path + "/ride.csv", bundle: bundle)
      #expect(child.wait(seconds: 60)?.status == 0)
      try gateway.drained()
      // A track has no events, and the gateway's clock cannot be moved.
      let store = try SQLiteConnection(path: gateway.store, access: .readWrite)
      try store.execute("UPDATE fix SET event = 1 WHERE sequence % 100 = 7")
      for table in ["fix", "latest", "quarantine"] {
        try store.execute("UPDATE \(table) SET receive_time_ms = receive_time_ms - \(days * RetentionCut.dayMs)")
      }
      return gateway
    }

    private func setPolicy(_ gateway: GatewayProcess, positions: Int, events: Int, quarantine: Int) throws {
      try SQLiteConnection(path: gateway.data + "/registry.db", access: .readWrite).execute(
        """
        INSERT INTO policy(tenant, version, since_ms, duty, device_shifts, sos_off_duty, columns, attributes, only_listed, work,
        grid_m, positions_days, events_days, quarantine_days, journal_days)
        VALUES (1, 1, 0, 0, 0, 0, 0, '', 0, 1, 0, \(positions), \(events), \(quarantine), 1)
        """)
    }

    private func report(_ gateway: GatewayProcess) throws -> [String: Line] {
      let text = try gateway.run(["retention", "report", "--tenant", "demo", "--format", "json"]).output
      let lines = try JSONDecoder().decode([Line].self, from: Data(text.utf8))
      return Dictionary(uniqueKeysWithValues: lines.map { ($0.kind, $0) })
    }

    private func applied(_ gateway: GatewayProcess, latest: Int64 = 0) throws -> [String: Line] {
      try gateway.run(["retention", "apply"])
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while true {
        let lines = try report(gateway)
        // Latest positions go last.
        let isDone = try lines.values.allSatisfy { $0.state.overdue == 0 } && gateway.count("SELECT count(*) FROM latest") == latest
        if isDone || SystemClock.now() >= deadline { return lines }
      }
    }

    @Test func eachKindGoesAfterItsTime() throws {
      let gateway = try gateway(receivedDaysAgo: 10)
      let events = try gateway.count("SELECT count(*) FROM fix WHERE event IS NOT NULL")
      let all = try gateway.count("SELECT count(*) FROM fix")
      try setPolicy(gateway, positions: 5, events: 20, quarantine: 5)
      #expect(events == 3)
      let before = try report(gateway)
      #expect(before["positions"]?.state.overdue == Int(all) && before["quarantine"]?.state.overdue == 1)
      #expect(before["events"]?.state.overdue == 0)
      let after = try applied(gateway)
      #expect(after["positions"]?.state == RetentionState() && after["quarantine"]?.state == RetentionState())
      #expect(after["events"]?.state.oldest_ms != nil)
      // An event stays, without its place.
      #expect(try gateway.count("SELECT count(*) FROM fix") == events)
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE latitude_e7 IS NOT NULL") == 0)
      #expect(try gateway.count("SELECT count(*) FROM latest") == 0)
      // Nor does the gateway itself remember where he was last.
      _ = try gateway.terminate()
      let devices = try gateway.checkpoint()
      #expect(devices.latestPosition(of: 1) == nil && devices.streamCount(of: 1) == 1)
    }

    @Test func aHoldKeepsWhatIsOverdue() throws {
      let gateway = try gateway(receivedDaysAgo: 10)
      let all = try gateway.count("SELECT count(*) FROM fix")
      try gateway.run(["hold", "add", "--tenant", "demo", "c-1", "--reason", "case 1", "--to", "2024-06-10T06:15:00Z"])
      let held = try gateway.count("SELECT count(*) FROM fix WHERE fix_time_ms <= 1718000100000")
      try setPolicy(gateway, positions: 5, events: 5, quarantine: 5)
      let after = try applied(gateway)
      #expect(held > 0 && held < all)
      #expect(after["positions"]?.state.held == Int(held) && after["positions"]?.state.overdue == 0)
      #expect(try gateway.count("SELECT count(*) FROM fix") == held)
    }

    /// A kill in the middle of a round leaves rows that are whole, and the next start goes on.
    @Test func aKillInTheMiddleIsFinishedByTheNextStart() throws {
      let gateway = try gateway(receivedDaysAgo: 10)
      try setPolicy(gateway, positions: 5, events: 5, quarantine: 5)
      try gateway.run(["retention", "apply"])
      gateway.kill9()
      try gateway.start()
      #expect(try applied(gateway).values.allSatisfy { $0.state == RetentionState() || $0.kind == "journal" })
      #expect(try gateway.count("SELECT count(*) FROM fix") == 0)
    }

    @Test func anExportHasAllThatIsHeld() throws {
      let gateway = try gateway(receivedDaysAgo: 0)
      let stream = try gateway.count("SELECT stream FROM fix LIMIT 1")
      let reported = try gateway.run([
        "subject", "correct", "--tenant", "demo", "--device", "bike-1", "--stream", "\(stream)", "--sequence", "3", "--position",
        "43.9,76.9", "--reason", "the phone lay in a drawer",
      ])
      #expect(reported.output == "correction 1 is linked to the fix\n")
      try gateway.run(["hold", "add", "--tenant", "demo", "c-1", "--reason", "case 1"])
      let out = gateway.folder + "/c-1.geojson"
      try gateway.run(["subject", "export", "--tenant", "demo", "c-1", "--out", out])
      let object = try #require(
        try JSONSerialization.jsonObject(with: Data(contentsOf: URL(fileURLWithPath: out))) as? [String: Any])
      let features = try #require(object["features"] as? [[String: Any]])
      let properties = features.compactMap { $0["properties"] as? [String: Any] }
      let kinds = properties.compactMap { $0["kind"] as? String }.reduce(into: [String: Int]()) { $0[$1, default: 0] += 1 }
      #expect(kinds == ["fix": 300, "held": 1, "latest": 1, "correction": 1, "assignment": 1, "hold": 1])
      let third = try #require(properties.first { $0["kind"] as? String == "fix" && $0["sequence"] as? Int == 3 })
      #expect(third["corrected_by"] as? Int == 1 && third["latitude_e7"] as? Int == 431_000_002)
      let mode = try FileManager.default.attributesOfItem(atPath: out)[.posixPermissions] as? Int
      #expect(mode == 0o600)
      let csv = try gateway.run(["subject", "export", "--tenant", "demo", "c-1", "--format", "csv"]).output
      #expect(csv.split(separator: "\n").count == 306)
      // Never over another file, and nobody else's.
      try gateway.run(["subject", "export", "--tenant", "demo", "c-1", "--out", out], expecting: 1)
      try gateway.run(["subject", "export", "--tenant", "demo", "c-2"], expecting: 1)
    }
  }
}
