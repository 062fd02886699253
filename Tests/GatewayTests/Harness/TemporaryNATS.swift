#if JetStream
import Foundation
import GateCore
import GateJetStream
import GateNet

/// nats-servers with JetStream, one or a cluster, in a temporary folder and on free ports; gone when this value is.
final class TemporaryNATS {
  static let password = "correct horse"

  let folder: String
  let ports: [UInt16]
  private var servers: [Child?]

  private static let program: String =
    ["/usr/sbin/nats-server", "/usr/bin/nats-server", "/usr/local/bin/nats-server"].first {
      FileManager.default.isExecutableFile(atPath: $0)
    } ?? "nats-server"

  /// - Parameter more: lines of each server's configuration, such as users.
  init(nodes: Int = 1, more: String = "", hasJetStream: Bool = true) throws {
    folder = "/tmp/fixgate-nats-" + UUID().uuidString
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    var free: Set<UInt16> = []
    while free.count < 2 * nodes { free.insert(try GatewayProcess.freePort()) }
    let (clients, routes) = (Array(free.prefix(nodes)), Array(free.dropFirst(nodes)))
    ports = clients
    servers = Array(repeating: nil, count: nodes)
    for node in 0..<nodes {
      var text = "server_name: n\(node)\nlisten: \"127.0.0.1:\(ports[node])\"\n\(more)\n"
      if hasJetStream { text += "jetstream { store_dir: \"\(folder)/n\(node)\", max_mem: 64MB, max_file: 4GB }\n" }
      if nodes > 1 {
        text += "cluster { name: fixgate, listen: \"127.0.0.1:\(routes[node])\", routes: ["
        text += routes.map { "\"nats-route://127.0.0.1:\($0)\"" }.joined(separator: ", ") + "] }\n"
      }
      try Data(text.utf8).write(to: URL(fileURLWithPath: configuration(node)))
    }
    for node in 0..<nodes { try start(node) }
  }

  deinit {
    for server in servers { server?.kill9() }
    try? FileManager.default.removeItem(atPath: folder)
  }

  private func configuration(_ node: Int) -> String { folder + "/n\(node).conf" }

  /// Starts the server and waits until it listens.
  func start(_ node: Int = 0) throws {
    let command = "exec \(TemporaryNATS.program) -T=false -c \(configuration(node)) 2>&1"
    let child = try Child("/bin/sh", ["-c", command])
    servers[node] = child
    guard child.line("[\(child.id)] [INF] Server is ready", seconds: 60) != nil else {
      throw GatewayProcess.Failure(description: "nats-server does not start: \(child.kill9()?.output ?? "")")
    }
  }

  func kill9(_ node: Int = 0) {
    servers[node]?.kill9()
    servers[node] = nil
  }

  /// None of them answers until `wake`.
  func freeze() { for server in servers { server?.signal(SIGSTOP) } }
  func wake() { for server in servers { server?.signal(SIGCONT) } }

  // MARK: What sinks are made with

  var addresses: [String] { ports.map { "127.0.0.1:\($0)" } }

  func server(_ login: JetStreamServer.Login = .none, timeoutS: Int = 5) -> JetStreamServer {
    JetStreamServer(addresses: addresses, login: login, tls: nil, timeoutS: timeoutS)
  }

  /// Of a stream on this many servers.
  func settings(_ change: (inout StreamSettings) -> Void = { _ in }) -> StreamSettings {
    var settings = StreamSettings(
      name: "FIXGATE", subject: "fixgate", replicas: ports.count, retention: .workqueue, maxAgeS: 0, maxBytes: 0,
      messageBytes: 4_096)
    change(&settings)
    return settings
  }

  /// Makes the stream, as soon as the cluster has a leader.
  func makeStream(_ settings: StreamSettings? = nil) throws {
    let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
    while true {
      do {
        _ = try JetStreamConnection.open(server()).migrate(settings ?? self.settings())
        return
      } catch {
        guard SystemClock.now() < deadline else { throw error }
      }
    }
  }
}

extension GatewayProcess {
  /// An entry of the list for that cluster; `more` goes before what is usual.
  func sink(_ name: String, _ nats: TemporaryNATS, more: [String] = []) -> String {
    let usual = [
      "name: \(name)", "servers: [\(nats.addresses.map { "\"\($0)\"" }.joined(separator: ", "))]", "replicas: \(nats.ports.count)",
      "tls: false", "interval_ms: 20", "timeout_s: 2", "message_bytes: 4096", "sync_interval_s: 1",
    ]
    let others = usual.filter { key in !more.contains { $0.prefix { $0 != ":" } == key.prefix { $0 != ":" } } }
    return "  - type: jetstream\n" + (others + more).map { "    \($0)\n" }.joined()
  }
}
#endif
