import ArgumentParser
import Foundation
import GateCore
import GateStore
import GateTLS
import Gateway

struct DeviceCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "device", abstract: "Enrol, list and revoke devices, and give them new credentials.",
    subcommands: [Add.self, List.self, Rotate.self, Certify.self, Revoke.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Enrol a device and write its bundle: address, certificate authority, and a token or another credential.")

    @OptionGroup var device: DeviceName
    @OptionGroup var bundle: BundleOptions
    @Flag var kind = ProofKind.token
    @OptionGroup var authority: AuthorityOptions
    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      try setup.issue(kind, to: device, bundle, authority: authority) { registry, credential in
        _ = try registry.addDevice(
          tenant: device.tenant, id: device.id, credential: credential, devicesMax: setup.configuration.data.devicesMax,
          nowMs: Clock.nowMs)
      }
      print("\(device.text) is enrolled; its bundle is \(bundle.out)\(try setup.tellGatewayInWords())")
      if kind == .certificate { setup.remindOfAuthority() }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List devices: tenant, id, state, when enrolled.")

    @Option(help: "Only this tenant's.")
    var tenant: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let registry = try RegistryStore(path: config.load().registryPath)
      for device in try registry.listDevices(tenant: tenant) {
        let state = device.revokedMs == nil ? "active" : "revoked"
        print("\(device.tenant)\t\(device.id)\t\(state)\t\(Clock.text(device.createdMs))")
      }
    }
  }

  struct Rotate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Give a device a new credential, in a new bundle; its old ones go on working for an overlap, then end.")

    @OptionGroup var device: DeviceName
    @OptionGroup var bundle: BundleOptions

    @Option(help: "How long the old credentials go on working: 90s, 30m, 12h, 7d; 0 ends them at once.")
    var overlap = TimeText(seconds: 7 * 86_400)

    @Flag(help: "Default: of the kind that it was given last.")
    var kind: ProofKind?

    @OptionGroup var authority: AuthorityOptions
    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let nowMs = Clock.nowMs
      let last = try RegistryStore(path: setup.registryPath).newestKind(tenant: device.tenant, id: device.id)
      let kind = kind ?? ProofKind(last)
      try setup.issue(kind, to: device, bundle, authority: authority, noting: .rotated) { registry, credential in
        try registry.rotate(
          tenant: device.tenant, id: device.id, to: credential, overlapMs: overlap.seconds * 1_000, nowMs: nowMs)
      }
      let told = try setup.tellGatewayInWords()
      let end = overlap.seconds == 0 ? "now" : "at \(Clock.text(nowMs + overlap.seconds * 1_000))"
      print("\(device.text) has a new \(kind.words), in \(bundle.out); its old credentials end \(end)\(told)")
      if kind == .certificate { setup.remindOfAuthority() }
    }
  }

  struct Certify: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Let a device come by a client certificate whose private key stays with it.",
      discussion: """
        --csr signs a certificate for the device with the authority's key; --certificate enters one that was signed elsewhere, \
        by its fingerprint. The authority must stand in tls.client_authority.
        """)

    @OptionGroup var device: DeviceName

    @Option(help: "A certificate of the device, PEM.")
    var certificate: String?

    @Option(help: "A certificate request of the device (PKCS #10, PEM); only its key is taken.")
    var csr: String?

    @Option(help: "With --csr: where to write the certificate.")
    var out: String?

    @OptionGroup var authority: AuthorityOptions
    @OptionGroup var config: ConfigurationOption

    func validate() throws {
      guard (certificate == nil) != (csr == nil) else { throw ValidationError("give either --csr FILE or --certificate FILE") }
      guard (out != nil) == (csr != nil) else { throw ValidationError("--csr needs --out FILE, --certificate has none") }
    }

    func run() throws {
      let setup = try config.load()
      let pem: [UInt8]
      if let csr {
        let request = try setup.read(csr, as: .request)
        let authority = try self.authority.load(setup)
        do throws(TLSError) {
          pem = try authority.deviceCertificate(
            request: request, tenant: device.tenant, device: device.id, days: self.authority.days, nowS: Clock.nowMs / 1_000)
        } catch {
          throw Complaint("\(csr): \(error)")
        }
      } else {
        pem = try setup.read(certificate ?? "", as: .certificate)
      }
      let credential = NewCredential.certificate(fingerprint: try SecretHash(certificatePEM: pem))
      if let out { try Installation.refuseToOverwrite(out) }
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.added, tenant: device.tenant, about: "certificate of a device")
      do throws(RegistryError) {
        _ = try registry.addDevice(
          tenant: device.tenant, id: device.id, credential: credential, devicesMax: setup.configuration.data.devicesMax,
          nowMs: Clock.nowMs)
      } catch {
        guard case .deviceExists = error else { throw error }
        try registry.addCredential(tenant: device.tenant, id: device.id, credential: credential, nowMs: Clock.nowMs)
      }
      if let out { try Installation.write(pem, to: out, mode: 0o644) }
      print("\(device.text) may come by \(out ?? "this certificate")\(try setup.tellGatewayInWords())")
      setup.remindOfAuthority()
    }
  }

  struct Revoke: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Revoke a device, or one of its certificates: connections end at once, it is never let in again.")

    @OptionGroup var device: DeviceName

    @Option(help: "Only this certificate of the device, PEM.")
    var certificate: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      let index = try registry.device(tenant: device.tenant, id: device.id)
      try setup.note(
        .revoked, tenant: device.tenant, device: index, about: certificate == nil ? "device" : "certificate of a device")
      let what: String
      if let certificate {
        let print = try SecretHash(certificatePEM: setup.read(certificate, as: .certificate))
        try registry.revokeCertificate(tenant: device.tenant, id: device.id, fingerprint: print, nowMs: Clock.nowMs)
        what = "the certificate of \(device.text)"
      } else {
        _ = try registry.revokeDevice(tenant: device.tenant, id: device.id, nowMs: Clock.nowMs)
        what = device.text
      }
      let closed = try setup.tellGateway()
      print("\(what) is revoked; " + (closed.map { "connections closed: \($0)" } ?? "no gateway runs here"))
    }
  }
}

extension ProofKind {
  /// The same as before; a token where there is nothing left.
  fileprivate init(_ kind: CredentialKind?) {
    switch kind {
    case .key: self = .psk
    case .certificate: self = .certificate
    case .token, nil: self = .token
    }
  }

  fileprivate var words: String {
    switch self {
    case .token: "token"
    case .psk: "pre-shared key"
    case .certificate: "client certificate"
    }
  }
}
