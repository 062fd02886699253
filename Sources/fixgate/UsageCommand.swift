import ArgumentParser
import GateCore
import GateStore

struct UsageCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "usage",
    abstract: "What each tenant has used a month: devices, fixes stored, held and refused, and bytes of them in the journal.",
    discussion: "Counted in the transaction that stores them, so exact, whatever is killed when. Months are of UTC, by when it came.")

  @Option(help: "Only this tenant's.")
  var tenant: String?

  @Option(help: "Only this month's: 2026-11.")
  var month: String?

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    let wanted = try month.map { text in
      guard let month = YearMonth(text) else { throw Complaint("'\(text)' is no month like 2026-11") }
      return month
    }
    if let tenant { _ = try RegistryStore(path: setup.registryPath).tenant(tenant) }
    print("tenant,month,devices,fixes,held,refused,bytes")
    for row in try UsageReader(path: setup.storePath).read(tenant: tenant, month: wanted) {
      print("\(row.tenant),\(row.month.text),\(row.devices),\(row.fixes),\(row.held),\(row.refused),\(row.bytes)")
    }
  }
}
