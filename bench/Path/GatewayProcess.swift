import Foundation
package import GateNet
import GateStore
package import Gateway

/// The real `fixgate serve` as a child, in a folder of its own: TLS, journal with fsync, SQLite.
package final class GatewayProcess {
  package private(set) var address: SocketAddress
  package let authorityPEM: [UInt8]
  package let tokens: [[UInt8]]
  private var child: Process
  private let environment: [String: String]
  private let folder: String
  private let countersFile: String

  package var id: Int32 { child.processIdentifier }

  /// - Parameters:
  ///   - parent: a folder on the disk to be measured; what is made in it is removed by `stop`.
  ///   - devices: number to enrol.
  ///   - counting: with the hook preloaded.
  ///   - settings: over the configuration that `init` writes, by their names in the environment.
  package init(
    in parent: String, devices: Int, workers: Int, counting: Bool, settings: [String: String] = [:]
  ) throws {
    folder = parent + "/path-\(UUID().uuidString)"
    countersFile = folder + ".counters"
    try GatewayProcess.run(try GatewayProcess.beside("fixgate"), ["init", folder, "--port", "7443"])
    authorityPEM = Array(FileManager.default.contents(atPath: folder + "/ca.crt") ?? Data())
    let registry = try RegistryStore(path: folder + "/data/" + GatewayServer.registryName)
    var tokens: [[UInt8]] = []
    for i in 0..<devices {
      let secret = try Credentials.make()
      _ = try registry.addDevice(
        tenant: "demo", id: "bench-\(i)", tokenSelector: secret.selector, tokenHash: secret.hash, nowMs: 1)
      tokens.append(secret.token)
    }
    self.tokens = tokens

    var environment = ProcessInfo.processInfo.environment
    environment["FIXGATE_LISTEN_TLS"] = "127.0.0.1:0"
    environment["FIXGATE_LISTEN_DTLS"] = "127.0.0.1:0"
    environment["FIXGATE_WORKERS"] = "\(workers)"
    environment["FIXGATE_LOG_LEVEL"] = "warning"
    // A closed loop sends as fast as it is answered; the limiter still charges every frame and fix.
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
    (child, address) = try GatewayProcess.serve(folder, environment)
  }

  private static func serve(_ folder: String, _ environment: [String: String]) throws -> (Process, SocketAddress) {
    let child = Process()
    child.executableURL = URL(fileURLWithPath: try GatewayProcess.beside("fixgate"))
    child.arguments = ["serve", "--config", folder + "/fixgate.yaml"]
    child.environment = environment
    let output = Pipe()
    child.standardOutput = output
    try child.run()
    var line: [UInt8] = []
    while line.last != UInt8(ascii: "\n") {
      guard let byte = try output.fileHandleForReading.read(upToCount: 1)?.first else { throw PathError.notReady }
      line.append(byte)
    }
    let words = String(decoding: line, as: UTF8.self).split(whereSeparator: \.isWhitespace)
    guard words.first == "ready", let target = words.first(where: { $0.hasPrefix("tls=") }) else {
      throw PathError.notReady
    }
    return (child, try HostPort(String(target.dropFirst(4))).resolve()[0])
  }

  /// `kill -9`, and another one on the same data. Its port is a new one: connections of the first may linger on the old.
  package func crashAndRestart() throws {
    kill(child.processIdentifier, SIGKILL)
    child.waitUntilExit()
    (child, address) = try GatewayProcess.serve(folder, environment)
  }

  deinit {
    if child.isRunning { child.terminate() }
    try? FileManager.default.removeItem(atPath: folder)
    try? FileManager.default.removeItem(atPath: countersFile)
  }

  package func counters() throws(PathError) -> Counters { try Counters(file: countersFile) }

  /// Asks over the control socket, like `fixgate status`.
  package func status() throws -> Status {
    guard let status = try ControlClient.ask(.status, directory: folder + "/data")?.status else {
      throw PathError.notReady
    }
    return status
  }

  /// Ends the gateway in order. Its folder goes with this object.
  package func stop() throws {
    child.terminate()
    child.waitUntilExit()
    guard child.terminationStatus == 0 else { throw PathError.exit(child.terminationStatus) }
  }

  /// A product that was built into the same folder as this executable.
  static func beside(_ name: String) throws(PathError) -> String {
    let path = Foundation.Bundle.main.bundlePath + "/" + name
    guard FileManager.default.fileExists(atPath: path) else { throw .notBuilt(name) }
    return path
  }

  static func run(_ path: String, _ arguments: [String], environment: [String: String]? = nil) throws {
    let process = Process()
    process.executableURL = URL(fileURLWithPath: path)
    process.arguments = arguments
    if let environment { process.environment = environment }
    process.standardOutput = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    guard process.terminationStatus == 0 else { throw PathError.exit(process.terminationStatus) }
  }
}
