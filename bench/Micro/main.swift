import ArgumentParser

/// Times and counts one stage at a time. See README.md beside bench/.
struct Bench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fixgate-bench", abstract: "Measure fixgate, one stage at a time.",
    subcommands: [
      Decode.self, Wire.self, Records.self, Drain.self, PathCommand.self, Idle.self, DTLSCommand.self, CrowdCommand.self,
      StormCommand.self, Smoke.self,
    ])
}

Bench.main()
