import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// One TLS connection of a device whose frames a test writes itself.
final class DeviceLine {
  let token: [UInt8]
  private let stream: TCPStream
  private var engine: TLSEngine
  private var stash: [UInt8] = []
  private var cipher = [UInt8](repeating: 0, count: 65_536)
  private var plain = [UInt8](repeating: 0, count: 65_536)

  /// Connects, and returns once the handshake is through.
  init(bundle path: String) throws {
    let bundle = try GateDevice.Bundle(parsing: String(contentsOfFile: path, encoding: .utf8))
    token = bundle.token
    let context = try TLSClientContext(authorityPEM: Array(bundle.certificates.utf8))
    let gateway = HostPort(host: bundle.gateways[0].host, port: bundle.gateways[0].port)
    stream = try TCPStream.connect(to: gateway, until: DeviceLine.deadline(10))
    engine = try TLSEngine(client: context, serverName: bundle.serverName)
    let until = DeviceLine.deadline(10)
    try flush(until: until)
    while !engine.isEstablished {
      try read(until: until)
      try flush(until: until)
    }
  }

  private static func deadline(_ seconds: Double) -> Instant {
    SystemClock.now().advanced(byNs: UInt64(seconds * 1e9))
  }

  /// Sends one frame; `build` appends the parts of an `Uplink`.
  func send(_ build: (inout [UInt8]) -> Void) throws {
    var frame: [UInt8] = []
    build(&frame)
    Frame.close(from: 0, in: &frame)
    try engine.write(frame.span)
    try flush(until: DeviceLine.deadline(10))
  }

  /// Reads frames up to and with the first that `isWanted`; the ones before are handed to it too.
  func receive(seconds: Double = 20, _ isWanted: (Downlink) -> Bool) throws -> Downlink {
    let until = DeviceLine.deadline(seconds)
    while true {
      while let downlink = try DeviceLine.next(in: &stash) {
        if isWanted(downlink) { return downlink }
      }
      try read(until: until)
    }
  }

  private static func next(in bytes: inout [UInt8]) throws -> Downlink? {
    guard let payload = try FrameScanner.next(in: bytes.span, from: 0, to: bytes.count) else { return nil }
    let downlink = try Downlink.decode(bytes.span, payload)
    bytes.removeFirst(payload.upperBound)
    return downlink
  }

  private static func fill(_ bytes: inout [UInt8], from stream: borrowing TCPStream) throws -> Int? {
    var count = 0
    var room = bytes.mutableSpan
    guard case .bytes = try stream.read(into: &room, at: &count) else { return nil }
    return count
  }

  private static func decrypt(
    _ cipher: [UInt8], _ range: Range<Int>, with engine: inout TLSEngine, into plain: inout [UInt8], at end: inout Int
  ) throws -> TLSProgress {
    var room = plain.mutableSpan
    return try engine.receive(cipher.span.extracting(range), plaintext: &room, at: &end)
  }

  private func read(until deadline: Instant) throws {
    try stream.descriptor.wait(readable: true, writable: false, until: deadline)
    guard let count = try DeviceLine.fill(&cipher, from: stream) else { return }
    var rest = 0..<count
    while true {
      var end = 0
      let progress = try DeviceLine.decrypt(cipher, rest, with: &engine, into: &plain, at: &end)
      stash += plain[..<end]
      guard case .plaintextFull(let consumed) = progress else { return }
      rest = rest.lowerBound + consumed..<rest.upperBound
    }
  }

  private func flush(until deadline: Instant) throws {
    while engine.outputCount > 0 {
      var isBlocked = false
      _ = try engine.drain { output throws(NetError) in
        switch try stream.write(output) {
        case .bytes(let count): return count
        case .wouldBlock: isBlocked = true
        case .closed: throw .refused
        }
        return 0
      }
      if isBlocked { try stream.descriptor.wait(readable: false, writable: true, until: deadline) }
    }
  }
}
