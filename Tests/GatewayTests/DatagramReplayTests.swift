import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import Gateway
import Testing

extension EndToEnd {
  /// Recordings are sent over a bad network while gateway and devices die; in the end the store has each fix once.
  @Suite(.serialized) struct DatagramReplay {
    private static let kills = 9

    /// - Parameter killsGateway: else only devices die.
    @Test(arguments: [false, true]) func aBadNetworkAndKillsLoseNothing(killsGateway: Bool) throws {
      let environment = ProcessInfo.processInfo.environment
      let seed = environment["FIXGATE_SEED"].flatMap { UInt64($0) } ?? UInt64.random(in: 0...UInt64.max)
      var random = SeededRandom(seed: seed)
      let comment: Comment = "replay with FIXGATE_SEED=\(seed)"
      let scratch = try Scratch()
      var track = scratch.path + "/track.csv"
      if let given = environment["FIXGATE_TRACK"] {
        track = given
      } else {
        try TrackFileText.write(to: track, fixesEach: 20_000, seed: seed)
      }
      let expected = try TrackFileText.read(track)
      let most = expected.values.map(\.count).max() ?? 0
      let gateway = try GatewayProcess([
        "FIXGATE_LIMITS_BACKLOG_PER_SECOND": "\(max(most / 20, 1))",
        "FIXGATE_LIMITS_BACKLOG_BURST": "\(max(most / 40, 1_024))",
        "FIXGATE_LIMITS_BACKLOG_WINDOW": "2000",
        "FIXGATE_JOURNAL_CHECKPOINT_INTERVAL_S": "1",
      ])
      // One device of each kind: pre-shared key, certificate and token.
      var bundles: [String: String] = [:]
      for (i, uid) in expected.keys.sorted().enumerated() {
        bundles[uid] = try gateway.addDevice("courier-\(uid)", psk: i.isMultiple(of: 2))
      }
      let proxy = try ImpairmentProxy(to: gateway.port, seed: seed)
      func sender(_ uid: String) throws -> Child {
        try gateway.send(
          track, bundle: bundles[uid]!, select: "uid=\(uid)",
          more: ["--transport", "dtls", "--to", "127.0.0.1:\(proxy.port)"])
      }

      try gateway.start()
      let started = ContinuousClock.now
      var senders: [String: Child] = [:]
      for uid in expected.keys.sorted() { senders[uid] = try sender(uid) }
      // Until its first hello is heard a device may need another handshake: when it dies, or when none of the gateway's last
      // flights reaches it.
      let first = try gateway.status("introduced") { $0.datagrams.devices == expected.count }.datagrams.handshakes
      var kills = 0
      var handshakes = 0
      while kills < DatagramReplay.kills {
        try gateway.status("under way") { status in
          status.fixes.received > 0 || senders.values.allSatisfy { $0.wait(seconds: 0) != nil }
        }
        let pause = Double.random(in: 0.5...1.5, using: &random)
        let isDone = senders.values.map { $0.wait(seconds: pause / Double(senders.count)) != nil }
        if !isDone.contains(false) { break }
        if killsGateway {
          handshakes += try gateway.status().datagrams.handshakes
          gateway.kill9()
        }
        kills += 1
        // The device may die too; its next run goes on from state and session beside its bundle.
        let uid = random.next() & 1 == 0 ? "001" : "005"
        if kills.isMultiple(of: 3) || !killsGateway, let child = senders[uid], child.wait(seconds: 0) == nil {
          child.kill9()
          senders[uid] = try sender(uid)
        }
        if killsGateway { try gateway.start() }
      }
      #expect(kills >= 4, comment)
      for (uid, child) in senders {
        let outcome = try #require(child.wait(seconds: 170), comment)
        #expect(outcome.status == 0, "\(comment) \(uid): \(outcome.errors)")
        print(outcome.output, terminator: "")
      }
      let status = try gateway.drained()
      handshakes += status.datagrams.handshakes
      #expect(handshakes == first, "no handshake once each device was heard; \(comment)")
      print("\(kills) kills, \(first) handshakes, \(ContinuousClock.now - started), seed \(seed); \(proxy.counts); \(status.fixes)")
      #expect(proxy.counts.ports > 4 && proxy.counts.lost > 20, comment)
      for (uid, rows) in expected {
        #expect(try gateway.rows(of: "courier-\(uid)") == rows, "\(comment) \(uid)")
      }
      for table in ["quarantine", "refused", "set_aside", "gap"] {
        #expect(try gateway.count("SELECT count(*) FROM \(table)") == 0, "\(comment) \(table)")
      }
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE transport <> 2") == 0)
    }

    /// A lone fix and its ack, headers of IPv4 and UDP counted, with the suite that modems have.
    @Test func aLoneFixCostsFewBytes() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try DatagramDevice(bundle: try gateway.addDevice("tracker", psk: true))
      let session = LoneFixes(recorded: 1_000)
      session.session.connectedOverUDP(at: SystemClock.now(), isResumed: false, seed: 1)
      while let message = session.next() {
        try device.send(message)
        // Until the welcome there is one datagram; from then on there is one at a time.
        while !session.session.log.isSettled, session.session.inFlightCount > 0 {
          try session.hear(try #require(try device.next()))
        }
      }
      #expect(session.session.log.ackedCount == 1_000)

      for sequence in 1_001...1_003 as ClosedRange<UInt64> {
        session.record()
        try device.move()
        let (sent, received) = (device.sentBytes, device.receivedBytes)
        try device.send(try #require(session.next()))
        try session.hear(try #require(try device.next()))
        #expect(session.session.log.ackedCount == sequence && session.next() == nil)
        let (up, down) = (device.sentBytes - sent + 28, device.receivedBytes - received + 28)
        print("a lone fix: \(up) bytes, its ack: \(down)")
        #expect(up <= 100 && down <= 70)
      }
    }
  }
}

/// A tracker that records time, position, accuracy, speed, course and battery.
private final class LoneFixes {
  var session: DeviceSession
  private var fixes: [Fix] = []

  init(recorded: UInt64) {
    session = DeviceSession(log: UploadLog(stream: 7), token: [])
    for _ in 0..<recorded { record() }
  }

  func record() {
    let i = fixes.count
    var fix = Fix()
    fix.present = [.time, .position]
    fix.fixTimeMs = 1_777_886_100_000 + Int64(i) * 5_000
    fix.latitudeE7 = 525_200_066 + Int32(i) * 1_204
    fix.longitudeE7 = 134_049_540 + Int32(i) * 3_310
    fix[.horizontalAccuracyDm] = 40
    fix[.speedCmPerS] = 512
    fix[.courseCdeg] = 6_120
    fix[.batteryPercent] = 87
    fixes.append(fix)
    session.record(1, at: SystemClock.now())
  }

  func next() -> [UInt8]? {
    var message: [UInt8] = []
    let now = SystemClock.now()
    let isThere = session.nextFrame(
      into: &message, at: now, clockMs: SystemClock.wallMs(), monotonicMs: now.ns / 1_000_000, from: fixes)
    return isThere ? message : nil
  }

  func hear(_ downlink: Downlink) throws {
    var bytes: [UInt8] = []
    downlink.encode(into: &bytes)
    var events: [DeviceEvent] = []
    try session.receive(datagram: bytes.span, at: SystemClock.now(), into: &events)
  }
}
