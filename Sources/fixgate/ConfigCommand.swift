import ArgumentParser
import Foundation
import GateCore
import GateNet
import GateStore
import Gateway

struct ConfigCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "config", abstract: "Check the configuration.", subcommands: [Check.self])

  struct Check: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "Check all that 'serve' would, without starting: keys, files, certificates, ports, data, versions.",
      discussion: "Prints a line for each check; ends with code 78 if one failed. It changes nothing.")

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      // A misspelt key or a bad value ends here, naming the line and the nearest keys.
      let setup: Setup
      do {
        setup = try config.load()
      } catch {
        FileHandle.standardError.write(Data("FAIL  configuration: \(error)\n".utf8))
        throw ExitCode(78)
      }
      var report = CheckReport()
      report.run("configuration") { "every key is known, every value is in range" }
      report.run("certificates") { try Check.certificates(setup) }
      let isRunning = Check.answers(setup)
      for address in setup.configuration.listen.tls {
        report.run("listen \(address)") { try Check.port(address, isRunning: isRunning) }
      }
      for address in setup.configuration.listen.dtls {
        report.run("listen.dtls \(address)") { try Check.datagramPort(address, setup, isRunning: isRunning) }
      }
      report.run("data \(setup.dataDirectory)") { try Check.directory(setup) }
      report.run("registry") { try Check.registry(setup) }
      report.run("egress") { try Check.egress(setup) }
      report.run("store") { try Check.file(setup.storePath, SchemaCheck.store) }
      if !setup.configuration.listen.dtls.isEmpty {
        report.run("sessions") { try Check.sessions(setup) }
      }
      if report.failures > 0 { throw ExitCode(78) }
    }

    private static func certificates(_ setup: Setup) throws -> String {
      let material = try TLSMaterial(setup.configuration, folder: setup.folder, nowS: Clock.nowMs / 1_000)
      guard material.daysLeft >= 0 else {
        throw GatewayError.expired(path: setup.configuration.tls.certificate, days: -material.daysLeft)
      }
      // Made and thrown away: that shows whether key and certificate belong together.
      _ = try material.makeContext(setup.configuration, registry: RegistryHolder(.empty))
      if !setup.configuration.listen.dtls.isEmpty { _ = try material.makeDTLSContext(registry: RegistryHolder(.empty)) }
      let authority = setup.path(setup.configuration.tls.authority)
      guard FileManager.default.isReadableFile(atPath: authority) else {
        throw Complaint("cannot read \(authority): set tls.authority to the certificate that devices must trust")
      }
      for file in [setup.configuration.tls.key, setup.configuration.tls.ticketKeys, setup.configuration.tls.registryKey] {
        let attributes = try? FileManager.default.attributesOfItem(atPath: setup.path(file))
        guard let mode = attributes?[.posixPermissions] as? Int, mode & 0o077 != 0 else { continue }
        throw Complaint("\(setup.path(file)) can be read by others: chmod 600 it")
      }
      return "certificate and key belong together; the certificate ends in \(material.daysLeft) days"
    }

    private static func answers(_ setup: Setup) -> Bool {
      guard let answer = try? ControlClient.ask(.status, directory: setup.dataDirectory, timeoutS: 5) else { return false }
      return answer.status != nil
    }

    private static func port(_ text: String, isRunning: Bool) throws -> String {
      try probe(text, isRunning: isRunning) { address throws(NetError) in
        _ = try TCPListener(on: address, sharesPort: false).boundPort
      }
    }

    private static func datagramPort(_ text: String, _ setup: Setup, isRunning: Bool) throws -> String {
      let wanted = setup.configuration.dtls.receiveBufferBytes
      var granted = Int.max
      let state = try probe(text, isRunning: isRunning) { address throws(NetError) in
        granted = try UDPSocket(on: address, sharesPort: false, receiveBufferBytes: wanted).receiveBufferBytes
      }
      return state + (ReceiveBuffer.advice(granted: granted, wanted: wanted).map { "; \($0)" } ?? "")
    }

    /// Tries all addresses of `text`.
    private static func probe(
      _ text: String, isRunning: Bool, _ bind: (SocketAddress) throws(NetError) -> Void
    ) throws -> String {
      for address in try HostPort(text).resolve() {
        do throws(NetError) {
          try bind(address)
        } catch {
          switch error {
          case .addressInUse where isRunning: return "served by the gateway that runs here"
          case .addressInUse: throw Complaint("another program has it: stop that, or choose another port")
          case .addressUnavailable where address.isIPv6 && address.description.hasPrefix("[::]"):
            return "this machine has no IPv6; that does not matter"
          default: throw error
          }
        }
      }
      return "free"
    }

    private static func directory(_ setup: Setup) throws -> String {
      guard let attributes = try? FileManager.default.attributesOfItem(atPath: setup.dataDirectory) else {
        return "is not there yet; 'serve' makes it"
      }
      guard attributes[.type] as? FileAttributeType == .typeDirectory,
        FileManager.default.isWritableFile(atPath: setup.dataDirectory) else {
        throw Complaint("is no directory that can be written to: check data.directory and its owner")
      }
      return "can be written to"
    }

    private static func sessions(_ setup: Setup) throws -> String {
      guard FileManager.default.fileExists(atPath: setup.dataDirectory + "/" + SessionFile.name) else {
        return "are not there yet; 'serve' makes the file"
      }
      try SessionFile.check(in: Directory(setup.dataDirectory))
      return "are those of the last run"
    }

    private static func registry(_ setup: Setup) throws -> String {
      let words = try file(setup.registryPath, SchemaCheck.registry)
      guard let highest = try SchemaCheck.highestDevice(setup.registryPath) else { return words }
      let room = setup.configuration.data.devicesMax
      guard highest <= room else { throw GatewayError.devicesBeyond(max: room, highest: UInt32(clamping: highest)) }
      return words + "; \(highest) of \(room) places for devices are given"
    }

    /// Whether every tenant's data may go where the sinks are.
    private static func egress(_ setup: Setup) throws -> String {
      guard FileManager.default.fileExists(atPath: setup.registryPath) else { return "has no tenants yet" }
      let sinks = setup.configuration.sinkLabels
      try RegistryStore(path: setup.registryPath).checkEgress(to: sinks)
      return "every tenant's data may go to " + sinks.map { "\($0.name) (\($0.region), \($0.purpose))" }.joined(separator: ", ")
    }

    private static func file(_ path: String, _ check: (String) throws(StoreError) -> Void) throws -> String {
      guard FileManager.default.fileExists(atPath: path) else { return "is not there yet; 'serve' makes it" }
      try check(path)
      return "has a version that this fixgate can use"
    }
  }
}

/// Prints a line for each check and counts the failures.
struct CheckReport {
  private(set) var failures = 0

  mutating func run(_ name: String, _ check: () throws -> String) {
    do {
      print("ok    \(name): \(try check())")
    } catch {
      failures += 1
      print("FAIL  \(name): \(error)")
    }
  }
}
