import ArgumentParser
import Foundation
import GateConfiguration
import GateNet
import GateStore
import GateTLS
import Gateway

struct InitCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "init",
    abstract: "Make a folder with configuration, development certificate, keys and an empty registry.")

  @Argument(help: "The folder; it must be new or empty.")
  var folder: String

  @Option(name: .customLong("host"), help: "Name or address by which devices reach this gateway. May be repeated.")
  var hosts: [String] = []

  @Option(help: "TCP port for TLS, and UDP port for DTLS.")
  var port: UInt16 = 7_443

  func run() throws {
    try Installation.make(folder, hosts: hosts, port: port)
    print(
      """
      \(folder) is ready: fixgate.yaml, a development certificate for \((hosts + DevelopmentCA.usualNames).joined(separator: ", ")), keys, registry with tenant 'demo'.
      Start it:          fixgate serve --config \(folder)/fixgate.yaml
      Enrol a device:    fixgate device add --config \(folder)/fixgate.yaml --tenant demo bike-1 --out bike-1.bundle
      """)
  }
}

/// What `init` writes.
enum Installation {
  static let tenant = "demo"

  static func make(_ folder: String, hosts: [String], port: UInt16) throws {
    let files = FileManager.default
    if let content = try? files.contentsOfDirectory(atPath: folder), !content.isEmpty {
      throw Complaint("\(folder) is not empty: choose a new folder, so that no key or configuration is overwritten")
    }
    do {
      try files.createDirectory(
        atPath: folder, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
    } catch {
      throw Complaint("cannot make \(folder): \(error.localizedDescription)")
    }
    let nowS = Clock.nowMs / 1_000
    let authority = try DevelopmentCA.make(nowS: nowS)
    let identity = try authority.serverIdentity(names: hosts, nowS: nowS)
    var configuration = Configuration()
    configuration.listen.tls = ["0.0.0.0:\(port)", "[::]:\(port)"]
    configuration.listen.dtls = configuration.listen.tls
    configuration.listen.publicTLS = (hosts.isEmpty ? ["localhost"] : hosts).map { host in
      host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)"
    }
    try write(authority.certificatePEM, to: folder + "/ca.crt", mode: 0o644)
    try write(authority.keyPEM, to: folder + "/ca.key", mode: 0o600)
    try write(identity.certificatePEM, to: folder + "/server.crt", mode: 0o644)
    try write(identity.keyPEM, to: folder + "/server.key", mode: 0o600)
    try write(try randomBytes(TLSServerContext.ticketKeyBytes), to: folder + "/ticket.keys", mode: 0o600)
    try write(try randomBytes(Seal.keyBytes), to: folder + "/registry.key", mode: 0o600)
    try write(Array(ConfigurationFile.commented(configuration).utf8), to: folder + "/fixgate.yaml", mode: 0o644)
    let data = folder + "/" + configuration.data.directory
    try Directory.make(data)
    let registry = try RegistryStore(path: data + "/" + GatewayServer.registryName)
    _ = try registry.createTenant(tenant, nowMs: Clock.nowMs)
  }

  static func refuseToOverwrite(_ path: String) throws {
    guard !FileManager.default.fileExists(atPath: path) else {
      throw Complaint("\(path) exists: choose another name, so that no device loses its secret")
    }
  }

  /// Writes a new file; its mode is right from the first moment, since it may hold a secret.
  static func write(_ bytes: [UInt8], to path: String, mode: Int) throws {
    guard
      FileManager.default.createFile(
        atPath: path, contents: nil, attributes: [.posixPermissions: mode]),
      let handle = FileHandle(forWritingAtPath: path)
    else { throw Complaint("cannot write \(path): check that the folder exists and can be written to") }
    try handle.write(contentsOf: Data(bytes))
    try handle.close()
  }
}
