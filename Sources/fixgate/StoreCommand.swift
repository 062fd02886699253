import ArgumentParser
import Foundation
import Gateway

struct StoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store", abstract: "Look after the databases that the configuration names under 'sinks'.",
    subcommands: [Migrate.self, Check.self])

  struct Selection: ParsableArguments {
    @Option(help: "Only the sink of this name.")
    var sink: String?

    @OptionGroup var config: ConfigurationOption

    func sinks(of setup: Setup) throws -> [SinkSettings] {
      let all = setup.configuration.sinks
      guard let sink else { return all }
      let chosen = all.filter { $0.name == sink }
      guard !chosen.isEmpty else {
        throw Complaint("there is no sink '\(sink)'; the configuration has " + all.map(\.name).joined(separator: ", "))
      }
      return chosen
    }
  }

  struct Migrate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make the tables, or bring them to what this fixgate needs. Gateways go on meanwhile.")

    @OptionGroup var selection: Selection

    func run() throws {
      let setup = try selection.config.load()
      for sink in try selection.sinks(of: setup) {
        print("sink \(sink.name): \(try SinkDatabase.migrate(sink, folder: setup.folder))")
      }
    }
  }

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Connect and see whether the gateway could store there. Ends with code 78 if not; changes nothing.")

    @OptionGroup var selection: Selection

    func run() throws {
      let setup = try selection.config.load()
      var report = CheckReport()
      for sink in try selection.sinks(of: setup) { report.run("sink \(sink.name)") { try setup.check(sink) } }
      if report.failures > 0 { throw ExitCode(78) }
    }
  }
}

extension Setup {
  func check(_ sink: SinkSettings) throws -> String {
    try SinkDatabase.check(sink, configuration, folder: folder, directory: dataDirectory)
  }
}
