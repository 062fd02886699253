import Foundation
import GateCore
import GateNet
import GateTLS
import Synchronization
import Testing

/// What one connection of `EchoServer` came to.
enum Conclusion: Equatable {
  case served(version: TLSVersion, resumed: Bool, bytes: Int)
  case failed(TLSError)
  case turnedAway(ClientHelloGate.Refusal)
  case gone
}

/// A server as a worker runs it, in small: poller, listeners of both families, gate, engine. Sends back what it gets up to a
/// line feed, then closes.
struct EchoServer: ~Copyable {
  final class Connection {
    let stream: TCPStream
    var engine: TLSEngine?
    var head: [UInt8] = []
    var line: [UInt8] = []

    init(_ stream: consuming TCPStream) { self.stream = stream }
  }

  let four: TCPListener
  let six: TCPListener
  let context: TLSServerContext
  var poller: Poller
  var connections: [UInt64: Connection] = [:]
  var nextToken: UInt64 = 2
  var conclusions: [Conclusion] = []

  var port: UInt16 { four.boundPort }

  init(_ context: TLSServerContext) throws {
    let four = try TCPListener(on: .loopback(port: 0))
    let six = try TCPListener(on: .loopbackIPv6(port: four.boundPort))
    let poller = try Poller()
    try poller.add(four.descriptor, token: 0, for: .read)
    try poller.add(six.descriptor, token: 1, for: .read)
    self.four = four
    self.six = six
    self.context = context
    self.poller = poller
  }

  /// Serves until `count` connections have come to an end.
  mutating func serve(_ count: Int) throws {
    let deadline = soon()
    while conclusions.count < count {
      let now = SystemClock.now()
      guard now < deadline else { throw NetError.timedOut }
      let events = try poller.wait(timeoutNs: deadline.since(now))
      for i in 0..<events {
        let event = poller.event(at: i)
        switch event.token {
        case 0: while let stream = try four.accept() { try add(stream) }
        case 1: while let stream = try six.accept() { try add(stream) }
        default: if let connection = connections[event.token] { try turn(connection, event.token) }
        }
      }
    }
  }

  private mutating func add(_ stream: consuming TCPStream) throws {
    let connection = Connection(stream)
    try poller.add(connection.stream.descriptor, token: nextToken, for: .read)
    connections[nextToken] = connection
    nextToken += 1
  }

  private mutating func turn(_ connection: Connection, _ token: UInt64) throws {
    var bytes = [UInt8](repeating: 0, count: ClientHelloGate.firstRecordBytesMax)
    var count = 0
    var span = bytes.mutableSpan
    switch try connection.stream.read(into: &span, at: &count) {
    case .wouldBlock: return
    case .closed: return end(token, .gone)
    case .bytes: break
    }
    var input = Array(bytes[..<count])
    if connection.engine == nil {
      connection.head += input
      switch ClientHelloGate.examine(connection.head.span) {
      case .needMore: return
      case .refused(let refusal): return end(token, .turnedAway(refusal))
      case .clientHello:
        connection.engine = try TLSEngine(server: context)
        input = connection.head
        connection.head = []
      }
    }
    var plaintext = [UInt8](repeating: 0, count: 32_768)
    var offset = 0
    do {
      var room = plaintext.mutableSpan
      let progress = try connection.engine!.receive(input.span, plaintext: &room, at: &offset)
      connection.line += plaintext[..<offset]
      if connection.line.last == 10 {
        let line = connection.line
        try connection.engine!.issueTicket(carrying: [])
        try connection.engine!.write(line.span)
        connection.engine!.close()
      }
      try flush(connection)
      if connection.line.last == 10 || progress == .closed {
        let engine = connection.engine.take()!
        end(token, .served(version: engine.version!, resumed: engine.isResumed, bytes: connection.line.count))
      }
    } catch let error as TLSError {
      try flush(connection)
      end(token, .failed(error))
    }
  }

  /// Small answers only: the socket takes them whole.
  private func flush(_ connection: Connection) throws {
    _ = try connection.engine?.drain { output throws(NetError) in
      guard case .bytes(let count) = try connection.stream.write(output) else { return 0 }
      return count
    }
  }

  private mutating func end(_ token: UInt64, _ conclusion: Conclusion) {
    connections[token]?.stream.shutdownWrite()
    connections[token] = nil
    conclusions.append(conclusion)
  }
}

/// Runs another program against the server.
final class Peer {
  let process = Process()
  let output: String
  let directory: String

  /// - Parameter input: what it reads from standard input.
  init(_ arguments: [String], input: String = "", in directory: String) throws {
    self.directory = directory
    output = directory + "/output"
    let source = directory + "/input"
    try Data(input.utf8).write(to: URL(fileURLWithPath: source))
    try Data().write(to: URL(fileURLWithPath: output))
    process.executableURL = URL(fileURLWithPath: "/usr/bin/env")
    process.arguments = arguments
    process.standardInput = try FileHandle(forReadingFrom: URL(fileURLWithPath: source))
    let sink = try FileHandle(forWritingTo: URL(fileURLWithPath: output))
    process.standardOutput = sink
    process.standardError = sink
    try process.run()
  }

  func finish() throws -> (status: Int32, output: String) {
    process.waitUntilExit()
    return (process.terminationStatus, try String(decoding: Data(contentsOf: URL(fileURLWithPath: output)), as: UTF8.self))
  }
}

func installed(_ program: String) -> Bool {
  (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").contains {
    FileManager.default.isExecutableFile(atPath: $0 + "/" + program)
  }
}

func nowS() -> Int64 { SystemClock.wallMs() / 1_000 }

/// A server whose authority lies in the directory as `ca.pem`.
func echoServer(in directory: String, allowTLS12: Bool = false) throws -> EchoServer {
  let authority = try DevelopmentCA.make(nowS: nowS())
  try Data(authority.certificatePEM).write(to: URL(fileURLWithPath: directory + "/ca.pem"))
  let identity = try authority.serverIdentity(nowS: nowS())
  try Data(identity.certificatePEM).write(to: URL(fileURLWithPath: directory + "/server.pem"))
  return try EchoServer(
    TLSServerContext(identity: identity, ticketKeys: randomBytes(TLSServerContext.ticketKeyBytes), allowTLS12: allowTLS12))
}

@Suite(.serialized) struct Interop {
  @Test(.enabled(if: installed("openssl")), arguments: [("127.0.0.1", "-4"), ("[::1]", "-6")])
  func sClientIsServed(host: String, family: String) throws {
    let directory = try TemporaryDirectory()
    var server = try echoServer(in: directory.path)
    let peer = try Peer(
      [
        "openssl", "s_client", "-quiet", family, "-connect", "\(host):\(server.port)", "-CAfile", directory / "ca.pem",
        "-verify_return_error", "-verify_hostname", "localhost",
      ], input: "a line\n", in: directory.path)
    try server.serve(1)
    let (status, output) = try peer.finish()
    #expect(server.conclusions == [.served(version: .tls13, resumed: false, bytes: 7)])
    #expect(status == 0 && output.contains("a line\n"), "\(output)")
  }

  @Test(.enabled(if: installed("openssl"))) func sClientWithTLS12IsRefusedByDefault() throws {
    let directory = try TemporaryDirectory()
    var server = try echoServer(in: directory.path)
    let peer = try Peer(
      ["openssl", "s_client", "-quiet", "-tls1_2", "-connect", "127.0.0.1:\(server.port)"], input: "a line\n",
      in: directory.path)
    try server.serve(1)
    let (status, output) = try peer.finish()
    guard case .failed(.noSharedVersion)? = server.conclusions.first else {
      Issue.record("\(server.conclusions)")
      return
    }
    #expect(status != 0 && output.contains("protocol version"), "\(output)")
  }

  @Test(.enabled(if: installed("openssl")), arguments: ["ECDHE-ECDSA-AES128-GCM-SHA256", "ECDHE-ECDSA-CHACHA20-POLY1305"])
  func sClientWithTLS12IsServedWhenAllowed(cipher: String) throws {
    let directory = try TemporaryDirectory()
    var server = try echoServer(in: directory.path, allowTLS12: true)
    let peer = try Peer(
      [
        "openssl", "s_client", "-quiet", "-tls1_2", "-cipher", cipher, "-connect", "127.0.0.1:\(server.port)", "-CAfile",
        directory / "ca.pem", "-verify_return_error",
      ], input: "a line\n", in: directory.path)
    try server.serve(1)
    #expect(try peer.finish().status == 0)
    #expect(server.conclusions == [.served(version: .tls12, resumed: false, bytes: 7)])
  }

  @Test(.enabled(if: installed("openssl"))) func sClientWithAnOldSuiteIsRefused() throws {
    let directory = try TemporaryDirectory()
    var server = try echoServer(in: directory.path, allowTLS12: true)
    let peer = try Peer(
      [
        "openssl", "s_client", "-quiet", "-tls1_2", "-cipher", "ECDHE-ECDSA-AES128-SHA256", "-connect",
        "127.0.0.1:\(server.port)",
      ], input: "a line\n", in: directory.path)
    try server.serve(1)
    #expect(try peer.finish().status != 0)
    guard case .failed(.noSharedAlgorithm)? = server.conclusions.first else {
      Issue.record("\(server.conclusions)")
      return
    }
  }

  @Test(.enabled(if: installed("openssl"))) func certificatesPassStrictChecks() throws {
    let directory = try TemporaryDirectory()
    _ = try echoServer(in: directory.path)
    let peer = try Peer(
      [
        "openssl", "verify", "-x509_strict", "-purpose", "sslserver", "-verify_ip", "::1", "-CAfile", directory / "ca.pem",
        directory / "server.pem",
      ], in: directory.path)
    let (status, output) = try peer.finish()
    #expect(status == 0, "\(output)")
  }

  /// Python checks name and chain by itself, resumes with the ticket, and ends with close_notify on both sides.
  static let script = """
    import socket, ssl, sys
    context = ssl.create_default_context(cafile=sys.argv[2])
    session = None
    for address in ("127.0.0.1", "::1"):
        plain = socket.create_connection((address, int(sys.argv[1])), timeout=20)
        with context.wrap_socket(plain, server_hostname="localhost", session=session) as s:
            s.sendall(b"x" * 20000 + b"\\n")
            got = b""
            while True:
                part = s.recv(65536)
                if not part: break
                got += part
            assert got == b"x" * 20000 + b"\\n", len(got)
            session = s.session
            print(s.version(), s.session_reused, s.cipher()[0])
            s.unwrap()
    """

  @Test(.enabled(if: installed("python3"))) func pythonIsServedAndResumes() throws {
    let directory = try TemporaryDirectory()
    var server = try echoServer(in: directory.path)
    let peer = try Peer(
      ["python3", "-c", Interop.script, "\(server.port)", directory / "ca.pem"], in: directory.path)
    try server.serve(2)
    let (status, output) = try peer.finish()
    #expect(status == 0, "\(output)")
    #expect(output.hasPrefix("TLSv1.3 False") && output.contains("TLSv1.3 True"), "\(output)")
    #expect(
      server.conclusions == [
        .served(version: .tls13, resumed: false, bytes: 20_001), .served(version: .tls13, resumed: true, bytes: 20_001),
      ])
  }

  @Test(arguments: [("GET / HTTP/1.1\r\n\r\n", ClientHelloGate.Refusal.http), ("$GPRMC,1,2", .plainText)])
  func plainTextIsTurnedAwayBeforeAnyEngine(text: String, refusal: ClientHelloGate.Refusal) throws {
    let directory = try TemporaryDirectory()
    var server = try echoServer(in: directory.path)
    let client = try TCPStream.connect(to: HostPort(host: "::1", port: server.port), until: soon())
    _ = try client.write(Array(text.utf8).span)
    try server.serve(1)
    #expect(server.conclusions == [.turnedAway(refusal)])
    #expect(try read(client.descriptor) == nil)
  }

  @Test func ownClientOverASocket() throws {
    let directory = try TemporaryDirectory()
    var server = try echoServer(in: directory.path)
    let authority = try Array(Data(contentsOf: URL(fileURLWithPath: directory / "ca.pem")))
    let context = try TLSClientContext(authorityPEM: authority)
    let target = HostPort(host: "127.0.0.1", port: server.port)
    // A thread, not a task: serving blocks, and with few cores it would block what it waits for.
    let done = try EventFD()
    Thread.detachNewThread {
      let result = Result { try Interop.exchange(with: target, context) }
      Interop.answers.withLock { $0 = result }
      done.signal()
    }
    try server.serve(1)
    try done.descriptor.wait(readable: true, writable: false, until: soon())
    #expect(server.conclusions == [.served(version: .tls13, resumed: false, bytes: 6)])
    let received = try Interop.answers.withLock { $0 }?.get()
    #expect(received == Array("hello\n".utf8))
  }

  static let answers = Mutex<Result<[UInt8], any Error>?>(nil)

  /// A device in small: connects, sends a line when the handshake is done, reads to close_notify.
  static func exchange(with target: HostPort, _ context: TLSClientContext) throws -> [UInt8] {
    let stream = try TCPStream.connect(to: target, until: soon())
    var engine = try TLSEngine(client: context, serverName: "127.0.0.1")
    var received: [UInt8] = []
    var sent = false
    while true {
      while true {
        let empty = try engine.drain { output throws(NetError) in
          guard case .bytes(let count) = try stream.write(output) else { return 0 }
          return count
        }
        if empty { break }
        try stream.descriptor.wait(readable: false, writable: true, until: soon())
      }
      guard let input = try read(stream.descriptor) else { return received }
      var room = [UInt8](repeating: 0, count: 8_192)
      var offset = 0
      var span = room.mutableSpan
      let progress = try engine.receive(input.span, plaintext: &span, at: &offset)
      received += room[..<offset]
      if progress == .closed { return received }
      if engine.isEstablished, !sent {
        sent = true
        try engine.write(Array("hello\n".utf8).span)
      }
    }
  }
}
