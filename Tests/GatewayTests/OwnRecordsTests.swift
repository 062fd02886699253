import Gateway
import Testing

/// Clients that nobody here wrote, once libssl has let their connections go; and the same with libssl's own records.
extension EndToEnd.HostileWorld {
  /// A device in Python that sends fix after fix, each when the last is acked, over Python's ssl or `openssl s_client`; the
  /// latter changes its keys in between. Prints how many were acked, how many key updates it sent, and whether the end was
  /// a close_notify.
  private static let stepwise = """
    import os, socket, ssl, struct, subprocess, sys
    port, authority, token, client = int(sys.argv[1]), sys.argv[2], bytes.fromhex(sys.argv[3]), sys.argv[4]
    def varint(value):
        out = b""
        while value > 127:
            out, value = out + bytes([value & 127 | 128]), value >> 7
        return out + bytes([value])
    def read_varint(bytes, at):
        value = shift = 0
        while True:
            value |= (bytes[at] & 127) << shift
            at += 1
            if bytes[at - 1] < 128: return value, at
            shift += 7
    def fields(body):
        at = 0
        while at < len(body):
            tag, at = read_varint(body, at)
            if tag & 7 == 0: value, at = read_varint(body, at)
            elif tag & 7 == 2:
                size, at = read_varint(body, at)
                value, at = body[at:at + size], at + size
            elif tag & 7 == 5: value, at = body[at:at + 4], at + 4
            else: value, at = body[at:at + 8], at + 8
            yield tag >> 3, value
    def row(sequence):
        body = b"\\x08" + varint(sequence) + bytes.fromhex("10a0f49392df331dc2ea4d1f25046ffd07282830800438e82f4057")
        return b"\\x12" + varint(len(body)) + body
    hello = b"\\x12\\x20" + token + b"\\x1d" + struct.pack("<I", 7) + b"\\x20\\xe9\\x07\\x28\\xe9\\x07"
    hello = b"\\x0a" + bytes([len(hello)]) + hello
    got, through, updates = b"", 0, 0
    def step(sequence, message, send, receive):
        global got, through
        send(varint(len(message)) + message)
        while through < sequence:
            part = receive()
            assert part, "closed"
            got += part
            while got:
                size, at = read_varint(got, 0)
                if len(got) < at + size: break
                for number, value in fields(got[at:at + size]):
                    if number == 2: through = max([through] + [v for n, v in fields(value) if n == 1])
                    assert number != 3, value.hex()
                got = got[at + size:]
    if client == "ssl":
        context = ssl.create_default_context(cafile=authority)
        s = context.wrap_socket(socket.create_connection(("127.0.0.1", port), timeout=30), server_hostname="localhost")
        for i in range(40):
            step(1001 + i, (hello if i == 0 else b"") + row(1001 + i), s.sendall, lambda: s.recv(65536))
        s.unwrap()
        print(through - 1000, updates, True)
    else:
        p = subprocess.Popen(
            ["openssl", "s_client", "-brief", "-connect", "127.0.0.1:%d" % port, "-CAfile", authority,
             "-verify_return_error", "-ciphersuites", client],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=0)
        errors = b""
        for i in range(40):
            step(1001 + i, (hello if i == 0 else b"") + row(1001 + i), p.stdin.write, lambda: os.read(p.stdout.fileno(), 65536))
            # A letter at the beginning of what it reads is a command: K asks for the gateway's next key as well.
            for letter in ["", "K", "k", "KkK"][i % 4]:
                p.stdin.write(letter.encode())
                updates += 1
                while errors.count(b"KEYUPDATE") < updates: errors += os.read(p.stderr.fileno(), 65536)
        p.stdin.write(b"Q")
        print(through - 1000, updates, p.wait(30) == 0)
    """

  @Test(
    .enabled(if: installed("python3") && installed("openssl")),
    arguments: ["ssl", "TLS_AES_128_GCM_SHA256", "TLS_AES_256_GCM_SHA384", "TLS_CHACHA20_POLY1305_SHA256"],
    [true, false])
  func foreignClientsGoOn(client: String, ownRecords: Bool) throws {
    let gateway = try Self.gateway(["FIXGATE_TLS_OWN_RECORDS": "\(ownRecords)"])
    let enrolled = try gateway.enrol(1)[0]
    let token = enrolled.token.map { ($0 < 16 ? "0" : "") + String($0, radix: 16) }.joined()
    let child = try Child(
      "/usr/bin/env",
      ["python3", "-c", Self.stepwise, "\(gateway.port)", gateway.folder + "/gateway/ca.crt", token, client])
    let outcome = try #require(child.wait(seconds: 60))
    #expect(outcome.output == (client == "ssl" ? "40 0 True\n" : "40 50 True\n"), "\(outcome.errors)")
    let status = try gateway.drained()
    #expect(status.fixes.stored == 40 && status.network.closed.isEmpty)
    #expect(try gateway.rows(of: enrolled.name).count == 40)
  }
}
