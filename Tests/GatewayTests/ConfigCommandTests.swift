import Foundation
import GateTLS
import Testing

@Suite struct ConfigCommandTests {
  private static let checks = ["configuration", "certificates", "listen 127.0.0.1", "data ", "registry", "store"]

  private func lines(_ outcome: Child.Outcome) -> [Substring] { outcome.output.split(separator: "\n") }

  @Test func aFreshFolderIsInOrder() throws {
    let gateway = try GatewayProcess()
    let before = lines(try gateway.run(["config", "check"]))
    for line in before { #expect(line.hasPrefix("ok    "), "\(line)") }
    for check in Self.checks { #expect(before.contains { $0.hasPrefix("ok    " + check) }, "\(check)") }
    // It changes nothing, and says so of what `serve` will make.
    #expect(before.contains("ok    store: is not there yet; 'serve' makes it"))
    try gateway.start()
    let after = lines(try gateway.run(["config", "check"]))
    #expect(after.contains { $0.hasSuffix("served by the gateway that runs here") })
  }

  @Test func aMisspeltKeyIsNamed() throws {
    let gateway = try GatewayProcess()
    let file = gateway.folder + "/gateway/fixgate.yaml"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    try Data(text.replacing("live_burst", with: "live_brust").utf8).write(to: URL(fileURLWithPath: file))
    let outcome = try gateway.run(["config", "check"], expecting: 78)
    #expect(outcome.errors.contains("there is no setting 'limits.live_brust'; did you mean limits.live_burst"))
  }

  /// Each is told with the file that it is about, and all of them at once.
  @Test func whatWouldNotDoIsTold() throws {
    let gateway = try GatewayProcess()
    let folder = gateway.folder + "/gateway"
    func check(_ words: String, _ added: [String: String] = [:]) throws {
      let kept = gateway.environment
      defer { gateway.environment = kept }
      gateway.environment.merge(added) { $1 }
      let outcome = try gateway.run(["config", "check"], expecting: 78)
      #expect(outcome.output.contains(words), "\(outcome.output)")
    }
    try check("cannot read \(folder)/nowhere.crt: set tls.authority", ["FIXGATE_TLS_AUTHORITY": "nowhere.crt"])
    try check("/nowhere.crt: the certificate file cannot be read", ["FIXGATE_TLS_CERTIFICATE": "nowhere.crt"])
    try check("private key and certificate do not belong together", ["FIXGATE_TLS_KEY": "ca.key"])
    try check("must hold 80 random bytes", ["FIXGATE_TLS_TICKET_KEYS": "registry.key"])
    try check("must hold 32 bytes, or several keys of 32", ["FIXGATE_TLS_REGISTRY_KEY": "ticket.keys"])
    try check("is no directory that can be written to", ["FIXGATE_DATA_DIRECTORY": "fixgate.yaml"])
    let files = FileManager.default
    try files.setAttributes([.posixPermissions: 0o644], ofItemAtPath: folder + "/server.key")
    try check("server.key can be read by others: chmod 600 it")
    try files.setAttributes([.posixPermissions: 0o600], ofItemAtPath: folder + "/server.key")
    let authority = DevelopmentCA(
      certificatePEM: Array(try #require(files.contents(atPath: folder + "/ca.crt"))),
      keyPEM: Array(try #require(files.contents(atPath: folder + "/ca.key"))))
    let ended = try authority.serverIdentity(nowS: Int64(Date().timeIntervalSince1970) - 1_000 * 86_400 + 43_200)
    try Data(ended.certificatePEM).write(to: URL(fileURLWithPath: folder + "/server.crt"))
    try Data(ended.keyPEM).write(to: URL(fileURLWithPath: folder + "/server.key"))
    try check("the certificate in server.crt expired 175 days ago")
    try Data("SQLite? No".utf8).write(to: URL(fileURLWithPath: gateway.data + "/registry.db"))
    try check("FAIL  registry: ")
  }
}
