import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct TenantCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tenant", abstract: "Add and list tenants: the walls between fleets.",
    subcommands: [Add.self, List.self, Egress.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Add a tenant.")

    @Argument(help: "Its name: 1 to 64 letters, digits, '.', '_' or '-'.")
    var name: String

    @OptionGroup var egress: EgressOptions
    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      let wanted = egress.over(TenantEgress())
      try wanted.check(setup.configuration.sinkLabels, tenant: name)
      try setup.note(.added, tenant: name, about: "tenant")
      try registry.together {
        _ = try registry.createTenant(name, nowMs: Clock.nowMs)
        if wanted != TenantEgress() { try registry.setEgress(wanted, tenant: name) }
      }
      print("tenant \(name) is there\(try setup.tellGatewayInWords())")
    }
  }

  struct List: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "List tenants: name, devices that are not revoked, since when.")

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      for tenant in try registry.listTenants() {
        print("\(tenant.name)\t\(tenant.activeDevices)\t\(Clock.text(tenant.createdMs))")
      }
    }
  }

  /// Where a tenant's data may lie and go.
  struct EgressOptions: ParsableArguments {
    @Option(help: "The region that its data must not leave; a sink of another region is refused.")
    var region: String?

    @Option(name: .customLong("sink"), help: "A sink that its data may go to, by name. May be repeated: the list is as given.")
    var sinks: [String] = []

    func over(_ known: TenantEgress) -> TenantEgress {
      TenantEgress(region: region ?? known.region, sinks: sinks.isEmpty ? known.sinks : sinks)
    }
  }

  struct Egress: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Show or change where a tenant's data may go: its region, and the list of sinks.",
      discussion: "'config check' and 'serve' refuse a configuration that would carry it anywhere else.")

    @Argument(help: "The tenant.")
    var name: String

    @OptionGroup var egress: EgressOptions
    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      let known = try registry.egress(tenant: name).first?.egress ?? TenantEgress()
      let wanted = egress.over(known)
      var told = ""
      if wanted != known {
        try wanted.check(setup.configuration.sinkLabels, tenant: name)
        try setup.note(.changedEgress, tenant: name)
        try registry.setEgress(wanted, tenant: name)
        told = try setup.tellGatewayInWords()
      }
      print("data of tenant \(name) may go to \(wanted.sinks.joined(separator: ", ")) in region \(wanted.region)\(told)")
    }
  }
}
