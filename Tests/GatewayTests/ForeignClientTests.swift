import Foundation
import GateCore
import GateNet
import GateProto
import GateTLS
import Gateway
import Testing

/// Clients that nobody here wrote, against the gateway as it runs.
extension EndToEnd.HostileWorld {
  static func installed(_ program: String) -> Bool {
    (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
      FileManager.default.isExecutableFile(atPath: $0 + "/" + program)
    }
  }

  /// A device in thirty lines of Python: hello and the row of proto/README by hand, an ack back.
  static let python = """
    import socket, ssl, struct, sys
    port, authority, token = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3])
    row = bytes.fromhex("121e08e90710a0f49392df331dc2ea4d1f25046ffd0728283080" "0438e82f4057")
    hello = b"\\x12\\x20" + token + b"\\x1d" + struct.pack("<I", 7) + b"\\x20\\xea\\x07\\x28\\xe9\\x07"
    hello = b"\\x0a" + bytes([len(hello)]) + hello
    def varint(bytes, at):
        value = shift = 0
        while True:
            value |= (bytes[at] & 127) << shift
            at += 1
            if bytes[at - 1] < 128: return value, at
            shift += 7
    def fields(body):
        at = 0
        while at < len(body):
            tag, at = varint(body, at)
            if tag & 7 == 0: value, at = varint(body, at)
            elif tag & 7 == 2:
                size, at = varint(body, at)
                value, at = body[at:at + size], at + size
            elif tag & 7 == 5: value, at = body[at:at + 4], at + 4
            else: value, at = body[at:at + 8], at + 8
            yield tag >> 3, value
    context = ssl.create_default_context(cafile=authority)
    with context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30), server_hostname="localhost") as s:
        s.sendall(bytes([len(hello) + len(row)]) + hello + row)
        got, welcome, through = b"", False, 0
        while through < 1001:
            part = s.recv(65536)
            assert part, "closed"
            got += part
            while got:
                size, at = varint(got, 0)
                if len(got) < at + size: break
                for number, value in fields(got[at:at + size]):
                    if number == 1: welcome = True
                    if number == 2: through = max([through] + [v for n, v in fields(value) if n == 1])
                    assert number != 3, value.hex()
                got = got[at + size:]
        print(s.version(), welcome, through)
    """

  @Test(.enabled(if: installed("python3"))) func pythonSendsTheRowOfTheSpecification() throws {
    let gateway = try Self.gateway()
    let enrolled = try gateway.enrol(1)[0]
    let token = enrolled.token.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    let child = try Child(
      "/usr/bin/env",
      ["python3", "-c", Self.python, "\(gateway.port)", gateway.folder + "/gateway/ca.crt", token])
    let outcome = try #require(child.wait(seconds: 60))
    #expect(outcome.output == "TLSv1.3 True 1001\n", "\(outcome.errors)")
    try gateway.drained()
    let rows = try gateway.rows(of: enrolled.name)
    #expect(rows.count == 1)
    #expect(rows.first?.sequence == 1_001 && rows.first?.latitudeE7 == 525_200_066 && rows.first?.longitudeE7 == 134_049_540)
    #expect(rows.first?.timeMs == 1_777_886_100_000)
  }

  /// - Parameter script: runs with the port as `$1`, the authority as `$2`.
  private func shell(_ gateway: GatewayProcess, _ script: String) throws -> Child.Outcome {
    let child = try Child(
      "/bin/sh", ["-c", script, "sh", "\(gateway.port)", gateway.folder + "/gateway/ca.crt"])
    return try #require(child.wait(seconds: 60))
  }

  /// A text behind TLS is a frame that is too long, or not protobuf: it is refused by code, with close_notify.
  @Test(.enabled(if: installed("openssl"))) func sClientIsRefusedByCode() throws {
    let gateway = try Self.gateway()
    let outcome = try shell(
      gateway,
      "printf 'GET / HTTP/1.1\\r\\nHost: a-name-that-makes-the-request-longer-than-its-first-byte-says.example\\r\\n\\r\\n' | openssl s_client -quiet -connect 127.0.0.1:$1 -CAfile $2 -verify_return_error")
    #expect(outcome.status == 0, "\(outcome.errors)")
    try gateway.quickStatus("refused") { $0.refusals["malformed", default: 0] + $0.refusals["needHello", default: 0] == 1 }
  }

  /// A ticket as openssl keeps it, and fixes as early data with it.
  @Test(.enabled(if: installed("openssl"))) func sClientResumesWithEarlyData() throws {
    // It goes on reading until the gateway ends the silence.
    let gateway = try Self.gateway(["FIXGATE_LIMITS_IDLE_TIMEOUT_S": "1"])
    let enrolled = try gateway.enrol(1)[0]
    func write(_ name: String, _ payload: [UInt8]) throws -> String {
      let path = gateway.folder + "/" + name
      try Data(Self.framed(payload)).write(to: URL(fileURLWithPath: path))
      return path
    }
    let first = try write("first", Uplink.hello(enrolled.token, stream: 3, next: 11) + Uplink.batch(first: 1, count: 10))
    let early = try write("early", Uplink.batch(first: 11, count: 20))
    let second = try write("second", Uplink.hello(enrolled.token, stream: 3, next: 36) + Uplink.batch(first: 31, count: 5))
    let session = gateway.folder + "/session"
    let connect = "openssl s_client -quiet -connect 127.0.0.1:$1 -CAfile $2 -verify_return_error"
    let opened = try shell(gateway, "\(connect) -sess_out \(session) < \(first)")
    #expect(opened.status == 0, "\(opened.errors)")
    let resumed = try shell(gateway, "\(connect) -sess_in \(session) -early_data \(early) < \(second)")
    #expect(resumed.status == 0, "\(resumed.errors)")
    let status = try gateway.drained()
    #expect(status.network.early_data == 1 && status.network.resumptions == 1)
    #expect(status.fixes.stored == 35 && status.fixes.duplicate == 0)
  }

  /// TLS 1.2 is refused unless it is allowed; where it is, renegotiation is refused and the gateway goes on.
  @Test(.enabled(if: installed("openssl"))) func sClientMayNotRenegotiate() throws {
    let strict = try Self.gateway()
    let refused = try shell(strict, "openssl s_client -tls1_2 -connect 127.0.0.1:$1 -CAfile $2 < /dev/null")
    #expect(refused.status != 0)
    try strict.quickStatus("refused") { $0.network.closed["handshake_failed"] == 1 }

    let gateway = try Self.gateway(["FIXGATE_TLS_ALLOW_TLS12": "true"])
    let live = try LiveDevice(gateway.enrol(1)[0], gateway.clientContext(), port: gateway.port)
    let outcome = try shell(
      gateway, "printf 'R\\n' | openssl s_client -tls1_2 -connect 127.0.0.1:$1 -CAfile $2")
    #expect((outcome.output + outcome.errors).contains("no renegotiation"), "\(outcome.output) \(outcome.errors)")
    try live.send()
  }
}
