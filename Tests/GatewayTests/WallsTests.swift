import Foundation
import GateCore
import GateNet
import GateStore
import Gateway
import Testing

/// Two tenants on one gateway, and all that could reach over the wall between them.
extension EndToEnd {
  @Suite(.serialized) struct WallsTests {
    private static let tenants = ["demo", "north"]

    /// A gateway with a device of the same name and a track in each tenant, at latitudes that tell them apart.
    private func world() throws -> GatewayProcess {
      let gateway = try GatewayProcess(["FIXGATE_LISTEN_READ": "read.sock"])
      try gateway.start()
      try gateway.run(["tenant", "add", "north"])
      for (tenant, latitude) in zip(Self.tenants, [43, 51]) {
        let bundle = gateway.folder + "/\(tenant).bundle"
        try gateway.run(["device", "add", "--tenant", tenant, "bike-1", "--out", bundle])
        var track = "lat,lon,time\n"
        for second in 10...39 { track += "\(latitude).1\(second),76.9,2026-01-01 00:00:\(second)\n" }
        // Before the epoch of GPS: held.
        track += "\(latitude).2,76.9,2099-01-01 00:00:00\n"
        let path = gateway.folder + "/\(tenant).csv"
        try Data(track.utf8).write(to: URL(fileURLWithPath: path))
        #expect(try gateway.send(path, bundle: bundle).wait(seconds: 60)?.status == 0)
      }
      try gateway.drained()
      return gateway
    }

    private func token(_ gateway: GatewayProcess, _ tenant: String, _ role: String, more: [String] = []) throws -> String {
      let out = gateway.folder + "/\(tenant).\(role).\(UUID().uuidString)"
      try gateway.run(["token", "add", "--tenant", tenant, "--role", role, "--out", out] + more)
      return out
    }

    /// As a dispatcher runs it: with a token and a socket, without configuration or data directory.
    private func read(_ gateway: GatewayProcess, _ arguments: [String], token: String) throws -> Child.Outcome {
      let child = try Child(
        GatewayProcess.executable,
        arguments + ["--token-file", token, "--socket", gateway.folder + "/gateway/read.sock"])
      return try #require(child.wait(seconds: 60))
    }

    private static let commands: [(words: [String], role: String)] = [
      (["latest"], "live"), (["latest", "--device", "bike-1"], "live"), (["history", "--device", "bike-1"], "history"),
      (["history", "--device", "bike-1", "--format", "gpx"], "history"), (["gaps", "--device", "bike-1"], "history"),
      (["quarantine", "list"], "history"), (["quarantine", "show", "1"], "history"), (["quarantine", "show", "2"], "history"),
      (["subject", "export", "--device", "bike-1"], "export"),
      // Nothing was there then.
      (["subject", "erase", "--device", "bike-1", "--to", "1990-01-01T00:00:00Z"], "erase"),
    ]

    /// Every command, with every credential of every tenant, for every tenant.
    @Test func aTokenReachesItsTenantAndRolesOnly() throws {
      let gateway = try world()
      let own = ["demo": "43.", "north": "51."]
      for holder in Self.tenants {
        for role in ["live", "history", "export", "erase"] {
          let token = try token(gateway, holder, role)
          for target in Self.tenants {
            for command in Self.commands {
              let outcome = try read(gateway, command.words + ["--tenant", target], token: token)
              let what = "\(command.words) of \(target) by \(role) of \(holder)"
              let other = own[holder == "demo" ? "north" : "demo"]!
              #expect(!outcome.output.contains(other), "\(what)")
              if holder != target {
                #expect(outcome.status == 1 && outcome.errors.contains("this token is for another tenant"), "\(what)")
              } else if role != command.role {
                #expect(outcome.status == 1 && outcome.errors.contains("ask for one that has it"), "\(what)")
              } else if command.words.first == "quarantine", command.words.count == 3 {
                // Numbers are of the whole gateway; another tenant's is as if it were not there.
                let isOwn = (command.words[2] == "1") == (holder == "demo")
                #expect(outcome.status == (isOwn ? 0 : 1), "\(what)")
              } else {
                #expect(outcome.status == 0 && !outcome.output.isEmpty, "\(what): \(outcome.errors)")
              }
              if outcome.status != 0 { #expect(outcome.output.isEmpty, "\(what)") }
            }
          }
        }
      }
      // What the token gives is what the operator sees.
      let token = try token(gateway, "north", "history")
      let asOperator = try gateway.run(["history", "--tenant", "north", "--device", "bike-1"]).output
      #expect(try read(gateway, ["history", "--tenant", "north", "--device", "bike-1"], token: token).output == asOperator)
      #expect(asOperator.split(separator: "\n").count == 31)

      #expect(try gateway.run(["audit", "verify"]).output.contains("are as they were written"))
      let log = try gateway.run(["audit", "list"]).output
      #expect(log.contains("token 1\tread_live\tdemo") && log.contains("token 2\trefused\tdemo"))
      #expect(!log.contains("bike-1") && !log.contains("43.") && !log.contains("51."))
    }

    /// What a data protection officer does, without being the operator.
    @Test func aTokenExportsAndErases() throws {
      let gateway = try world()
      let (export, erase) = (try token(gateway, "demo", "export"), try token(gateway, "demo", "erase"))
      let words = ["subject", "export", "--tenant", "demo", "--device", "bike-1"]
      let out = gateway.folder + "/bike-1.geojson"
      #expect(try read(gateway, words + ["--out", out], token: export).status == 0)
      let asOperator = try gateway.run(words).output
      #expect(try String(contentsOfFile: out, encoding: .utf8) == asOperator && asOperator.contains("\"kind\":\"held\""))
      #expect(asOperator.components(separatedBy: "\"kind\":\"fix\"").count == 31 && asOperator.contains("43.2"))
      #expect(try FileManager.default.attributesOfItem(atPath: out)[.posixPermissions] as? Int == 0o600)
      // What is refused leaves no file.
      let other = gateway.folder + "/other.geojson"
      #expect(try read(gateway, words + ["--out", other], token: erase).errors.contains("ask for one that has it"))
      #expect(!FileManager.default.fileExists(atPath: other) && !FileManager.default.fileExists(atPath: other + ".unfinished"))

      let ask = ["subject", "erase", "--tenant", "demo", "--device", "bike-1"]
      #expect(try read(gateway, ask, token: erase).output == "erasure 1 is under way: ask again for its receipt\n")
      // The token may ask twice a second.
      let book = try SubjectBook(path: gateway.data + "/" + SubjectBook.name)
      let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
      while try book.erasures(pending: true).count > 0, SystemClock.now() < deadline {}
      let told = try read(gateway, ask, token: erase).output
      let receipt = try JSONDecoder().decode(ErasureReceipt.self, from: Data(told.utf8))
      #expect(receipt.deleted.fixes == 30 && receipt.deleted.held == 1 && receipt.device == "bike-1")
      #expect(try gateway.rows(of: "bike-1").count == 30, "the other tenant's")
      let log = try gateway.run(["audit", "list"]).output
      #expect(log.contains("token 1\texported\tdemo") && log.contains("token 2\terased\tdemo"))
    }

    @Test func aTokenThatIsNotGoodOpensNothing() throws {
      let gateway = try world()
      let latest = ["latest", "--tenant", "demo"]
      let good = try token(gateway, "demo", "live")
      #expect(try FileManager.default.attributesOfItem(atPath: good)[.posixPermissions] as? Int == 0o600)
      let socket = try FileManager.default.attributesOfItem(atPath: gateway.folder + "/gateway/read.sock")
      #expect(socket[.posixPermissions] as? Int == 0o660)
      #expect(try read(gateway, latest, token: good).status == 0)

      let text = try String(contentsOfFile: good, encoding: .utf8).trimmingCharacters(in: .newlines)
      let wrong = gateway.folder + "/wrong"
      let flipped = text.dropLast() + (text.last == "0" ? "1" : "0")
      let next = text.replacingOccurrences(of: "fixgate-read.1.", with: "fixgate-read.99.")
      for text in [String(flipped), next, "", "fixgate-read.1.", String(repeating: "a", count: 100)] {
        try Data(text.utf8).write(to: URL(fileURLWithPath: wrong))
        let outcome = try read(gateway, latest, token: wrong)
        #expect(outcome.status == 1 && outcome.output.isEmpty && outcome.errors.contains("this token is not good"))
      }

      #expect(try gateway.run(["token", "list", "--tenant", "demo"]).output.hasPrefix("1\tdemo\tlive\tgood\t"))
      // Only the tenant's own can be revoked by its name.
      #expect(try gateway.run(["token", "revoke", "1", "--tenant", "north"], expecting: 1).errors.contains("no read token 1"))
      try gateway.run(["token", "revoke", "1", "--tenant", "demo"])
      #expect(try read(gateway, latest, token: good).errors.contains("this token is not good"))

      let brief = try token(gateway, "demo", "live", more: ["--for", "1s"])
      let registry = try RegistryStore(path: gateway.data + "/registry.db")
      let end = try #require(try registry.readToken(2)?.expiresMs)
      var told = ""
      while told.isEmpty, Clock.nowMs < end + 30_000 { told = try read(gateway, latest, token: brief).errors }
      #expect(told.contains("this token is not good") && Clock.nowMs >= end)
      // No secret is kept.
      let secret = try #require(text.split(separator: ".").last)
      for name in ["registry.db", "registry.db-wal", "audit.log"] {
        let bytes = FileManager.default.contents(atPath: gateway.data + "/" + name) ?? Data()
        #expect(bytes.range(of: Data(secret.utf8)) == nil && bytes.range(of: Data(Hex.bytes(Array(secret.utf8).span)!)) == nil)
      }
    }

    /// Whoever guesses is slowed down, and even a good token waits then.
    @Test func wrongTokensAreBounded() throws {
      let gateway = try GatewayProcess(["FIXGATE_LISTEN_READ": "read.sock"])
      try gateway.start()
      let good = try token(gateway, "demo", "live")
      let guess = ReadToken(number: 1, secret: [UInt8](repeating: 7, count: 32)).text
      var words: Set<String> = []
      for _ in 0..<60 {
        do {
          try ReadClient.ask(
            ReadQuery(.latest), tenant: nil, token: guess, socket: gateway.folder + "/gateway/read.sock") { _ in }
        } catch {
          words.insert("\(error)")
        }
      }
      #expect(words.count == 2 && words.contains { $0.contains("too many wrong tokens") })
      #expect(try read(gateway, ["latest", "--tenant", "demo"], token: good).errors.contains("too many wrong tokens"))
    }

    /// A tenant whose data must stay elsewhere stops the start, and a running gateway does not take it in.
    @Test func dataGoesOnlyWhereItMay() throws {
      let gateway = try GatewayProcess()
      #expect(try gateway.run(["config", "check"]).output.contains("every tenant's data may go to sqlite (local, operations)"))
      let elsewhere = try gateway.run(["tenant", "egress", "demo", "--region", "kz"], expecting: 1).errors
      #expect(elsewhere.contains("may lie in region 'kz' only, but sink 'sqlite' is in 'local'"))
      let unlisted = try gateway.run(["tenant", "egress", "demo", "--sink", "warehouse"], expecting: 1).errors
      #expect(unlisted.contains("sink 'sqlite' is not on the list of tenant 'demo' (warehouse)"))
      #expect(unlisted.contains("tenant egress demo --sink warehouse --sink sqlite"))
      #expect(try gateway.run(["tenant", "add", "north", "--region", "kz"], expecting: 1).errors.contains("region 'kz' only"))
      #expect(try gateway.run(["tenant", "list"]).output.split(separator: "\n").count == 1)
      let more = ["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "warehouse"]
      #expect(try gateway.run(more).output == "data of tenant demo may go to sqlite, warehouse in region local\n")

      // Past the command line, as another configuration would see it.
      try gateway.start()
      let registry = try RegistryStore(path: gateway.data + "/registry.db")
      try registry.setEgress(TenantEgress(region: "kz", sinks: ["sqlite"]), tenant: "demo")
      let bundle = gateway.folder + "/late.bundle"
      let told = try gateway.run(["device", "add", "--tenant", "demo", "late", "--out", bundle], expecting: 1).errors
      #expect(told.contains("the running gateway did not take the change") && told.contains("region 'kz' only"))
      #expect(try gateway.run(["config", "check"], expecting: 78).output.contains("FAIL  egress: data of tenant 'demo'"))
      gateway.kill9()
      let refused = try #require(try gateway.spawn().wait(seconds: 60))
      #expect(refused.status != 0 && refused.errors.contains("region 'kz' only"))
      try registry.setEgress(TenantEgress(), tenant: "demo")
      try gateway.start()
    }

    /// A store gets the fields that its configuration names; what is left out is not in its file.
    @Test func aSinkGetsItsFieldsOnly() throws {
      let gateway = try GatewayProcess()
      let entry = "  - type: sqlite\n    region: kz\n    purpose: billing\n    fields: "
      try gateway.configure(sinks: entry + "[speed]\n")
      #expect(
        try gateway.run(["config", "check"], expecting: 78).errors.contains("'sinks.fields' must be fields: position, monotonic_ms, "))
      try gateway.configure(sinks: entry + "[speed_cm_per_s]\n")
      #expect(try gateway.run(["config", "check"], expecting: 78).output.contains("sink 'sqlite' is in 'kz'"))
      try gateway.run(["tenant", "egress", "demo", "--region", "kz"])
      #expect(try gateway.run(["config", "check"]).output.contains("may go to sqlite (kz, billing)"))
      try gateway.start()
      let bundle = try gateway.addDevice("bike-1")
      let track = gateway.folder + "/ride.csv"
      try Data("lat,lon,time,speed\n43.2345678,76.9,2026-01-01 00:00:00,4.2\n".utf8).write(to: URL(fileURLWithPath: track))
      #expect(try gateway.send(track, bundle: bundle).wait(seconds: 60)?.status == 0)
      try gateway.drained()
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE latitude_e7 IS NULL AND speed_cm_per_s = 420") == 1)
      #expect(try gateway.count("SELECT count(*) FROM latest") == 0)
      let report = try gateway.run(["privacy", "report", "--tenant", "demo"]).output
      #expect(report.contains("- sink sqlite: region kz, for billing; gets speed_cm_per_s\n"))
    }

    /// Groups of three of one tenant; two of the other are never told of; what comes late changes nothing.
    @Test func aggregatesAreOfGroupsAndStay() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      try gateway.run(["tenant", "add", "north"])
      let track = gateway.folder + "/ride.csv"
      try Data("lat,lon,time\n43.1,76.9,2026-01-01 00:00:00\n43.1,76.9,2026-01-01 00:04:00\n".utf8)
        .write(to: URL(fileURLWithPath: track))
      func ride(_ tenant: String, _ device: String) throws {
        let bundle = gateway.folder + "/\(tenant)-\(device).bundle"
        try gateway.run(["device", "add", "--tenant", tenant, device, "--out", bundle])
        #expect(try gateway.send(track, bundle: bundle).wait(seconds: 60)?.status == 0)
      }
      for (tenant, device) in [("demo", "a"), ("demo", "b"), ("demo", "c"), ("north", "a"), ("north", "b")] {
        try ride(tenant, device)
      }
      try gateway.drained()
      func aggregate(_ tenant: String, _ more: [String] = [], expecting status: Int32 = 0) throws -> Child.Outcome {
        try gateway.run(
          ["aggregate", "--tenant", tenant, "--from", "2025-12-31T00:00:00Z", "--to", "2026-01-02T00:00:00Z"] + more,
          expecting: status)
      }
      let first = try aggregate("demo", ["--k", "3", "--cell", "5"]).output
      #expect(first == "slot,cell,subjects,fixes,speed_km_h,dwell_min\n2026-01-01T00:00:00Z,txwtj,3,6,,12\n")
      #expect(try aggregate("north", ["--k", "3"]).output.split(separator: "\n").count == 1)
      try ride("demo", "d")
      try ride("north", "c")
      try gateway.drained()
      #expect(try aggregate("demo").output == first)
      #expect(try aggregate("north").output.split(separator: "\n").count == 1)
      let other = try aggregate("demo", ["--cell", "7"], expecting: 1).errors
      #expect(other.contains("are cut by --cell 5 --slot 3600s --k 3"))
      #expect(try gateway.run(["aggregate", "--tenant", "demo", "--from", "x", "--to", "y"], expecting: 1).errors.contains("no time"))
    }

    @Test func theReportTellsWhatIsAndWhoWasThere() throws {
      let gateway = try world()
      let token = try token(gateway, "demo", "live")
      #expect(try read(gateway, ["latest", "--tenant", "demo"], token: token).status == 0)
      try gateway.run(["history", "--tenant", "demo", "--device", "bike-1"])
      let report = try gateway.run(["privacy", "report", "--tenant", "demo"]).output
      for line in [
        "- 1 devices, 0 of them revoked; 0 subjects carry one now", "- position: in 30 fixes",
        "- 30 positions, from 2026-01-01T00:00:10Z to 2026-01-01T00:00:39Z", "- 1 held fixes, from ",
        "- positions are kept until somebody erases them", "- 0 legal holds; 0 erasures done, 0 under way",
        "- region local; it may go to sqlite", "- sink sqlite: region local, for operations",
        "- the log is as it was written", "- token 1: read_live 1\n", "- token 1 is good for live, until it is revoked",
        "- nothing: no aggregate was ever made",
      ] { #expect(report.contains(line), "\(line): \(report)") }
      #expect(report.contains("read_history 1") && !report.contains("bike-1") && !report.contains("43.1"))
      #expect(try gateway.run(["privacy", "report", "--tenant", "dmeo"], expecting: 1).errors.contains("did you mean 'demo'?"))
    }

    /// Whoever asks and then does not read holds up nobody: not another reader, not the gateway's end.
    @Test func aReaderThatDoesNotReadHoldsUpNobody() throws {
      let gateway = try world()
      let ride = gateway.folder + "/ride.csv"
      var track = "lat,lon,time\n"
      for i in 0..<20_000 { track += "43.\(100_000 + i),76.9,\(1_767_225_600 + i)\n" }
      try Data(track.utf8).write(to: URL(fileURLWithPath: ride))
      #expect(try gateway.send(ride, bundle: gateway.folder + "/demo.bundle").wait(seconds: 60)?.status == 0)
      try gateway.drained()
      let path = try token(gateway, "demo", "history")
      let text = try String(contentsOfFile: path, encoding: .utf8).trimmingCharacters(in: .newlines)
      let stuck = try UnixStream.connect(to: gateway.folder + "/gateway/read.sock")
      let request = Array("{\"token\":\"\(text)\",\"query\":{\"kind\":\"history\",\"device\":\"bike-1\"}}\n".utf8)
      guard case .bytes(request.count) = try stuck.write(request.span) else {
        Issue.record("the request was cut")
        return
      }
      // Its answer has begun.
      try stuck.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: 20_000_000_000))
      let other = try read(gateway, ["history", "--tenant", "demo", "--device", "bike-1"], token: path)
      #expect(other.status == 0 && other.output.split(separator: "\n").count == 20_031)
      let child = try #require(gateway.server)
      child.signal(SIGTERM)
      #expect(child.wait(seconds: 15)?.status == 0)
    }

    /// Every socket of the gateway is one that others came to: it calls nobody.
    @Test func theGatewayCallsNobody() throws {
      let gateway = try world()
      let pid = try #require(gateway.server?.id)
      let folder = "/proc/\(pid)"
      let sockets = Set(
        try FileManager.default.contentsOfDirectory(atPath: folder + "/fd").compactMap { name in
          (try? FileManager.default.destinationOfSymbolicLink(atPath: "\(folder)/fd/\(name)")).flatMap {
            $0.hasPrefix("socket:[") ? String($0.dropFirst(8).dropLast()) : nil
          }
        })
      var own = 0
      for table in ["tcp", "tcp6", "udp", "udp6"] {
        for line in try String(contentsOfFile: "\(folder)/net/\(table)", encoding: .utf8).split(separator: "\n").dropFirst() {
          let words = line.split(separator: " ")
          guard sockets.contains(String(words[9])) else { continue }
          own += 1
          #expect(words[1].hasSuffix(":" + String(format: "%04X", gateway.port)), "\(line)")
        }
      }
      #expect(own > 0)
    }

    /// Ids and months of two tenants; killed under load, the counts are those of the rows.
    @Test func usageIsExactAcrossKills() throws {
      let gateway = try world()
      let ride = gateway.folder + "/ride.csv"
      var track = "lat,lon,time\n"
      for i in 0..<6_000 { track += "43.\(100_000 + i),76.9,\(1_767_225_600 + i)\n" }
      try Data(track.utf8).write(to: URL(fileURLWithPath: ride))
      let bundle = gateway.folder + "/demo.bundle"
      for _ in 0..<4 {
        let sender = try gateway.send(ride, bundle: bundle, more: ["--batch", "7"])
        try gateway.status("under way") { $0.fixes.stored > 0 || $0.fixes.queued > 0 || $0.fixes.duplicate > 0 }
        gateway.kill9()
        try gateway.start()
        sender.kill9()
      }
      #expect(try gateway.send(ride, bundle: bundle).wait(seconds: 60)?.status == 0)
      try gateway.drained()
      let rows = try gateway.run(["usage"]).output.split(separator: "\n").dropFirst().map { $0.split(separator: ",") }
      #expect(rows.count == 2 && rows.map { $0[0] } == ["demo", "north"] && rows.map { $0[2] } == ["1", "1"])
      #expect(rows.map { $0[3] } == ["6030", "30"] && rows.map { $0[4] } == ["1", "1"])
      #expect(try gateway.count("SELECT count(*) FROM fix") == 6_060)
      let month = String(rows[0][1])
      #expect(try gateway.run(["usage", "--tenant", "north", "--month", month]).output.split(separator: "\n").count == 2)
      #expect(try gateway.run(["usage", "--month", "2001-01"]).output.split(separator: "\n").count == 1)
      #expect(try gateway.run(["usage", "--tenant", "nroth"], expecting: 1).errors.contains("did you mean 'north'?"))
      #expect(try gateway.run(["usage", "--month", "2026-13"], expecting: 1).errors.contains("no month like"))
    }
  }
}

private enum Clock {
  static var nowMs: Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }
}
