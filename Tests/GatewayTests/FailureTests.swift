import Foundation
import GateCore
import GateNet
import GateProto
import GateStore
import GateTrack
import Gateway
import Testing

extension EndToEnd {
  /// Disks that fill, stores that are locked, orderly ends, and starts that must not be.
  @Suite(.serialized) struct Failures {
    /// A gateway, a track of one courier, and what must be in the store in the end.
    private final class Scene {
      let scratch: Scratch
      let gateway: GatewayProcess
      let track: String
      let bundle: String
      let expected: [TrackRow]

      init(fixes: Int, _ settings: [String: String] = [:]) throws {
        scratch = try Scratch()
        gateway = try GatewayProcess(settings)
        track = scratch.path + "/track.csv"
        try TrackFileText.write(to: track, fixesEach: fixes, seed: 11)
        expected = try TrackFileText.read(track)["001"] ?? []
        bundle = try gateway.addDevice("courier")
      }

      func send() throws -> Child { try gateway.send(track, bundle: bundle, select: "uid=001") }

      /// The sender has ended well and the store has each fix once.
      func checkEnd(of sender: Child) throws {
        let outcome = try #require(sender.wait(seconds: 90))
        #expect(outcome.status == 0, "\(outcome.errors)")
        try gateway.drained(seconds: 90)
        let stored = try gateway.rows(of: "courier")
        #expect(stored.count == expected.count)
        #expect(stored == expected)
        #expect(try gateway.count("SELECT count(*) FROM fix") == Int64(expected.count))
      }
    }

    @Test func aFullDiskStopsAcksAndNothingElse() throws {
      let scene = try Scene(fixes: 20_000)
      let other = try scene.gateway.addDevice("witness")
      // Whoever runs the tests may ignore the signal that comes with a file's bound, and children inherit that.
      try scene.gateway.start(through: ["/usr/bin/env", "--default-signal=XFSZ"])
      try scene.gateway.limitFiles(toBytes: 1 << 20)
      let sender = try scene.send()
      let full = try scene.gateway.status("full") { $0.journal.problem != nil }
      #expect(full.journal.commit_failures > 0)
      #expect(sender.wait(seconds: 0) == nil)
      var fix = CourierRide.fixes(count: 1, seed: 1, startMs: 1_718_000_000_000)
      fix[0].sequence = 1
      let witness = try DeviceClient(bundle: other) { token in
        DeviceClient.frame(Hello(token: token, stream: 7, nextSequence: 2), fix)
      }
      let refusal = try #require(try witness.refusal())
      #expect(refusal.code == .storageUnavailable && refusal.retry && !refusal.closing)
      #expect((refusal.retryAfterMs ?? 0) > 0)
      // No ranges: all of the frame.
      #expect(refusal.ranges.isEmpty)
      try scene.gateway.limitFiles(toBytes: nil)
      try scene.checkEnd(of: sender)
      #expect(try scene.gateway.status().journal.problem == nil)
      // On the same connection: the refused fix was not remembered as seen.
      try witness.send(DeviceClient.frame(nil, fix))
      try witness.ack(through: 1)
      try scene.gateway.drained()
      #expect(try scene.gateway.rows(of: "witness").count == 1)
    }

    @Test func aStoreWithoutRoomDoesNotStopIngest() throws {
      // Journal files stay below the bound. The store's do not, even if the write-ahead log is moved into the file on the way:
      // each of the two has room for some 56,000 rows.
      let scene = try Scene(fixes: 160_000)
      try scene.gateway.start()
      try scene.gateway.limitFiles(toBytes: 6 << 20)
      let sender = try scene.send()
      let outcome = try #require(sender.wait(seconds: 150))
      #expect(outcome.status == 0, "\(outcome.errors)")
      try scene.gateway.status("behind") { $0.store.problem != nil && $0.fixes.queued > 0 && $0.journal.problem == nil }
      try scene.gateway.limitFiles(toBytes: nil)
      try scene.checkEnd(of: sender)
      // The next sync, within seconds, forgives one that found no room.
      try scene.gateway.status("recovered") { $0.store.problem == nil }
    }

    @Test func aLockedStoreDoesNotStopIngest() throws {
      let scene = try Scene(fixes: 10_000)
      try scene.gateway.start()
      let connection = try SQLiteConnection(path: scene.gateway.store, access: .readWrite)
      try connection.begin()
      let sender = try scene.send()
      let outcome = try #require(sender.wait(seconds: 60))
      #expect(outcome.status == 0, "\(outcome.errors)")
      #expect(try scene.gateway.status().fixes.queued == 10_000)
      // Where the courier is does not wait for the store.
      let last = try #require(scene.expected.last)
      let latest = try scene.gateway.run(["latest", "--tenant", "demo", "--device", "courier"]).output
      #expect(latest.contains(",\(Self.degrees(last.latitudeE7)),\(Self.degrees(last.longitudeE7)),"), "\(latest)")
      #expect(try scene.gateway.run(["latest", "--tenant", "demo"]).output == latest)
      connection.rollBack()
      try scene.checkEnd(of: sender)
    }

    /// As `latest` writes them.
    private static func degrees(_ e7: Int64) -> String {
      let digits = String(abs(e7) + 1_000_000_000_0).dropFirst()
      let whole = Int(digits.prefix(3)) ?? 0
      return (e7 < 0 ? "-" : "") + "\(whole)." + digits.suffix(7)
    }

    @Test func terminatingInTheMiddleLosesNothing() throws {
      let scene = try Scene(
        fixes: 10_000, ["FIXGATE_LIMITS_BACKLOG_PER_SECOND": "1000", "FIXGATE_LIMITS_BACKLOG_BURST": "1024"])
      try scene.gateway.start()
      let sender = try scene.send()
      for _ in 0..<3 {
        try scene.gateway.status("under way") { $0.fixes.stored > 0 }
        #expect(sender.wait(seconds: 0) == nil)
        #expect(try scene.gateway.terminate().status == 0)
        // What it took is in the store, and the store's last word is on disk without a log to replay.
        let stored = try scene.gateway.count("SELECT count(*) FROM fix")
        #expect(stored > 0)
        try scene.gateway.start()
        #expect(try scene.gateway.status().fixes.recovered == 0)
      }
      try scene.checkEnd(of: sender)
    }

    struct BadStart: CustomStringConvertible, Sendable {
      var description: String
      var settings: [String: String]
      var words: [String]
    }

    @Test(arguments: [
      BadStart(
        description: "a key that is not the certificate's", settings: ["FIXGATE_TLS_KEY": "ca.key"], words: ["key"]),
      BadStart(
        description: "no certificate", settings: ["FIXGATE_TLS_CERTIFICATE": "nowhere.crt"], words: ["nowhere.crt"]),
      BadStart(
        description: "a certificate that is none", settings: ["FIXGATE_TLS_CERTIFICATE": "fixgate.yaml"],
        words: ["certificate"]),
      BadStart(
        description: "ticket keys of another length", settings: ["FIXGATE_TLS_TICKET_KEYS": "ca.crt"], words: ["ca.crt", "80"]),
      BadStart(
        description: "an address that is not ours", settings: ["FIXGATE_LISTEN_TLS": "192.0.2.1:7443"],
        words: ["192.0.2.1", "listen.tls"]),
      BadStart(
        description: "a UDP address that is not ours", settings: ["FIXGATE_LISTEN_DTLS": "192.0.2.1:7443"],
        words: ["192.0.2.1", "listen.dtls"]),
    ])
    func aBadStartSaysWhatToDo(_ bad: BadStart) throws {
      let gateway = try GatewayProcess()
      let outcome = try #require(try gateway.spawn(bad.settings).wait(seconds: 30))
      #expect(outcome.status > 0)
      #expect(!outcome.output.contains("ready"))
      for word in bad.words { #expect(outcome.errors.contains(word), "\(bad): \(outcome.errors)") }
    }

    @Test func oneGatewayOnADirectoryAndAPort() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let second = try #require(try gateway.spawn(["FIXGATE_LISTEN_TLS": "127.0.0.1:0"]).wait(seconds: 30))
      #expect(second.status > 0 && second.errors.contains("in use by another fixgate"), "\(second.errors)")
      // The first is unharmed.
      #expect(try gateway.status().fixes.received == 0)
      let other = try GatewayProcess()
      let port = try TCPListener(on: SocketAddress(ipv4: 0x7F00_0001, port: 0), sharesPort: false)
      let third = try #require(
        try other.spawn(["FIXGATE_LISTEN_TLS": "127.0.0.1:\(port.boundPort)"]).wait(seconds: 30))
      #expect(third.status > 0 && third.errors.contains("address is in use"), "\(third.errors)")
    }

    @Test func aPortOfAnotherGatewayIsRefused() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let other = try GatewayProcess()
      for key in ["TLS", "DTLS"] {
        let outcome = try other.spawn(["FIXGATE_LISTEN_\(key)": "127.0.0.1:\(gateway.port)"])
        // Listeners share a port within a gateway, never between two of them: each would get half of the devices.
        #expect(outcome.line("ready", seconds: 5) == nil)
        let errors = outcome.kill9()?.errors ?? ""
        #expect(errors.contains("listen.\(key.lowercased()): 127.0.0.1:\(gateway.port)") && errors.contains("address is in use"))
      }
    }
  }
}
