import ArgumentParser

/// Which device is meant.
struct DeviceName: ParsableArguments {
  @Argument(help: "The device's id within its tenant: 1 to 64 letters, digits, '.', '_' or '-'.")
  var id: String

  @Option(help: "Tenant that the device belongs to.")
  var tenant: String

  var text: String { "\(tenant)/\(id)" }
}

/// Where a bundle goes, and what it says about the gateway.
struct BundleOptions: ParsableArguments {
  @Option(help: "Where to write the bundle. It holds the device's secret.")
  var out: String

  @Option(help: "Gateway to name in the bundle, host:port. May be repeated. Default: listen.public_tls.")
  var gateway: [String] = []
}

/// Who signs certificates for devices.
struct AuthorityOptions: ParsableArguments {
  @Option(
    name: .customLong("authority-key"),
    help: "Private key of tls.authority, PEM. Default: the same path that ends in .key; 'fixgate init' makes it.")
  var key: String?

  @Option(help: "How many days a certificate is good.")
  var days = 365

  func validate() throws {
    guard (1...3_653).contains(days) else { throw ValidationError("--days must be from 1 to 3653") }
  }
}

/// How a device is to prove itself.
enum ProofKind: EnumerableFlag {
  case token, psk, certificate

  static func help(for value: ProofKind) -> ArgumentHelp? {
    switch value {
    case .token: "Give it a token."
    case .psk: "Give it a pre-shared key; needs tls.registry_key."
    case .certificate: "Give it a client certificate; needs the key of tls.authority, and tls.client_authority."
    }
  }
}
