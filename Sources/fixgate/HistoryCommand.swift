import ArgumentParser
import Foundation
import Gateway

struct HistoryCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "history", abstract: "Print the stored fixes of a device, or of whoever carried it, by time.")

  @OptionGroup var whose: Whose

  @Option(help: "csv, geojson or gpx.")
  var format = "csv"

  @Option(help: "Only fixes from this time on: 2026-11-21T04:00:00Z.")
  var from: String?

  @Option(help: "Only fixes up to this time.")
  var to: String?

  @OptionGroup var reading: ReadOptions

  func run() throws {
    var query = ReadQuery(.history, device: whose.device)
    query.subject = whose.subject
    query.format = format
    query.fromMs = try from.map { try HistoryCommand.milliseconds($0) }
    query.toMs = try to.map { try HistoryCommand.milliseconds($0) }
    try reading.read(query, tenant: whose.tenant)
  }

  static func milliseconds(_ text: String) throws -> Int64 {
    guard let time = TimePoint(argument: text) else { throw Complaint("'\(text)' is no time like 2026-11-21T04:00:00Z") }
    return time.ms
  }
}
