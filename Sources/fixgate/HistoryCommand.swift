import ArgumentParser
import Foundation
import GateStore
import Gateway

struct HistoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history", abstract: "Print a device's stored fixes, by time.")

  @Option(help: "Tenant that the device belongs to.")
  var tenant: String

  @Option(help: "The device's id.")
  var device: String

  @Option(help: "csv, geojson or gpx.")
  var format = "csv"

  @Option(help: "Only fixes from this time on: 2026-11-21T04:00:00Z.")
  var from: String?

  @Option(help: "Only fixes up to this time.")
  var to: String?

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    guard let format = TrackFormat(rawValue: format) else {
      throw Complaint(
        "there is no format '\(format)'; choose one of " + TrackFormat.allCases.map(\.rawValue).joined(separator: ", "))
    }
    let first = try from.map { try MomentText.milliseconds($0) } ?? .min
    let last = try to.map { try MomentText.milliseconds($0) } ?? .max
    guard first <= last else { throw Complaint("--from lies behind --to") }
    let reader = try HistoryReader(path: setup.storePath)
    // Nothing is printed before it is known that the device exists; then fixes stream through.
    var writer: TrackWriter? = nil
    func make() -> TrackWriter {
      var made = TrackWriter(format: format) { bytes in
        var copy: [UInt8] = []
        copy.reserveCapacity(bytes.count)
        for i in bytes.indices { copy.append(bytes[i]) }
        FileHandle.standardOutput.write(Data(copy))
      }
      made.begin(name: device)
      return made
    }
    try reader.read(tenant: tenant, device: device, range: first...last) { point in
      if writer == nil { writer = make() }
      writer?.append(point)
      return true
    }
    if writer == nil { writer = make() }
    if let writer = writer.take() { writer.end() }
  }
}
