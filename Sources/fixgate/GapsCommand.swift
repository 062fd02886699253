import ArgumentParser
import Foundation
import GateStore
import Gateway

struct GapsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "gaps",
    abstract: "What is missing of a device, and why, as far as known.",
    discussion: """
      missing: may still come (not_sent: the device has recorded it; limited: it came and must come again later).
      closed: the device has given it up. held, dropped, refused: see 'fixgate quarantine'.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

  @Option(help: "Tenant that the device belongs to.")
  var tenant: String

  @Option(help: "The device's id.")
  var device: String

  @Option(help: "text or json.")
  var format = Format.text

  @Flag(help: "Ask the device, if it is connected, for the holes below what it has sent.")
  var ask = false

  @OptionGroup var reading: ReadOptions

  func run() throws {
    if ask {
      let setup = try reading.config.load()
      let index = try RegistryStore(path: setup.registryPath).device(tenant: tenant, id: device)
      guard let answer = try ControlClient.ask(.ask(device: index), directory: setup.dataDirectory) else {
        throw Complaint("no gateway runs on \(setup.dataDirectory); start it with 'fixgate serve'")
      }
      if let problem = answer.problem { throw Complaint(problem) }
      FileHandle.standardError.write(Data("asked for \(answer.asked ?? 0) holes\n".utf8))
    }
    var query = ReadQuery(.gaps, device: device)
    query.format = format.rawValue
    try reading.read(query, tenant: tenant)
  }
}
