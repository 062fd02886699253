import Foundation
import GateCore
import GateNet
import GateStore
import GateTLS
import Gateway
import Synchronization
import Testing

/// A gateway in this process, in a folder of its own, on a free port of loopback.
final class GatewayFixture {
  let folder: String
  let authority: DevelopmentCA
  let gateway: GatewayServer
  let logged = LogLines()
  let port: UInt16

  /// - Parameter configure: changes the configuration, and may put more files into the folder.
  init(_ configure: (inout Configuration, String, DevelopmentCA) throws -> Void = { _, _, _ in }) throws {
    folder = NSTemporaryDirectory() + "fixgate-credentials-" + UUID().uuidString.prefix(8)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    authority = try DevelopmentCA.make(nowS: Now.s)
    try GatewayFixture.write(authority.certificatePEM, folder + "/ca.crt")
    try GatewayFixture.write(try randomBytes(TLSServerContext.ticketKeyBytes), folder + "/ticket.keys")
    try GatewayFixture.writeServer(authority, folder)
    var configuration = Configuration()
    configuration.listen.tls = ["127.0.0.1:0"]
    configuration.listen.dtls = ["127.0.0.1:0"]
    configuration.workers = 1
    configuration.data.devicesMax = 100
    configuration.journal.segmentBytes = 1 << 22
    try configure(&configuration, folder, authority)
    let data = folder + "/" + configuration.data.directory
    try FileManager.default.createDirectory(
      atPath: data, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    _ = try RegistryStore(path: data + "/registry.db").createTenant("demo", nowMs: Now.ms)
    let lines = logged
    gateway = try GatewayServer(configuration, folder: folder) { level, text in lines.add(level, text) }
    port = try #require(gateway.addresses.first.flatMap { UInt16($0.split(separator: ":").last ?? "") })
  }

  deinit {
    gateway.stop()
    try? FileManager.default.removeItem(atPath: folder)
  }

  func registry() throws -> RegistryStore { try RegistryStore(path: folder + "/data/registry.db") }
  var bookPath: String { folder + "/data/" + SubjectBook.name }

  /// As the command line does after a change of the registry.
  /// - Returns: connections closed.
  func tell() throws -> Int {
    let answer = try #require(try ControlClient.ask(.reload, directory: folder + "/data"))
    #expect(answer.problem == nil)
    return answer.closed ?? 0
  }

  /// Enrols a device of tenant demo; the gateway knows it.
  func enrol(_ id: String) throws -> [UInt8] {
    let secret = try Credentials.make()
    _ = try registry().addDevice(
      tenant: "demo", id: id, tokenSelector: secret.selector, tokenHash: secret.hash, nowMs: Now.ms)
    _ = try tell()
    return secret.token
  }

  static func write(_ bytes: [UInt8], _ path: String) throws { try Data(bytes).write(to: URL(fileURLWithPath: path)) }

  static func writeServer(_ authority: DevelopmentCA, _ folder: String) throws {
    let identity = try authority.serverIdentity(nowS: Now.s)
    try write(identity.certificatePEM, folder + "/server.crt")
    try write(identity.keyPEM, folder + "/server.key")
  }
}

enum Now {
  static var ms: Int64 { SystemClock.wallMs() }
  static var s: Int64 { ms / 1_000 }
}

final class LogLines: Sendable {
  private let lines = Mutex<[String]>([])
  func add(_ level: LogLevel, _ text: String) { lines.withLock { $0.append("\(level): \(text)") } }
  var all: [String] { lines.withLock { $0 } }
}
