#if PostgreSQL
import Foundation
import GateCore
import GateDevice
import GateNet
import Gateway
import Testing

extension EndToEnd {
  /// Two gateways with registries of their own, one fleet, one database.
  @Suite(.serialized) struct SeveralGateways {
    private static let fixesEach = 300

    /// Devices come to either gateway at random, over TCP and over UDP, are cut off at random, and the gateways are killed
    /// meanwhile: the database has each fix once, and each gateway knows what went elsewhere.
    @Test func aFleetMovesBetweenTwo() throws {
      let seed = ProcessInfo.processInfo.environment["FIXGATE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)
      let comment: Comment = "replay with FIXGATE_SEED=\(seed)"
      var random = SeededRandom(seed: seed)
      let postgres = try TemporaryPostgres()
      try postgres.makeTables()
      let (first, second) = try pair(postgres)
      let gateways = [first, second]
      var devices: [RovingDevice] = []
      for number in 0..<6 {
        let id = "courier-\(number)", overUDP = number % 2 == 1
        devices.append(
          try RovingDevice(
            id, bundle: first.addDevice(id, psk: overUDP), overUDP: overUDP, fixes: Self.fixesEach, seed: random.next()))
      }
      try carryRegistry(from: first, to: second)
      for gateway in gateways { try gateway.start() }

      let places = gateways.enumerated().map { RovingDevice.Gateway(port: $1.port, node: UInt8($0) + 1) }
      var kills = 0
      for visit in 1... {
        let unfinished = devices.filter { !$0.session.isDone }
        guard !unfinished.isEmpty else { break }
        try #require(visit < 5_000, comment)
        if visit % 25 == 0 {
          kills += 1
          let one = gateways[Int(random.next() % 2)]
          one.kill9()
          try one.start()
        }
        let device = unfinished[Int(random.next() % UInt64(unfinished.count))]
        do {
          try device.visit(places[Int(random.next() % 2)])
        } catch let error as RovingDevice.Failure {
          Issue.record("\(comment) \(error)")
          throw error
        }
      }
      for device in devices { try device.finish(random.next() % 2 == 0 ? places : places.reversed()) }
      for gateway in gateways { try gateway.drained() }
      try gateways.forEach { gateway in
        try gateway.status("warehouse has all") { status in
          status.sinks.contains { $0.name == "warehouse" && $0.state == .running && $0.cursor == status.journal.end_lsn }
        }
      }

      for device in devices {
        #expect(try postgres.rows(of: device.id) == device.expected, "\(comment) \(device.id)")
        let here = try gateways.map { Set(try $0.rows(of: device.id).map(\.sequence)) }
        for (index, gateway) in gateways.enumerated() {
          #expect(!here[index].isEmpty && here[index].count <= Self.fixesEach, "\(comment) the fleet did not move")
          let ledger = try ledger(of: device.id, gateway)
          #expect(ledger.streams.count == 1 && ledger.streams[0].missing == 0, "\(comment) \(ledger)")
          #expect(ledger.gaps.allSatisfy { $0.state == .closed && $0.reason == "no_longer_held" }, "\(comment) \(ledger)")
          // What is closed here went there, all of it and nothing else.
          let closed = Set(ledger.gaps.flatMap { Int64($0.first)..<Int64($0.first + $0.count) })
          #expect(closed == Set(1...Int64(Self.fixesEach + 1)).subtracting(here[index]), comment)
          #expect(closed.isSubset(of: here[1 - index]), comment)
        }
      }
      #expect(try postgres.count("SELECT count(*) FROM fixgate.fix") == devices.count * (Self.fixesEach + 1), comment)
      for table in ["quarantine", "refused", "set_aside"] {
        #expect(try postgres.count("SELECT count(*) FROM fixgate.\(table)") == 0, "\(comment) \(table)")
      }
      let resumed = devices.map(\.counts.resumedElsewhere).reduce(0, +)
      let begunAnew = devices.map(\.counts.begunAnew).reduce(0, +)
      print("\(devices.map(\.counts.visits).reduce(0, +)) visits, \(kills) kills, \(resumed) tickets taken elsewhere, \(begunAnew) sessions begun anew, seed \(seed)")
      #expect(kills > 0 && resumed > 0 && begunAnew > 0, comment)
    }

    /// One name, one certificate, the same ticket keys; all else is each one's own.
    private func pair(_ postgres: TemporaryPostgres) throws -> (GatewayProcess, GatewayProcess) {
      var gateways: [GatewayProcess] = []
      for node in 1...2 {
        let gateway = try GatewayProcess([
          "FIXGATE_LISTEN_NODE": "\(node)", "FIXGATE_LIMITS_TRUSTED_SOURCES": "127.0.0.0/8",
          "FIXGATE_LIMITS_HANDSHAKES_PER_SECOND": "1000", "FIXGATE_LIMITS_HANDSHAKES_BURST": "10000",
          "FIXGATE_LIMITS_LIVE_PER_SECOND": "100000", "FIXGATE_LIMITS_LIVE_BURST": "1000000",
          "FIXGATE_JOURNAL_CHECKPOINT_INTERVAL_S": "1",
        ])
        if let first = gateways.first {
          for file in ["ca.crt", "server.crt", "server.key", "ticket.keys"] {
            try FileManager.default.removeItem(atPath: gateway.folder + "/gateway/" + file)
            try FileManager.default.copyItem(atPath: first.folder + "/gateway/" + file, toPath: gateway.folder + "/gateway/" + file)
          }
        }
        try gateway.configure(sinks: "  - sqlite\n" + gateway.sink("warehouse", postgres))
        gateways.append(gateway)
      }
      try gateways[0].run(["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "warehouse"])
      return (gateways[0], gateways[1])
    }

    private func carryRegistry(from first: GatewayProcess, to second: GatewayProcess) throws {
      let file = second.folder + "/registry.export"
      try first.run(["registry", "export", file])
      // The pre-shared keys lie under the first one's key.
      let refused = try second.run(["registry", "import", file], expecting: 1)
      #expect(refused.errors.contains("no key file at hand opens the pre-shared key of demo/courier-1"))
      let told = try second.run(["registry", "import", file, "--key", first.folder + "/gateway/registry.key"])
      #expect(told.output.contains("6 devices and 6 credentials are new here, 0 devices are revoked now"))
    }

    private func ledger(of device: String, _ gateway: GatewayProcess) throws -> GapLedger {
      let text = try gateway.run(["gaps", "--tenant", "demo", "--device", device, "--format", "json"]).output
      return try JSONDecoder().decode(GapLedger.self, from: Data(text.utf8))
    }
  }
}
#endif
