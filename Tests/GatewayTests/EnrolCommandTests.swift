import Foundation
import GateCore
import GateDevice
import GateProto
import GateStore
import GateTLS
import Testing

/// Enrolment by code, as operator and phone see it.
@Suite struct EnrolCommandTests {
  private func open(_ gateway: GatewayProcess, _ more: [String] = []) throws -> String {
    let said = try gateway.run(["enrol", "open", "--tenant", "demo", "--for", "2h"] + more).output
    let line = try #require(said.split(separator: "\n").first)
    #expect(line.hasPrefix("code: ") && said.contains("--code \(line.dropFirst(6)) "))
    return String(line.dropFirst(6))
  }

  private func use(
    _ gateway: GatewayProcess, _ code: String, _ out: String, _ more: [String] = [], expecting status: Int32 = 0
  ) throws -> Child.Outcome {
    try gateway.run(
      [
        "enrol", "use", "--gateway", "localhost:\(gateway.port)", "--ca", gateway.folder + "/gateway/ca.crt", "--code", code,
        "--out", gateway.folder + "/" + out,
      ] + more, withConfig: false, expecting: status)
  }

  private func send(_ gateway: GatewayProcess, _ bundle: String) throws -> Child.Outcome? {
    let track = gateway.folder + "/ride.csv"
    try Data("lat,lon,time\n43.1,76.9,2026-01-01 00:00:00\n".utf8).write(to: URL(fileURLWithPath: track))
    return try gateway.send(track, bundle: gateway.folder + "/" + bundle).wait(seconds: 60)
  }

  @Test func aPhoneEnrolsItselfAndSends() throws {
    let gateway = try GatewayProcess()
    try gateway.start()
    let code = try open(gateway, ["--devices", "2", "--name-prefix", "courier-"])
    #expect(try use(gateway, code, "a.bundle").output.hasPrefix("enrolled as demo/courier-1; "))
    #expect(
      try use(gateway, code.lowercased().replacing("-", with: " "), "b.bundle", ["--label", "pixel", "--psk"]).output
        .hasPrefix("enrolled as demo/courier-pixel; "))
    for bundle in ["a.bundle", "b.bundle"] { #expect(try send(gateway, bundle)?.status == 0) }
    #expect(!FileManager.default.fileExists(atPath: gateway.folder + "/a.bundle.enrolling"))
    let third = try use(gateway, code, "c.bundle", expecting: 1)
    #expect(third.errors.contains("the code is used up, closed or too old: ask for a new one"))
    #expect(
      try gateway.run(["enrol", "list"]).output.split(separator: "\t")[0...4] == [
        "1", "demo", "used", "2 of 2", "courier-",
      ])
    // No secret, and nobody's name, is in the log.
    let log = try gateway.terminate().errors
    #expect(log.contains("devices enrolled by code: 1"))
    for word in ["courier", "pixel", "demo", code] { #expect(!log.contains(word)) }
  }

  @Test func errorsSayWhatToDo() throws {
    let gateway = try GatewayProcess()
    try gateway.start()
    let code = try open(gateway)
    for (code, more, words) in [
      ("7K3M", [], "'7K3M' is no code: it has 12 letters and digits"),
      ("7K3M-9QXA-2BRD", [], "the gateway does not know this code: check how it is spelt"),
      (code, ["--label", "a b"], "the gateway does not take the label"),
      (code, ["--ca", "/nonexistent"], "/nonexistent: the authority file cannot be read"),
      (code, ["--gateway", "localhost"], "'localhost' is not host:port"),
      (code, ["--gateway", "localhost:1", "--patience", "1"], "run the same command again to go on"),
    ] as [(String, [String], String)] {
      let outcome = try use(gateway, code, "x.bundle", more, expecting: 1)
      #expect(outcome.errors.contains(words), "\(outcome.errors)")
    }
    // Only an attempt that may still succeed has left its key.
    #expect(FileManager.default.fileExists(atPath: gateway.folder + "/x.bundle.enrolling"))
    let nobody = try gateway.run(["enrol", "open", "--tenant", "dem"], expecting: 1)
    #expect(nobody.errors.contains("did you mean 'demo'?"))
    for bad in [["--for", "31d"], ["--for", "0"], ["--for", "soon"], ["--devices", "0"], ["--devices", "10001"]] {
      try gateway.run(["enrol", "open", "--tenant", "demo"] + bad, expecting: 64)
    }
    #expect(try gateway.run(["enrol", "close", "7"], expecting: 1).errors.contains("no enrolment window 7; open are 1"))
    #expect(try gateway.run(["enrol", "close", "1"]).output == "window 1 is closed\n")
    #expect(try use(gateway, code, "x.bundle", expecting: 1).errors.contains("closed"))
    #expect(!FileManager.default.fileExists(atPath: gateway.folder + "/x.bundle.enrolling"))
  }

  /// The registry has the device, the phone has no answer.
  @Test func aGatewayThatIsKilledBeforeItAnswersBurnsNoCode() throws {
    let gateway = try GatewayProcess()
    try gateway.start()
    let code = try open(gateway)
    let key = try randomBytes(Enrol.keyBytes)
    try Data(key).write(to: URL(fileURLWithPath: gateway.folder + "/phone.bundle.enrolling"))
    let anyone = try gateway.addDevice("bike-1")
    let line = try DeviceClient(bundle: anyone) { _ in
      var frame: [UInt8] = []
      Enrol(code: code, key: key).append(into: &frame)
      Frame.close(from: 0, in: &frame)
      return frame
    }
    let registry = try RegistryStore(path: gateway.data + "/registry.db")
    let deadline = Date(timeIntervalSinceNow: 30)
    while try registry.listDevices(tenant: nil).count < 2 {
      guard Date() < deadline else { throw GatewayProcess.Failure(description: "it is not enrolled") }
    }
    gateway.kill9()
    _ = line
    let first = try registry.listDevices(tenant: nil).map(\.id)
    try gateway.start()
    #expect(try use(gateway, code, "phone.bundle").output.hasPrefix("enrolled as demo/device-1; "))
    #expect(try registry.listDevices(tenant: nil).map(\.id) == first)
    #expect(try registry.listWindows(tenant: nil).map(\.devices) == [1])
    #expect(try send(gateway, "phone.bundle")?.status == 0)
  }
}
