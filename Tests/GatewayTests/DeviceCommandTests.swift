import Foundation
import GateCore
import GateDevice
import GateStore
import GateTLS
import Testing

/// The commands that look after tenants, devices and their credentials, run as an operator runs them.
@Suite struct DeviceCommandTests {
  private static let track = "lat,lon,time\n43.1,76.9,2026-01-01 00:00:00\n43.2,76.9,2026-01-01 00:00:05\n"

  private func writeTrack(_ gateway: GatewayProcess) throws -> String {
    let path = gateway.folder + "/ride.csv"
    try Data(Self.track.utf8).write(to: URL(fileURLWithPath: path))
    return path
  }

  /// What `send` says about a device that is let in, or refused. Without the state of runs before, so that it must connect.
  private func send(_ gateway: GatewayProcess, _ bundle: String, over transport: String = "tls") throws -> Child.Outcome {
    let copy = bundle + "." + UUID().uuidString
    try FileManager.default.copyItem(atPath: bundle, toPath: copy)
    let child = try gateway.send(writeTrack(gateway), bundle: copy, more: ["--patience", "20", "--transport", transport])
    return try #require(child.wait(seconds: 60))
  }

  private func bundle(_ path: String) throws -> GateDevice.Bundle {
    try GateDevice.Bundle(parsing: String(contentsOfFile: path, encoding: .utf8))
  }

  @Test func tenantsAreAddedAndListed() throws {
    let gateway = try GatewayProcess()
    #expect(try gateway.run(["tenant", "add", "berlin"]).output == "tenant berlin is there\n")
    _ = try gateway.addDevice("bike-1")
    let rows = try gateway.run(["tenant", "list"]).output.split(separator: "\n").map { $0.split(separator: "\t") }
    #expect(rows.map { $0[0] } == ["berlin", "demo"] && rows.map { $0[1] } == ["0", "1"])
    #expect(try gateway.run(["tenant", "add", "berlin"], expecting: 1).errors.contains("'berlin' exists already"))
    #expect(try gateway.run(["tenant", "add", "a b"], expecting: 1).errors.contains("use 1 to 64 of A-Z"))
    #expect(
      try gateway.run(["device", "list", "--tenant", "dmeo"], expecting: 1).errors.contains("did you mean 'demo'?"))
  }

  @Test func devicesAreAddedListedAndRevoked() throws {
    let gateway = try GatewayProcess()
    try gateway.start()
    let path = try gateway.addDevice("bike-1")
    let mode = try FileManager.default.attributesOfItem(atPath: path)[.posixPermissions] as? Int
    #expect(mode == 0o600)
    #expect(try bundle(path).token.count == 32)
    #expect(try send(gateway, path).status == 0)
    let again = try gateway.run(["device", "add", "--tenant", "demo", "bike-1", "--out", path], expecting: 1)
    #expect(again.errors.contains("\(path) exists: choose another name"))
    let other = gateway.folder + "/other.bundle"
    let taken = try gateway.run(["device", "add", "--tenant", "demo", "bike-1", "--out", other], expecting: 1)
    #expect(taken.errors.contains("has a device 'bike-1' already"))
    // What failed has left nothing behind.
    #expect(!FileManager.default.fileExists(atPath: other))
    let near = try gateway.run(["device", "revoke", "--tenant", "demo", "bike-2"], expecting: 1)
    #expect(near.errors.contains("tenant 'demo' has no device 'bike-2'; did you mean 'bike-1'?"))
    #expect(
      try gateway.run(["device", "revoke", "--tenant", "demo", "bike-1"]).output
        == "demo/bike-1 is revoked; connections closed: 0\n")
    let row = try gateway.run(["device", "list"]).output.split(separator: "\t")
    #expect(row[0...2] == ["demo", "bike-1", "revoked"])
    #expect(try send(gateway, path).errors.contains("it is revoked. Ask for a new bundle"))
    let late = try gateway.run(["device", "rotate", "--tenant", "demo", "bike-1", "--out", other], expecting: 1)
    #expect(late.errors.contains("is revoked, which is for good; enrol it under another id"))
  }

  @Test(arguments: ["--token", "--psk"])
  func theOldCredentialWorksForTheOverlap(_ kind: String) throws {
    let gateway = try GatewayProcess()
    try gateway.start()
    let (first, second, third) = (gateway.folder + "/1.bundle", gateway.folder + "/2.bundle", gateway.folder + "/3.bundle")
    try gateway.run(["device", "add", "--tenant", "demo", "bike-1", "--out", first, kind])
    let said = try gateway.run(["device", "rotate", "--tenant", "demo", "bike-1", "--out", second]).output
    #expect(said.contains("; its old credentials end at 20"))
    // Without a word about it the new one is of the same kind.
    #expect(try bundle(second).token.isEmpty == (kind == "--psk") && (bundle(second).psk != nil) == (kind == "--psk"))
    #expect(try send(gateway, first).status == 0)
    #expect(try send(gateway, second).status == 0)
    try gateway.run(["device", "rotate", "--tenant", "demo", "bike-1", "--out", third, "--overlap", "0"])
    for old in [first, second] {
      #expect(try send(gateway, old).errors.contains("the credential in this bundle has ended"))
    }
    #expect(try send(gateway, third).status == 0)
    let wrong = try gateway.run(
      ["device", "rotate", "--tenant", "demo", "bike-1", "--out", first + "4", "--overlap", "7w"], expecting: 64)
    #expect(wrong.errors.contains("90s, 30m, 12h, 7d"))
  }

  @Test func aCertificateComesWithItsKeyAndCanBeRevoked() throws {
    let gateway = try GatewayProcess(["FIXGATE_TLS_CLIENT_AUTHORITY": "ca.crt"])
    try gateway.start()
    let path = gateway.folder + "/van.bundle"
    let said = try gateway.run(["device", "add", "--tenant", "demo", "van", "--out", path, "--certificate"]).output
    #expect(!said.contains("tls.client_authority is empty"))
    #expect(try send(gateway, path).status == 0)
    #expect(try send(gateway, path, over: "dtls").status == 0)
    // The certificate alone, as revoke takes it.
    let pem = gateway.folder + "/van.crt"
    let identity = try #require(try bundle(path).identity)
    try Data(identity.certificatePEM.utf8).write(to: URL(fileURLWithPath: pem))
    let rotated = gateway.folder + "/van-2.bundle"
    try gateway.run(["device", "rotate", "--tenant", "demo", "van", "--out", rotated])
    #expect(try send(gateway, rotated).status == 0)
    #expect(
      try gateway.run(["device", "revoke", "--tenant", "demo", "van", "--certificate", pem]).output
        .hasPrefix("the certificate of demo/van is revoked"))
    for transport in ["tls", "dtls"] {
      #expect(try send(gateway, path, over: transport).errors.contains("it is revoked"))
      #expect(try send(gateway, rotated, over: transport).status == 0)
    }
    let missing = try gateway.run(["device", "revoke", "--tenant", "demo", "van", "--certificate", pem + "x"], expecting: 1)
    #expect(missing.errors.contains("van.crtx: the certificate file cannot be read"))
  }

  /// The key is made where the device is; the gateway's side sees a request and gives a certificate.
  @Test func aRequestBecomesACertificate() throws {
    let gateway = try GatewayProcess()
    func openssl(_ arguments: [String]) throws {
      let outcome = try Child("/usr/bin/env", ["openssl"] + arguments).wait(seconds: 60)
      #expect(outcome?.status == 0, "\(outcome?.errors ?? "")")
    }
    let (key, csr, crt) = (gateway.folder + "/k.pem", gateway.folder + "/k.csr", gateway.folder + "/k.crt")
    try openssl([
      "req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-keyout", key, "-out", csr, "-subj",
      "/CN=whatever",
    ])
    let said = try gateway.run(["device", "certify", "--tenant", "demo", "box", "--csr", csr, "--out", crt]).output
    #expect(said.contains("tls.client_authority is empty: name the certificate's authority there ([ca.crt])"))
    gateway.environment["FIXGATE_TLS_CLIENT_AUTHORITY"] = "ca.crt"
    try gateway.start()
    let authority = try String(contentsOfFile: gateway.folder + "/gateway/ca.crt", encoding: .utf8)
    let bundle = GateDevice.Bundle(
      gateways: [.init(host: "localhost", port: gateway.port)], serverName: "localhost", tenant: "demo", device: "box",
      token: [],
      identity: .init(
        certificatePEM: try String(contentsOfFile: crt, encoding: .utf8),
        keyPEM: try String(contentsOfFile: key, encoding: .utf8)), certificates: authority)
    let path = gateway.folder + "/box.bundle"
    try Data(bundle.text.utf8).write(to: URL(fileURLWithPath: path))
    #expect(try send(gateway, path).status == 0)
    for (arguments, words) in [
      (["--csr", crt, "--out", crt + "2"], "k.crt: the request is not PEM that libssl can read"),
      (["--csr", csr, "--out", crt], "exists: choose another name"),
      (["--csr", csr, "--out", crt + "2", "--authority-key", "/nonexistent"], "name it with --authority-key"),
    ] {
      let outcome = try gateway.run(["device", "certify", "--tenant", "demo", "box"] + arguments, expecting: 1)
      #expect(outcome.errors.contains(words), "\(outcome.errors)")
    }
    #expect(
      try gateway.run(["device", "certify", "--tenant", "demo", "box"], expecting: 64).errors
        .contains("give either --csr FILE or --certificate FILE"))
  }

  @Test func theRegistryIsRekeyedUnderARunningGateway() throws {
    let gateway = try GatewayProcess()
    try gateway.start()
    let path = gateway.folder + "/bike.bundle"
    try gateway.run(["device", "add", "--tenant", "demo", "bike-1", "--out", path, "--psk"])
    let keyFile = gateway.folder + "/gateway/registry.key"
    let old = try #require(FileManager.default.contents(atPath: keyFile))
    #expect(try gateway.run(["registry", "rekey"]).output.hasPrefix("1 pre-shared keys are encrypted under a fresh key"))
    #expect(FileManager.default.contents(atPath: keyFile)?.count == 32)
    #expect(try send(gateway, path).status == 0)
    // The old file in its place opens nothing.
    let new = try #require(FileManager.default.contents(atPath: keyFile))
    try old.write(to: URL(fileURLWithPath: keyFile))
    let refused = try gateway.run(["registry", "rekey"], expecting: 1)
    #expect(refused.errors.contains("does not open the keys of demo/bike-1: name the file that does with --from"))
    try new.write(to: URL(fileURLWithPath: keyFile + ".kept"))
    try gateway.run(["registry", "rekey", "--from", keyFile + ".kept"])
    gateway.kill9()
    try gateway.start()
    #expect(try send(gateway, path).status == 0)
  }

  @Test func noDeviceIsAddedThatWouldBeRefused() throws {
    let gateway = try GatewayProcess(["FIXGATE_DATA_DEVICES_MAX": "1"])
    _ = try gateway.addDevice("bike-1")
    let path = gateway.folder + "/bike-2.bundle"
    let full = try gateway.run(["device", "add", "--tenant", "demo", "bike-2", "--out", path], expecting: 1)
    #expect(full.errors.contains("the gateway has room for 1 devices, revoked ones included, and all are given: raise data.devices_max"))
    #expect(!FileManager.default.fileExists(atPath: path))
    gateway.environment["FIXGATE_DATA_DEVICES_MAX"] = "2"
    try gateway.run(["device", "add", "--tenant", "demo", "bike-2", "--out", path])
    // The operator lowers it again: the check and the log tell.
    gateway.environment["FIXGATE_DATA_DEVICES_MAX"] = "1"
    let words = "1 devices lie beyond data.devices_max (1) and are refused as unknown: raise it to at least 2 and restart"
    #expect(try gateway.run(["config", "check"], expecting: 78).output.contains("FAIL  registry: " + words))
    try gateway.start()
    #expect(try gateway.terminate().errors.contains(words))
  }
}
