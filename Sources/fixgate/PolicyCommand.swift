import ArgumentParser
import Foundation
import GateConfiguration
import GateCore
import GateStore

struct PolicyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "policy",
    abstract: "What a tenant has promised about positions: when they are taken, what of them, and how finely.",
    discussion: """
      Show the one in force, edit it, set it: 'fixgate policy show --tenant demo > demo.yaml'. Each set is a new version; it holds \
      for fixes from then on, by their own time, and every stored fix names its version.
      """,
    subcommands: [Show.self, Check.self, Set.self, List.self])

  struct Show: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Print a policy, every key with what it means.")

    @Option(help: "Tenant.")
    var tenant: String

    @Option(help: "An older version; 'fixgate policy list' has their numbers.")
    var version: UInt32?

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let policies = try RegistryStore(path: config.load().registryPath).policies(tenant: tenant)
      if let version, !policies.contains(where: { $0.version == version }) {
        throw Complaint("tenant '\(tenant)' has no version \(version); it has \(policies.count)")
      }
      guard let policy = version.map({ number in policies.first { $0.version == number } }) ?? policies.last else {
        print("# Tenant '\(tenant)' has set no policy: this holds.")
        print(PolicyFile.text(Policy()), terminator: "")
        return
      }
      print("# Version \(policy.version) of tenant '\(tenant)', since \(Clock.text(policy.sinceMs)).")
      print(PolicyFile.text(policy), terminator: "")
      let known = ZoneOffsets.changes(of: policy.calendar.zone, nowMs: Clock.nowMs)
      if policy.duty == .calendar, !PolicyCommand.agree(policy.calendar.offsets, known) {
        FileHandle.standardError.write(
          Data("note: the rules of \(policy.calendar.zone) have changed since; set the policy again to go by the new ones\n".utf8))
      }
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Say whether a policy could be set, and change nothing.")

    @Argument(help: "A file as 'fixgate policy show' prints it; what is left out has its default.")
    var file: String

    func run() throws {
      _ = try PolicyCommand.read(file)
      print("\(file) is good")
    }
  }

  struct Set: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Make a policy the tenant's next version.")

    @Argument(help: "A file as 'fixgate policy show' prints it; what is left out has its default.")
    var file: String

    @Option(help: "Tenant.")
    var tenant: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let policy = try PolicyCommand.read(file)
      let registry = try RegistryStore(path: setup.registryPath)
      let next = UInt32(try registry.policies(tenant: tenant).count + 1)
      try setup.note(.changedPolicy, tenant: tenant, policy: next)
      let version = try registry.setPolicy(tenant: tenant, policy, nowMs: Clock.nowMs)
      print("version \(version) of the policy of \(tenant) is in force\(try setup.tellGatewayInWords())")
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List versions: number, since when, duty, grid in metres.")

    @Option(help: "Tenant.")
    var tenant: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      for policy in try RegistryStore(path: config.load().registryPath).policies(tenant: tenant) {
        print("\(policy.version)\t\(Clock.text(policy.sinceMs))\t\(policy.duty)\t\(policy.gridM)")
      }
    }
  }

  private static func read(_ file: String) throws -> Policy {
    guard let text = try? String(contentsOfFile: file, encoding: .utf8) else {
      throw Complaint("cannot read \(file); 'fixgate policy show --tenant T > \(file)' makes one")
    }
    return try PolicyFile.parse(text, path: file, nowMs: Clock.nowMs)
  }

  /// Whether two lists say the same as far as both reach: the horizon moves with time.
  private static func agree(_ old: [DutyCalendar.Offset], _ new: [DutyCalendar.Offset]) -> Bool {
    let count = min(old.count, new.count)
    return old.prefix(count) == new.prefix(count)
  }
}
