import ArgumentParser
import Foundation
import GateCore
import GateStore
import Gateway

struct PrivacyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "privacy", abstract: "What is done with the data of a tenant's people.", subcommands: [Report.self])

  struct Report: ParsableCommand {
    static let configuration = CommandConfiguration(
      abstract: "One page on a tenant: what is collected, kept how long, where, and who had access; as configured and as measured.")

    @Option(help: "The tenant.")
    var tenant: String

    @Option(help: "How many days back access is told.")
    var days = 90

    @OptionGroup var config: ConfigurationOption

    func validate() throws {
      guard (1...36_500).contains(days) else { throw ValidationError("--days must be from 1 to 36500") }
    }

    func run() throws {
      let setup = try config.load()
      let registry = try RegistryStore(path: setup.registryPath)
      let index = try registry.index(ofTenant: tenant)
      try setup.note(.reported, tenant: tenant)
      let nowMs = Clock.nowMs
      var page = Page()
      page.title("Privacy report: tenant \(tenant), \(Clock.text(nowMs))")
      let path = try? setup.storePath
      let figures =
        try path.flatMap { FileManager.default.fileExists(atPath: $0) ? try PrivacyFigures(path: $0, tenant: index) : nil }
        ?? PrivacyFigures()
      try collected(&page, registry, figures)
      try kept(&page, setup, registry, index, figures)
      try stored(&page, setup, registry)
      try access(&page, setup, registry, sinceMs: nowMs - Int64(days) * 86_400_000, nowMs: nowMs)
      try others(&page, setup, index)
      print(page.text, terminator: "")
    }

    private func collected(_ page: inout Page, _ registry: borrowing RegistryStore, _ figures: PrivacyFigures) throws {
      page.section("What is collected")
      let devices = try registry.listDevices(tenant: tenant)
      let subjects = Set(devices.compactMap(\.subject)).count
      page.line("\(devices.count) devices, \(devices.count { $0.revokedMs != nil }) of them revoked; \(subjects) subjects carry one now")
      page.line("people and devices are opaque ids: no name, e-mail or phone number has a place in the wire format or the store")
      for field in figures.fields { page.line("\(field.name): in \(field.count) fixes") }
      if figures.fields.isEmpty { page.line("no fix is in the embedded store") }
      let versions = figures.policies.filter { $0 != 0 }.map { "\($0)" }
      page.line(versions.isEmpty ? "no policy was in force when these were taken" : "taken under policy \(versions.joined(separator: ", "))")
    }

    private func kept(
      _ page: inout Page, _ setup: Setup, _ registry: borrowing RegistryStore, _ index: UInt32, _ figures: PrivacyFigures
    ) throws {
      page.section("What is held, since when, and for how long")
      for kind in figures.kinds {
        let span = kind.oldestMs.map { oldest in
          ", from \(Clock.text(oldest)) to \(Clock.text(kind.newestMs ?? oldest))"
        }
        page.line("\(kind.count) \(kind.name)\(span ?? "")")
      }
      let book = try SubjectBook(path: setup.subjectBookPath)
      let rules = try RetentionRule.all(registry, book, nowMs: Clock.nowMs).filter { $0.cut.tenant == index }
      let days = rules.first?.days ?? RetentionDays()
      for (kind, days) in [
        ("positions", days.positions), ("events", days.events), ("held fixes", days.quarantine), ("keys of the queue", days.journal),
      ] { page.line("\(kind) are kept " + (days.map { "for \($0) days" } ?? "until somebody erases them")) }
      for sink in setup.configuration.sinks {
        do {
          guard let states = try setup.states(rules, in: sink)?.first else { continue }
          for (kind, state) in [("positions", states.positions), ("events", states.events), ("held fixes", states.quarantine)] {
            guard let oldest = state.oldest_ms else { continue }
            page.line(
              "sink \(sink.name): \(kind) from \(Clock.text(oldest)) on; \(state.overdue) are overdue, "
                + "a hold keeps \(state.held) beyond their time")
          }
        } catch { page.line("sink \(sink.name): what it holds cannot be told: \(error)") }
      }
      let erasures = try book.erasures(tenant: index)
      page.line(
        "\(try book.holds(tenant: index).count) legal holds; \(erasures.count { $0.receipt != nil }) erasures done, "
          + "\(erasures.count { $0.receipt == nil }) under way")
    }

    private func stored(_ page: inout Page, _ setup: Setup, _ registry: borrowing RegistryStore) throws {
      page.section("Where it is")
      let egress = try registry.egress(tenant: tenant).first?.egress ?? TenantEgress()
      page.line("region \(egress.region); it may go to \(egress.sinks.joined(separator: ", "))")
      for sink in setup.configuration.sinks {
        let fields = sink.fields.isEmpty ? "every field that is taken" : sink.fields.joined(separator: ", ")
        page.line("sink \(sink.name): region \(sink.region), for \(sink.purpose); gets \(fields)")
        let left = sink.type.leftByErasure.map { ", and leaves to whoever runs it \($0)" } ?? ""
        page.line(
          "sink \(sink.name): erasure \(sink.type.isErasable ? "reaches" : "does not reach") it\(left); retention "
            + (sink.keptInstead.map { "does not: \($0)" } ?? "reaches it"))
      }
      page.line("queue, registry and audit log: in the data directory, mode 0700, on this machine")
    }

    private func access(
      _ page: inout Page, _ setup: Setup, _ registry: borrowing RegistryStore, sinceMs: Int64, nowMs: Int64
    ) throws {
      page.section("Who had access in the last \(days) days, by the audit log")
      var counts: [String: [String: Int]] = [:]
      let report = try setup.auditLog.read { line in
        guard let entry = AuditLine(line), entry.tenant == tenant, entry.timeMs >= sinceMs else { return }
        counts[entry.who, default: [:]][entry.what, default: 0] += 1
      }
      page.line(report.problems.isEmpty ? "the log is as it was written" : "THE LOG HAS BEEN CHANGED: see 'fixgate audit verify'")
      for (who, what) in counts.sorted(by: { $0.key < $1.key }) {
        page.line("\(who): " + what.sorted { $0.key < $1.key }.map { "\($0.key) \($0.value)" }.joined(separator: ", "))
      }
      let good = try registry.readTokens(tenant: tenant).filter { $0.state(at: nowMs) == .good }
      for token in good {
        page.line(
          "token \(token.number) is good for \(token.roles.names.joined(separator: ", ")), "
            + (token.expiresMs.map { "until \(Clock.text($0))" } ?? "until it is revoked"))
      }
      if good.isEmpty { page.line("nobody holds a read token") }
    }

    private func others(_ page: inout Page, _ setup: Setup, _ index: UInt32) throws {
      page.section("What others get")
      let path = setup.dataDirectory + "/" + AggregateStore.name
      guard FileManager.default.fileExists(atPath: path), let grid = try AggregateStore(path: path).grid(tenant: index) else {
        return page.line("nothing: no aggregate was ever made")
      }
      page.line(
        "aggregates of \(grid.k) subjects or more by geohash of \(grid.cellLength) characters and slots of "
          + "\(grid.slotMs / 60_000) minutes, without ids; nothing else")
    }
  }

  /// Plain text that is Markdown too.
  private struct Page {
    private(set) var text = ""
    mutating func title(_ words: String) { text += "# \(words)\n" }
    mutating func section(_ words: String) { text += "\n## \(words)\n\n" }
    mutating func line(_ words: String) { text += "- \(words)\n" }
  }
}
