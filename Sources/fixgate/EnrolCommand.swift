import ArgumentParser
import Foundation
import GateCore
import GateStore
import GateTLS
import Gateway

struct EnrolCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "enrol", abstract: "Let devices enrol themselves by a code, for a while.",
    subcommands: [Open.self, List.self, Close.self, Use.self])

  struct Open: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Open a window in which devices may enrol, and print its code.",
      discussion: "The code is shown this once; only its hash is kept. A new device takes one of --devices; the same device may ask again.")

    @Option(help: "Tenant that the devices will belong to.")
    var tenant: String

    @Option(name: .customLong("for"), help: "How long it stays open: 30m, 2h, 7d; at most 30d.")
    var duration = TimeText(seconds: 2 * 3_600)

    @Option(help: "How many devices may enrol by it, 1 to \(Limits.enrolmentDevicesMax).")
    var devices = 1

    @Option(
      name: .customLong("name-prefix"),
      help: "The devices' names begin with it; behind it comes the device's own label, or a number.")
    var namePrefix = "device-"

    @OptionGroup var config: ConfigurationOption

    func validate() throws {
      guard (1...Limits.enrolmentDevicesMax).contains(devices) else {
        throw ValidationError("--devices must be from 1 to \(Limits.enrolmentDevicesMax)")
      }
      guard (1...30 * 86_400).contains(duration.seconds) else { throw ValidationError("--for must be from 1s to 30d") }
    }

    func run() throws {
      let setup = try config.load()
      let random = try randomBytes(8)
      let code = EnrolmentCode(random: random.span.load64(at: 0))
      let nowMs = Clock.nowMs
      let endsMs = nowMs + duration.seconds * 1_000
      try setup.note(.added, tenant: tenant, about: "enrolment window", numbers: ["devices": Int64(devices), "ends_ms": endsMs])
      let number = try RegistryStore(path: setup.registryPath).openWindow(
        tenant: tenant, code: SecretHash(Digest.sha256(code.bytes.span).span), namePrefix: namePrefix, devicesMax: devices,
        endsMs: endsMs, nowMs: nowMs)
      let gateway = setup.configuration.listen.publicTLS.first ?? "HOST:PORT"
      print(
        """
        code: \(code.text)
        Window \(number) of tenant \(tenant) is open until \(Clock.text(endsMs)), for \(devices == 1 ? "one device" : "\(devices) devices").
        On the device:  fixgate enrol use --gateway \(gateway) --ca \(setup.path(setup.configuration.tls.authority)) --code \(code.text) --out phone.bundle
        """)
      if try ControlClient.ask(.status, directory: setup.dataDirectory) == nil {
        print("No gateway runs here now; devices can enrol once it does.")
      }
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List windows: number, tenant, state, devices enrolled, name prefix, end. Those that ended go after 30 days.")

    @Option(help: "Only this tenant's.")
    var tenant: String?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let registry = try RegistryStore(path: config.load().registryPath)
      let nowMs = Clock.nowMs
      for window in try registry.listWindows(tenant: tenant) {
        print(
          "\(window.number)\t\(window.tenant)\t\(window.state(at: nowMs).rawValue)\t\(window.devices) of \(window.devicesMax)\t"
            + "\(window.namePrefix)\t\(Clock.text(window.endsMs))")
      }
    }
  }

  struct Close: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Close a window before its time. Who has enrolled stays enrolled.")

    @Argument(help: "Its number, from 'fixgate enrol list'.")
    var number: Int64

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      try setup.note(.revoked, about: "enrolment window", numbers: ["window": number])
      try RegistryStore(path: setup.registryPath).closeWindow(number, nowMs: Clock.nowMs)
      print("window \(number) is closed")
    }
  }
}
