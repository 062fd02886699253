import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import Gateway
import Testing

/// DTLS clients that nobody here wrote, against the gateway as it runs. They know no connection IDs.
extension EndToEnd.HostileDatagrams {
  /// A client that is given one message on its standard input, and what it prints: the gateway's messages one behind the other,
  /// which is one message again.
  private func talk(
    _ gateway: GatewayProcess, _ command: [String], _ message: [UInt8]
  ) throws -> (answer: Downlink?, log: String) {
    let (input, output, log) = (gateway.folder + "/input", gateway.folder + "/output", gateway.folder + "/log")
    let script = "mkfifo \(input) && echo ready && exec \"$@\" < \(input) > \(output) 2> \(log)"
    let child = try Child("/bin/sh", ["-c", script, "sh"] + command)
    defer { child.kill9() }
    #expect(child.line("ready", seconds: 30) != nil)
    // Open until the answer is there, so that the client does not leave before.
    let pipe = try #require(FileHandle(forWritingAtPath: input))
    try pipe.write(contentsOf: Data(message))
    let deadline = inAMinute()
    var answer: Downlink?
    while answer?.ack?.through != 1, SystemClock.now() < deadline, child.wait(seconds: 0.01) == nil {
      let bytes = Array(try Data(contentsOf: URL(fileURLWithPath: output)))
      answer = try? Downlink.decode(bytes.span, 0..<bytes.count)
    }
    return (answer, try String(contentsOfFile: log, encoding: .utf8))
  }

  private func check(psk: Bool, _ command: (_ port: UInt16, _ authority: String, GateDevice.Bundle) -> [String]) throws {
    let gateway = try GatewayProcess(["FIXGATE_LOG_LEVEL": "error"])
    try gateway.start()
    let path = try gateway.addDevice("modem", psk: psk)
    let bundle = try GateDevice.Bundle(parsing: String(contentsOfFile: path, encoding: .utf8))
    let hello = Hello(token: bundle.token, stream: 7, nextSequence: 2)
    let (answer, log) = try talk(
      gateway, command(gateway.port, gateway.folder + "/gateway/ca.crt", bundle),
      DatagramDevice.message(hello, EndToEnd.Datagrams.ride(1...1)))
    #expect(answer?.welcome != nil && answer?.ack?.through == 1, "\(log)")
    let status = try gateway.drained()
    #expect(status.fixes.stored == 1 && status.datagrams.handshakes == 1)
  }

  private static func hex(_ bytes: [UInt8]) -> String { bytes.map { String(format: "%02x", $0) }.joined() }

  @Test(.enabled(if: EndToEnd.HostileWorld.installed("openssl")), arguments: ["PSK-AES128-CCM8", "PSK-AES128-GCM-SHA256"])
  func sClientWithAPreSharedKey(cipher: String) throws {
    try check(psk: true) { port, _, bundle in
      [
        "openssl", "s_client", "-quiet", "-dtls1_2", "-connect", "127.0.0.1:\(port)", "-cipher", cipher, "-psk_identity",
        bundle.psk?.identity ?? "", "-psk", Self.hex(bundle.psk?.secret ?? []),
      ]
    }
  }

  @Test(.enabled(if: EndToEnd.HostileWorld.installed("openssl"))) func sClientWithAToken() throws {
    try check(psk: false) { port, authority, _ in
      [
        "openssl", "s_client", "-quiet", "-dtls1_2", "-connect", "[::1]:\(port)", "-CAfile", authority,
        "-verify_return_error", "-verify_hostname", "localhost",
      ]
    }
  }

  @Test(.enabled(if: EndToEnd.HostileWorld.installed("gnutls-cli")), arguments: [true, false])
  func gnutls(psk: Bool) throws {
    try check(psk: psk) { port, authority, bundle in
      ["gnutls-cli", "--udp", "--logfile", "/dev/null", "-p", "\(port)"]
        + (psk
          ? [
            "127.0.0.1", "--pskusername", bundle.psk?.identity ?? "", "--pskkey", Self.hex(bundle.psk?.secret ?? []),
            "--priority", "NORMAL:-VERS-ALL:+VERS-DTLS1.2:-KX-ALL:+PSK",
          ]
          : ["localhost", "--x509cafile", authority, "--priority", "NORMAL:-VERS-ALL:+VERS-DTLS1.2"])
    }
  }
}
