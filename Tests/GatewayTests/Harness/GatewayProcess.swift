import Foundation
import GateCore
import GateNet
import GateStore
import Gateway
import Testing

/// The real `fixgate`, run as an operator runs it: a folder from `init`, a `serve` that is killed and started again on the
/// same port, devices with bundles. All of it is gone when this value is.
final class GatewayProcess {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  let folder: String
  let port: UInt16
  /// Added to the environment of `serve`.
  var environment: [String: String] = [:]
  private(set) var server: Child?

  var data: String { folder + "/gateway/data" }
  var store: String { data + "/fixes.db" }
  var config: String { folder + "/gateway/fixgate.yaml" }

  /// As SwiftPM builds it, beside the test bundle.
  static let executable: String = {
    let own = (try? FileManager.default.destinationOfSymbolicLink(atPath: "/proc/self/exe")) ?? CommandLine.arguments[0]
    return URL(fileURLWithPath: own).deletingLastPathComponent().appendingPathComponent("fixgate").path
  }()

  /// - Parameter settings: over the configuration that `init` writes, by their names in the environment.
  init(_ settings: [String: String] = [:]) throws {
    folder = FileManager.default.temporaryDirectory.path + "/fixgate-test-" + UUID().uuidString
    port = try GatewayProcess.freePort()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    environment = [
      "FIXGATE_LISTEN_TLS": "127.0.0.1:\(port)", "FIXGATE_LISTEN_DTLS": "127.0.0.1:\(port),[::1]:\(port)",
      "FIXGATE_LISTEN_PUBLIC_TLS": "localhost:\(port)", "FIXGATE_WORKERS": "2",
      "FIXGATE_JOURNAL_SEGMENT_BYTES": "\(4 << 20)",
    ].merging(settings) { $1 }
    try run(["init", folder + "/gateway", "--port", "\(port)"], withConfig: false)
  }

  deinit {
    server?.kill9()
    try? FileManager.default.removeItem(atPath: folder)
  }

  /// Below the ports that the system gives to clients: a client that connects while nobody listens must not meet itself.
  static func freePort() throws -> UInt16 {
    for _ in 0..<100 {
      let port = UInt16.random(in: 12_000..<32_000)
      if (try? TCPListener(on: SocketAddress(ipv4: 0x7F00_0001, port: port), sharesPort: false)) != nil { return port }
    }
    throw Failure(description: "no free port")
  }

  // MARK: The command line

  @discardableResult func run(
    _ arguments: [String], withConfig: Bool = true, expecting status: Int32 = 0, seconds: Double = 60
  ) throws -> Child.Outcome {
    let child = try Child(
      GatewayProcess.executable, arguments + (withConfig ? ["--config", config] : []), environment: environment)
    guard let outcome = child.wait(seconds: seconds) else {
      child.kill9()
      throw Failure(description: "fixgate \(arguments.joined(separator: " ")) did not end")
    }
    guard outcome.status == status else {
      throw Failure(description: "fixgate \(arguments.joined(separator: " ")) ended with \(outcome.status): \(outcome.errors)")
    }
    return outcome
  }

  /// - Returns: the path of the device's bundle.
  func addDevice(_ id: String, psk: Bool = false) throws -> String {
    let bundle = folder + "/" + id + ".bundle"
    try run(["device", "add", "--tenant", "demo", id, "--out", bundle] + (psk ? ["--psk"] : []))
    return bundle
  }

  func send(_ track: String, bundle: String, select: String? = nil, more: [String] = []) throws -> Child {
    try Child(
      GatewayProcess.executable,
      ["send", "--bundle", bundle, track] + (select.map { ["--select", $0] } ?? []) + more)
  }

  // MARK: serve

  /// A `serve` that is not waited for; it may be one that must not start.
  /// - Parameter wrapper: a command that runs it, such as env.
  func spawn(_ added: [String: String] = [:], through wrapper: [String] = []) throws -> Child {
    let command = wrapper + [GatewayProcess.executable, "serve", "--config", config]
    return try Child(command[0], Array(command.dropFirst()), environment: environment.merging(added) { $1 })
  }

  /// Starts it and waits for its line `ready`.
  func start(_ added: [String: String] = [:], through wrapper: [String] = []) throws {
    let child = try spawn(added, through: wrapper)
    guard child.line("ready", seconds: 60) != nil else {
      let outcome = child.kill9()
      throw Failure(description: "fixgate serve is not ready: \(outcome?.errors ?? "")")
    }
    server = child
  }

  func kill9() {
    server?.kill9()
    server = nil
  }

  /// Its files may not grow past this, as on a full disk; `nil` takes the bound away. Start it through
  /// `env --default-signal=XFSZ`: whoever runs the tests may ignore that signal, and children inherit that.
  func limitFiles(toBytes bytes: Int?) throws {
    let id = try #require(server?.id)
    let value = bytes.map { "\($0)" } ?? "unlimited"
    let child = try Child("/usr/bin/env", ["prlimit", "--pid", "\(id)", "--fsize=\(value):unlimited"])
    #expect(child.wait(seconds: 10)?.status == 0)
  }

  /// SIGTERM.
  /// - Returns: how it ended.
  func terminate() throws -> Child.Outcome {
    guard let child = server else { throw Failure(description: "it does not run") }
    child.signal(SIGTERM)
    guard let outcome = child.wait(seconds: 60) else { throw Failure(description: "it does not heed SIGTERM") }
    server = nil
    return outcome
  }

  // MARK: What it says and has

  /// `fixgate status --format json`, with the equation checked.
  func status() throws -> Status {
    let text = try run(["status", "--format", "json"]).output
    let status = try JSONDecoder().decode(Status.self, from: Data(text.utf8))
    #expect(status.balanced && status.fixes.isBalanced, "\(status.fixes)")
    return status
  }

  /// Asks for the status until all that was taken is in the store; or, below, until it is otherwise so.
  @discardableResult func drained(seconds: Double = 60) throws -> Status {
    try status("drained", seconds: seconds) { $0.fixes.queued == 0 && $0.fixes.pending == 0 }
  }

  @discardableResult func status(
    _ what: String, seconds: Double = 60, until isSo: (Status) -> Bool
  ) throws -> Status {
    let deadline = SystemClock.now().advanced(byNs: UInt64(seconds * 1e9))
    while true {
      let status = try status()
      if isSo(status) { return status }
      guard SystemClock.now() < deadline else { throw Failure(description: "not \(what): \(status)") }
    }
  }

  /// One number out of the store, which the gateway may be writing.
  func count(_ sql: String) throws -> Int64 {
    try SQLiteConnection(path: store, access: .readOnly).integer(sql)
  }

  /// Opens what is sealed of the first tenant, as the command line does.
  func cipher() throws -> BookCipher {
    let keys = try SubjectKeys.reading(tenant: 1, directory: data, keyPath: folder + "/gateway/registry.key")
    guard let keys else { throw Failure(description: "nothing was ever sealed") }
    return try BookCipher(keys)
  }

  /// What the dedupe checkpoint on disk knows, places opened.
  func checkpoint() throws -> DeviceTable {
    guard case .checkpoint(let checkpoint) = try CheckpointFile.read(in: Directory(data), with: cipher()) else {
      throw Failure(description: "no checkpoint")
    }
    return checkpoint.devices
  }

  /// A device's stored fixes, in order of stream and sequence.
  func rows(of device: String, in file: String? = nil) throws -> [TrackRow] {
    let connection = try SQLiteConnection(path: file ?? store, access: .readOnly)
    let statement = try SQLiteStatement(
      connection,
      """
      SELECT f.sequence, f.fix_time_ms, f.latitude_e7, f.longitude_e7 FROM fix f JOIN device d ON d.idx = f.device
      WHERE d.id = ? ORDER BY f.stream, f.sequence
      """)
    statement.bind(device, at: 1)
    var rows: [TrackRow] = []
    while try statement.step() {
      rows.append(
        TrackRow(
          sequence: statement.int64(0), timeMs: statement.int64(1), latitudeE7: statement.int64(2),
          longitudeE7: statement.int64(3)))
    }
    return rows
  }
}

extension GatewayProcess {
  /// Writes the configuration's list of sinks: `- sqlite`, or what follows `type:`, and so on.
  func configure(sinks: String) throws {
    let text = try String(contentsOfFile: config, encoding: .utf8)
    let before = text.components(separatedBy: "\nsinks:")[0]
    try Data((before + "\nsinks:\n" + sinks + "\n").utf8).write(to: URL(fileURLWithPath: config))
  }
}
