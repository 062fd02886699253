import ArgumentParser
import BenchDTLS
import BenchFleet
import BenchHarness
import BenchLoad
import BenchPath
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
    for outcome in Decode.outcomes(fixes: 600, rounds: 1) {
      guard outcome.hashes.allSatisfy({ $0 == outcome.hashes[0] }) else { throw SmokeFailure.resultsDiffer }
      guard outcome.results[0].allocations == 0 else { throw SmokeFailure.decoderAllocates }
      guard outcome.results[1].allocations > 0, outcome.results[2].allocations > 0 else {
        throw SmokeFailure.counterDoesNotBite
      }
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

enum SmokeFailure: Error {
  /// Allocations are not seen, so their number says nothing.
  case counterDoesNotBite
  /// The decoders do not read the same values.
  case resultsDiffer
  /// Decoding allocated.
  case decoderAllocates
  /// More than 10 bytes a fix in batches of 60, or more than 34 for one alone.
  case fixTooLong
  /// Datagrams allocate on their way: one a round is an array of the whole round that grows.
  case pathAllocates
  /// A tracker that wakes needs more than one datagram of 100 bytes, or its ack more than 70.
  case startTooLong
}
