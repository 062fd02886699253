import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct RetentionCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "retention",
    abstract: "How long each kind of data is kept, and the proof that it is.",
    subcommands: [Report.self, Apply.self])

  enum Format: String, ExpressibleByArgument, CaseIterable { case text, json }

  struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "List tenant, kind, days kept, receipt of the oldest, how many are overdue, how many of those a hold keeps.",
      discussion: """
        Days are what the tenant's policy says; '-' = kept for good. positions: where somebody was. events: that something happened. \
        quarantine: held fixes. journal: the age of the oldest key in force; what is sealed under older keys can be read by nobody \
        once those are shredded. The gateway deletes once an hour.
        """)

    @Option(help: "Only this tenant's.")
    var tenant: String?

    @Option(help: "text or json.")
    var format = Format.text

    @OptionGroup var config: ConfigurationOption

    private struct Line: Codable {
      var tenant: String
      var kind: String
      var days: Int64?
      var state: RetentionState
    }

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      if let tenant { _ = try registry.index(ofTenant: tenant) }
      let book = try SubjectBook(path: setup.subjectBookPath)
      let rows = try SQLiteSubjectRows(path: setup.storePath)
      let nowMs = Clock.nowMs
      var lines: [Line] = []
      for (index, name, days) in try registry.retention() where tenant == nil || tenant == name {
        let cut = RetentionCut(
          tenant: index, days: days, holds: try book.holds(tenant: index).map(\.target), nowMs: nowMs)
        let state = try rows.state(cut)
        var journal = RetentionState()
        journal.oldest_ms = try book.oldestKeyMs(tenant: index)
        if let days = days.journal, let made = journal.oldest_ms, nowMs - made >= (max(days, 1) + 1) * RetentionCut.dayMs {
          journal.overdue = 1
        }
        lines += [
          Line(tenant: name, kind: "positions", days: days.positions, state: state.positions),
          Line(tenant: name, kind: "events", days: days.events, state: state.events),
          Line(tenant: name, kind: "quarantine", days: days.quarantine, state: state.quarantine),
          Line(tenant: name, kind: "journal", days: days.journal, state: journal),
        ]
      }
      switch format {
      case .json:
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        print(String(decoding: try encoder.encode(lines), as: UTF8.self))
      case .text:
        for line in lines {
          print(
            "\(line.tenant)\t\(line.kind)\t\(line.days.map { "\($0)" } ?? "-")\t"
              + "\(line.state.oldest_ms.map { Clock.text($0) } ?? "-")\t\(line.state.overdue)\t\(line.state.held)")
        }
      }
    }
  }

  struct Apply: ParsableCommand {
    static let configuration = CommandConfiguration(abstract: "Have the running gateway delete what is overdue now.")

    @OptionGroup var config: ConfigurationOption

    func run() throws {
      let setup = try config.load()
      guard let answer = try ControlClient.ask(.subjects, directory: setup.dataDirectory) else {
        throw Complaint("no gateway runs on \(setup.dataDirectory); start it with 'fixgate serve'")
      }
      if let problem = answer.problem { throw Complaint(problem) }
      print("the gateway deletes what is overdue; 'fixgate retention report' tells what is left")
    }
  }
}
