import GateProto

/// All that a device needs to reach its gateway and to prove who it is: what `fixgate device add --out` writes and
/// `fixgate send --bundle` reads. It holds a secret: the writer creates the file with mode 0600.
///
/// ```
/// fixgate-bundle: 1
/// gateway: fleet.example.net:7443
/// gateway: [2001:db8::7]:7443
/// gateway-udp: fleet.example.net:7443
/// server-name: fleet.example.net
/// tenant: demo
/// device: bike-7
/// token: 64 hexadecimal digits
/// psk: fixgate-0123456789abcdef 64 hexadecimal digits
/// client-certificate: base64 of the DER, on one line
/// client-key: base64 of the PKCS #8 DER, on one line
/// -----BEGIN CERTIFICATE-----
/// ...
/// -----END CERTIFICATE-----
/// ```
/// One of token, psk and client certificate suffices. Several gateways are tried in turn; without
/// gateway-udp there is no way over UDP. The certificates in PEM are those of
/// the authority that the gateway's is checked against; `client-certificate` may be repeated: the device's own, then
/// intermediates.
package struct Bundle: Equatable, Sendable {
  package enum Key: String, CaseIterable, Sendable {
    case gateway = "gateway"
    case gatewayUDP = "gateway-udp"
    case serverName = "server-name"
    case tenant = "tenant"
    case device = "device"
    case token = "token"
    case psk = "psk"
    case clientCertificate = "client-certificate"
    case clientKey = "client-key"
    case certificate = "certificate"
  }

  /// An external pre-shared key of TLS 1.3.
  package struct PreSharedKey: Equatable, Sendable {
    package static let secretBytes = 32
    package static let identityBytesMax = 64
    /// Printable ASCII without spaces, 1 to `identityBytesMax` bytes.
    package var identity: String
    /// `secretBytes` long.
    package var secret: [UInt8]

    package init(identity: String, secret: [UInt8]) {
      self.identity = identity
      self.secret = secret
    }

    fileprivate init?(_ text: Substring) {
      let parts = text.split(separator: " ")
      guard parts.count == 2, (1...PreSharedKey.identityBytesMax).contains(parts[0].utf8.count),
        parts[0].utf8.allSatisfy({ $0 > 0x20 && $0 < 0x7f }), let secret = hexBytes(parts[1]),
        secret.count == PreSharedKey.secretBytes
      else { return nil }
      self.init(identity: String(parts[0]), secret: secret)
    }
  }

  /// The device's own certificate and private key, as PEM: leaf first.
  package struct Identity: Equatable, Sendable {
    package var certificatePEM: String
    package var keyPEM: String

    package init(certificatePEM: String, keyPEM: String) {
      self.certificatePEM = certificatePEM
      self.keyPEM = keyPEM
    }
  }

  package struct Endpoint: Equatable, Sendable {
    /// Name or address, an IPv6 address without its brackets.
    package var host: String
    package var port: UInt16

    package init(host: String, port: UInt16) {
      self.host = host
      self.port = port
    }

    /// Reads `host:port` or `[IPv6 address]:port`; `nil` for anything else.
    package init?(_ text: some StringProtocol) {
      guard let colon = text.lastIndex(of: ":"), let port = UInt16(text[text.index(after: colon)...]), port > 0
      else { return nil }
      var host = text[..<colon]
      if host.hasPrefix("["), host.hasSuffix("]") {
        host = host.dropFirst().dropLast()
        guard host.contains(":") else { return nil }
      } else if host.contains(":") {
        return nil
      }
      let allowed = host.utf8.allSatisfy { $0 > 0x20 && $0 < 0x7f && $0 != UInt8(ascii: "[") && $0 != UInt8(ascii: "]") }
      guard !host.isEmpty, allowed else { return nil }
      self.init(host: String(host), port: port)
    }

    package var text: String { host.contains(":") ? "[\(host)]:\(port)" : "\(host):\(port)" }
  }

  package var gateways: [Endpoint]
  /// For DTLS; empty where the gateway has none.
  package var gatewaysUDP: [Endpoint]
  /// Name that the gateway's certificate must carry.
  package var serverName: String
  package var tenant: String
  package var device: String
  /// `Hello.tokenBytes` long; empty where `psk` or `identity` proves the device.
  package var token: [UInt8]
  package var psk: PreSharedKey?
  package var identity: Identity?
  /// PEM, one certificate or several, with a line end at the end.
  package var certificates: String

  /// Longest bundle in bytes.
  package static let bytesMax = 65_536

  package init(
    gateways: [Endpoint], gatewaysUDP: [Endpoint] = [], serverName: String, tenant: String, device: String,
    token: [UInt8], psk: PreSharedKey? = nil, identity: Identity? = nil, certificates: String
  ) {
    self.gateways = gateways
    self.gatewaysUDP = gatewaysUDP
    self.serverName = serverName
    self.tenant = tenant
    self.device = device
    self.token = token
    self.psk = psk
    self.identity = identity
    self.certificates = certificates
  }

  package var text: String {
    var out = "fixgate-bundle: 1\n"
    for gateway in gateways { out += "gateway: \(gateway.text)\n" }
    for gateway in gatewaysUDP { out += "gateway-udp: \(gateway.text)\n" }
    out += "server-name: \(serverName)\ntenant: \(tenant)\ndevice: \(device)\n"
    if !token.isEmpty { out += "token: \(hexText(token))\n" }
    if let psk { out += "psk: \(psk.identity) \(hexText(psk.secret))\n" }
    if let identity {
      for body in pemBodies(identity.certificatePEM) { out += "client-certificate: \(body)\n" }
      for body in pemBodies(identity.keyPEM) { out += "client-key: \(body)\n" }
    }
    out += certificates
    return certificates.hasSuffix("\n") ? out : out + "\n"
  }

  /// Reads a bundle. Blank lines and lines that begin with `#` are skipped.
  package init(parsing text: String) throws(BundleError) {
    var gateways: [Endpoint] = []
    var gatewaysUDP: [Endpoint] = []
    var values: [Key: String] = [:]
    var token: [UInt8] = []
    var psk: PreSharedKey?
    var clientCertificates = ""
    var certificates = ""
    var inCertificate = false
    var number = 0
    var isFirst = true
    guard text.utf8.count <= Bundle.bytesMax else { throw .notBundle }
    for raw in text.split(omittingEmptySubsequences: false, whereSeparator: \.isNewline) {
      number += 1
      let line = trim(raw)
      if inCertificate || line.hasPrefix("-----BEGIN") {
        guard !isFirst else { throw .notBundle }
        try Bundle.certificateLine(line, &inCertificate, number)
        certificates += line + "\n"
        continue
      }
      if line.isEmpty || line.hasPrefix("#") { continue }
      guard let colon = line.firstIndex(of: ":") else {
        if isFirst { throw .notBundle }
        throw .badLine(line: number)
      }
      let name = line[..<colon]
      let value = trim(line[line.index(after: colon)...])
      if isFirst {
        guard name == "fixgate-bundle", let version = UInt32(value) else { throw .notBundle }
        guard version == 1 else { throw .newer(version: version) }
        isFirst = false
        continue
      }
      guard let key = Key(rawValue: String(name)), key != .certificate else { throw .unknownKey(line: number) }
      guard !value.isEmpty else { throw .badValue(key, line: number) }
      if key == .gateway || key == .gatewayUDP {
        guard let gateway = Endpoint(value) else { throw .badValue(key, line: number) }
        if key == .gateway { gateways.append(gateway) } else { gatewaysUDP.append(gateway) }
        continue
      }
      if key == .clientCertificate || key == .clientKey {
        guard isBase64(value) else { throw .badValue(key, line: number) }
        if key == .clientCertificate {
          clientCertificates += pemText("CERTIFICATE", value)
          continue
        }
      }
      guard values.updateValue(String(value), forKey: key) == nil else { throw .repeated(key, line: number) }
      if key == .token {
        guard let bytes = hexBytes(value), bytes.count == Hello.tokenBytes else {
          throw .badValue(.token, line: number)
        }
        token = bytes
      } else if key == .psk {
        guard let key = PreSharedKey(value) else { throw .badValue(.psk, line: number) }
        psk = key
      }
    }
    guard !isFirst else { throw .notBundle }
    guard !inCertificate else { throw .badCertificate(line: number) }
    guard !gateways.isEmpty else { throw .missing(.gateway) }
    guard let serverName = values[.serverName] else { throw .missing(.serverName) }
    guard let tenant = values[.tenant] else { throw .missing(.tenant) }
    guard let device = values[.device] else { throw .missing(.device) }
    var identity: Identity?
    if let key = values[.clientKey] {
      guard !clientCertificates.isEmpty else { throw .missing(.clientCertificate) }
      identity = Identity(certificatePEM: clientCertificates, keyPEM: pemText("PRIVATE KEY", key[...]))
    } else if !clientCertificates.isEmpty {
      throw .missing(.clientKey)
    }
    guard !token.isEmpty || psk != nil || identity != nil else { throw .missing(.token) }
    guard !certificates.isEmpty else { throw .missing(.certificate) }
    self.init(
      gateways: gateways, gatewaysUDP: gatewaysUDP, serverName: serverName, tenant: tenant, device: device,
      token: token, psk: psk, identity: identity, certificates: certificates)
  }

  private static func certificateLine(
    _ line: Substring, _ inCertificate: inout Bool, _ number: Int
  ) throws(BundleError) {
    if line == "-----BEGIN CERTIFICATE-----", !inCertificate {
      inCertificate = true
    } else if line == "-----END CERTIFICATE-----", inCertificate {
      inCertificate = false
    } else {
      guard inCertificate, isBase64(line) else { throw .badCertificate(line: number) }
    }
  }
}

private func isBase64(_ text: Substring) -> Bool {
  !text.isEmpty
    && text.utf8.allSatisfy {
      switch $0 {
      case UInt8(ascii: "A")...UInt8(ascii: "Z"), UInt8(ascii: "a")...UInt8(ascii: "z"): true
      case UInt8(ascii: "0")...UInt8(ascii: "9"), UInt8(ascii: "+"), UInt8(ascii: "/"), UInt8(ascii: "="): true
      default: false
      }
    }
}

/// What stands between the marks of each entry of a PEM text, without its line ends.
private func pemBodies(_ pem: String) -> [String] {
  var bodies: [String] = []
  for raw in pem.split(whereSeparator: \.isNewline) {
    if raw.hasPrefix("-----BEGIN") {
      bodies.append("")
    } else if !raw.hasPrefix("-----END"), !bodies.isEmpty {
      bodies[bodies.count - 1] += raw
    }
  }
  return bodies
}

/// RFC 7468: lines of 64.
private func pemText(_ label: String, _ body: Substring) -> String {
  var text = "-----BEGIN \(label)-----\n"
  var rest = body
  while !rest.isEmpty {
    text += rest.prefix(64) + "\n"
    rest = rest.dropFirst(64)
  }
  return text + "-----END \(label)-----\n"
}

private func trim(_ text: Substring) -> Substring {
  var text = text
  while let last = text.last, last == " " || last == "\t" { text.removeLast() }
  while let first = text.first, first == " " || first == "\t" { text.removeFirst() }
  return text
}

private func hexText(_ bytes: [UInt8]) -> String {
  bytes.reduce(into: "") { text, byte in
    for nibble in [byte >> 4, byte & 15] { text += String(nibble, radix: 16) }
  }
}

private func hexBytes(_ text: Substring) -> [UInt8]? {
  var nibbles: [UInt8] = []
  for character in text.utf8 {
    switch character {
    case UInt8(ascii: "0")...UInt8(ascii: "9"): nibbles.append(character - UInt8(ascii: "0"))
    case UInt8(ascii: "a")...UInt8(ascii: "f"): nibbles.append(character - UInt8(ascii: "a") + 10)
    case UInt8(ascii: "A")...UInt8(ascii: "F"): nibbles.append(character - UInt8(ascii: "A") + 10)
    default: return nil
    }
  }
  guard nibbles.count % 2 == 0 else { return nil }
  return stride(from: 0, to: nibbles.count, by: 2).map { nibbles[$0] << 4 | nibbles[$0 + 1] }
}
