import ArgumentParser
import Foundation
import GateStore
import Gateway

struct HistoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history", abstract: "Print the stored fixes of a device, or of whoever carried it, by time.")

  @OptionGroup var whose: Whose

  @Option(help: "csv, geojson or gpx.")
  var format = "csv"

  @Option(help: "Only fixes from this time on: 2026-11-21T04:00:00Z.")
  var from: TimePoint?

  @Option(help: "Only fixes up to this time.")
  var to: TimePoint?

  @OptionGroup var config: ConfigurationOption

  func run() throws {
    let setup = try config.load()
    guard let format = TrackFormat(rawValue: format) else {
      throw Complaint(
        "there is no format '\(format)'; choose one of " + TrackFormat.allCases.map(\.rawValue).joined(separator: ", "))
    }
    let first = from?.ms ?? .min
    let last = to?.ms ?? .max
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
      made.begin(name: whose.subject ?? whose.device ?? "")
      return made
    }
    func print(_ point: TrackPoint) -> Bool {
      if writer == nil { writer = make() }
      writer?.append(point)
      return true
    }
    switch whose.name {
    case .device(let id): try reader.read(tenant: whose.tenant, device: id, range: first...last, print)
    case .subject(let name):
      let devices = try RegistryStore(path: setup.registryPath).devices(ofSubject: name, tenant: whose.tenant)
      try reader.read(tenant: whose.tenant, subject: devices, range: first...last, print)
    }
    if writer == nil { writer = make() }
    if let writer = writer.take() { writer.end() }
  }
}
