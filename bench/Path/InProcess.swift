package import BenchHarness
import CAllocations
package import GateCore
import GateMemory
import GateProto
import Gateway

/// The path of a fix within this process, on one thread and without I/O or TLS: frame, `Intake`, ring, `SequencerCore`, ack.
package struct InProcess {
  package enum Shape: CaseIterable {
    /// One `Fix` a frame.
    case row
    /// A `FixBatch` of so many.
    case columns10
    case columns60

    package var fixesAFrame: Int {
      switch self {
      case .row: 1
      case .columns10: 10
      case .columns60: 60
      }
    }

    package var name: String { self == .row ? "1 row" : "\(fixesAFrame) in columns" }
  }

  package struct Result {
    package var shape: Shape
    package var fixes: Int
    /// Of one fix, over the rounds: least and median, of worker and sequencer each.
    package var intakeNs: (least: Double, median: Double)
    package var sequencerNs: (least: Double, median: Double)
    /// In one round after warm-up.
    package var allocations: UInt64
    package var locks: UInt64
    /// A fix's bytes: frame as decrypted, record in ring and batch, reply and its ack's frame.
    package var frameBytes: Double
    package var recordBytes: Double
    package var ackBytes: Double
    /// Of all records of the last round: the same device and fixes, so the same for every shape.
    package var hash: ResultHash
  }

  /// Frames that lie in the ring at a time, and answers that one commit has.
  private static let framesACommit = 64
  private static let wallMs: Int64 = 1_893_456_000_000

  /// - Parameter fixes: their count is a multiple of 60; sequences from 1.
  package static func run(_ shape: Shape, fixes: [Fix], rounds: Int) -> Result {
    let frames = encode(fixes, shape)
    var intakes: [Double] = []
    var sequencers: [Double] = []
    var result = Result(
      shape: shape, fixes: fixes.count, intakeNs: (0, 0), sequencerNs: (0, 0), allocations: 0, locks: 0,
      frameBytes: Double(frames.bytes.count) / Double(fixes.count), recordBytes: 0, ackBytes: 0, hash: ResultHash())
    var path = Path(devices: rounds + 3)
    // The last round is for the hash, which takes time; the first one and the one before it are not timed.
    for round in 0...rounds + 1 {
      path.begin(device: UInt32(round + 1))
      let allocations = allocations_of_this_thread()
      let locks = locks_of_this_thread()
      let costs = path.run(frames, hashing: round == rounds + 1)
      if round > 0, round <= rounds {
        intakes.append(costs.intakeNs / Double(fixes.count))
        sequencers.append(costs.sequencerNs / Double(fixes.count))
        result.allocations = allocations_of_this_thread() - allocations
        result.locks = locks_of_this_thread() - locks
      }
      result.recordBytes = Double(costs.recordBytes) / Double(fixes.count)
      result.ackBytes = Double(costs.ackBytes) / Double(fixes.count)
    }
    intakes.sort()
    sequencers.sort()
    result.intakeNs = (intakes[0], intakes[intakes.count / 2])
    result.sequencerNs = (sequencers[0], sequencers[sequencers.count / 2])
    result.hash = path.hash
    return result
  }

  fileprivate struct Frames {
    var bytes: [UInt8]
    var ranges: [Range<Int>]
  }

  private static func encode(_ fixes: [Fix], _ shape: Shape) -> Frames {
    var frames = Frames(bytes: [UInt8](repeating: 0, count: Limits.workBytesMax), ranges: [])
    let none: [UInt8] = []
    for start in stride(from: 0, to: fixes.count, by: shape.fixesAFrame) {
      let from = frames.bytes.count
      if shape == .row {
        FixEncoder.row(fixes[start], from: none.span, into: &frames.bytes)
      } else {
        FixEncoder.batch(
          fixes[start..<min(fixes.count, start + shape.fixesAFrame)], work: [], into: &frames.bytes)
      }
      frames.ranges.append(from..<frames.bytes.count)
    }
    return frames
  }

  fileprivate struct Costs {
    var intakeNs = 0.0
    var sequencerNs = 0.0
    var recordBytes = 0
    var ackBytes = 0
  }

  /// One worker and the sequencer, whose turns alternate.
  fileprivate struct Path: ~Copyable {
    private var intake: Intake
    private var core: SequencerCore
    private let ring = ByteRing(capacity: 1 << 22)
    private let registry: RegistrySnapshot
    private let tokens: [[UInt8]]
    private var session = Session(id: SessionID(slot: 0, generation: 0))
    private var word: UInt64 = 0
    private var out: [UInt8] = []
    private(set) var hash = ResultHash()

    init(devices: Int) {
      var configuration = Configuration()
      configuration.limits.frames.perSecond = 1_000_000_000
      configuration.limits.frames.burst = 1_000_000_000
      let free = GCRA(perSecond: 1_000_000_000, burst: 1_000_000_000)
      let limiters = LimiterTable(
        settings: LimiterTable.Settings(lanes: [free, free, free], tenant: free, gateway: free), devices: devices, tenants: 1)
      intake = Intake(
        settings: Intake.Settings(configuration), ring: ring, limiters: limiters,
        privacy: PrivacyContext(devices: devices, tenants: 1))
      core = SequencerCore(
        devices: DeviceTable(), workers: 1, batchCapacity: 2 * Limits.messageBytesMax, random: SplitMix(seed: 1))
      var builder = RegistrySnapshot.Builder()
      builder.addTenant(1, name: "bench")
      var tokens: [[UInt8]] = []
      for device in 1...UInt32(devices) {
        builder.addDevice(device, tenant: 1, subject: 0, externalID: "\(device)", revoked: false)
        guard let secret = try? Credentials.make() else { preconditionFailure("libcrypto has no random bytes") }
        builder.addToken(selector: secret.selector, hash: secret.hash, device: device, revoked: false)
        tokens.append(secret.token)
      }
      self.tokens = tokens
      registry = RegistrySnapshot(builder, generation: 1)
      out.reserveCapacity(65_536)
    }

    /// Says hello for a device that has sent nothing yet.
    mutating func begin(device: UInt32) {
      session = Session(id: SessionID(slot: 0, generation: device))
      word = 0
      hash = ResultHash()
      var bytes = [UInt8](repeating: 0, count: Limits.workBytesMax)
      Hello(token: tokens[Int(device) - 1], stream: 1, nextSequence: 1).append(into: &bytes)
      take(bytes, Limits.workBytesMax..<bytes.count)
      pop()
      core.commitSucceeded()
      core.clearReplies()
      precondition(out.isEmpty)
    }

    mutating func run(_ frames: Frames, hashing: Bool) -> Costs {
      var costs = Costs()
      let clock = ContinuousClock()
      var at = 0
      while at < frames.ranges.count {
        let end = min(at + InProcess.framesACommit, frames.ranges.count)
        let start = clock.now
        for i in at..<end { take(frames.bytes, frames.ranges[i]) }
        let between = clock.now
        pop()
        costs.recordBytes += core.batchBytes
        if hashing { addBatch() }
        core.commitSucceeded()
        for (_, reply) in core.replies {
          precondition(reply.kind == .ack && reply.judgementCount == 0)
          AckEncoder.append(through: reply.through, above: Span(), into: &out)
          Frame.close(from: 0, in: &out)
        }
        core.clearReplies()
        let done = clock.now
        costs.ackBytes += out.count
        out.removeAll(keepingCapacity: true)
        costs.intakeNs += (between - start).ns
        costs.sequencerNs += (done - between).ns
        at = end
      }
      return costs
    }

    private mutating func take(_ bytes: [UInt8], _ frame: Range<Int>) {
      let outcome = intake.take(
        bytes.span, frame: frame, session: &session, word: &word, registry: registry, at: Instant(ns: 1 << 60),
        wallMs: InProcess.wallMs, out: &out)
      precondition(outcome == .taken(unanswered: 1))
    }

    private mutating func pop() {
      while ring.pop({ core.take($0, from: 0, receiveTimeMs: InProcess.wallMs) }) {}
    }

    /// Adds the batch's records.
    private mutating func addBatch() {
      let batch = core.batch
      for at in stride(from: 0, to: core.batchBytes, by: 8) { hash.add(batch.span.load64(at: at)) }
    }
  }
}

extension Duration {
  fileprivate var ns: Double { Double(components.seconds) * 1e9 + Double(components.attoseconds) / 1e9 }
}
