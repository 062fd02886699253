import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// A device that says exactly what a test wants: frames, or bytes that are none, over TLS.
final class DeviceClient {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  let token: [UInt8]
  /// Writes to the socket so far: each is a flight, as long as none is cut.
  private(set) var flights = 0
  private(set) var isClosed = false
  private var engine: TLSEngine
  private let stream: TCPStream
  private var cipher = [UInt8](repeating: 0, count: 16_384)
  private var plain = [UInt8](repeating: 0, count: 65_536)
  private var inbox: [UInt8] = []

  var isResumed: Bool { engine.isResumed }
  var ticket: [UInt8]? { engine.sessionTicket }
  var earlyData: EarlyData { engine.earlyData }

  /// Connects and shakes hands.
  /// - Parameters:
  ///   - port: the gateway's, unless there is something in between.
  ///   - earlyData: plaintext that travels with the ClientHello. Then Finished goes with the first `send`.
  ///   - flight: plaintext that travels with the client's Finished.
  init(
    bundle path: String, port: UInt16? = nil, ticket: [UInt8]? = nil, earlyData: [UInt8] = [],
    flight: (_ token: [UInt8]) -> [UInt8] = { _ in [] }
  ) throws {
    let bundle = try GateDevice.Bundle(parsing: String(contentsOfFile: path, encoding: .utf8))
    token = bundle.token
    let context = try TLSClientContext(authorityPEM: Array(bundle.certificates.utf8))
    let deadline = SystemClock.now().advanced(byNs: 10_000_000_000)
    stream = try TCPStream.connect(to: HostPort(host: "127.0.0.1", port: port ?? bundle.gateways[0].port), until: deadline)
    engine = try TLSEngine(client: context, serverName: bundle.serverName, ticket: ticket, earlyData: earlyData)
    try flush()
    while !engine.isEstablished {
      guard !isClosed else { throw Failure(description: "closed during the handshake") }
      try pump(until: deadline)
      if !engine.isEstablished { try flush() }
    }
    if earlyData.isEmpty { try send(flight(token)) }
  }

  func send(_ bytes: [UInt8]) throws {
    if !bytes.isEmpty { try engine.write(bytes.span) }
    try flush()
  }

  /// The next frame from the gateway; `nil` once it has closed.
  func next(seconds: Double = 10) throws -> Downlink? {
    let deadline = SystemClock.now().advanced(byNs: UInt64(seconds * 1e9))
    while true {
      let bytes = inbox
      if let range = try FrameScanner.next(in: bytes.span, from: 0, to: bytes.count) {
        let downlink = try Downlink.decode(bytes.span, range)
        inbox.removeFirst(range.upperBound)
        return downlink
      }
      if isClosed { return nil }
      try pump(until: deadline)
    }
  }

  /// Reads until an ack reaches so far.
  @discardableResult func ack(through: UInt64) throws -> Ack {
    var judgements: [Judgement] = []
    while let downlink = try next() {
      if let refusal = downlink.refusals.first { throw Failure(description: "refused: \(refusal)") }
      guard var ack = downlink.ack else { continue }
      judgements += ack.judgements
      if ack.through >= through {
        ack.judgements = judgements
        return ack
      }
    }
    throw Failure(description: "closed before the ack")
  }

  /// Reads until a refusal, or `nil` if the gateway closes without.
  func refusal() throws -> Refusal? {
    while let downlink = try next() {
      if let refusal = downlink.refusals.first { return refusal }
    }
    return nil
  }

  /// - Returns: whether the gateway closes without another frame.
  func isClosedByGateway() throws -> Bool { try next() == nil }

  /// One frame: hello if given, fixes as a batch, lane.
  static func frame(_ hello: Hello?, _ fixes: [Fix] = [], lane: Lane? = nil) -> [UInt8] {
    var bytes: [UInt8] = []
    hello?.append(into: &bytes)
    if !fixes.isEmpty { FixEncoder.batch(fixes[...], work: [], into: &bytes) }
    UplinkScalars(lane: lane).append(into: &bytes)
    Frame.close(from: 0, in: &bytes)
    return bytes
  }

  // MARK: -

  private func flush() throws {
    var bytes: [UInt8] = []
    engine.drainOutput(into: &bytes)
    var sent = 0
    while sent < bytes.count {
      switch try stream.write(bytes.span.extracting(sent...)) {
      case .bytes(let count):
        sent += count
        flights += 1
      case .wouldBlock:
        try stream.descriptor.wait(
          readable: false, writable: true, until: SystemClock.now().advanced(byNs: 10_000_000_000))
      case .closed: return
      }
    }
  }

  private func pump(until deadline: Instant) throws {
    try stream.descriptor.wait(readable: true, writable: false, until: deadline)
    var count = 0
    switch try DeviceClient.read(stream, &cipher, &count) {
    case .wouldBlock: return
    case .closed:
      isClosed = true
      return
    case .bytes: break
    }
    var end = 0
    // The room for plaintext is larger than any ciphertext read at once.
    if try DeviceClient.decrypt(&engine, cipher, 0..<count, &plain, &end) == .closed { isClosed = true }
    inbox += plain[..<end]
  }

  private static func read(
    _ stream: borrowing TCPStream, _ bytes: inout [UInt8], _ count: inout Int
  ) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try stream.read(into: &room, at: &count)
  }

  private static func decrypt(
    _ engine: inout TLSEngine, _ cipher: [UInt8], _ range: Range<Int>, _ plain: inout [UInt8], _ end: inout Int
  ) throws(TLSError) -> TLSProgress {
    var room = plain.mutableSpan
    return try engine.receive(cipher.span.extracting(range), plaintext: &room, at: &end)
  }
}
