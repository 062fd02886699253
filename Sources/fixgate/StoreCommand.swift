import ArgumentParser
import Foundation
import GateNet
import GateStore
import Gateway

struct StoreCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "store", abstract: "Look after the databases that the configuration names under 'sinks'.",
    subcommands: [Migrate.self, Check.self, Drain.self])

  struct Selection: ParsableArguments {
    @Option(help: "Only the sink of this name.")
    var sink: String?

    @OptionGroup var config: ConfigurationOption

    func sinks(of setup: Setup) throws -> [SinkSettings] {
      guard let sink else { return setup.configuration.sinks }
      return [try setup.sink(sink)]
    }
  }

  struct Migrate: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Make tables and streams, or bring tables to what this fixgate needs. Gateways go on meanwhile.")

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

extension StoreCommand {
  struct Drain: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Take what gateways publish to a stream, and store it in a database.",
      discussion: """
        Prints one line that begins with 'ready' once both have answered, and runs until SIGTERM or SIGINT. A message is acked once \
        its fixes are stored; after a kill it goes on where it was. The database must be one that no gateway writes by itself.
        """)

    @Option(help: "Sink of type jetstream whose stream is read.")
    var from: String

    @Option(help: "Sink that the fixes go to.")
    var into: String

    @Option(help: "Name of the durable consumer at the server: what one of them has taken another takes as well.")
    var consumer = "fixgate"

    @Option(help: "Seconds after which messages that a killed run has taken are given out again.")
    var ackWait = 30

    @Flag(help: "End once nothing is left.")
    var untilEmpty = false

    @OptionGroup var config: ConfigurationOption

    func validate() throws {
      guard (1...3_600).contains(ackWait) else { throw ValidationError("--ack-wait takes 1 to 3600 seconds") }
    }

    func run() throws {
      let setup = try config.load()
      let signals = try Signals()
      var poller = try Poller(capacity: 1)
      try poller.add(signals.descriptor, token: 0, for: .read)
      let store = try StreamStore(
        StreamStore.Options(
          from: try setup.sink(from), into: try setup.sink(into), consumer: consumer, ackWaitS: ackWait, untilEmpty: untilEmpty),
        setup.configuration, folder: setup.folder, directory: setup.dataDirectory,
        log: Logs.make(level: setup.configuration.logLevel))
      var isStopping = false
      let counts = try store.run(
        started: {
          print("ready from=\(from) into=\(into)")
          fflush(nil)
        },
        pause: { ns in
          if !isStopping, try poller.wait(timeoutNs: ns) > 0 {
            while let signal = try signals.next() { isStopping = isStopping || signal == .terminate }
          }
          return !isStopping
        })
      print(
        "stored \(counts.stored) already_stored \(counts.alreadyStored) held \(counts.held) refused \(counts.refused) "
          + "gaps \(counts.gaps) set_aside \(counts.setAside)")
    }
  }
}

extension Setup {
  func sink(_ name: String) throws -> SinkSettings {
    let all = configuration.sinks
    guard let sink = all.first(where: { $0.name == name }) else {
      throw Complaint("there is no sink '\(name)'; the configuration has " + all.map(\.name).joined(separator: ", "))
    }
    return sink
  }

  func check(_ sink: SinkSettings) throws -> String {
    try SinkDatabase.check(sink, configuration, folder: folder, directory: dataDirectory)
  }
}
