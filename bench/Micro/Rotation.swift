import ArgumentParser
import BenchPath

/// `rotation`: whether acks pause while the keys of all subjects change.
struct RotationCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "rotation",
    abstract: "How long acks take while all subjects get new keys, and while nothing changes; in turn.")

  @Option(help: "Connections, each a device of a subject of its own.") var connections = 50
  @Option(help: "Subjects in all, each with a key.") var subjects = 10_000
  @Option(help: "Fixes a second, each a message, due at times of its own.") var fixesPerSecond = 1_000.0
  @Option(help: "Seconds of each phase.") var seconds: UInt64 = 10
  @Option(help: "Seconds from one rotation to the next.") var every: UInt64 = 5
  @Option(help: "Pairs of phases.") var rounds = 3
  @Option(help: "Folder on the disk to use.") var folder = "."

  func run() throws {
    let rotation = Rotation(
      connections: connections, subjects: subjects, fixesPerSecond: fixesPerSecond, seconds: seconds, everySeconds: every)
    print("phase       fixes  ack ms: median     p99  longest   rotations     keys   ms each")
    for (quiet, rotating) in try rotation.run(rounds: rounds, in: folder, track: PathCommand.track(60_000)) {
      for (name, phase) in [("quiet", quiet), ("rotating", rotating)] {
        let each = phase.rotationNs.isEmpty ? 0 : phase.rotationNs.reduce(0, +) / UInt64(phase.rotationNs.count)
        print(
          pad(name, 9), RotationCommand.whole(phase.fixes, 7), ms(phase.medianNs, 15), ms(phase.p99Ns, 7), ms(phase.longestNs, 8),
          RotationCommand.whole(phase.rotationNs.count, 11), RotationCommand.whole(phase.keys, 8), ms(each, 9))
      }
    }
  }

  private func ms(_ ns: UInt64, _ width: Int) -> String { number(Double(ns) / 1e6, width) }
  private static func whole(_ value: Int, _ width: Int) -> String {
    String(repeating: " ", count: max(0, width - "\(value)".count)) + "\(value)"
  }
}
