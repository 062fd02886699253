import ArgumentParser
import BenchFleet
import BenchHarness
import BenchPath
import GateCore

/// `privacy`: what the promises cost in the real gateway: journal, quarantine and checkpoint under a key of each subject, and duty
/// by calendar, each beside a gateway without, in turn.
struct PrivacyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "privacy",
    abstract: "CPU time of the real gateway with encryption per subject, and with duty by calendar, against neither; in turn.")

  @Option(help: "Connections, each a device of a subject of its own.") var connections = 200
  @Option(help: "Fixes a run, after a tenth as many that are not counted.") var fixes: UInt64 = 100_000
  @Option(help: "Rounds; the medians are printed.") var rounds = 7
  @Option(help: "Fixes in a message; may be repeated.") var batch = [1, 10, 60]
  @Option(help: "Folder on the disk to use.") var folder = "."

  private enum Kind: String, CaseIterable { case neither, sealed, calendar }

  func run() throws {
    let track = PathCommand.track(60_000)
    let plain = try Enrolment(devices: connections)
    try plain.assignSubjects()
    let open = try Enrolment(devices: connections)
    try open.assignSubjects()
    try open.setCalendar()
    print("fixes a message  gateway     CPU us/fix   least    most   ratio   worker  sequencer    sink")
    for batch in batch {
      let scenario = Scenario(
        connections: connections, batch: batch, warmUp: max(fixes / 10, UInt64(connections * batch * 4)), fixes: fixes)
      var timed: [Kind: [Scenario.Timed]] = [:]
      for round in 0..<rounds {
        for turn in Kind.allCases.indices {
          let kind = Kind.allCases[(turn + round) % Kind.allCases.count]
          timed[kind, default: []].append(
            try scenario.time(
              in: folder, track: track, of: kind == .calendar ? open : plain,
              settings: kind == .sealed ? [:] : ["FIXGATE_TLS_REGISTRY_KEY": "none.key"], untilStored: true))
        }
      }
      let base = PrivacyCommand.median(timed[.neither] ?? []) { $0.totalCPUNs }
      for kind in Kind.allCases {
        let runs = timed[kind] ?? []
        let all = runs.map { Double($0.totalCPUNs) / Double($0.fixes) / 1_000 }.sorted()
        let middle = PrivacyCommand.median(runs) { $0.totalCPUNs }
        func thread(_ prefix: String) -> String {
          number(PrivacyCommand.median(runs) { run in run.cpuNs.reduce(0) { $0 + ($1.key.hasPrefix(prefix) ? $1.value : 0) } }, 7)
        }
        print(
          pad("\(batch)", 16), pad(kind.rawValue, 11), number(middle, 10), number(all[0], 7), number(all[all.count - 1], 7),
          number(middle / base, 7), thread("fixgate-worker"), "  ", thread("fixgate-seq"), thread("fixgate-sink"))
      }
    }
  }

  /// us a fix.
  private static func median(_ runs: [Scenario.Timed], _ ns: (Scenario.Timed) -> UInt64) -> Double {
    runs.map { Double(ns($0)) / Double($0.fixes) / 1_000 }.sorted()[runs.count / 2]
  }
}
