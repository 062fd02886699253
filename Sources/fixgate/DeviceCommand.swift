import ArgumentParser
import Foundation
import GateCore
import GateDevice
import GateStore
import GateTLS
import Gateway

struct DeviceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "device", abstract: "Enrol, list and revoke devices, and give them new tokens.",
    subcommands: [Add.self, List.self, Rotate.self, Certify.self, Revoke.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Enrol a device and write its bundle: address, certificate authority, token.")

    @Argument(help: "The device's id within its tenant: 1 to 64 letters, digits, '.', '_' or '-'.")
    var id: String

    @Option(help: "Tenant that the device belongs to.")
    var tenant: String

    @Option(help: "Where to write the bundle. It holds the device's secret.")
    var out: String

    @Option(help: "Gateway to name in the bundle, host:port. May be repeated. Default: listen.public_tls.")
    var gateway: [String] = []

    @Flag(help: "Give it a pre-shared key of TLS 1.3 instead of a token; needs tls.registry_key.")
    var psk = false

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      try Enrolment.refuseToOverwrite(out)
      if psk {
        try Enrolment.addKeyed(id: id, tenant: tenant, out: out, gateways: gateway, setup: setup)
      } else {
        try Enrolment.add(id: id, tenant: tenant, out: out, gateways: gateway, setup: setup)
      }
      let running = try Enrolment.tellGateway(setup)
      print("\(tenant)/\(id) is enrolled; its bundle is \(out)" + (running == nil ? "" : "; the running gateway knows it"))
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List devices: tenant, id, state, when enrolled.")

    @Option(help: "Only this tenant's.")
    var tenant: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      for device in try registry.listDevices(tenant: tenant) {
        let created = Date(timeIntervalSince1970: Double(device.createdMs) / 1_000).ISO8601Format()
        print("\(device.tenant)\t\(device.id)\t\(device.revokedMs == nil ? "active" : "revoked")\t\(created)")
      }
    }
  }

  struct Rotate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give a device a new token, in a new bundle; its old ones go on working for an overlap, then end.")

    @Argument(help: "The device's id.")
    var id: String

    @Option(help: "Tenant that the device belongs to.")
    var tenant: String

    @Option(help: "Where to write the new bundle. It holds the device's secret.")
    var out: String

    @Option(help: "How long the old tokens go on working: 90s, 30m, 12h, 7d; 0 ends them at once.")
    var overlap = "7d"

    @Option(help: "Gateway to name in the bundle, host:port. May be repeated. Default: listen.public_tls.")
    var gateway: [String] = []

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      guard let overlapS = Duration.seconds(parsing: overlap) else {
        throw Complaint("--overlap must be a number of s, m, h or d, such as 7d, not '\(overlap)'")
      }
      let setup = try config.load()
      try Enrolment.refuseToOverwrite(out)
      let nowMs = Clock.nowMs
      try Enrolment.issue(id: id, tenant: tenant, out: out, gateways: gateway, setup: setup) { registry, secret in
        try registry.rotateToken(
          tenant: tenant, id: id, tokenSelector: secret.selector, tokenHash: secret.hash, overlapMs: overlapS * 1_000,
          nowMs: nowMs)
      }
      let running = try Enrolment.tellGateway(setup)
      let end = Date(timeIntervalSince1970: Double(nowMs) / 1_000 + Double(overlapS)).ISO8601Format()
      print(
        "\(tenant)/\(id) has a new token, in \(out); its old ones end \(overlapS == 0 ? "now" : "at \(end)")"
          + (running == nil ? "" : "; the running gateway knows it"))
    }
  }

  struct Certify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Enter a client certificate for a device, by its fingerprint, so that it opens sessions without a token.",
      discussion: "Its authority must stand in tls.client_authority.")

    @Argument(help: "The device's id; it is enrolled if it is new.")
    var id: String

    @Option(help: "Tenant that the device belongs to.")
    var tenant: String

    @Option(help: "The certificate, PEM; its private key stays with the device.")
    var certificate: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let leaf = try PeerCertificate.leaf(of: PEM.read(certificate, as: .certificate))
      let credential = NewCredential.certificate(fingerprint: SecretHash(leaf.fingerprint.span))
      let registry = try RegistryStore(path: setup.registryPath)
      do throws(RegistryError) {
        _ = try registry.addDevice(tenant: tenant, id: id, credential: credential, nowMs: Clock.nowMs)
      } catch {
        guard case .deviceExists = error else { throw error }
        try registry.addCredential(tenant: tenant, id: id, credential: credential, nowMs: Clock.nowMs)
      }
      let running = try Enrolment.tellGateway(setup)
      print("\(tenant)/\(id) may come by this certificate" + (running == nil ? "" : "; the running gateway knows it"))
      if setup.configuration.tls.clientAuthority.isEmpty {
        print("tls.client_authority is empty: name the certificate's authority there, then reload the gateway")
      }
    }
  }

  struct Revoke: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Revoke a device, or one of its certificates: connections end at once, it is never let in again.")

    @Argument(help: "The device's id.")
    var id: String

    @Option(help: "Tenant that the device belongs to.")
    var tenant: String

    @Option(help: "Only this certificate of the device, PEM.")
    var certificate: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      if let certificate {
        let leaf = try PeerCertificate.leaf(of: PEM.read(certificate, as: .certificate))
        try registry.revokeCertificate(
          tenant: tenant, id: id, fingerprint: SecretHash(leaf.fingerprint.span), nowMs: Clock.nowMs)
        let closed = try Enrolment.tellGateway(setup)
        print("the certificate of \(tenant)/\(id) is revoked; connections closed: \(closed ?? 0)")
        return
      }
      _ = try registry.revokeDevice(tenant: tenant, id: id, nowMs: Clock.nowMs)
      if let closed = try Enrolment.tellGateway(setup) {
        print("\(tenant)/\(id) is revoked; connections closed: \(closed)")
      } else {
        print("\(tenant)/\(id) is revoked; no gateway runs here")
      }
    }
  }
}

/// The command line writes the registry itself, in a short transaction, and then tells the gateway that runs on it, if any.
enum Enrolment {
  static func refuseToOverwrite(_ path: String) throws {
    guard !FileManager.default.fileExists(atPath: path) else {
      throw Complaint("\(path) exists: choose another name, so that no device loses its secret")
    }
  }

  static func add(id: String, tenant: String, out: String, gateways: [String], setup: Setup) throws {
    try issue(id: id, tenant: tenant, out: out, gateways: gateways, setup: setup) { registry, secret in
      _ = try registry.addDevice(
        tenant: tenant, id: id, tokenSelector: secret.selector, tokenHash: secret.hash, nowMs: Clock.nowMs)
    }
  }

  /// The same by a pre-shared key, which lies encrypted in the registry.
  static func addKeyed(id: String, tenant: String, out: String, gateways: [String], setup: Setup) throws {
    let path = setup.path(setup.configuration.tls.registryKey)
    guard let sealer = FileManager.default.contents(atPath: path) else {
      throw Complaint("cannot read \(path): make it with 'head -c 32 /dev/urandom', chmod 600, and reload the gateway")
    }
    guard sealer.count == Seal.keyBytes else { throw GatewayError.badRegistryKey(path: path) }
    let made = try Credentials.makeKey(sealedUnder: Array(sealer))
    let psk = GateDevice.Bundle.PreSharedKey(
      identity: String(decoding: made.key.identity, as: UTF8.self), secret: made.key.secret)
    try write(id: id, tenant: tenant, token: [], psk: psk, out: out, gateways: gateways, setup: setup) { registry in
      _ = try registry.addDevice(tenant: tenant, id: id, credential: made.credential, nowMs: Clock.nowMs)
    }
  }

  /// Makes a token, writes its bundle, and has `enter` put the token into the registry; if that fails no bundle is left.
  static func issue(
    id: String, tenant: String, out: String, gateways: [String], setup: Setup,
    enter: (borrowing RegistryStore, (token: [UInt8], selector: UInt64, hash: SecretHash)) throws -> Void
  ) throws {
    let secret = try Credentials.make()
    try write(id: id, tenant: tenant, token: secret.token, psk: nil, out: out, gateways: gateways, setup: setup) {
      registry in try enter(registry, secret)
    }
  }

  private static func write(
    id: String, tenant: String, token: [UInt8], psk: GateDevice.Bundle.PreSharedKey?, out: String, gateways: [String],
    setup: Setup, enter: (borrowing RegistryStore) throws -> Void
  ) throws {
    let listen = setup.configuration.listen
    let overTLS = gateways.isEmpty ? listen.publicTLS : gateways
    let overUDP = !gateways.isEmpty || listen.publicDTLS.isEmpty ? overTLS : listen.publicDTLS
    let endpoints = try overTLS.map(endpoint)
    guard let first = endpoints.first else { throw Complaint("name a gateway with --gateway host:port") }
    let authorityPath = setup.path(setup.configuration.tls.authority)
    guard let authority = FileManager.default.contents(atPath: authorityPath) else {
      throw Complaint("cannot read \(authorityPath): set tls.authority to the certificate that devices must trust")
    }
    let bundle = GateDevice.Bundle(
      gateways: endpoints, gatewaysUDP: listen.dtls.isEmpty ? [] : try overUDP.map(endpoint), serverName: first.host, tenant: tenant, device: id, token: token, psk: psk,
      certificates: String(decoding: authority, as: UTF8.self))
    let registry = try RegistryStore(path: setup.registryPath)
    // The bundle first: without it an enrolled device could not be used, while a bundle without a device is refused.
    try Installation.write(Array(bundle.text.utf8), to: out, mode: 0o600)
    do {
      try enter(registry)
    } catch {
      try? FileManager.default.removeItem(atPath: out)
      throw error
    }
  }

  private static func endpoint(_ text: String) throws -> GateDevice.Bundle.Endpoint {
    guard let endpoint = GateDevice.Bundle.Endpoint(text) else {
      throw Complaint("'\(text)' is not host:port or [address]:port")
    }
    return endpoint
  }

  /// - Returns: connections that the running gateway closed; `nil` if none runs.
  static func tellGateway(_ setup: Setup) throws -> Int? {
    guard let answer = try ControlClient.ask(.reload, directory: setup.dataDirectory) else { return nil }
    if let problem = answer.problem { throw Complaint("the running gateway did not take the change: \(problem)") }
    return answer.closed ?? 0
  }
}
