import ArgumentParser
import Gateway

struct LatestCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "latest", abstract: "Print the latest position of each device of a tenant, also what the store has yet to take.")

  @Option(help: "The tenant.")
  var tenant: String

  @Option(help: "Only this device's.")
  var device: String?

  @Option(help: "csv, or json: one object a line.")
  var format = "csv"

  @OptionGroup var reading: ReadOptions

  func run() throws {
    var query = ReadQuery(.latest, device: device)
    query.format = format
    try reading.read(query, tenant: tenant)
  }
}
