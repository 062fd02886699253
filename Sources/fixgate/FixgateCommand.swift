import ArgumentParser
import Foundation
import GateConfiguration
import GateStore
import GateTLS
import Gateway

struct FixgateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fixgate",
    abstract: "A compact gateway for location fixes: TLS in, a durable queue, SQLite, PostgreSQL or NATS JetStream out. An ack means: on disk here.",
    version: fixgateVersion,
    subcommands: [
      InitCommand.self, ServeCommand.self, ConfigCommand.self, TenantCommand.self, DeviceCommand.self, EnrolCommand.self,
      SubjectCommand.self, PolicyCommand.self, DutyCommand.self,
      RegistryCommand.self, SendCommand.self, HistoryCommand.self, StatusCommand.self, QuarantineCommand.self,
      GapsCommand.self, LatestCommand.self, SubjectCommand.self, HoldCommand.self, RetentionCommand.self, TokenCommand.self,
      AuditCommand.self, UsageCommand.self, AggregateCommand.self, PrivacyCommand.self, StoreCommand.self, DemoCommand.self,
    ])
}

/// The option that every command takes.
struct ConfigurationOption: ParsableArguments {
  @Option(name: .customLong("config"), help: "Configuration file. Default: $FIXGATE_CONFIG, then ./fixgate.yaml.")
  var path: String?

  func load() throws -> Setup {
    let environment = ProcessInfo.processInfo.environment
    let file = path ?? environment["FIXGATE_CONFIG"] ?? "fixgate.yaml"
    return Setup(
      configuration: try ConfigurationFile.load(file, environment: environment),
      folder: ConfigurationFile.folder(of: file))
  }
}

/// A configuration and the folder that its paths start from.
struct Setup {
  let configuration: Configuration
  let folder: String

  func path(_ text: String) -> String { text.hasPrefix("/") ? text : folder + "/" + text }
  var dataDirectory: String { path(configuration.data.directory) }
  var registryPath: String { dataDirectory + "/" + GatewayServer.registryName }
  var registryKeyPath: String { path(configuration.tls.registryKey) }
  /// Of the embedded store.
  var storePath: String {
    get throws {
      guard configuration.sinks.contains(where: { $0.type == .sqlite }) else {
        throw Complaint(
          "this reads the embedded store, and 'sinks' of the configuration does not have it: ask your database, "
            + "in PostgreSQL SELECT * FROM fixgate.track")
      }
      let file = configuration.sqlite.file
      return file.hasPrefix("/") ? file : dataDirectory + "/" + file
    }
  }
}

extension Setup {
  /// What there is of some tenants in a sink; `nil` = retention does not reach it.
  func states(_ rules: [RetentionRule], in sink: SinkSettings) throws -> [RetentionStates]? {
    try SinkDatabase.states(rules, in: sink, configuration, folder: folder, directory: dataDirectory)
  }

  /// Reads a PEM file that the command line names.
  func read(_ path: String, as input: TLSInput) throws -> [UInt8] {
    do throws(TLSError) { return try PEM.read(path, as: input) } catch { throw GatewayError.unreadable(path: path, error) }
  }
}

/// A problem of the command line's own, in words that say what to do.
struct Complaint: Error, CustomStringConvertible {
  let description: String
  init(_ description: String) { self.description = description }
}

enum Clock {
  static var nowMs: Int64 { Int64(Date().timeIntervalSince1970 * 1_000) }
  /// ISO 8601, UTC, whole seconds.
  static func text(_ ms: Int64) -> String { Date(timeIntervalSince1970: Double(ms) / 1_000).ISO8601Format() }
}
