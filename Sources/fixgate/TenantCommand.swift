import ArgumentParser
import Foundation
import GateStore

struct TenantCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "tenant", abstract: "Add and list tenants: the walls between fleets.", subcommands: [Add.self, List.self])

  struct Add: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Add a tenant.")

    @Argument(help: "Its name: 1 to 64 letters, digits, '.', '_' or '-'.")
    var name: String

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      _ = try registry.createTenant(name, nowMs: Clock.nowMs)
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
}
