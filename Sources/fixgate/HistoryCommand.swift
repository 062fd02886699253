import ArgumentParser
import Foundation
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

  @OptionGroup var reading: ReadOptions

  func run() throws {
    var query = ReadQuery(.history, device: device)
    query.format = format
    query.fromMs = try from.map { try HistoryCommand.milliseconds($0) }
    query.toMs = try to.map { try HistoryCommand.milliseconds($0) }
    try reading.read(query, tenant: tenant)
  }

  static func milliseconds(_ text: String) throws -> Int64 {
    let plain = Date.ISO8601FormatStyle()
    guard let date = (try? plain.parse(text)) ?? (try? plain.time(includingFractionalSeconds: true).parse(text)) else {
      throw Complaint("'\(text)' is no time like 2026-11-21T04:00:00Z")
    }
    return Int64((date.timeIntervalSince1970 * 1_000).rounded())
  }
}
