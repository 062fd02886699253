package import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// Devices in a closed loop, on one thread: each has one message on its way, and sends the next when that is acked.
package struct Fleet: ~Copyable {
  package private(set) var acked: UInt64 = 0
  package private(set) var messages: UInt64 = 0
  private var devices: [Device]
  private var poller: Poller
  private let fixes: [Fix]
  private let batch: Int
  private var events: [DeviceEvent] = []
  private var cipher = [UInt8](repeating: 0, count: 65_536)
  private var plain = [UInt8](repeating: 0, count: 65_536)
  private var frames: [UInt8] = []

  private static let patienceNs: UInt64 = 20_000_000_000

  /// Connects all devices; nothing is said yet.
  /// - Parameters:
  ///   - batch: fixes in a message.
  ///   - fixes: what is recorded, over and over.
  ///   - tokens: one a device; `nil` = all that are enrolled.
  package init(gateway: GatewayProcess, tokens: ArraySlice<[UInt8]>? = nil, batch: Int, fixes: [Fix]) throws {
    let poller = try Poller(capacity: 512)
    var devices: [Device] = []
    let context = try TLSClientContext(authorityPEM: gateway.authorityPEM)
    var random = SystemRandomNumberGenerator()
    for (i, token) in (tokens ?? gateway.tokens[...]).enumerated() {
      let stream = try TCPStream.connect(to: gateway.address, until: SystemClock.now().advanced(byNs: Fleet.patienceNs))
      var options = DeviceOptions()
      options.batchFixes = batch
      let log = UploadLog(stream: UInt32.random(in: 1...UInt32.max, using: &random))
      let device = Device(
        stream: stream, engine: try TLSEngine(client: context, serverName: "localhost"),
        session: DeviceSession(log: log, token: token, options: options))
      try poller.add(device.stream.descriptor, token: UInt64(i), for: .read)
      devices.append(device)
    }
    self.batch = batch
    self.fixes = fixes
    self.devices = devices
    self.poller = poller
  }

  /// Lets all devices send until `count` fixes more are acked. The messages then on their way are left to the next call.
  package mutating func run(fixes count: UInt64) throws {
    let end = acked + count
    for device in devices { try turn(device) }
    while acked < end {
      let ready = try poller.wait(timeoutNs: Fleet.patienceNs)
      guard ready > 0 else { throw PathError.conversation("no answer") }
      for i in 0..<ready {
        let device = devices[Int(poller.event(at: i).token)]
        try receive(device)
        try turn(device)
      }
    }
  }

  /// Waits until everything sent is acked.
  package mutating func settle() throws {
    while devices.contains(where: { !$0.session.log.isSettled }) {
      guard try poller.wait(timeoutNs: Fleet.patienceNs) > 0 else { throw PathError.conversation("no answer") }
      for device in devices { try receive(device) }
    }
  }

  private mutating func turn(_ device: Device) throws {
    let now = SystemClock.now()
    if device.engine.isEstablished {
      if !device.isIntroduced {
        device.isIntroduced = true
        device.session.connected(at: now)
      }
      if device.session.log.isSettled { device.session.record(UInt64(batch), at: now) }
      frames.removeAll(keepingCapacity: true)
      let track = fixes
      while device.session.nextFrame(into: &frames, at: now, from: { Fleet.append(track, $0, to: &$1) }) { messages += 1 }
      if !frames.isEmpty { try device.engine.write(frames.span) }
    }
    while device.engine.outputCount > 0 {
      _ = try device.engine.drain { output throws(NetError) in
        switch try device.stream.write(output) {
        case .bytes(let count): count
        case .wouldBlock, .closed: throw NetError.timedOut
        }
      }
    }
  }

  private static func append(_ track: [Fix], _ places: ClosedRange<UInt64>, to out: inout [Fix]) {
    for place in places { out.append(track[Int((place - 1) % UInt64(track.count))]) }
  }

  private mutating func receive(_ device: Device) throws {
    var count = 0
    switch try Fleet.read(device, &cipher, &count) {
    case .wouldBlock: return
    case .closed: throw PathError.conversation("closed")
    case .bytes: break
    }
    var end = 0
    guard case .open = try Fleet.decrypt(device, cipher, count, &plain, &end) else {
      guard !device.engine.isEstablished else { throw PathError.conversation("closed") }
      return
    }
    events.removeAll(keepingCapacity: true)
    let text = plain
    try device.session.receive(text.span.extracting(..<end), at: SystemClock.now(), into: &events)
    for event in events {
      switch event {
      case .acked(let count): acked += count
      case .refused(let refusal): throw PathError.conversation("refused: \(refusal.code)")
      default: break
      }
    }
  }

  private static func read(_ device: Device, _ bytes: inout [UInt8], _ count: inout Int) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try device.stream.read(into: &room, at: &count)
  }

  private static func decrypt(
    _ device: Device, _ cipher: [UInt8], _ count: Int, _ plain: inout [UInt8], _ end: inout Int
  ) throws(TLSError) -> TLSProgress {
    var room = plain.mutableSpan
    return try device.engine.receive(cipher.span.extracting(..<count), plaintext: &room, at: &end)
  }
}

private final class Device {
  let stream: TCPStream
  var engine: TLSEngine
  var session: DeviceSession
  var isIntroduced = false

  init(stream: consuming TCPStream, engine: consuming TLSEngine, session: DeviceSession) {
    self.stream = stream
    self.engine = engine
    self.session = session
  }
}
