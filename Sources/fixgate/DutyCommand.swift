import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct DutyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "duty", abstract: "Open and close shifts: where the policy says 'shift', fixes are taken within them only.",
    subcommands: [Open.self, Close.self, List.self])

  struct Open: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Open a shift; the device is told to go on.")

    @OptionGroup var whose: Whose

    @Option(help: "From this time on, if not from now: 2026-11-21T04:00:00Z.")
    var at: TimePoint?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let atMs = at?.ms ?? Clock.nowMs
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.changedDuty, whose, in: registry, about: "open")
      try registry.openDuty(tenant: whose.tenant, whose.name, atMs: atMs)
      print("\(whose.text) is on duty from \(Clock.text(atMs))\(try setup.tellGatewayInWords())")
      try DutyCommand.remind(registry, whose.tenant)
    }
  }

  struct Close: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Close a shift; the device is told to stop.",
      discussion: "Fixes from within the shift are still taken, however late they come.")

    @OptionGroup var whose: Whose

    @Option(help: "Up to this time, if not to now: 2026-11-21T04:00:00Z.")
    var at: TimePoint?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let atMs = at?.ms ?? Clock.nowMs
      let registry = try RegistryStore(path: setup.registryPath)
      try setup.note(.changedDuty, whose, in: registry, about: "close")
      try registry.closeDuty(tenant: whose.tenant, whose.name, atMs: atMs)
      print("\(whose.text) is off duty from \(Clock.text(atMs))\(try setup.tellGatewayInWords())")
      try DutyCommand.remind(registry, whose.tenant)
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List shifts, newest first: whose, from, to, opened by; then what devices are told to do.",
      discussion: """
        Then, while a gateway runs, one line a device: 'stop' or 'go', and whether the device has confirmed it. A device that was \
        never told to stop has nothing to confirm.
        """)

    @Option(help: "Tenant.")
    var tenant: String

    @Option(help: "Shifts that are open or have ended within this time: 12h, 7d.")
    var within = TimeText(seconds: 7 * 86_400)

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      for duty in try registry.listDuties(tenant: tenant, sinceMs: Clock.nowMs - within.seconds * 1_000) {
        let name =
          switch duty.of {
          case .subject(let name): "subject \(name)"
          case .device(let id): "device \(id)"
          }
        let end = duty.closedMs.map { Clock.text($0) } ?? "-"
        print("\(name)\t\(Clock.text(duty.openedMs))\t\(end)\t\(duty.byDevice ? "device" : "dispatcher")")
      }
      guard let answer = try ControlClient.ask(.steering(tenant: tenant), directory: setup.dataDirectory) else { return }
      guard let devices = answer.steering else { throw Complaint(answer.problem ?? "the gateway did not answer in time") }
      for device in devices {
        let state = device.confirmed ? "confirmed" : device.told ? "told, not confirmed" : device.stop ? "not connected" : "-"
        print("device \(device.device)\t\(device.stop ? "stop" : "go")\t\(state)")
      }
    }
  }

  /// Shifts without a policy that asks for them change nothing, which nobody would notice.
  private static func remind(_ registry: borrowing RegistryStore, _ tenant: String) throws {
    let policy = try registry.policies(tenant: tenant).last
    guard policy?.duty != .shift else { return }
    FileHandle.standardError.write(
      Data(
        ("note: the policy of '\(tenant)' says 'duty: \(policy.map { "\($0.duty)" } ?? "always")', so shifts decide nothing; "
          + "see 'fixgate policy show'\n").utf8))
  }
}
