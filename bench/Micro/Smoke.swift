import ArgumentParser
import BenchDTLS
import BenchFleet
import BenchHarness
import BenchLoad
import BenchPath
import BenchReport
import BenchStages
import BenchStarts
import GateTLS

/// `smoke`: everything, tiny. Fails on what does not depend on the machine's speed.
struct Smoke: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Run all of it tiny; fail when results differ, when the path allocates or locks, or when a fix grows too long.")

  @Option(help: "Folder on the disk to use.")
  var folder = "."

  func run() throws {
    guard Contest.counterBites() else { throw SmokeFailure.counterDoesNotBite }
    for plan in Stage.plans {
      for stage in try plan.make(Stage.Setting(folder: folder, shrink: 50)) { try Smoke.check(try stage.run(rounds: 1)) }
    }
    let sizes = Wire.measure([.courier(seed: 1, points: 6_000)])
    guard let sixty = sizes.batches.first(where: { $0.size == 60 }), sixty.bytes <= 10 * sizes.fixes,
      sizes.lone.allSatisfy({ $0 <= 34 })
    else { throw SmokeFailure.fixTooLong }
    try Bounds.check(PathCommand.printInProcess(fixes: 6_000, rounds: 3))
    _ = try Bite.run(in: folder)
    let track = PathCommand.track(6_000)
    for batch in [1, 10] {
      let scenario = Scenario(connections: 20, batch: batch, warmUp: UInt64(2_000 * batch), fixes: UInt64(5_000 * batch))
      try Bounds.check(try scenario.count(in: folder, track: track))
    }
    for transport in ["tls", "dtls"] { try LoadSmoke.run(transport: transport, in: folder) }
    // These fail by themselves if a device is cut off or not acked.
    _ = try Storm(devices: 8, backlog: 100, workers: 2).run(in: folder, track: track)
    _ = try Crowd(connections: 50, floodPerSecond: 100, fixes: 20, workers: 2).run(in: folder, track: track)
    let rotation = Rotation(connections: 10, subjects: 200, fixesPerSecond: 200, seconds: 1, everySeconds: 1)
    guard let rotating = try rotation.run(rounds: 1, in: folder, track: track).first?.rotating, rotating.keys >= 200,
      rotating.fixes > 0
    else { throw SmokeFailure.keysDoNotRotate }
    let path = try DTLSCommand.path(200, .pskAES128CCM8, rounds: 4, folder)
    guard path.allocations < 20 else { throw SmokeFailure.pathAllocates }
    try DTLSCommand.printHandshakes(20, rounds: 2)
    // This fails by itself if no ack comes.
    try DTLSCommand.printServe(1_000, .pskAES128CCM8, folder)
    let awake = try StartsCommand.printStarts(folder)[1]
    guard awake.roundTrips == 1, awake.traffic.bytesUp <= 100, awake.traffic.bytesDown <= 70 else {
      throw SmokeFailure.startTooLong
    }
    print("smoke: ok")
  }
}

extension Smoke {
  /// What lies on the path of a fix allocates nothing; libraries that are known to allocate are seen to.
  private static func check(_ stage: StageResult) throws(SmokeFailure) {
    for (i, entry) in stage.entries.enumerated() {
      let allocations = entry.allocations ?? 0
      if i == 0, !mayAllocate.contains(where: stage.name.hasPrefix), allocations > 0 { throw .stageAllocates(stage.name) }
      if entry.name == "libprotobuf-c" || entry.name == "SwiftProtobuf", allocations == 0 { throw .counterDoesNotBite }
    }
  }

  /// Ranges above a mark and rows on their way to SQLite lie in arrays that grow; the ring's other thread is made.
  private static let mayAllocate = ["dedupe", "SQLite", "ring, two"]
}

enum SmokeFailure: Error {
  /// Allocations are not seen, so their number says nothing.
  case counterDoesNotBite
  /// A stage that must not allocate did.
  case stageAllocates(String)
  /// More than 10 bytes a fix in batches of 60, or more than 34 for one alone.
  case fixTooLong
  /// Subjects got no new keys while fixes came in, or no fix was acked meanwhile.
  case keysDoNotRotate
  /// Datagrams allocate on their way: one a round is an array of the whole round that grows.
  case pathAllocates
  /// A tracker that wakes needs more than one datagram of 100 bytes, or its ack more than 70.
  case startTooLong
}
