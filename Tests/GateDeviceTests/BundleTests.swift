import GateDevice
import Testing

@Suite struct BundleTests {
  static let bundle = Bundle(
    gateways: [.init(host: "fleet.example.net", port: 7443), .init(host: "2001:db8::7", port: 1)],
    serverName: "fleet.example.net", tenant: "demo", device: "bike: 7", token: (0..<32).map { $0 * 8 },
    certificates: "-----BEGIN CERTIFICATE-----\nQUJD+/==\n-----END CERTIFICATE-----\n")

  @Test func roundTrip() throws {
    #expect(try Bundle(parsing: Self.bundle.text) == Self.bundle)
    let edited = Self.bundle.text.split(separator: "\n").map { "  \($0)\t\r\n" }.joined(separator: "# remark\n\n")
    #expect(throws: BundleError.self) { try Bundle(parsing: edited) }  // a remark inside the certificate
    let spaced = Self.bundle.text.split(separator: "\n").map { "  \($0)\t\r\n" }.joined()
    #expect(try Bundle(parsing: "\n# remark\n" + spaced) == Self.bundle)
  }

  @Test func namesWaysOverUDP() throws {
    var bundle = Self.bundle
    bundle.gatewaysUDP = [.init(host: "fleet.example.net", port: 7443), .init(host: "2001:db8::7", port: 2)]
    #expect(bundle.text.contains("\ngateway-udp: [2001:db8::7]:2\n"))
    #expect(try Bundle(parsing: bundle.text) == bundle)
    let bad = bundle.text.replacing("gateway-udp: fleet.example.net:7443", with: "gateway-udp: fleet.example.net")
    #expect(throws: BundleError.badValue(.gatewayUDP, line: 4)) { try Bundle(parsing: bad) }
  }

  @Test func aKeyStandsInForTheToken() throws {
    var bundle = Self.bundle
    bundle.token = []
    #expect(throws: BundleError.missing(.token)) { try Bundle(parsing: bundle.text) }
    bundle.psk = .init(identity: "fixgate-0123456789abcdef", secret: (0..<32).map { 255 - $0 })
    #expect(try Bundle(parsing: bundle.text) == bundle)
    for value in ["a", "a 00", "a b c", "\u{e4} " + String(repeating: "0", count: 64)] {
      let lines = bundle.text.split(separator: "\n").map { $0.hasPrefix("psk") ? "psk: \(value)" : String($0) }
      #expect(throws: BundleError.badValue(.psk, line: 7)) { try Bundle(parsing: lines.joined(separator: "\n")) }
    }
  }

  @Test func aCertificateStandsInToo() throws {
    var bundle = Self.bundle
    bundle.token = []
    let long = String(repeating: "QUJD", count: 40)
    let pem = "-----BEGIN CERTIFICATE-----\n\(long.prefix(64))\n\(long.dropFirst(64).prefix(64))\n\(long.dropFirst(128))\n-----END CERTIFICATE-----\n"
    bundle.identity = .init(
      certificatePEM: pem + Self.bundle.certificates, keyPEM: "-----BEGIN PRIVATE KEY-----\nQUJE\n-----END PRIVATE KEY-----\n")
    #expect(try Bundle(parsing: bundle.text) == bundle)
    let lines = bundle.text.split(separator: "\n").map(String.init)
    func without(_ key: String) -> String { lines.filter { !$0.hasPrefix(key) }.joined(separator: "\n") }
    #expect(throws: BundleError.missing(.clientKey)) { try Bundle(parsing: without("client-key")) }
    #expect(throws: BundleError.missing(.clientCertificate)) { try Bundle(parsing: without("client-certificate")) }
    #expect(throws: BundleError.badValue(.clientKey, line: 9)) {
      try Bundle(parsing: bundle.text.replacing("client-key: QUJE", with: "client-key: QU!JE"))
    }
    #expect(throws: BundleError.repeated(.clientKey, line: 10)) {
      try Bundle(parsing: bundle.text.replacing("client-key: QUJE", with: "client-key: QUJE\nclient-key: QUJE"))
    }
  }

  static let lines = bundle.text.split(separator: "\n").map(String.init)

  private static func replacing(_ line: Int, _ new: String...) -> String {
    (lines[0..<line - 1] + new + lines[line...]).joined(separator: "\n") + "\n"
  }

  @Test(arguments: [
    ("", BundleError.notBundle),
    ("hello", .notBundle),
    ("-----BEGIN CERTIFICATE-----", .notBundle),
    (replacing(1, "fixgate-bundle: 2"), .newer(version: 2)),
    (replacing(2, "gateway: fleet.example.net"), .badValue(.gateway, line: 2)),
    (replacing(2, "gateway: a:0"), .badValue(.gateway, line: 2)),
    (replacing(2, "gateway: ::1:80"), .badValue(.gateway, line: 2)),
    (replacing(4, "server-name:"), .badValue(.serverName, line: 4)),
    (replacing(5), .missing(.tenant)),
    (replacing(5, "tenant: a", "tenant: b"), .repeated(.tenant, line: 6)),
    (replacing(5, "tenent: a"), .unknownKey(line: 5)),
    (replacing(5, "tenant a"), .badLine(line: 5)),
    (replacing(7, "token: 00"), .badValue(.token, line: 7)),
    (replacing(7, "token: " + String(repeating: "g", count: 64)), .badValue(.token, line: 7)),
    (lines[0..<7].joined(separator: "\n"), .missing(.certificate)),
    (replacing(9, "not base64!"), .badCertificate(line: 9)),
    (lines[0..<9].joined(separator: "\n"), .badCertificate(line: 9)),
    (replacing(8, "-----BEGIN PRIVATE KEY-----"), .badCertificate(line: 8)),
  ])
  func errorsSayWhere(text: String, error: BundleError) {
    #expect(throws: error) { try Bundle(parsing: text) }
  }
}
