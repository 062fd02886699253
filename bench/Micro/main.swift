import ArgumentParser
import BenchLoad
import BenchPeers
import BenchReport

/// See README.md beside bench/.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fixgate-bench", abstract: "Measure fixgate: one stage at a time, and under load.",
    subcommands: sinks + [
      Micro.self, Wire.self, Records.self, Seals.self, Drain.self, PathCommand.self, PrivacyCommand.self,
      RotationCommand.self, DTLSCommand.self, CrowdCommand.self, StormCommand.self, StartsCommand.self, LoadCommand.self,
      SweepCommand.self, PeersCommand.self, ReportCommand.self, CompareCommand.self, Smoke.self,
    ])

  #if PostgreSQL
  private static let sinks: [any ParsableCommand.Type] = [SinksCommand.self]
  #else
  private static let sinks: [any ParsableCommand.Type] = []
  #endif
}

Bench.main()
