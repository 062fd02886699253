import BenchFleet
import Foundation
import GateCore
import GateNet
import GateTLS

/// What stands beside fixgate.
enum Peer: String, CaseIterable {
  case plain
  case mosquitto
  case nats

  /// What its ack means, and how it was set up.
  var terms: String {
    switch self {
    case .plain:
      "SwiftNIO, NIOSSL, SwiftProtobuf, SQLite: messages are decoded, rows committed by one writer thread in groups (WAL, synchronous=FULL); its ack means a committed row"
    case .mosquitto:
      "QoS 1, persistence on, a subscriber with a durable session that is away, so the broker keeps all; nothing is decoded; its ack means in the broker's memory: it survives no kill"
    case .nats:
      "JetStream, file storage, one replica; nothing is decoded; its ack means written to the page cache, synced every 2 min: it survives a kill, not a power cut"
    }
  }

  /// - Returns: its path; `nil` when it is not there.
  var executable: String? {
    switch self {
    case .plain: try? GatewayProcess.beside("plain-server")
    case .mosquitto: Peer.find("mosquitto")
    case .nats: Peer.find("nats-server")
    }
  }

  /// What to do when it is not there.
  var advice: String {
    switch self {
    case .plain: "it is built with FIXGATE_BENCH=peers"
    case .mosquitto, .nats: "run '.ci/install --peers'"
    }
  }

  /// A file of this name in the folders of PATH, and those for servers.
  private static func find(_ name: String) -> String? {
    let folders = (ProcessInfo.processInfo.environment["PATH"] ?? "").split(separator: ":").map(String.init)
    return (folders + ["/usr/sbin", "/usr/local/sbin"]).map { $0 + "/" + name }
      .first { FileManager.default.isExecutableFile(atPath: $0) }
  }
}

/// A peer as a child process, in a folder of its own, with fixgate's own development certificate.
final class PeerServer: Server {
  let devices: Int
  private let peer: Peer
  private let enrolment: Enrolment
  private let fixes: [Fix]
  private let child = Process()
  private let output = Pipe()
  private let folder: String
  private let address: SocketAddress

  init(_ peer: Peer, _ executable: String, _ enrolment: Enrolment, in parent: String, fixes: [Fix]) throws {
    (self.peer, self.enrolment, self.fixes) = (peer, enrolment, fixes)
    devices = enrolment.tokens.count
    folder = parent + "/peer-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    for (name, data) in [("ca.crt", enrolment.authority), ("server.crt", enrolment.certificate), ("server.key", enrolment.key)] {
      try data.write(to: URL(filePath: folder + "/" + name))
    }
    // A free port: the listener that had it is gone before the server takes it.
    address = .loopback(port: try TCPListener(on: .loopback(port: 0), sharesPort: false).boundPort)
    let path = URL(filePath: folder).standardizedFileURL.path
    try PeerServer.configuration(peer, port: address.port, folder: path)
      .write(toFile: folder + "/peer.conf", atomically: true, encoding: .utf8)
    child.executableURL = URL(filePath: executable)
    child.arguments =
      switch peer {
      case .plain: ["\(address.port)", path]
      case .mosquitto: ["-c", path + "/peer.conf"]
      case .nats: ["-c", path + "/peer.conf"]
      }
    child.standardOutput = output
    child.standardError = FileHandle.nullDevice
    try child.run()
    try waitUntilItListens()
    try prepare()
  }

  deinit {
    if child.isRunning { child.terminate() }
    try? FileManager.default.removeItem(atPath: folder)
  }

  var processes: [Int32] { [child.processIdentifier] }

  func connector() throws -> Connect {
    let context = try TLSClientContext(authorityPEM: enrolment.authorityPEM)
    let (address, greets) = (address, peer == .nats)
    return { ticket, _ in
      try TLSLink(
        to: address, context: context, serverName: "localhost", ticket: ticket, isGreetedFirst: greets)
    }
  }

  func fleet(lanes: [Double], batch: Int, messagesInFlight: Int) -> [Device] {
    enrolment.tokens.enumerated().map { index, token in
      let content = Content(fixes: fixes, offset: index * 60 % fixes.count, batch: batch)
      return switch peer {
      case .plain: Device(PeerConversation(PlainSpeech(token: token), content))
      case .mosquitto: Device(PeerConversation(MQTTSpeech(client: "bench-\(index)"), content))
      case .nats: Device(PeerConversation(NATSSpeech(client: index), content))
      }
    }
  }

  func backlog() -> Int { 0 }
  func commits() -> Int? { nil }

  /// The plain server says how many rows it has; the brokers are taken at their word.
  func finish(acked: Int) throws {
    child.terminate()
    child.waitUntilExit()
    guard peer == .plain else { return }
    let text = String(decoding: output.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
    guard text.contains("rows \(acked)\n") else {
      throw FleetError.conversation("\(acked) fixes were acked, the plain server says: \(text)")
    }
  }

  private func waitUntilItListens() throws {
    let end = SystemClock.now().advanced(byNs: 10_000_000_000)
    while child.isRunning, SystemClock.now() < end {
      do throws(NetError) {
        _ = try TCPStream.connect(to: address, until: end)
        return
      } catch .refused {
        try rest()
      }
    }
    throw ServerError.notReady
  }

  private func rest() throws {
    let never = try EventFD()
    do throws(NetError) {
      try never.descriptor.wait(
        readable: true, writable: false, until: SystemClock.now().advanced(byNs: 20_000_000))
    } catch .timedOut {
    }
  }

  /// The stream, or the consumer for whom the broker keeps what comes.
  private func prepare() throws {
    let content = Content(fixes: fixes, offset: 0, batch: 1)
    let device: Device
    switch peer {
    case .plain: return
    case .mosquitto:
      let consumer = MQTTSpeech(client: "store", keepsSession: true, subscription: MQTTSpeech.topic + "/#")
      device = Device(PeerConversation(consumer, content))
    case .nats: device = Device(PeerConversation(NATSSpeech(client: devices, makesStream: true), content))
    }
    var fleet = try Fleet([device], batch: 1, connect: try connector())
    _ = try fleet.open(1)
  }

  private static func configuration(_ peer: Peer, port: UInt16, folder: String) -> String {
    switch peer {
    case .plain: ""
    case .mosquitto:
      """
      per_listener_settings false
      listener \(port) 127.0.0.1
      allow_anonymous true
      certfile \(folder)/server.crt
      keyfile \(folder)/server.key
      tls_version tlsv1.3
      persistence true
      persistence_location \(folder)/
      max_queued_messages 0
      max_inflight_messages 0
      set_tcp_nodelay true
      log_type error
      user root

      """
    case .nats:
      """
      listen: "127.0.0.1:\(port)"
      max_connections: 100000
      tls { cert_file: "\(folder)/server.crt", key_file: "\(folder)/server.key", timeout: 30 }
      jetstream { store_dir: "\(folder)/stream", max_memory_store: 1GB, max_file_store: 50GB }

      """
    }
  }
}
