import BenchHarness
import CAllocations
package import GateCore
import GateMemory
import GateProto
package import GateTLS
import Gateway

/// The way of a datagram within this process, on one thread and without I/O: open, decode, limit, ring, dedupe. Each of many
/// sessions sends one lone fix in turn, in random order, so that no session is warm.
package struct DatagramPath: ~Copyable {
  package struct Result {
    package var datagrams = 0
    package var bytes = 0
    /// Of one datagram, over every other round: least and median.
    package var openNs = (least: 0.0, median: 0.0)
    package var intakeNs = (least: 0.0, median: 0.0)
    package var sequencerNs = (least: 0.0, median: 0.0)
    /// The whole way, over the rounds between, when nobody looks at the clock meanwhile.
    package var allNs = (least: 0.0, median: 0.0)
    /// Of one round.
    package var allocations: UInt64 = 0
  }

  /// Datagrams a commit: two of a socket's batches.
  private static let batch = 64
  private static let wallMs: Int64 = 1_893_456_000_000
  private var endpoint: DTLSEndpoint
  private var devices: [Sender]
  private var intake: Intake
  private var core: SequencerCore
  private let ring = ByteRing(capacity: 1 << 22)
  private let registry: RegistrySnapshot
  private var sessions: [Session] = []
  private var words: [UInt64]
  private var order: [Int]
  private var out: [UInt8] = []
  private var plain = [UInt8](repeating: 0, count: Limits.workBytesMax + 8_192)

  /// The device's end of a session.
  private final class Sender {
    var session: DTLSSession
    init(_ session: consuming DTLSSession) { self.session = session }
  }

  package init(sessions count: Int, _ suite: DTLSSuite, in folder: String) throws {
    let fleet = try StoredFleet(count, suite, in: folder)
    let endpoint = try fleet.start(BenchContext.server())
    var devices: [Sender] = []
    for i in 0..<count { devices.append(Sender(try fleet.session(i, .client))) }
    self.devices = devices
    self.endpoint = endpoint
    var configuration = Configuration()
    configuration.limits.frames.perSecond = 1_000_000_000
    configuration.limits.frames.burst = 1_000_000_000
    let free = GCRA(perSecond: 1_000_000_000, burst: 1_000_000_000)
    let limiters = LimiterTable(
      settings: LimiterTable.Settings(lanes: [free, free, free], tenant: free, gateway: free), devices: count, tenants: 1)
    intake = Intake(
      settings: Intake.Settings(configuration), ring: ring, limiters: limiters,
      privacy: PrivacyContext(devices: count, tenants: 1))
    core = SequencerCore(
      devices: DeviceTable(), workers: 1, batchCapacity: 2 * Limits.messageBytesMax, random: SplitMix(seed: 1))
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "bench")
    for device in 1...UInt32(count) {
      builder.addDevice(device, tenant: 1, subject: 0, externalID: "\(device)", revoked: false)
    }
    registry = RegistrySnapshot(builder, generation: 1)
    words = [UInt64](repeating: 0, count: count)
    order = Array(0..<count)
    for i in 0..<count {
      let id = SessionID(datagramIndex: i, generation: 1)
      sessions.append(
        Session(
          resuming: id, transport: .datagram, DeviceIdentity(device: UInt32(i + 1), tenant: 1, subject: 0),
          stream: StoredFleet.stream, protocolVersion: 1, credential: CredentialReference(kind: .key, selector: 1),
          validUntilMs: .max))
      intake.resume(id, device: UInt32(i + 1), stream: StoredFleet.stream)
      while ring.pop({ core.take($0, from: 0, receiveTimeMs: DatagramPath.wallMs) }) {}
    }
    core.clearReplies()
    out.reserveCapacity(65_536)
  }

  /// - Parameter fixes: one is sent by every device a round.
  ///   - rounds: two at least.
  package mutating func run(fixes: [Fix], rounds: Int) throws -> Result {
    var random = SplitMix(seed: 7)
    var times: [[Double]] = [[], [], [], []]
    var result = Result()
    for round in 0...rounds {
      order.shuffle(using: &random)
      var fix = fixes[round % fixes.count]
      fix.sequence = UInt64(round + 1)
      let datagrams = try seal(fix)
      result.datagrams = datagrams.count
      result.bytes = datagrams.reduce(0) { $0 + $1.count }
      let before = allocations_of_this_thread()
      let costs = turn(datagrams, inStages: !round.isMultiple(of: 2))
      result.allocations = allocations_of_this_thread() - before
      // The first round makes what later ones find.
      guard round > 0 else { continue }
      for i in costs.indices where costs[i] > 0 { times[i].append(costs[i] / Double(datagrams.count)) }
    }
    func spread(_ i: Int) -> (least: Double, median: Double) {
      let sorted = times[i].sorted()
      return (sorted[0], sorted[sorted.count / 2])
    }
    (result.openNs, result.intakeNs, result.sequencerNs, result.allNs) = (spread(0), spread(1), spread(2), spread(3))
    return result
  }

  private mutating func seal(_ fix: Fix) throws(DTLSError) -> [[UInt8]] {
    let cipher = try RecordCipher()
    let none: [UInt8] = []
    var message: [UInt8] = []
    FixEncoder.row(fix, from: none.span, into: &message)
    var datagrams: [[UInt8]] = []
    for device in order {
      var datagram = [UInt8](repeating: 0, count: devices[device].session.recordBytes(plaintextBytes: message.count))
      try DatagramPath.seal(message, &devices[device].session, into: &datagram, cipher)
      datagrams.append(datagram)
    }
    return datagrams
  }

  private static func seal(
    _ message: [UInt8], _ session: inout DTLSSession, into datagram: inout [UInt8], _ cipher: borrowing RecordCipher
  ) throws(DTLSError) {
    var at = 0
    var room = datagram.mutableSpan
    try session.seal(.applicationData, message.span, into: &room, at: &at, with: cipher)
  }

  /// - Parameter inStages: look at the clock between the stages, which takes time of its own; else at both ends alone.
  /// - Returns: ns of endpoint, intake and sequencer, or of all.
  private mutating func turn(_ datagrams: [[UInt8]], inStages: Bool) -> [Double] {
    let clock = ContinuousClock()
    let now = Instant(ns: 1 << 50)
    let address = PeerAddress(high: 0, low: 0x7F00_0001, port: 9, scope: 0, isIPv6: false)
    var costs = [0.0, 0.0, 0.0, 0.0]
    let started = clock.now
    for start in stride(from: 0, to: datagrams.count, by: DatagramPath.batch) {
      for i in start..<min(start + DatagramPath.batch, datagrams.count) {
        let begun = inStages ? clock.now : started
        let (slot, range) = DatagramPath.open(datagrams[i], from: address, at: now, &endpoint, &plain)
        let between = inStages ? clock.now : started
        DatagramPath.take(plain, range, &sessions[slot], &words[slot], &intake, registry, at: now, &out)
        let done = inStages ? clock.now : started
        costs[0] += (between - begun).ns
        costs[1] += (done - between).ns
      }
      let begun = inStages ? clock.now : started
      while ring.pop({ core.take($0, from: 0, receiveTimeMs: DatagramPath.wallMs) }) {}
      core.commitSucceeded()
      core.clearReplies()
      costs[2] += inStages ? (clock.now - begun).ns : 0
    }
    if !inStages { costs[3] = (clock.now - started).ns }
    return costs
  }

  private static func take(
    _ plain: [UInt8], _ range: Range<Int>, _ session: inout Session, _ word: inout UInt64, _ intake: inout Intake,
    _ registry: RegistrySnapshot, at now: Instant, _ out: inout [UInt8]
  ) {
    let outcome = intake.take(
      plain.span, frame: range, session: &session, word: &word, registry: registry, at: now, wallMs: wallMs, out: &out)
    precondition(outcome == .taken(unanswered: 1))
  }

  private static func open(
    _ datagram: [UInt8], from address: PeerAddress, at now: Instant, _ endpoint: inout DTLSEndpoint, _ plain: inout [UInt8]
  ) -> (slot: Int, range: Range<Int>) {
    var room = plain.mutableSpan
    endpoint.receive(datagram.span, from: address, at: now, plaintext: &room, behind: Limits.workBytesMax)
    guard case .data(_, let slot, let range, _)? = endpoint.events.first else { preconditionFailure("not opened") }
    return (slot, range)
  }
}

enum BenchContext {
  static let identity = Array("bench".utf8)
  static let key = [UInt8](repeating: 5, count: 32)

  static func server() throws(TLSError) -> DTLSServerContext {
    try DTLSServerContext { name, room in
      guard name.count == identity.count else { return nil }
      for i in key.indices { room[i] = key[i] }
      return key.count
    }
  }
}

extension Duration {
  var ns: Double { Double(components.seconds) * 1e9 + Double(components.attoseconds) / 1e9 }
}
