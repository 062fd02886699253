import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct AggregateCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "aggregate",
    abstract: "Counts, speeds and dwell by cell and time slot, for others: only groups of at least k subjects, and no ids.",
    discussion: """
      How a tenant's data is cut (--cell, --slot, --k, --delay) is chosen by the first run and stays. A slot is made once, --delay \
      after its end, and then told the same way for ever, so that no two outputs can be held against each other. A device \
      that nobody is assigned to counts as a subject.
      """)

  enum Format: String, ExpressibleByArgument, CaseIterable { case csv, json }

  @Option(help: "The tenant.")
  var tenant: String

  @Option(help: "Slots from this time on: 2026-11-01T00:00:00Z.")
  var from: String

  @Option(help: "Slots that end by this time.")
  var to: String

  @Option(help: "Characters of the geohash, 1 to 9: 5 is about 5 km, 6 about 1 km, 7 about 150 m. Default: 6.")
  var cell: Int?

  @Option(help: "Length of a slot: 30m, 1h, 1d. Default: 1h.")
  var slot: TimeText?

  @Option(help: "Fewest subjects in a group, 3 to 10000. Default: 5.")
  var k: Int?

  @Option(help: "How long after its end a slot is made: what arrives later is in none. Default: 1d.")
  var delay: TimeText?

  @Option(help: "csv, or json: one object a line.")
  var format = Format.csv

  @OptionGroup var config: ConfigurationOption

  func validate() throws {
    if let cell, !Geohash.lengths.contains(cell) { throw ValidationError("--cell must be from 1 to 9") }
    if let slot, !(60...7 * 86_400).contains(slot.seconds) { throw ValidationError("--slot must be from 1m to 7d") }
    if let k, !(3...10_000).contains(k) { throw ValidationError("--k must be from 3 to 10000") }
    if let delay, !(0...30 * 86_400).contains(delay.seconds) { throw ValidationError("--delay must be from 0 to 30d") }
  }

  func run() throws {
    let setup = try config.load()
    let first = try HistoryCommand.milliseconds(from)
    let last = try HistoryCommand.milliseconds(to)
    guard first < last else { throw Complaint("--from must lie before --to") }
    let index = try RegistryStore(path: setup.registryPath).tenant(tenant)
    let store = try AggregateStore(path: setup.dataDirectory + "/" + AggregateStore.name)
    var grid = try store.grid(tenant: index) ?? AggregateGrid()
    if let cell { grid.cellLength = cell }
    if let slot { grid.slotMs = slot.seconds * 1_000 }
    if let k { grid.k = k }
    if let delay { grid.delayMs = delay.seconds * 1_000 }
    try setup.note(.aggregated, tenant: tenant, numbers: ["from_ms": first, "to_ms": last])
    let reader = try AggregateReader(path: setup.storePath)
    let rows = try store.rows(tenant: index, grid: grid, fromMs: first, toMs: last, nowMs: Clock.nowMs) {
      (times, aggregator) throws(AggregateError) in
      try reader.read(tenant: index, times, into: &aggregator)
    }
    if format == .csv { print("slot,cell,subjects,fixes,speed_km_h,dwell_min") }
    for row in rows {
      let (slot, cell) = (Clock.text(row.slotMs), Geohash.name(row.cell, length: grid.cellLength))
      switch format {
      case .csv: print("\(slot),\(cell),\(row.subjects),\(row.fixes),\(row.speedKmH.map { "\($0)" } ?? ""),\(row.dwellMinutes)")
      case .json:
        print(
          "{\"slot\":\"\(slot)\",\"cell\":\"\(cell)\",\"subjects\":\(row.subjects),\"fixes\":\(row.fixes),"
            + (row.speedKmH.map { "\"speed_km_h\":\($0)," } ?? "") + "\"dwell_min\":\(row.dwellMinutes)}")
      }
    }
  }
}
