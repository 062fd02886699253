import Foundation
import GateCore
import Gateway
import PowerCutDisk
import Testing

/// Tests that run the gateway as a process, one at a time.
@Suite(.serialized) struct EndToEnd {}

extension EndToEnd {
  /// A recording is sent while the gateway dies again and again; in the end the store has each of its fixes once.
  @Suite(.serialized) struct CrashReplay {
    enum Death: Equatable, CustomStringConvertible {
      case kill
      /// Nothing that was not synced survives; with a seed, some of it does.
      case powerCut(seed: UInt64?)

      var description: String {
        switch self {
        case .kill: "kill -9"
        case .powerCut(let seed): seed.map { "power cut, leaks by seed \($0)" } ?? "power cut"
        }
      }
    }

    private static let kills = 16

    @Test func killsLoseNothing() throws { try replay(.kill) }

    @Test func powerCutsLoseNothing() throws { try replay(.powerCut(seed: nil)) }

    @Test func powerCutsThatLetSomeThroughLoseNothing() throws {
      guard ProcessInfo.processInfo.environment["FIXGATE_LONG"] == "1" else { return }
      for seed in 1...4 as ClosedRange<UInt64> { try replay(.powerCut(seed: seed)) }
    }

    private func replay(_ death: Death) throws {
      let environment = ProcessInfo.processInfo.environment
      let seed = environment["FIXGATE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)
      var random = SeededRandom(seed: seed)
      let comment: Comment = "\(death): replay with FIXGATE_SEED=\(seed)"
      let scratch = try Scratch()
      var track = scratch.path + "/track.csv"
      if let given = environment["FIXGATE_TRACK"] {
        track = given
      } else {
        try TrackFileText.write(to: track, fixesEach: 20_000, seed: seed)
      }
      let expected = try TrackFileText.read(track)
      let most = UInt64(expected.values.map(\.count).max() ?? 0)
      // A life may take at most a burst and a fraction of a second's worth, so that the kills come before the end.
      let gateway = try GatewayProcess([
        "FIXGATE_LIMITS_BACKLOG_PER_SECOND": "\(max(most / 20, 1))",
        "FIXGATE_LIMITS_BACKLOG_BURST": "\(max(most / 40, 1_024))",
        "FIXGATE_LIMITS_BACKLOG_WINDOW": "600",
        "FIXGATE_JOURNAL_CHECKPOINT_INTERVAL_S": "1",
      ])
      var bundles: [String: String] = [:]
      for uid in expected.keys { bundles[uid] = try gateway.addDevice("courier-\(uid)") }
      let disk = PowerCutDisk(root: gateway.data)
      var added: [String: String] = [:]
      if death != .kill { added = disk.environment(library: PowerCutDisk.builtLibrary) }

      try gateway.start(added)
      let started = ContinuousClock.now
      var senders: [String: Child] = [:]
      for uid in expected.keys.sorted() {
        senders[uid] = try gateway.send(track, bundle: bundles[uid]!, select: "uid=\(uid)")
      }
      var kills = 0
      // Kills while fixes were coming in.
      var interruptions = 0
      while kills < CrashReplay.kills {
        // Some kills hit the start, the others a gateway that has taken something.
        let isEarly = kills % 5 == 4
        let pause = Double.random(in: 0...0.2, using: &random)
        let uid = random.next() & 1 == 0 ? "001" : "005"
        if !isEarly {
          try gateway.status("under way") { status in
            status.fixes.received > 0 || senders.values.allSatisfy { $0.wait(seconds: 0) != nil }
          }
        }
        // The moment comes while a sender is waited for: whichever is first.
        let isDone = senders.values.map { $0.wait(seconds: pause / Double(senders.count)) != nil }
        if !isDone.contains(false) { break }
        if !isEarly { interruptions += 1 }
        gateway.kill9()
        kills += 1
        if case .powerCut(let leaks) = death { try disk.cut(seed: leaks.map { $0 &* 100 &+ UInt64(kills) }) }
        // The device may die too; its next run goes on from the state beside its bundle.
        if kills % 5 == 0, let sender = senders[uid], sender.wait(seconds: 0) == nil {
          sender.kill9()
          senders[uid] = try gateway.send(track, bundle: bundles[uid]!, select: "uid=\(uid)")
        }
        try gateway.start(added)
      }
      #expect(interruptions >= 10, comment)
      for (uid, sender) in senders {
        let outcome = try #require(sender.wait(seconds: 170), comment)
        #expect(outcome.status == 0, "\(comment) \(uid): \(outcome.errors)")
      }
      let status = try gateway.drained()
      print("\(death): \(kills) kills, \(interruptions) of them in the middle, \(ContinuousClock.now - started), seed \(seed); \(status.fixes)")
      try check(gateway, expected, comment)
      // Once more after an orderly end and a last start: no row comes or goes.
      #expect(try gateway.terminate().status == 0, comment)
      try gateway.start(added)
      try gateway.drained()
      try check(gateway, expected, comment)
    }

    private func check(_ gateway: GatewayProcess, _ expected: [String: [TrackRow]], _ comment: Comment) throws {
      for (uid, rows) in expected {
        let stored = try gateway.rows(of: "courier-\(uid)")
        #expect(stored.count == rows.count, "\(comment) \(uid)")
        let wrong = zip(stored, rows).first { $0 != $1 }
        #expect(wrong == nil, "\(comment) \(uid)")
      }
      #expect(try gateway.count("SELECT count(*) FROM fix") == Int64(expected.values.reduce(0) { $0 + $1.count }))
      for table in ["quarantine", "refused", "set_aside", "gap"] {
        #expect(try gateway.count("SELECT count(*) FROM \(table)") == 0, "\(comment) \(table)")
      }
    }

    /// The proof bites: the same cut with syncs that do nothing loses what was acked.
    @Test(arguments: [false, true]) func aMissingSyncIsNoticed(ignoringSync: Bool) throws {
      let scratch = try Scratch()
      let track = scratch.path + "/track.csv"
      try TrackFileText.write(to: track, fixesEach: 1_000, seed: 1)
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      let disk = PowerCutDisk(root: gateway.data)
      let added = disk.environment(library: PowerCutDisk.builtLibrary, ignoringSync: ignoringSync)
      try gateway.start(added)
      let sender = try gateway.send(track, bundle: bundle, select: "uid=001")
      try #require(sender.wait(seconds: 60)?.status == 0)
      gateway.kill9()
      try disk.cut(seed: nil)
      try gateway.start(added)
      try gateway.drained()
      let found = try gateway.count("SELECT count(*) FROM fix")
      if ignoringSync { #expect(found < 1_000) } else { #expect(found == 1_000) }
    }
  }
}

/// A folder for one test's files; gone when the test is.
final class Scratch {
  let path: String

  init() throws {
    path = FileManager.default.temporaryDirectory.path + "/fixgate-scratch-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
