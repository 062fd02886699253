import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// A device of the bench: `GateDevice` over `GateTLS` over a socket. It may connect again with what it knows.
final class Device {
  /// What devices of one thread share, since only one of them moves at a time.
  struct Scratch {
    var cipher = [UInt8](repeating: 0, count: 65_536)
    var plain = [UInt8](repeating: 0, count: 65_536)
    var frames: [UInt8] = []
    var events: [DeviceEvent] = []
  }

  let stream: TCPStream
  var engine: TLSEngine
  var session: DeviceSession
  private var isIntroduced = false
  /// Times that the gateway has told it to come again.
  private(set) var refusals = 0
  /// It is told to come again, and does; otherwise that ends the run.
  let isPatient: Bool

  /// Longest wait for anything that the gateway owes.
  static let patienceNs: UInt64 = 60_000_000_000

  init(
    to address: SocketAddress, _ context: TLSClientContext, _ session: DeviceSession, ticket: [UInt8]? = nil,
    isPatient: Bool = false
  ) throws {
    self.isPatient = isPatient
    stream = try TCPStream.connect(to: address, until: SystemClock.now().advanced(byNs: Device.patienceNs))
    engine = try TLSEngine(client: context, serverName: "localhost", ticket: ticket)
    self.session = session
  }

  static func log() -> UploadLog {
    var random = SystemRandomNumberGenerator()
    return UploadLog(stream: UInt32.random(in: 1...UInt32.max, using: &random))
  }

  /// Sends all that may go now.
  /// - Parameter track: what is recorded, over and over.
  /// - Returns: number of messages.
  @discardableResult
  func send(_ scratch: inout Scratch, from track: [Fix]) throws -> UInt64 {
    var messages: UInt64 = 0
    if engine.isEstablished {
      let now = SystemClock.now()
      if !isIntroduced {
        isIntroduced = true
        session.connected(at: now)
      }
      scratch.frames.removeAll(keepingCapacity: true)
      let (clockMs, monotonicMs) = (SystemClock.wallMs(), now.ns / 1_000_000)
      while session.nextFrame(
        into: &scratch.frames, at: now, clockMs: clockMs, monotonicMs: monotonicMs,
        from: { Device.append(track, $0, to: &$1) })
      { messages += 1 }
      if !scratch.frames.isEmpty { try engine.write(scratch.frames.span) }
    }
    while engine.outputCount > 0 {
      _ = try engine.drain { output throws(NetError) in
        switch try stream.write(output) {
        case .bytes(let count): count
        case .wouldBlock, .closed: throw NetError.timedOut
        }
      }
    }
    return messages
  }

  /// Takes what has come.
  /// - Returns: number of fixes that are acked by it.
  /// - Throws: `.conversation` if the gateway closed or refused: such a run measures nothing.
  @discardableResult
  func receive(_ scratch: inout Scratch) throws -> UInt64 {
    var count = 0
    switch try Device.read(stream, &scratch.cipher, &count) {
    case .wouldBlock: return 0
    case .closed: throw PathError.conversation("closed")
    case .bytes: break
    }
    var end = 0
    guard case .open = try Device.decrypt(&engine, scratch.cipher, count, &scratch.plain, &end) else {
      guard !engine.isEstablished else { throw PathError.conversation("closed") }
      return 0
    }
    scratch.events.removeAll(keepingCapacity: true)
    let text = scratch.plain
    try session.receive(text.span.extracting(..<end), at: SystemClock.now(), into: &scratch.events)
    var acked: UInt64 = 0
    for event in scratch.events {
      switch event {
      case .acked(let count): acked += count
      case .refused(let refusal) where isPatient && refusal.retry && !refusal.closing: refusals += 1
      case .refused(let refusal): throw PathError.conversation("refused: \(refusal.code)")
      default: break
      }
    }
    return acked
  }

  /// Sends and receives until it is so.
  func run(_ scratch: inout Scratch, from track: [Fix], until isSo: (Device) -> Bool) throws {
    try send(&scratch, from: track)
    while !isSo(self) {
      try stream.descriptor.wait(
        readable: true, writable: false, until: SystemClock.now().advanced(byNs: Device.patienceNs))
      try receive(&scratch)
      try send(&scratch, from: track)
    }
  }

  private static func append(_ track: [Fix], _ places: ClosedRange<UInt64>, to out: inout [Fix]) {
    for place in places { out.append(track[Int((place - 1) % UInt64(track.count))]) }
  }

  private static func read(
    _ stream: borrowing TCPStream, _ bytes: inout [UInt8], _ count: inout Int
  ) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try stream.read(into: &room, at: &count)
  }

  private static func decrypt(
    _ engine: inout TLSEngine, _ cipher: [UInt8], _ count: Int, _ plain: inout [UInt8], _ end: inout Int
  ) throws(TLSError) -> TLSProgress {
    var room = plain.mutableSpan
    return try engine.receive(cipher.span.extracting(..<count), plaintext: &room, at: &end)
  }
}
