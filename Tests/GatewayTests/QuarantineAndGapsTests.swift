import Foundation
import GateCore
import GateNet
import GateProto
import Gateway
import Testing

extension EndToEnd {
  /// A device whose frames are written here, and an operator at the command line.
  @Suite(.serialized) struct QuarantineAndGaps {
    private static func fixes(_ sequences: ClosedRange<UInt64>, change: (inout Fix) -> Void = { _ in }) -> [Fix] {
      let startMs = SystemClock.wallMs() - 60_000
      return sequences.map { sequence in
        var fix = Fix()
        fix.sequence = sequence
        fix.fixTimeMs = startMs + Int64(sequence) * 1_000
        fix.latitudeE7 = 432_220_000 + Int32(sequence)
        fix.longitudeE7 = 768_512_000
        fix.present = [.time, .position]
        change(&fix)
        return fix
      }
    }

    private static func append(_ fixes: [Fix], to out: inout [UInt8]) {
      FixEncoder.batch(fixes[...], work: [], into: &out)
    }

    private static func hello(_ line: DeviceClient, next: UInt64, to out: inout [UInt8]) {
      var hello = Hello(token: line.token, stream: 7, nextSequence: next)
      hello.sendTimeMs = SystemClock.wallMs()
      hello.append(into: &out)
    }

    /// A future fix (traccar #3067), one 1024 weeks old (traccar #5029) and a jump: told, stored or held, listed, released.
    @Test func whatIsHeldCanBeReleased() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("van-1")
      try gateway.start()
      let line = try DeviceClient(bundle: bundle)
      let eraMs: Int64 = 1_024 * 7 * 86_400_000
      try line.frame { out in
        Self.hello(line, next: 7, to: &out)
        Self.append(
          Self.fixes(1...6) { fix in
            switch fix.sequence {
            case 3: fix.fixTimeMs += 3_600_000
            case 4: fix.fixTimeMs -= eraMs
            case 5: fix.latitudeE7 += 1_000_000
            default: break
            }
          }, to: &out)
      }
      var judgements: [Judgement] = []
      _ = try line.until { downlink in
        judgements += downlink.ack?.judgements ?? []
        return downlink.ack?.through == 6
      }
      #expect(judgements.map(\.code) == [42, 4, 26] && judgements.map(\.range.first) == [3, 4, 5])
      let status = try gateway.drained()
      #expect(status.fixes.stored == 5 && status.fixes.held == 1)
      #expect(status.verdicts == ["future": 1, "weekRollover": 1, "teleport": 1])
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE fix_time_ms < \(SystemClock.wallMs() - 86_400_000)") == 0)
      #expect(try gateway.count("SELECT sequence FROM latest") == 6)

      let list = try gateway.run(["quarantine", "list", "--tenant", "demo"]).output.split(separator: "\t")
      #expect(list.count == 7 && list[2] == "van-1" && list[3] == "future")
      let shown = try gateway.run(
        ["quarantine", "show", String(list[0]), "--tenant", "demo", "--format", "json"]
      ).output
      let object = try JSONSerialization.jsonObject(with: Data(shown.utf8)) as? [String: Any]
      #expect(object?["sequence"] as? Int == 3 && object?["verdict"] as? String == "future")

      try gateway.run(["quarantine", "release", "--tenant", "demo"], expecting: 1)
      try gateway.run(["quarantine", "list", "--tenant", "demo", "--code", "futur"], expecting: 1)
      let release = ["quarantine", "release", "--tenant", "demo", "--device", "van-1", "--code", "future"]
      #expect(try gateway.run(release).output == "released 1, kept 0\n")
      #expect(try gateway.run(release).output == "released 0, kept 0\n")
      #expect(try gateway.count("SELECT count(*) FROM fix") == 6)
      #expect(try gateway.count("SELECT verdict FROM fix WHERE sequence = 3") == 42)
      #expect(try gateway.count("SELECT sequence FROM latest") == 6)

      // The gateway goes on beside it, and starts again over it.
      try line.frame { out in Self.append(Self.fixes(7...9), to: &out) }
      _ = try line.until { $0.ack?.through == 9 }
      try gateway.drained()
      #expect(try gateway.terminate().status == 0)
      try gateway.start()
      try gateway.drained()
      #expect(try gateway.count("SELECT count(*) FROM fix") == 9)
      #expect(try gateway.count("SELECT count(*) FROM quarantine") == 0)
    }

    /// What a real limiter refuses is missing, and the ledger says since when and why.
    @Test func whatTheLimiterRefusesIsInTheLedger() throws {
      let gateway = try GatewayProcess(["FIXGATE_LIMITS_LIVE_PER_SECOND": "1", "FIXGATE_LIMITS_LIVE_BURST": "1024"])
      let bundle = try gateway.addDevice("van-1")
      try gateway.start()
      let line = try DeviceClient(bundle: bundle)
      func anHourAgo(_ sequences: ClosedRange<UInt64>) -> [Fix] {
        Self.fixes(sequences) { $0.fixTimeMs -= 3_600_000 }
      }
      let beganMs = SystemClock.wallMs()
      try line.frame { out in
        Self.hello(line, next: 1_101, to: &out)
        Self.append(anHourAgo(1...1_000), to: &out)
      }
      _ = try line.until { $0.ack?.through == 1_000 }
      try line.frame { out in Self.append(anHourAgo(1_001...1_090), to: &out) }
      let refusal = try #require(try line.until { !$0.refusals.isEmpty }.refusals.first)
      #expect(refusal.code == .rateLimited && refusal.retry && !refusal.closing)
      #expect(refusal.ranges == [SequenceRange(first: 1_001, count: 90)])
      try gateway.drained()
      let text = try gateway.run(["gaps", "--tenant", "demo", "--device", "van-1", "--format", "json"]).output
      let ledger = try JSONDecoder().decode(GapLedger.self, from: Data(text.utf8))
      #expect(
        ledger.gaps.map { "\($0.first)+\($0.count) \($0.state) \($0.reason)" } == [
          "1001+90 missing limited", "1091+10 missing not_sent",
        ])
      let sinceMs = try #require(ledger.gaps.first?.since_ms)
      #expect((beganMs...SystemClock.wallMs()).contains(sinceMs))
      // Sent again once it is allowed, it is missing no more.
      try line.frame { out in
        Self.append(anHourAgo(1_001...1_020), to: &out)
        UplinkScalars(lane: .panic).append(into: &out)
      }
      _ = try line.until { $0.ack?.through == 1_020 }
      try gateway.drained()
      #expect(
        try gateway.run(["gaps", "--tenant", "demo", "--device", "van-1"]).output.contains("1021\t70\tmissing\tlimited"))
    }

    /// Holes, a range given up, and what was recorded and not sent; then the gateway asks, and the device answers.
    @Test func gapsHaveReasonsAndCanBeAskedFor() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("van-1")
      try gateway.start()
      let line = try DeviceClient(bundle: bundle)
      try line.frame { out in
        Self.hello(line, next: 21, to: &out)
        Self.append(Self.fixes(1...5), to: &out)
        Self.append(Self.fixes(8...10), to: &out)
        Self.append(Self.fixes(15...15), to: &out)
        GapMessage(range: SequenceRange(first: 11, count: 2), reason: .deviceOff).append(into: &out)
      }
      _ = try line.until { $0.ack?.through == 5 }
      try gateway.drained()

      func ledger(_ more: [String] = []) throws -> GapLedger {
        let text = try gateway.run(["gaps", "--tenant", "demo", "--device", "van-1", "--format", "json"] + more).output
        return try JSONDecoder().decode(GapLedger.self, from: Data(text.utf8))
      }
      func lines(_ ledger: GapLedger) -> [String] {
        ledger.gaps.map { "\($0.first)+\($0.count) \($0.state) \($0.reason)" }
      }
      let before = try ledger()
      #expect(
        lines(before) == [
          "6+2 missing not_sent", "11+2 closed device_off", "13+2 missing not_sent", "16+5 missing not_sent",
        ])
      #expect(before.live && before.streams == [.init(stream: 7, through: 5, recorded: 20, stored: 9, missing: 9)])

      _ = try ledger(["--ask"])
      let asked = try line.until { !$0.requests.isEmpty }
      #expect(asked.requests == [SequenceRange(first: 6, count: 2), SequenceRange(first: 13, count: 2)])
      try line.frame { out in
        Self.append(Self.fixes(6...7), to: &out)
        GapMessage(range: SequenceRange(first: 13, count: 2), reason: .noPosition).append(into: &out)
      }
      _ = try line.until { $0.ack?.through == 15 }
      try gateway.drained()
      let after = ["11+2 closed device_off", "13+2 closed no_position"]
      #expect(try lines(ledger()) == after + ["16+5 missing not_sent"])
      #expect(try gateway.run(["gaps", "--tenant", "demo", "--device", "van-1"]).output.contains("16\t5\tmissing\tnot_sent"))
      #expect(try gateway.run(["gaps", "--tenant", "demo", "--device", "van-2"], expecting: 1).errors.contains("'van-1'"))

      #expect(try gateway.terminate().status == 0)
      let offline = try ledger()
      #expect(!offline.live && lines(offline) == after && offline.streams.map(\.through) == [15])
      try gateway.run(["gaps", "--tenant", "demo", "--device", "van-1", "--ask"], expecting: 1)
    }
  }
}

extension DeviceClient {
  /// Sends one frame; `build` appends the parts of an `Uplink`.
  fileprivate func frame(_ build: (inout [UInt8]) -> Void) throws {
    var bytes: [UInt8] = []
    build(&bytes)
    Frame.close(from: 0, in: &bytes)
    try send(bytes)
  }

  /// Reads frames up to and with the first that `isWanted`; the ones before are handed to it too.
  fileprivate func until(_ isWanted: (Downlink) -> Bool) throws -> Downlink {
    while let downlink = try next() { if isWanted(downlink) { return downlink } }
    throw Failure(description: "closed before what was waited for")
  }
}
