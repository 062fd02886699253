import ArgumentParser
import BenchHarness
import BenchPath

/// `crowd`: a live device's acks beside a hostile crowd, against alone.
struct CrowdCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "crowd", abstract: "Time a live device's acks alone and beside strangers that are silent, trickle or flood.")

  @Option(help: "Connections of the crowd.")
  var connections = 9_000

  @Option(help: "ClientHellos a second of those that flood.")
  var flood = 500

  @Option(help: "Fixes of the live device in each phase, one every 20 ms.")
  var fixes = 1_000

  @Option(help: "The gateway's workers.")
  var workers = 2

  @Option(help: "Folder on the disk to use.")
  var folder = "."

  func run() throws {
    let crowd = Crowd(connections: connections, floodPerSecond: flood, fixes: fixes, workers: workers)
    let phases = try crowd.run(in: folder, track: PathCommand.track(1_000))
    let alone = Percentiles(phases.filter { $0.crowd == nil }.flatMap(\.ackNs))
    for phase in phases {
      let acks = Percentiles(phase.ackNs)
      let name = phase.crowd?.rawValue ?? "alone"
      let ratio = Double(acks.ns(0.99)) / Double(max(alone.ns(0.99), 1))
      print("\(name): acks \(acks.text); p99 / alone \(number(ratio, 4)); gateway \(phase.residentBytes >> 20) MB, closed \(phase.closed)")
    }
    print("alone, all: acks \(alone.text)")
  }
}

/// `storm`: a whole fleet comes back after a crash, against what its handshakes cost libssl.
struct StormCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "storm", abstract: "Kill the gateway, and time how long until all devices are back with their backlog.")

  @Option(help: "Devices; one in four has lost its ticket.")
  var devices = 2_000

  @Option(help: "Fixes that each has recorded meanwhile.")
  var backlog: UInt64 = 240

  @Option(help: "The gateway's workers.")
  var workers = 2

  @Option(help: "Storms, each with a gateway of its own.")
  var runs = 3

  @Option(help: "Folder on the disk to use.")
  var folder = "."

  func run() throws {
    let cost = try Handshakes.measure(rounds: 500)
    for (name, cost) in [("full", cost.full), ("resumed", cost.resumed)] {
      print(
        "libssl alone, one thread: \(name) handshake \(number(cost.serverNs / 1e3, 5)) us server (\(Int(cost.perSecond))/s), \(number(cost.clientNs / 1e3, 5)) us client"
      )
    }
    let storm = Storm(devices: devices, backlog: backlog, workers: workers)
    for _ in 0..<runs {
      let result = try storm.run(in: folder, track: PathCommand.track(1_000))
      let full = Double(result.handshakes - result.resumed)
      let alone =
        full * (cost.full.serverNs + cost.full.clientNs)
        + Double(result.resumed) * (cost.resumed.serverNs + cost.resumed.clientNs)
      let established = Percentiles(result.establishedNs)
      let perSecond = Double(result.handshakes) * 1e9 / Double(established.ns(1))
      print("\(result.handshakes) devices (\(result.resumed) with a ticket), \(backlog + 1) fixes each:")
      print("  handshakes done: \(established.text); \(Int(perSecond))/s")
      print("  newest fix acked: \(Percentiles(result.newestNs).text)")
      print("  all fixes acked: \(Percentiles(result.allNs).text); told to come again: \(result.refusals) times")
      print("  libssl alone would need \(number(alone / 1e6, 6)) ms of CPU for both ends; the gateway used \(result.cpuNs / 1_000_000) ms for all of it")
    }
  }
}
