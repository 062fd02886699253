package import Foundation
import GateDevice
package import GateNet
import GateStore
import GateTLS
package import Gateway

package enum Transport: String, Sendable, CaseIterable {
  case tls
  case dtls
}

/// A gateway's folder with its devices enrolled, from which any number of gateways start alike.
package final class Enrolment {
  package let tokens: [[UInt8]]
  let folder: String

  /// The development certificate, its key and who signed it, PEM.
  package var certificate: Data { file("server.crt") }
  package var key: Data { file("server.key") }
  package var authority: Data { file("ca.crt") }
  package var authorityPEM: [UInt8] { Array(authority) }

  /// Made in memory where the system has such a folder: each enrolment is synced, and here nobody measures that.
  package init(devices: Int) throws {
    let memory = "/dev/shm"
    let parent = FileManager.default.isWritableFile(atPath: memory) ? memory : NSTemporaryDirectory()
    folder = parent + "/fixgate-bench-\(UUID().uuidString)"
    try GatewayProcess.run(try GatewayProcess.beside("fixgate"), ["init", folder, "--port", "7443"])
    let registry = try RegistryStore(path: folder + "/data/" + GatewayServer.registryName)
    var tokens: [[UInt8]] = []
    for i in 0..<devices {
      let secret = try Credentials.make()
      _ = try registry.addDevice(
        tenant: "demo", id: "bench-\(i)", tokenSelector: secret.selector, tokenHash: secret.hash, nowMs: 1)
      tokens.append(secret.token)
    }
    self.tokens = tokens
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  /// Enrols one more device, which proves itself by a pre-shared key. Before a gateway is made from this.
  package func addPreSharedKey(_ name: String) throws -> (identity: [UInt8], key: [UInt8]) {
    let path = folder + "/\(name).bundle"
    try GatewayProcess.run(
      try GatewayProcess.beside("fixgate"),
      ["device", "add", "--config", folder + "/fixgate.yaml", "--tenant", "demo", name, "--psk", "--out", path])
    guard let key = try GateDevice.Bundle(parsing: String(contentsOfFile: path, encoding: .utf8)).psk else { throw ServerError.notReady }
    return (Array(key.identity.utf8), key.secret)
  }

  private func file(_ name: String) -> Data { FileManager.default.contents(atPath: folder + "/" + name) ?? Data() }
}

/// The real `fixgate serve` as a child, in a folder of its own: TLS, journal with fsync, SQLite.
package final class GatewayProcess {
  package let enrolment: Enrolment
  private let transport: Transport
  package private(set) var address: SocketAddress
  private var child: Process
  private let environment: [String: String]
  private let folder: String
  private let countersFile: String

  package var id: Int32 { child.processIdentifier }

  /// - Parameters:
  ///   - parent: a folder on the disk to be measured; what is made in it goes with this object.
  ///   - workers: 0 for one a CPU.
  ///   - counting: with the hook preloaded.
  ///   - settings: over the configuration that `init` writes, by their names in the environment.
  ///   - sink: one beside the embedded store: its name, and its entry in the configuration.
  package init(
    _ enrolment: Enrolment, in parent: String, transport: Transport = .tls, workers: Int, counting: Bool = false,
    settings: [String: String] = [:], beside sink: (name: String, entry: String)? = nil
  ) throws {
    self.enrolment = enrolment
    self.transport = transport
    folder = parent + "/path-\(UUID().uuidString)"
    countersFile = folder + ".counters"
    try FileManager.default.copyItem(atPath: enrolment.folder, toPath: folder)
    if let sink { try GatewayProcess.add(sink, in: folder) }

    var environment = ProcessInfo.processInfo.environment
    environment["FIXGATE_LISTEN_TLS"] = "127.0.0.1:0"
    environment["FIXGATE_LISTEN_DTLS"] = transport == .dtls ? "127.0.0.1:0" : ""
    environment["FIXGATE_WORKERS"] = "\(workers)"
    environment["FIXGATE_LOG_LEVEL"] = "warning"
    // A fleet on one machine is faster than its devices would be; the limiter still charges every frame and fix.
    for limit in ["FRAMES_PER_SECOND", "FRAMES_BURST", "LIVE_PER_SECOND"] {
      environment["FIXGATE_LIMITS_" + limit] = "1000000"
    }
    environment["FIXGATE_LIMITS_LIVE_BURST"] = "10000000"
    environment.merge(settings) { $1 }
    if counting {
      environment["LD_PRELOAD"] = try GatewayProcess.beside("libpathhook.so")
      environment["FIXGATE_PATH_COUNTERS"] = countersFile
    }
    self.environment = environment
    (child, address) = try GatewayProcess.serve(folder, environment, transport)
  }

  private static func add(_ sink: (name: String, entry: String), in folder: String) throws {
    let file = URL(filePath: folder + "/fixgate.yaml")
    let text = try String(contentsOf: file, encoding: .utf8)
    try Data((text.components(separatedBy: "\nsinks:")[0] + "\nsinks:\n  - sqlite\n" + sink.entry).utf8).write(to: file)
    try run(
      try beside("fixgate"),
      ["tenant", "egress", "demo", "--config", file.path, "--sink", "sqlite", "--sink", sink.name])
  }

  private static func serve(
    _ folder: String, _ environment: [String: String], _ transport: Transport
  ) throws -> (Process, SocketAddress) {
    let child = Process()
    child.executableURL = URL(fileURLWithPath: try GatewayProcess.beside("fixgate"))
    child.arguments = ["serve", "--config", folder + "/fixgate.yaml"]
    child.environment = environment
    let output = Pipe()
    child.standardOutput = output
    try child.run()
    var line: [UInt8] = []
    while line.last != UInt8(ascii: "\n") {
      guard let byte = try output.fileHandleForReading.read(upToCount: 1)?.first else { throw ServerError.notReady }
      line.append(byte)
    }
    let words = String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace)
    guard words.first == "ready", let target = words.first(where: { $0.hasPrefix(transport.rawValue + "=") })
    else {
      throw ServerError.notReady
    }
    return (child, try HostPort(String(target.dropFirst(transport.rawValue.count + 1))).resolve()[0])
  }

  /// `kill -9`, and another one on the same data. Its port is a new one: connections of the first may linger on the old.
  package func crashAndRestart() throws {
    kill(child.processIdentifier, SIGKILL)
    child.waitUntilExit()
    (child, address) = try GatewayProcess.serve(folder, environment, transport)
  }

  deinit {
    if child.isRunning { child.terminate() }
    try? FileManager.default.removeItem(atPath: folder)
    try? FileManager.default.removeItem(atPath: countersFile)
  }

  package func counters() throws(ServerError) -> Counters { try Counters(file: countersFile) }

  /// Devices check its certificate and prove themselves by their tokens.
  package func connector() throws -> Connect {
    let address = address
    switch transport {
    case .tls:
      let context = try TLSClientContext(authorityPEM: enrolment.authorityPEM)
      return { ticket, _ in
        try TLSLink(to: address, context: context, serverName: "localhost", ticket: ticket)
      }
    case .dtls:
      let context = try DTLSClientContext(
        authorityPEM: enrolment.authorityPEM, identity: nil, suites: [.ecdheECDSAAES128GCM])
      return { _, now in try DTLSLink(to: address, context: context, serverName: "localhost", at: now) }
    }
  }

  /// Asks over the control socket, like `fixgate status`.
  package func status() throws -> Status {
    guard let status = try ControlClient.ask(.status, directory: folder + "/data")?.status else {
      throw ServerError.notReady
    }
    return status
  }

  /// Its data directory.
  package var data: String { folder + "/data" }

  /// Gives all subjects of the devices' tenant new keys, like `fixgate subject rotate-keys`.
  /// - Returns: how many.
  package static func rotateKeys(in data: String) throws -> Int {
    guard let keys = try ControlClient.ask(.rotateKeys(tenant: 1), directory: data)?.keys else { throw ServerError.notReady }
    return keys
  }

  /// Ends the gateway in order. Its folder goes with this object.
  package func stop() throws {
    child.terminate()
    child.waitUntilExit()
    guard child.terminationStatus == 0 else { throw ServerError.exit(child.terminationStatus) }
  }

  /// A product that was built into the same folder as this executable.
  package static func beside(_ name: String) throws(ServerError) -> String {
    let path = Foundation.Bundle.main.bundlePath + "/" + name
    guard FileManager.default.fileExists(atPath: path) else { throw .notBuilt(name) }
    return path
  }

  package static func run(_ path: String, _ arguments: [String], environment: [String: String]? = nil) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    if let environment { process.environment = environment }
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw ServerError.exit(process.terminationStatus) }
  }
}
