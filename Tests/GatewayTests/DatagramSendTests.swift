import Foundation
import GateCore
import GateNet
import Gateway
import Testing

extension EndToEnd {
  /// `fixgate send --transport dtls` as its user meets it.
  @Suite(.serialized) struct DatagramSend {
    private func track(_ scratch: Scratch, _ fixes: Int = 500) throws -> String {
      let path = scratch.path + "/track.csv"
      try TrackFileText.write(to: path, fixesEach: fixes, seed: 4)
      return path
    }

    private func send(
      _ gateway: GatewayProcess, _ track: String, _ bundle: String, uid: String = "001", _ more: [String] = [],
      expecting status: Int32 = 0
    ) throws -> Child.Outcome {
      let child = try gateway.send(track, bundle: bundle, select: "uid=\(uid)", more: ["--transport", "dtls"] + more)
      let outcome = try #require(child.wait(seconds: 60))
      #expect(outcome.status == status, "\(outcome.errors)")
      return outcome
    }

    private func forgetWhatWasAcked(_ bundle: String) throws {
      let folder = URL(fileURLWithPath: bundle).deletingLastPathComponent().path
      for name in try FileManager.default.contentsOfDirectory(atPath: folder) where name.hasSuffix(".state") {
        try FileManager.default.removeItem(atPath: folder + "/" + name)
      }
    }

    @Test(arguments: [false, true]) func theNextRunNeedsNoHandshake(psk: Bool) throws {
      let scratch = try Scratch()
      let track = try track(scratch)
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker", psk: psk)
      #expect(try send(gateway, track, bundle).output.contains("500 of 500 fixes acked (500 in this run, 1 handshake"))
      let mode = try FileManager.default.attributesOfItem(atPath: bundle + ".dtls")[.posixPermissions] as? Int
      #expect(mode == 0o600)

      try forgetWhatWasAcked(bundle)
      #expect(try send(gateway, track, bundle).output.contains("(500 in this run, no handshake"))
      try forgetWhatWasAcked(bundle)
      #expect(try send(gateway, track, bundle, ["--fresh"]).output.contains("(500 in this run, 1 handshake"))
      // Another recording is another stream, which a session does not change.
      #expect(try send(gateway, track, bundle, uid: "005").output.contains("(500 in this run, 1 handshake"))
      #expect(try gateway.drained().datagrams.handshakes == 3)
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE transport = 2") == 1_000)
    }

    /// What is in the file is a session of this bundle, or nothing: a damaged one costs a handshake.
    @Test func aSessionFileThatIsNoneIsPassedOver() throws {
      let scratch = try Scratch()
      let track = try track(scratch)
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker", psk: true)
      let other = try gateway.addDevice("other", psk: true)
      _ = try send(gateway, track, other)
      for content in [try Data(contentsOf: URL(fileURLWithPath: other + ".dtls")), Data("nonsense\n\n".utf8), Data()] {
        try content.write(to: URL(fileURLWithPath: bundle + ".dtls"))
        try forgetWhatWasAcked(bundle)
        #expect(try send(gateway, track, bundle).output.contains("(500 in this run, 1 handshake"))
      }
      try gateway.drained()
      #expect(try gateway.rows(of: "tracker").count == 500)
    }

    /// Two processes must not use one session: their record numbers would be the same.
    @Test func twoAtATimeHaveASessionEach() throws {
      let scratch = try Scratch()
      let track = try track(scratch, 5_000)
      let gateway = try GatewayProcess(["FIXGATE_LIMITS_BACKLOG_PER_SECOND": "2000", "FIXGATE_LIMITS_BACKLOG_BURST": "1024"])
      try gateway.start()
      let bundle = try gateway.addDevice("tracker", psk: true)
      let first = try gateway.send(track, bundle: bundle, select: "uid=001", more: ["--transport", "dtls"])
      try gateway.status("under way") { $0.fixes.received > 0 }
      let second = try send(gateway, track, bundle, uid: "005")
      #expect(second.errors.contains("another 'fixgate send' uses the saved session"))
      #expect(try #require(first.wait(seconds: 40)).status == 0)
      try gateway.drained()
      #expect(try gateway.count("SELECT count(*) FROM fix") == 10_000)
    }

    @Test func aGatewayThatIsNotThereIsNamed() throws {
      let scratch = try Scratch()
      let track = try track(scratch)
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("tracker")
      let refused = try send(gateway, track, bundle, ["--patience", "1"], expecting: 1)
      #expect(refused.errors.contains("nobody listens on UDP at"), "\(refused.errors)")

      // One that listens and never answers.
      let silent = try UDPSocket(on: .loopback(port: 0))
      let ignored = try send(
        gateway, track, bundle, ["--patience", "1", "--to", "127.0.0.1:\(silent.boundPort)"], expecting: 1)
      #expect(ignored.errors.contains("no answer over UDP from 127.0.0.1:\(silent.boundPort)"), "\(ignored.errors)")
    }

    @Test func anOldBundleSaysWhatToDo() throws {
      let scratch = try Scratch()
      let track = try track(scratch)
      let gateway = try GatewayProcess(["FIXGATE_LISTEN_DTLS": ""])
      let bundle = try gateway.addDevice("tracker")
      #expect(try !String(contentsOfFile: bundle, encoding: .utf8).contains("gateway-udp"))
      let outcome = try send(gateway, track, bundle, expecting: 1)
      #expect(outcome.errors.contains("this bundle names no way over UDP"))
    }

    @Test func anUnknownKeyIsRefusedInWords() throws {
      let scratch = try Scratch()
      let track = try track(scratch)
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker", psk: true)
      try gateway.run(["device", "revoke", "--tenant", "demo", "tracker"])
      let outcome = try send(gateway, track, bundle, ["--patience", "2"], expecting: 1)
      #expect(outcome.errors.contains("it is revoked"), "\(outcome.errors)")
    }
  }
}
