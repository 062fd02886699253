import Foundation
import GateCore
import GateDevice
import GateStore
import GateTLS
import Gateway

/// A credential that was just made: what the device gets, and what the registry stores.
struct FreshCredential {
  var token: [UInt8] = []
  var psk: GateDevice.Bundle.PreSharedKey?
  var identity: GateDevice.Bundle.Identity?
  let stored: NewCredential

  static func make(
    _ kind: ProofKind, for device: DeviceName, authority: AuthorityOptions, setup: Setup
  ) throws -> FreshCredential {
    switch kind {
    case .token:
      let made = try Credentials.make()
      return FreshCredential(token: made.token, stored: .token(selector: made.selector, hash: made.hash))
    case .psk:
      let made = try Credentials.makeKey(sealedUnder: RegistryKeys.read(setup.registryKeyPath))
      let psk = GateDevice.Bundle.PreSharedKey(
        identity: String(decoding: made.key.identity, as: UTF8.self), secret: made.key.secret)
      return FreshCredential(psk: psk, stored: made.credential)
    case .certificate:
      let identity = try authority.load(setup).deviceIdentity(
        tenant: device.tenant, device: device.id, days: authority.days, nowS: Clock.nowMs / 1_000)
      let pem = GateDevice.Bundle.Identity(
        certificatePEM: String(decoding: identity.certificatePEM, as: UTF8.self),
        keyPEM: String(decoding: identity.keyPEM, as: UTF8.self))
      return FreshCredential(
        identity: pem, stored: .certificate(fingerprint: try SecretHash(certificatePEM: identity.certificatePEM)))
    }
  }
}

extension SecretHash {
  /// The fingerprint of the first certificate.
  init(certificatePEM: [UInt8]) throws(TLSError) {
    let fingerprint = try PeerCertificate.leaf(of: certificatePEM).fingerprint
    self.init(fingerprint.span)
  }
}

extension AuthorityOptions {
  func load(_ setup: Setup) throws -> DevelopmentCA {
    let path = setup.path(setup.configuration.tls.authority)
    let keyPath = key ?? ((path as NSString).deletingPathExtension + ".key")
    let certificate = try setup.authority()
    guard FileManager.default.isReadableFile(atPath: keyPath) else {
      throw Complaint(
        "cannot read \(keyPath), the private key of \(path): name it with --authority-key; or have your own authority sign, "
          + "and enter the certificate with 'fixgate device certify --certificate FILE'")
    }
    return DevelopmentCA(certificatePEM: certificate, keyPEM: try PEM.read(keyPath, as: .key))
  }
}

/// The command line writes the registry itself, in a short transaction, and then tells the gateway that runs on it, if any.
extension Setup {
  /// Makes a credential, has `enter` put it into the registry, and writes its bundle. If one of them fails there is neither.
  func issue(
    _ kind: ProofKind, to device: DeviceName, _ options: BundleOptions, authority: AuthorityOptions,
    noting action: AuditAction = .added, enter: (borrowing RegistryStore, NewCredential) throws -> Void
  ) throws {
    try Installation.refuseToOverwrite(options.out)
    let (endpoints, endpointsUDP) = try endpoints(options.gateway)
    let trusted = String(decoding: try self.authority(), as: UTF8.self)
    let registry = try RegistryStore(path: registryPath)
    var isWritten = false
    do {
      try registry.together {
        let fresh = try FreshCredential.make(kind, for: device, authority: authority, setup: self)
        try enter(registry, fresh.stored)
        let index = try registry.device(tenant: device.tenant, id: device.id)
        try note(action, tenant: device.tenant, device: index, about: "device")
        let bundle = GateDevice.Bundle(
          gateways: endpoints, gatewaysUDP: endpointsUDP, serverName: endpoints[0].host, tenant: device.tenant,
          device: device.id, token: fresh.token, psk: fresh.psk, identity: fresh.identity, certificates: trusted)
        try Installation.write(Array(bundle.text.utf8), to: options.out, mode: 0o600)
        isWritten = true
      }
    } catch {
      if isWritten { try? FileManager.default.removeItem(atPath: options.out) }
      throw error
    }
  }

  /// What a certificate needs beside the registry.
  func remindOfAuthority() {
    guard configuration.tls.clientAuthority.isEmpty else { return }
    let authority = configuration.tls.authority
    print("tls.client_authority is empty: name the certificate's authority there ([\(authority)]), and restart the gateway")
  }

  /// Where devices find the gateway: over TLS, and over DTLS if it listens there.
  func endpoints(_ texts: [String]) throws -> (tls: [GateDevice.Bundle.Endpoint], dtls: [GateDevice.Bundle.Endpoint]) {
    let listen = configuration.listen
    let overTLS = texts.isEmpty ? listen.publicTLS : texts
    guard !overTLS.isEmpty else { throw Complaint("name a gateway with --gateway host:port") }
    let overUDP = !texts.isEmpty || listen.publicDTLS.isEmpty ? overTLS : listen.publicDTLS
    return (try parse(overTLS), listen.dtls.isEmpty ? [] : try parse(overUDP))
  }

  private func parse(_ texts: [String]) throws -> [GateDevice.Bundle.Endpoint] {
    try texts.map { text in
      guard let endpoint = GateDevice.Bundle.Endpoint(text) else {
        throw Complaint("'\(text)' is not host:port or [address]:port")
      }
      return endpoint
    }
  }

  /// What devices trust.
  func authority() throws -> [UInt8] {
    let path = path(configuration.tls.authority)
    guard let authority = FileManager.default.contents(atPath: path) else {
      throw Complaint("cannot read \(path): set tls.authority to the certificate that devices must trust")
    }
    return Array(authority)
  }

  /// Has the running gateway read the registry anew; with `files` also certificates and keys.
  /// - Returns: connections that it closed; `nil` if none runs.
  @discardableResult func tellGateway(files: Bool = false) throws -> Int? {
    guard let answer = try ControlClient.ask(files ? .reloadAll : .reload, directory: dataDirectory) else { return nil }
    if let problem = answer.problem { throw Complaint("the running gateway did not take the change: \(problem)") }
    return answer.closed ?? 0
  }

  /// The same, as the end of a message.
  func tellGatewayInWords() throws -> String { try tellGateway() == nil ? "" : "; the running gateway knows it" }
}
