import Foundation
import GateCore
import GateNet
import GateProto
import GateStore
import Gateway
import Testing

extension EndToEnd {
  /// What tenants have promised, kept by a running gateway: an operator at the command line, devices whose frames are written here.
  @Suite(.serialized) struct Privacy {
    /// A device that speaks to the gateway, and keeps what it was told about stopping.
    private final class Courier {
      let line: DeviceClient
      private(set) var orders: [Settings] = []
      private(set) var refused: [Refusal] = []
      private var judgements: [Judgement] = []

      init(_ bundle: String, settingsVersion: UInt32 = 0, next: UInt64 = 1) throws {
        line = try DeviceClient(bundle: bundle)
        var hello = Hello(token: line.token, stream: 7, nextSequence: next)
        hello.sendTimeMs = SystemClock.wallMs()
        hello.settingsVersion = settingsVersion
        try line.send(DeviceClient.frame(hello))
        try read { $0.welcome != nil }
      }

      private func read(until isWanted: (Downlink) -> Bool) throws {
        while let downlink = try line.next() {
          if let settings = downlink.settings { orders.append(settings) }
          judgements += downlink.ack?.judgements ?? []
          refused += downlink.refusals
          if isWanted(downlink) { return }
        }
        throw GatewayProcess.Failure(description: "closed before what was waited for")
      }

      /// Sends a frame, again while the gateway is busy, until it is acked.
      /// - Returns: the codes of the verdicts told, by sequence.
      func send(_ fixes: [Fix]) throws -> [UInt64: UInt32] {
        judgements = []
        let last = fixes.map(\.sequence).max() ?? 0
        let deadline = SystemClock.now().advanced(byNs: 30_000_000_000)
        var isTaken = false
        while !isTaken {
          try line.send(DeviceClient.frame(nil, fixes))
          try read { downlink in
            isTaken = (downlink.ack?.through ?? 0) >= last
            return isTaken || !downlink.refusals.isEmpty
          }
          guard isTaken || SystemClock.now() < deadline else {
            throw GatewayProcess.Failure(description: "not taken: \(String(describing: refused.last))")
          }
        }
        var codes: [UInt64: UInt32] = [:]
        for run in judgements {
          for sequence in run.range.first..<run.range.first + run.range.count { codes[sequence] = run.code }
        }
        return codes
      }

      /// Waits for the next order, and confirms it.
      func obey() throws -> Settings {
        if orders.isEmpty { try read { $0.settings != nil } }
        let order = orders.removeFirst()
        var bytes: [UInt8] = []
        SettingsApplied(version: order.version).append(into: &bytes)
        Ping(id: 9).append(into: &bytes)
        Frame.close(from: 0, in: &bytes)
        try line.send(bytes)
        try read { $0.pong == 9 }
        return order
      }
    }

    private static func fix(_ sequence: UInt64, _ timeMs: Int64? = nil, _ change: (inout Fix) -> Void = { _ in }) -> Fix {
      var fix = Fix()
      fix.sequence = sequence
      fix.fixTimeMs = timeMs ?? SystemClock.wallMs() - 1_000 + Int64(sequence)
      fix.latitudeE7 = 432_220_123 + Int32(sequence)
      fix.longitudeE7 = 768_512_345
      fix.present = [.time, .position]
      change(&fix)
      return fix
    }

    private func setPolicy(_ gateway: GatewayProcess, _ text: String, tenant: String = "demo") throws {
      let path = gateway.folder + "/policy.yaml"
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      try gateway.run(["policy", "set", "--tenant", tenant, path])
    }

    private func addDevice(_ gateway: GatewayProcess, _ id: String, tenant: String) throws -> String {
      let bundle = gateway.folder + "/\(tenant)-\(id).bundle"
      try gateway.run(["device", "add", "--tenant", tenant, id, "--out", bundle])
      return bundle
    }

    private func steering(_ gateway: GatewayProcess) throws -> [String] {
      try gateway.run(["duty", "list", "--tenant", "demo"]).output.split(separator: "\n").map(String.init)
        .filter { $0.hasPrefix("device van-1\ts") || $0.hasPrefix("device van-1\tg") }
    }

    // MARK: Shifts

    /// Closed, opened and closed by the dispatcher, withdrawn: the device hears of it on its open connection and confirms. The
    /// other tenant's device notices nothing.
    @Test func theGateFollowsTheDispatcher() throws {
      let gateway = try GatewayProcess()
      try gateway.run(["tenant", "add", "other"])
      let bundle = try addDevice(gateway, "van-1", tenant: "demo")
      let otherBundle = try addDevice(gateway, "van-1", tenant: "other")
      try gateway.run(["subject", "add", "--tenant", "demo", "c-1"])
      try gateway.run(["subject", "assign", "--tenant", "demo", "--device", "van-1", "c-1"])
      try setPolicy(gateway, "duty: shift\n")
      try gateway.start()
      let courier = try Courier(bundle)
      let other = try Courier(otherBundle)

      #expect(try courier.send([Self.fix(1), Self.fix(2)]) == [1: 60, 2: 60])
      let stop = try courier.obey()
      #expect(stop.stop == true)
      #expect(try steering(gateway) == ["device van-1\tstop\tconfirmed"])

      try gateway.run(["duty", "open", "--tenant", "demo", "--subject", "c-1"])
      let openedMs = SystemClock.wallMs()
      let go = try courier.obey()
      #expect(go.stop == false && go.version > stop.version)
      #expect(try courier.send([Self.fix(3, openedMs + 5)]) == [:])
      #expect(try steering(gateway) == ["device van-1\tgo\tconfirmed"])

      try gateway.run(["duty", "close", "--tenant", "demo", "--subject", "c-1"])
      let closedMs = SystemClock.wallMs()
      #expect(try courier.obey().stop == true)
      // What was recorded on duty is taken however late it comes; what was recorded after is not.
      #expect(try courier.send([Self.fix(4, openedMs + 1), Self.fix(5, closedMs + 1_000)]) == [5: 60])

      // The same device says what it has in force: it is not told again.
      let again = try Courier(bundle, settingsVersion: stop.version, next: 6)
      #expect(try again.send([Self.fix(6, closedMs + 1_000)]) == [6: 60] && again.orders.isEmpty)

      try gateway.run(["duty", "open", "--tenant", "demo", "--subject", "c-1"])
      #expect(try again.obey().stop == false)
      try gateway.run(["subject", "withdraw", "--tenant", "demo", "--subject", "c-1"])
      #expect(try again.obey().stop == true)
      // Not even what was recorded on duty.
      #expect(try again.send([Self.fix(7, openedMs + 2)]) == [7: 61])

      #expect(try other.send([Self.fix(1), Self.fix(2)]) == [:])
      #expect(other.orders.isEmpty)
      let status = try gateway.drained()
      #expect(status.fixes.stored == 4 && status.fixes.refused == 5 && status.refused_by["verdict"] == 5)
      #expect(status.verdicts["offDuty"] == 4 && status.verdicts["withdrawn"] == 1)
      #expect(try gateway.count("SELECT count(*) FROM refused WHERE code = 60") == 4)
      #expect(try gateway.rows(of: "van-1").count == 4)
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE tenant = 1 AND subject = 1 AND policy_version = 1") == 2)
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE tenant = 2 AND policy_version IS NULL") == 2)
      let gaps = try gateway.run(["gaps", "--tenant", "demo", "--device", "van-1"]).output
      #expect(gaps.contains("refused\toffDuty") && gaps.contains("refused\twithdrawn"))
    }

    /// The event that opens a shift waits until the registry has it, so a crash right behind it changes nothing.
    @Test func devicesOpenAndCloseShifts() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("van-1")
      try setPolicy(gateway, "duty: shift\nshifts_by_device: true\n")
      try gateway.start()
      let startMs = SystemClock.wallMs() - 60_000
      func event(_ sequence: UInt64, _ offsetMs: Int64, _ kind: Int32) -> Fix {
        Self.fix(sequence, startMs + offsetMs) { $0[.event] = kind }
      }
      var courier = try Courier(bundle)
      #expect(try courier.send([Self.fix(1, startMs)]) == [1: 60])
      #expect(try courier.send([event(2, 1_000, 6), Self.fix(3, startMs + 2_000)]) == [:])
      #expect(courier.refused.contains { $0.code == .busy })
      gateway.kill9()
      try gateway.start()
      courier = try Courier(bundle, next: 4)
      #expect(try courier.send([Self.fix(4, startMs + 3_000)]) == [:])
      #expect(try courier.send([event(5, 10_000, 7), Self.fix(6, startMs + 9_000), Self.fix(7, startMs + 11_000)]) == [7: 60])
      // Sent again, the events change nothing.
      for again in [event(2, 1_000, 6), event(5, 10_000, 7)] { #expect(try courier.send([again]) == [:]) }
      let duties = try gateway.run(["duty", "list", "--tenant", "demo"]).output.split(separator: "\n")
      #expect(duties.count == 2 && duties[0].hasPrefix("device van-1\t20") && duties[0].hasSuffix("\tdevice"))
      try gateway.drained()
      #expect(try gateway.rows(of: "van-1").map(\.sequence) == [2, 3, 4, 5, 6])
    }

    // MARK: Minimisation

    @Test func lessIsTakenBeforeTheJournal() throws {
      let gateway = try GatewayProcess()
      try gateway.run(["tenant", "add", "other"])
      let bundle = try addDevice(gateway, "van-1", tenant: "demo")
      let otherBundle = try addDevice(gateway, "van-1", tenant: "other")
      try setPolicy(gateway, "position_grid_m: 500\nfields: [speed_cm_per_s, horizontal_accuracy_dm]\nattributes_only: [8]\n")
      try gateway.start()
      // Battery 41 and cells "CELLS-CELLS-CELLS".
      let cells = Array("CELLS-CELLS-CELLS".utf8)
      let blob: [UInt8] = [0x08, 20, 0x2A, UInt8(cells.count)] + cells
      let attributes: [UInt8] = [0xFA, 0x01, UInt8(blob.count)] + blob + [0xFA, 0x01, 4, 0x08, 8, 0x10, 6]
      func send(_ courier: Courier) throws {
        var fix = Self.fix(1) {
          $0[.batteryPercent] = 41
          $0[.speedCmPerS] = 777
        }
        fix.attributes = Region(offset: 0, length: UInt32(attributes.count))
        var bytes: [UInt8] = []
        FixEncoder.row(fix, from: attributes.span, into: &bytes)
        Frame.close(from: 0, in: &bytes)
        try courier.line.send(bytes)
        try courier.line.ack(through: 1)
      }
      try send(try Courier(bundle))
      try send(try Courier(otherBundle))
      let status = try gateway.drained()
      #expect(status.fields_dropped == ["demo": 2, "other": 1])
      func number(_ column: String, _ tenant: Int, of table: String = "fix") throws -> Int64 {
        try gateway.count("SELECT coalesce(\(column), -1) FROM \(table) WHERE tenant = \(tenant)")
      }
      let fine = Self.fix(1)
      #expect(try number("latitude_e7", 2) == Int64(fine.latitudeE7) && number("battery_percent", 2) == 41)
      for table in ["fix", "latest"] {
        let latitude = Int32(try number("latitude_e7", 1, of: table))
        let longitude = Int32(try number("longitude_e7", 1, of: table))
        #expect(latitude != fine.latitudeE7 && longitude != fine.longitudeE7)
        #expect(Earth.chordM(latitude, longitude, fine.latitudeE7, fine.longitudeE7) < 360)
      }
      #expect(try number("battery_percent", 1) == -1 && number("speed_cm_per_s", 1) == 777)
      #expect(try number("horizontal_accuracy_dm", 1) == 3_551 && number("policy_version", 1) == 1)
      #expect(try number("length(attributes)", 1) > 0)
      #expect(try find(cells, in: gateway).isEmpty, "cells are off for both")
    }

    /// Files of the data directory in which these bytes stand.
    private func find(_ bytes: [UInt8], in gateway: GatewayProcess) throws -> [String] {
      let files = FileManager.default.enumerator(atPath: gateway.data)?.allObjects as? [String] ?? []
      return files.filter { file in
        FileManager.default.contents(atPath: gateway.data + "/" + file)?.range(of: Data(bytes)) != nil
      }
    }

    // MARK: The calendar

    /// A recorded ride against hours of a calendar: exactly what lies inside is stored, all else is refused by its code, and
    /// no file holds a position of what was refused.
    @Test func aReplayIsStoredWithinTheHours() throws {
      let scratch = try Scratch()
      var track = scratch.path + "/track.csv"
      if let given = ProcessInfo.processInfo.environment["FIXGATE_TRACK"] {
        track = given
      } else {
        try TrackFileText.write(to: track, fixesEach: 20_000, seed: 4)
      }
      let expected = try TrackFileText.read(track)
      let gateway = try GatewayProcess([
        "FIXGATE_LIMITS_BACKLOG_PER_SECOND": "100000", "FIXGATE_LIMITS_BACKLOG_BURST": "100000",
      ])
      try gateway.run(["tenant", "add", "other"])
      let uids = expected.keys.sorted()
      let mine = try #require(uids.first)
      let others = try #require(uids.last)
      let bundle = try addDevice(gateway, "van-1", tenant: "demo")
      let otherBundle = try addDevice(gateway, "van-1", tenant: "other")
      // Every other two hours; and today always, or the device would be told to stop sending.
      let hours = stride(from: 0, to: 24, by: 4).map { Self.two($0) + ":00-" + Self.two($0 + 2) + ":00" }
      let days = (-1...1).map { "'\(Date(timeIntervalSinceNow: Double($0) * 86_400).ISO8601Format().prefix(10)) 00:00-24:00'" }
      try setPolicy(
        gateway,
        """
        duty: calendar
        zone: Asia/Almaty
        week: ['mon-sun \(hours.joined(separator: " "))']
        days: [\(days.joined(separator: ", "))]
        """)
      try gateway.start()
      let senders = [
        try gateway.send(track, bundle: bundle, select: "uid=\(mine)"),
        try gateway.send(track, bundle: otherBundle, select: "uid=\(others)"),
      ]
      for sender in senders {
        let outcome = try #require(sender.wait(seconds: 120))
        #expect(outcome.status == 0, "\(outcome.errors)")
      }
      let status = try gateway.drained()
      let rows = try #require(expected[mine])
      // UTC+6, and UTC+5 since 2024-02-29T18:00Z.
      let inside = rows.filter { row in
        let localS = row.timeMs / 1_000 + (row.timeMs < 1_709_229_600_000 ? 6 : 5) * 3_600
        return localS / 7_200 % 2 == 0
      }
      #expect(inside.count > 100 && rows.count - inside.count > 100)
      #expect(try Self.rows(gateway, tenant: 1) == inside)
      #expect(try Self.rows(gateway, tenant: 2).count == expected[others]?.count)
      let refused = UInt64(rows.count - inside.count)
      #expect(try gateway.count("SELECT count(*) FROM refused WHERE code = 60 AND tenant = 1") == Int64(refused))
      #expect(status.refused_by["verdict"] == refused && status.verdicts["offDuty"] == refused)

      // Positions as records and rows hold them: little endian in the journal, big endian in SQLite.
      let known = Set((inside + (expected[others] ?? [])).map { [$0.latitudeE7, $0.longitudeE7] })
      let secret = rows.filter { !known.contains([$0.latitudeE7, $0.longitudeE7]) && !inside.contains($0) }
      #expect(secret.count > 10)
      var files = Data()
      for file in FileManager.default.enumerator(atPath: gateway.data)?.allObjects as? [String] ?? [] {
        files += FileManager.default.contents(atPath: gateway.data + "/" + file) ?? Data()
      }
      func trace(_ row: TrackRow) -> Bool {
        [Self.bytes(row, bigEndian: false), Self.bytes(row, bigEndian: true)].contains { files.range(of: $0) != nil }
      }
      #expect(trace(inside[inside.count / 2]), "the search finds what is there")
      for row in [secret[0], secret[secret.count / 2], secret[secret.count - 1]] { #expect(!trace(row)) }
    }

    private static func two(_ number: Int) -> String { number < 10 ? "0\(number)" : "\(number)" }

    private static func bytes(_ row: TrackRow, bigEndian: Bool) -> Data {
      let words = [row.latitudeE7, row.longitudeE7].map { value in
        (0..<4).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
      }
      return Data(words.flatMap { bigEndian ? $0.reversed() : $0 })
    }

    private static func rows(_ gateway: GatewayProcess, tenant: Int64) throws -> [TrackRow] {
      let connection = try SQLiteConnection(path: gateway.store, access: .readOnly)
      let statement = try SQLiteStatement(
        connection, "SELECT sequence, fix_time_ms, latitude_e7, longitude_e7 FROM fix WHERE tenant = ? ORDER BY sequence")
      statement.bind(tenant, at: 1)
      var rows: [TrackRow] = []
      while try statement.step() {
        rows.append(
          TrackRow(
            sequence: statement.int64(0), timeMs: statement.int64(1), latitudeE7: statement.int64(2),
            longitudeE7: statement.int64(3)))
      }
      return rows
    }

    // MARK: Subjects

    @Test func historyFollowsTheSubject() throws {
      let gateway = try GatewayProcess()
      let bundles = [try gateway.addDevice("van-1"), try gateway.addDevice("van-2")]
      for name in ["c-1", "c-2"] { try gateway.run(["subject", "add", "--tenant", "demo", name]) }
      let startMs: Int64 = 1_790_000_000_000 / 1_000 * 1_000 - 86_400_000 * 365
      func assign(_ device: String, _ subject: String, _ atS: Double) throws {
        let time = Date(timeIntervalSince1970: Double(startMs) / 1_000 + atS).ISO8601Format()
        try gateway.run(["subject", "assign", "--tenant", "demo", "--device", device, subject, "--since", time])
      }
      try gateway.start()
      try assign("van-1", "c-1", 0)
      try assign("van-1", "c-2", 100)
      try assign("van-2", "c-1", 100)
      for bundle in bundles {
        // The device's backlog comes a year late, all at once.
        _ = try Courier(bundle).send((1...4).map { Self.fix($0, startMs + Int64($0) * 40_000 - 20_000) })
      }
      try gateway.drained()
      func history(_ whose: [String]) throws -> [Substring] {
        Array(try gateway.run(["history", "--tenant", "demo"] + whose).output.split(separator: "\n").dropFirst())
      }
      #expect(try history(["--device", "van-1"]).count == 4)
      // c-1: van-1 at 20, 60 s; van-2 at 100 and 140 s.
      #expect(try history(["--subject", "c-1"]).count == 4 && history(["--subject", "c-2"]).count == 2)
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE subject IS NULL") == 2)
      let unknown = try gateway.run(["history", "--tenant", "demo", "--subject", "c-3"], expecting: 1).errors
      #expect(unknown.contains("has no subject 'c-3'; did you mean 'c-1' or 'c-2'?"))
      let list = try gateway.run(["subject", "list", "--tenant", "demo"]).output.split(separator: "\n")
      #expect(list.map { $0.split(separator: "\t")[1] } == ["van-2", "van-1"])
      let mail = try gateway.run(["subject", "add", "--tenant", "demo", "anna@example.com"], expecting: 1).errors
      #expect(mail.contains("looks like an e-mail address or a phone number"))
    }

    // MARK: The commands

    @Test func aPolicyIsShownEditedAndSet() throws {
      let gateway = try GatewayProcess()
      let path = gateway.folder + "/demo.yaml"
      func write(_ text: String) throws { try Data(text.utf8).write(to: URL(fileURLWithPath: path)) }
      let shown = try gateway.run(["policy", "show", "--tenant", "demo"]).output
      #expect(shown.hasPrefix("# Tenant 'demo' has set no policy: this holds.\n") && shown.contains("[cells, wifi, beacons]"))
      try write(shown)
      #expect(
        try gateway.run(["policy", "set", "--tenant", "demo", path]).output
          == "version 1 of the policy of demo is in force\n")
      let again = try gateway.run(["policy", "show", "--tenant", "demo"]).output
      #expect(again.split(separator: "\n").dropFirst() == shown.split(separator: "\n").dropFirst())
      try write(
        """
        duty: calendar
        zone: Europe/Berlin
        week: [mon-fri 08:30-12:00 13:00-17:00, sat 22:00-24:00]
        days: [2026-12-25 off, 2026-12-24 08:00-12:00]
        fields: [speed_cm_per_s, work]
        attributes_only: [8, wifi]
        retention_positions_days: 90
        """)
      try gateway.run(["policy", "set", "--tenant", "demo", path])
      let calendar = try gateway.run(["policy", "show", "--tenant", "demo"]).output
      try write(calendar)
      try gateway.run(["policy", "set", "--tenant", "demo", path])
      let same = try gateway.run(["policy", "show", "--tenant", "demo", "--version", "3"]).output
      #expect(same.split(separator: "\n").dropFirst() == calendar.split(separator: "\n").dropFirst())
      #expect(calendar.contains("\"sat 22:00-24:00\"") && calendar.contains("\"2026-12-25 off\""))
      #expect(calendar.contains("attributes_only: [8, wifi]") && calendar.contains("retention_positions_days: 90"))
      let list = try gateway.run(["policy", "list", "--tenant", "demo"]).output.split(separator: "\n")
      #expect(list.map { $0.split(separator: "\t")[2] } == ["always", "calendar", "calendar"])
      let reminded = try gateway.run(["duty", "list", "--tenant", "dmeo"], expecting: 1).errors
      #expect(reminded.contains("did you mean 'demo'?"))
    }

    @Test(arguments: [
      ("duty: sometimes", "1: 'duty' must be always, shift or calendar, not 'sometimes'"),
      ("dutty: shift", "did you mean duty?"),
      ("duty: shift\nduty: shift", "duplicated key(s): 'duty'"),
      ("duty: calendar", "needs hours, such as week: ['mon-fri 09:00-18:00']"),
      ("duty: calendar\nweek: [mon 09:00-18:00]", "needs a zone, such as zone: Asia/Almaty"),
      ("zone: Asia/Almatty", "'zone' must be a time zone such as Asia/Almaty"),
      ("duty: calendar\nzone: UTC\nweek: [mon 22:00-06:00]", "a night is two slots: 22:00-24:00"),
      ("duty: calendar\nzone: UTC\nweek: [mon-fri 09:00-18:00, wed 17:00-19:00]", "two slots of a week overlap"),
      ("duty: calendar\nzone: UTC\nweek: [mo 09:00-18:00]", "'mo' is no weekday"),
      ("duty: calendar\nzone: UTC\nweek: [fri-mon 09:00-18:00]", "'fri-mon' is no weekday"),
      ("duty: calendar\nzone: UTC\nweek: [mon 9-18]", "'9-18' are no hours like 09:00-18:00"),
      ("duty: calendar\nzone: UTC\ndays: [2026-13-01 off]", "is no date like '2026-12-16 off'"),
      ("duty: calendar\nzone: UTC\ndays: [2026-12-01 off, 2026-12-01 09:00-10:00]", "give each date once"),
      ("week: [mon 09:00-18:00]", "hours are for 'duty: calendar' only"),
      ("fields: [sped_cm_per_s]", "did you mean speed_cm_per_s"),
      ("attributes_off: [cell]", "'cell' is no attribute"),
      ("attributes_off: [1]\nattributes_only: [2]", "give either attributes_only or attributes_off"),
      ("position_grid_m: 70000", "a number of metres from 0 to 65535"),
      ("sos_off_duty: maybe", "must be true or false"),
      ("retention_journal_days: forever", "must be keep, or a number of days"),
      ("[1, 2]", "expected lines 'key: value'"),
    ])
    func aBadPolicyIsExplained(text: String, words: String) throws {
      let scratch = try Scratch()
      let path = scratch.path + "/policy.yaml"
      try Data(text.utf8).write(to: URL(fileURLWithPath: path))
      let child = try Child(GatewayProcess.executable, ["policy", "check", path])
      let outcome = try #require(child.wait(seconds: 60))
      #expect(outcome.status != 0 && outcome.errors.contains(words), "\(outcome.errors)")
    }
  }
}
