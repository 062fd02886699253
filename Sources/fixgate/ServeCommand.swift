import ArgumentParser
import Foundation
import GateNet
import Gateway
import Logging

struct ServeCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "serve",
    abstract: "Run the gateway until SIGTERM or SIGINT.",
    discussion: "Prints one line that begins with 'ready' once it listens. SIGTERM stops it in order: what was taken is answered and kept. SIGHUP reads certificates, keys, authorities, registry and the list of sinks anew without dropping a connection.")

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    let signals = try Signals()
    let log = Logs.make(level: setup.configuration.logLevel)
    let config = config
    let gateway = try GatewayServer(
      setup.configuration, folder: setup.folder, reread: { try config.load().configuration }, log: log)
    let addresses = gateway.addresses.map { "tls=\($0)" } + gateway.datagramAddresses.map { "dtls=\($0)" }
    print("ready " + addresses.joined(separator: " "))
    fflush(nil)
    var poller = try Poller(capacity: 4)
    try poller.add(signals.descriptor, token: 0, for: .read)
    try poller.add(gateway.failed.descriptor, token: 1, for: .read)
    while true {
      let count = try poller.wait(timeoutNs: nil)
      for i in 0..<count {
        if poller.event(at: i).token == 1 {
          log(.error, "the gateway cannot go on; what was acked is safe in the journal")
          throw ExitCode(70)
        }
        while let signal = try signals.next() {
          guard signal == .terminate else {
            gateway.reload()
            continue
          }
          log(.info, "stopping: what was taken is made durable and stored")
          gateway.stop()
          return
        }
      }
    }
  }
}

/// Where the gateway's messages go: swift-log, to standard error.
enum Logs {
  static func make(level: String) -> Log {
    var logger = Logger(label: "fixgate") { StreamLogHandler.standardError(label: $0) }
    logger.logLevel = Logger.Level(rawValue: level) ?? .info
    let configured = logger
    return { level, message in
      switch level {
      case .debug: configured.debug("\(message)")
      case .info: configured.info("\(message)")
      case .notice: configured.notice("\(message)")
      case .warning: configured.warning("\(message)")
      case .error: configured.error("\(message)")
      }
    }
  }
}
