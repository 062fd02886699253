#if PostgreSQL
import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTrack

/// A device that comes to one gateway now and to another then, over TCP or over UDP. It hears acks or is cut off before, as the
/// seed says; what it has heard is all that it knows.
final class RovingDevice {
  struct Failure: Error, CustomStringConvertible { var description: String }

  /// Where it may go.
  struct Gateway {
    let port: UInt16
    /// In the connection IDs that it gives.
    let node: UInt8
  }

  struct Counts {
    var visits = 0
    /// Tickets of one gateway that the other took.
    var resumedElsewhere = 0
    /// Sessions over UDP that were silent at the wrong gateway, and were begun anew there.
    var begunAnew = 0
  }

  let id: String
  private(set) var counts = Counts()
  private(set) var fixes: [Fix]
  private(set) var session: DeviceSession
  private let bundle: String
  private let overUDP: Bool
  private var random: SeededRandom
  private var ticket: (bytes: [UInt8], port: UInt16)?
  private var channel: (device: DatagramDevice, port: UInt16)?
  /// How far the device's clock has been put forward, instead of waiting.
  private var aheadNs: UInt64 = 0

  private static let fixesAtATime: UInt64 = 10
  private static let answerS = 10.0
  /// Nothing comes from a gateway that does not know a session; waited for as long as loopback would take many times over.
  private static let silenceS = 0.05

  init(_ id: String, bundle: String, overUDP: Bool, fixes count: Int, seed: UInt64) throws {
    self.id = id
    self.bundle = bundle
    self.overUDP = overUDP
    random = SeededRandom(seed: seed)
    fixes = CourierRide.fixes(count: count + 1, seed: seed, startMs: 1_718_000_000_000)
    var options = DeviceOptions()
    options.batchFixes = 7
    let token = overUDP ? [] : try GateDevice.Bundle(parsing: String(contentsOfFile: bundle, encoding: .utf8)).token
    session = DeviceSession(log: UploadLog(stream: 7, recorded: UInt64(count)), token: token, options: options)
  }

  var expected: [TrackRow] {
    fixes.enumerated().map { index, fix in
      TrackRow(
        sequence: Int64(index) + 1, timeMs: fix.fixTimeMs, latitudeE7: Int64(fix.latitudeE7), longitudeE7: Int64(fix.longitudeE7))
    }
  }

  /// Comes to a gateway for a while.
  func visit(_ gateway: Gateway) throws {
    counts.visits += 1
    if overUDP { try visitOverUDP(gateway) } else { try visitOverTCP(gateway) }
  }

  /// Records one fix more and brings it to both gateways: each then hears what the device still holds.
  func finish(_ gateways: [Gateway]) throws {
    session.record(1, at: now)
    for gateway in gateways {
      if overUDP {
        try begin(gateway)
        try talkOverUDP(turns: .max, hears: gateway.port == gateways[gateways.count - 1].port)
      } else {
        let client = try connect(gateway)
        try talkOverTCP(client, turns: .max, hears: gateway.port == gateways[gateways.count - 1].port)
      }
    }
    guard session.isDone else { throw Failure(description: "\(id) is not done") }
  }

  private var now: Instant { SystemClock.now().advanced(byNs: aheadNs) }

  private func next() -> [UInt8]? {
    // A few at a time, or the whole recording would go to one gateway at once.
    session.released = session.log.ackedCount + RovingDevice.fixesAtATime
    var frame: [UInt8] = []
    let isThere = session.nextFrame(
      into: &frame, at: now, clockMs: SystemClock.wallMs(), monotonicMs: now.ns / 1_000_000, from: fixes)
    return isThere ? frame : nil
  }

  private func hear(_ downlink: Downlink) throws {
    if let refusal = downlink.refusals.first { throw Failure(description: "\(id) was refused: \(refusal)") }
    var bytes: [UInt8] = []
    downlink.encode(into: &bytes)
    var events: [DeviceEvent] = []
    try session.receive(datagram: bytes.span, at: now, into: &events)
  }

  // MARK: Over TCP

  private func connect(_ gateway: Gateway) throws -> DeviceClient {
    let client = try DeviceClient(bundle: bundle, port: gateway.port, ticket: ticket?.bytes)
    if client.isResumed, ticket?.port != gateway.port { counts.resumedElsewhere += 1 }
    session.connected(at: now)
    return client
  }

  private func visitOverTCP(_ gateway: Gateway) throws {
    let client = try connect(gateway)
    try talkOverTCP(client, turns: 1 + Int(random.next() % 5), hears: true)
    if let bytes = client.ticket { ticket = (bytes, gateway.port) }
  }

  /// Ends by being cut off: what was sent last is not heard of any more.
  private func talkOverTCP(_ client: DeviceClient, turns: Int, hears: Bool) throws {
    defer { session.disconnected() }
    for _ in 0..<turns {
      if let frame = next() { try client.send(frame) }
      guard session.inFlightCount > 0 else { return }
      guard let downlink = try client.next(seconds: RovingDevice.answerS) else { throw Failure(description: "\(id) was cut off") }
      if hears { try hear(downlink) } else if downlink.ack?.through ?? 0 >= session.log.recorded { return }
    }
    if let frame = next() { try client.send(frame) }
  }

  // MARK: Over UDP

  private func begin(_ gateway: Gateway) throws {
    let device = try DatagramDevice(bundle: bundle, port: gateway.port)
    channel = (device, gateway.port)
    session.connectedOverUDP(at: now, isResumed: false, seed: random.next())
    // What a load balancer routes by.
    let record = try device.seal(DatagramDevice.message(nil))
    guard record[0] == 25, record[11] == gateway.node else { throw Failure(description: "the connection ID does not name its node") }
  }

  private func visitOverUDP(_ gateway: Gateway) throws {
    guard let (device, port) = channel else {
      try begin(gateway)
      return try talkOverUDP(turns: 1 + Int(random.next() % 5), hears: true)
    }
    if port != gateway.port {
      try device.move(toPort: gateway.port)
      try waitInVain(device)
      counts.begunAnew += 1
      try begin(gateway)
    }
    try talkOverUDP(turns: 1 + Int(random.next() % 5), hears: true)
  }

  /// The wrong gateway knows nothing of the session and says nothing.
  private func waitInVain(_ device: DatagramDevice) throws {
    while !session.isSilent(at: now) {
      while let message = next() { try device.send(message) }
      guard try device.next(seconds: RovingDevice.silenceS) == nil else { throw Failure(description: "the wrong gateway answers") }
      guard let deadline = session.deadline else { return }
      aheadNs += max(deadline.since(now), 1)
    }
  }

  private func talkOverUDP(turns: Int, hears: Bool) throws {
    guard let device = channel?.device else { return }
    for _ in 0..<turns {
      if let message = next() { try device.send(message) }
      guard session.inFlightCount > 0 else { return }
      guard let downlink = try device.next(seconds: RovingDevice.answerS) else { throw Failure(description: "\(id) hears nothing") }
      if hears { try hear(downlink) } else if downlink.ack?.through ?? 0 >= session.log.recorded { return }
    }
  }
}
#endif
