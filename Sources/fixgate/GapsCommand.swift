import ArgumentParser
import Foundation
import GateCore
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

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    let index = try GapsCommand.index(tenant: tenant, device: device, setup)
    if ask {
      guard let answer = try ControlClient.ask(.ask(device: index), directory: setup.dataDirectory) else {
        throw Complaint("no gateway runs on \(setup.dataDirectory); start it with 'fixgate serve'")
      }
      if let problem = answer.problem { throw Complaint(problem) }
      FileHandle.standardError.write(Data("asked for \(answer.asked ?? 0) holes\n".utf8))
    }
    let (marks, live) = try GapsCommand.marks(of: index, setup)
    let reader = try SettledReader(path: setup.storePath)
    let ledger = GapLedger(
      live: live, marks: marks, settled: try reader.runs(device: index), stored: try reader.stored(device: index))
    switch format {
    case .json:
      let encoder = JSONEncoder()
      encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
      print(String(decoding: try encoder.encode(ledger), as: UTF8.self))
    case .text: GapsCommand.printText(ledger)
    }
  }

  private static func index(tenant: String, device: String, _ setup: Setup) throws -> UInt32 {
    let devices = try RegistryStore(path: setup.registryPath).listDevices(tenant: tenant)
    if let entry = devices.first(where: { $0.id == device }) { return entry.index }
    let nearest = nearestNames(to: device, among: devices.map(\.id))
    throw Complaint(
      "tenant '\(tenant)' has no device '\(device)'"
        + (nearest.isEmpty ? "" : "; did you mean " + nearest.map { "'\($0)'" }.joined(separator: " or ") + "?"))
  }

  /// The gateway's, or those of its last checkpoint where none runs: it writes one when it ends.
  private static func marks(of device: UInt32, _ setup: Setup) throws -> (marks: [StreamMarks], live: Bool) {
    if let answer = try ControlClient.ask(.marks(device: device), directory: setup.dataDirectory) {
      guard let marks = answer.marks else {
        throw Complaint(answer.problem ?? "the gateway did not answer in time; it may wait for its disk")
      }
      return (marks, true)
    }
    switch try CheckpointFile.read(in: try Directory(setup.dataDirectory)) {
    case .checkpoint(let checkpoint): return (checkpoint.devices.marks(of: Int(device)), false)
    case .none: return ([], false)
    case .damaged: throw Complaint("\(CheckpointFile.name) is damaged; start the gateway, which reads its journal instead")
    case .newer(let version): throw GatewayError.newerCheckpoint(version: version)
    }
  }

  private static func printText(_ ledger: GapLedger) {
    if !ledger.live { print("no gateway runs: as of its last checkpoint") }
    for stream in ledger.streams {
      print(
        "stream \(stream.stream): recorded \(stream.recorded), stored \(stream.stored), missing \(stream.missing), "
          + "settled through \(stream.through)")
    }
    for gap in ledger.gaps {
      let since = gap.since_ms.map { Date(timeIntervalSince1970: Double($0) / 1_000).ISO8601Format() } ?? "-"
      print("\(gap.stream)\t\(gap.first)\t\(gap.count)\t\(gap.state)\t\(gap.reason)\t\(since)")
    }
  }
}
