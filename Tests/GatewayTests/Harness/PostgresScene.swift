#if PostgreSQL
import Foundation
import GateCore
import GateProto
import GateTrack
import Gateway
import Testing

/// A real gateway and a real PostgreSQL, a track of one courier, and what must be in the database in the end.
final class PostgresScene {
  let scratch: Scratch
  let postgres: TemporaryPostgres
  let gateway: GatewayProcess
  let track: String
  let bundle: String
  let expected: [TrackRow]

  init(
    fixes: Int, seed: UInt64 = 11, _ settings: [String: String] = [:], postgres: TemporaryPostgres? = nil
  ) throws {
    scratch = try Scratch()
    self.postgres = try postgres ?? TemporaryPostgres()
    gateway = try GatewayProcess(settings)
    track = scratch.path + "/track.csv"
    try TrackFileText.write(to: track, fixesEach: fixes, seed: seed)
    expected = try TrackFileText.read(track)["001"] ?? []
    bundle = try gateway.addDevice("courier")
    try gateway.run(["tenant", "egress", "demo", "--sink", "sqlite", "--sink", "warehouse"])
  }

  func send() throws -> Child { try gateway.send(track, bundle: bundle, select: "uid=001") }

  func sink(_ name: String, _ status: Status) -> Status.Sink? { status.sinks.first { $0.name == name } }

  /// The sink has all that the journal has.
  @discardableResult func drained(_ name: String, seconds: Double = 90) throws -> Status {
    try gateway.status("\(name) has all", seconds: seconds) { status in
      guard let sink = sink(name, status) else { return false }
      return sink.state == .running && sink.cursor == status.journal.end_lsn && status.fixes.pending == 0
    }
  }

  /// `config check` and `store check` each tell it in one line, without the password.
  /// - Parameters:
  ///   - more: keys of the sink; `environment`: of the two commands.
  func fails(_ words: String, _ more: [String] = [], _ environment: [String: String] = [:]) throws {
    try gateway.configure(sinks: "  - sqlite\n" + gateway.sink("warehouse", postgres, more: more))
    let kept = gateway.environment
    defer { gateway.environment = kept }
    gateway.environment.merge(environment) { $1 }
    for command in [["config", "check"], ["store", "check"]] {
      let outcome = try gateway.run(command, expecting: 78)
      let lines = outcome.output.split(separator: "\n").filter { $0.hasPrefix("FAIL") }
      #expect(lines.count == 1 && lines[0].hasPrefix("FAIL  sink warehouse: ") && lines[0].contains(words), "\(outcome.output)")
      #expect(!outcome.output.contains(TemporaryPostgres.password))
    }
  }

  /// A device's fix is refused for want of storage, all of the frame, with a time to come back; its connection goes on.
  func isToldToComeBack(_ bundle: String) throws {
    var fix = CourierRide.fixes(count: 1, seed: 1, startMs: 1_718_000_000_000)
    fix[0].sequence = 1
    let device = try DeviceClient(bundle: bundle) { token in
      DeviceClient.frame(Hello(token: token, stream: 7, nextSequence: 2), fix)
    }
    let refusal = try #require(try device.refusal())
    #expect(refusal.code == .storageUnavailable && refusal.retry && !refusal.closing && refusal.ranges.isEmpty)
    #expect((refusal.retryAfterMs ?? 0) > 0)
  }

  /// PostgreSQL has each fix once, and nothing else.
  func check(_ comment: Comment = "") throws {
    let rows = try postgres.rows(of: "courier")
    #expect(rows.count == expected.count, comment)
    #expect(rows == expected, comment)
    #expect(try postgres.count("SELECT count(*) FROM fixgate.fix") == expected.count, comment)
    for table in ["quarantine", "refused", "set_aside", "gap"] {
      #expect(try postgres.count("SELECT count(*) FROM fixgate.\(table)") == 0, "\(comment) \(table)")
    }
  }
}#endif
