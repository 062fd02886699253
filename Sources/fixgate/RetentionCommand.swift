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
      abstract: "List tenant, kind, days kept, receipt of the oldest, how many are overdue, how many a hold keeps beyond that, sink.",
      discussion: """
        Days are what the tenant's policy says; '-' = kept for good. positions: where somebody was. events: that something happened. \
        quarantine: held fixes. journal: the age of the oldest key in force; what is sealed under older keys can be read by nobody \
        once those are shredded. The gateway deletes once an hour. Where it does not, or cannot be told, kind is 'all' and words say why; \
        the exit status is 1 when a sink could not be asked.
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
      var state: RetentionState?
      /// Where it lies; `nil` = in the data directory.
      var sink: String?
      /// Why there is no `state`.
      var note: String?
    }

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      if let tenant { _ = try registry.index(ofTenant: tenant) }
      let book = try SubjectBook(path: setup.subjectBookPath)
      let nowMs = Clock.nowMs
      let rules = try RetentionRule.all(registry, book, nowMs: nowMs).filter { tenant == nil || tenant == $0.tenant }
      var lines: [Line] = []
      var isComplete = true
      for sink in setup.configuration.sinks {
        func note(_ words: String) {
          lines += rules.map { Line(tenant: $0.tenant, kind: "all", sink: sink.name, note: words) }
        }
        do {
          guard let states = try setup.states(rules, in: sink) else {
            note("retention does not reach it: \(sink.keptInstead ?? "")")
            continue
          }
          for (rule, states) in zip(rules, states) {
            lines += [
              Line(tenant: rule.tenant, kind: "positions", days: rule.days.positions, state: states.positions, sink: sink.name),
              Line(tenant: rule.tenant, kind: "events", days: rule.days.events, state: states.events, sink: sink.name),
              Line(tenant: rule.tenant, kind: "quarantine", days: rule.days.quarantine, state: states.quarantine, sink: sink.name),
            ]
          }
        } catch {
          note("cannot be told: \(error)")
          isComplete = false
        }
      }
      for rule in rules {
        var journal = RetentionState()
        journal.oldest_ms = try book.oldestKeyMs(tenant: rule.cut.tenant)
        if let days = rule.days.journal, let made = journal.oldest_ms,
          nowMs - made >= (max(days, 1) + 1) * RetentionCut.dayMs
        {
          journal.overdue = 1
        }
        lines.append(Line(tenant: rule.tenant, kind: "journal", days: rule.days.journal, state: journal))
      }
      switch format {
      case .json:
        let encoder = JSONEncoder()
        encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
        print(String(decoding: try encoder.encode(lines), as: UTF8.self))
      case .text:
        for line in lines {
          let counts = line.state.map { ["\($0.overdue)", "\($0.held)"] } ?? ["-", "-"]
          let columns =
            [line.tenant, line.kind, line.days.map { "\($0)" } ?? "-", line.state?.oldest_ms.map { Clock.text($0) } ?? "-"]
            + counts + [line.sink ?? "-"] + (line.note.map { [$0] } ?? [])
          print(columns.joined(separator: "\t"))
        }
      }
      if !isComplete { throw ExitCode.failure }
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
