import Foundation
import GateCore
import GateNet
import GateProto
import GateStore
import GateTLS
import Gateway

/// A point in time that no test reaches unless something hangs.
func inAMinute() -> Instant { SystemClock.now().advanced(byNs: 60_000_000_000) }

/// A connection that says what it likes, without TLS.
final class RawClient {
  let stream: TCPStream

  init(port: UInt16, ipv6: Bool = false) throws {
    stream = try TCPStream.connect(
      to: ipv6 ? .loopbackIPv6(port: port) : .loopback(port: port), until: inAMinute())
  }

  /// Sends what the socket takes; a peer that has closed takes nothing.
  func send(_ bytes: [UInt8]) throws {
    var sent = 0
    while sent < bytes.count {
      guard let result = try? stream.write(bytes.span.extracting(sent...)) else { return }
      switch result {
      case .bytes(let count): sent += count
      case .wouldBlock: try stream.descriptor.wait(readable: false, writable: true, until: inAMinute())
      case .closed: return
      }
    }
  }

  /// Whether the gateway has closed by now.
  var isClosed: Bool {
    var bytes = [UInt8](repeating: 0, count: 4_096)
    while true {
      var count = 0
      var room = bytes.mutableSpan
      guard let result = try? stream.read(into: &room, at: &count) else { return true }
      switch result {
      case .bytes: continue
      case .wouldBlock: return false
      case .closed: return true
      }
    }
  }

  /// Reads until the gateway closes.
  func waitForEnd() throws {
    while !isClosed { try stream.descriptor.wait(readable: true, writable: false, until: inAMinute()) }
  }
}

/// A device that may misbehave: TLS from `GateTLS`, frames made by the test.
final class HostileDevice {
  let stream: TCPStream
  var engine: TLSEngine
  private var plain: [UInt8] = []
  private(set) var downlinks: [Downlink] = []
  private(set) var isClosed = false

  init(_ context: TLSClientContext, port: UInt16, ipv6: Bool = false, ticket: [UInt8]? = nil) throws {
    stream = try TCPStream.connect(to: ipv6 ? .loopbackIPv6(port: port) : .loopback(port: port), until: inAMinute())
    engine = try TLSEngine(client: context, serverName: "localhost", ticket: ticket)
    pump()
  }

  /// Moves all bytes that can be moved without waiting.
  func pump() {
    guard !isClosed else { return }
    var cipher = [UInt8](repeating: 0, count: 65_536)
    var count = 0
    var room = cipher.mutableSpan
    switch try? stream.read(into: &room, at: &count) {
    case .bytes: take(Array(cipher[..<count]))
    case .wouldBlock: break
    case .closed, nil: isClosed = true
    }
    drain()
  }

  /// - Returns: whether all output is out.
  @discardableResult func drain() -> Bool {
    while !isClosed, engine.outputCount > 0 {
      var isFull = false
      _ = engine.drain { output in
        switch try? stream.write(output) {
        case .bytes(let count): return count
        case .wouldBlock: isFull = true
        case .closed, nil: isClosed = true
        }
        return 0
      }
      if isFull { return false }
    }
    return true
  }

  private func take(_ cipher: [UInt8]) {
    var rest = cipher[...]
    while true {
      var room = [UInt8](repeating: 0, count: 32_768)
      var offset = 0
      var span = room.mutableSpan
      let progress = try? engine.receive(Array(rest).span, plaintext: &span, at: &offset)
      plain += room[..<offset]
      var at = 0
      while let frame = try? FrameScanner.next(in: plain.span, from: at, to: plain.count) {
        if let downlink = try? Downlink.decode(plain.span, frame) { downlinks.append(downlink) }
        at = frame.upperBound
      }
      plain.removeFirst(at)
      switch progress {
      case .plaintextFull(let consumed): rest = rest.dropFirst(consumed)
      case .closed, nil:
        isClosed = true
        return
      default: return
      }
    }
  }

  /// Moves bytes until it is so, or until the gateway has closed.
  /// - Returns: whether it is so.
  @discardableResult func wait(until isSo: (HostileDevice) -> Bool) throws -> Bool {
    while true {
      pump()
      if isSo(self) { return true }
      if isClosed { return false }
      try stream.descriptor.wait(readable: true, writable: engine.outputCount > 0, until: inAMinute())
    }
  }

  func handshake() throws { try wait { $0.engine.isEstablished } }

  /// Sends plaintext as it is.
  func write(_ bytes: [UInt8]) throws {
    try wait { $0.engine.isEstablished }
    var rest = bytes[...]
    while !rest.isEmpty, !isClosed {
      let part = Array(rest.prefix(16_384))
      guard (try? engine.write(part.span)) != nil else {
        try wait { $0.engine.outputCount == 0 }
        continue
      }
      rest = rest.dropFirst(part.count)
      pump()
    }
    while !isClosed, !drain() { try stream.descriptor.wait(readable: true, writable: true, until: inAMinute()); pump() }
  }

  /// Sends a payload with its length in front.
  func frame(_ payload: [UInt8]) throws {
    var bytes: [UInt8] = []
    Frame.append(payload, into: &bytes)
    try write(bytes)
  }

  var refusals: [RefusalCode] { downlinks.flatMap { $0.refusals.map(\.code) } }
  /// All sequences up to here are acked.
  var through: UInt64 { downlinks.compactMap { $0.ack?.through }.max() ?? 0 }
}

/// Payloads.
enum Uplink {
  static func hello(_ token: [UInt8], stream: UInt32, next: UInt64 = 1) -> [UInt8] {
    var out: [UInt8] = []
    Hello(token: token, stream: stream, nextSequence: next).append(into: &out)
    return out
  }

  /// One fix in row form, of now.
  static func fix(_ sequence: UInt64) -> [UInt8] {
    var body: [UInt8] = []
    WireWriter.varint(1 << 3, into: &body)
    WireWriter.varint(sequence, into: &body)
    WireWriter.varint(2 << 3, into: &body)
    WireWriter.varint(UInt64(SystemClock.wallMs()), into: &body)
    body += [3 << 3 | 5, 0xC2, 0xEA, 0x4D, 0x1F, 4 << 3 | 5, 0x04, 0x6F, 0xFD, 0x07]
    var out: [UInt8] = []
    WireWriter.header(2, bytes: body.count, into: &out)
    return out + body
  }

  /// Consecutive fixes as a batch of `count`, five seconds apart, the last of them now.
  static func batch(first: UInt64, count: UInt64) -> [UInt8] {
    var body: [UInt8] = [1 << 3]
    WireWriter.varint(first, into: &body)
    var times: [UInt8] = []
    let start = SystemClock.wallMs() - Int64(count) * 5_000
    for value in [start, 5_000] { WireWriter.varint(UInt64(bitPattern: value << 1), into: &times) }
    WireWriter.header(2, bytes: times.count, into: &body)
    body += times
    for column: UInt32 in [3, 4] {
      WireWriter.header(column, bytes: 2, into: &body)
      body += [0xD0, 0x0F]
    }
    WireWriter.varint(32 << 3, into: &body)
    WireWriter.varint(count, into: &body)
    var out: [UInt8] = []
    WireWriter.header(3, bytes: body.count, into: &out)
    return out + body
  }

  static func lane(_ lane: Lane) -> [UInt8] { [7 << 3, lane.rawValue] }
}

/// A device as the registry knows it.
struct Enrolled {
  var name: String
  var token: [UInt8]
}

extension GatewayProcess {
  /// Enrols many devices, faster than by a process each, and tells the gateway if it runs.
  func enrol(_ count: Int, tenant: String = "demo", prefix: String = "hostile") throws -> [Enrolled] {
    let registry = try RegistryStore(path: data + "/" + GatewayServer.registryName)
    let nowMs = SystemClock.wallMs()
    if tenant != "demo" { _ = try registry.createTenant(tenant, nowMs: nowMs) }
    var devices: [Enrolled] = []
    for number in 0..<count {
      let secret = try Credentials.make()
      let name = "\(prefix)-\(number)"
      _ = try registry.addDevice(
        tenant: tenant, id: name, tokenSelector: secret.selector, tokenHash: secret.hash, nowMs: nowMs)
      devices.append(Enrolled(name: name, token: secret.token))
    }
    _ = try ControlClient.ask(.reload, directory: data)
    return devices
  }

  func clientContext() throws -> TLSClientContext {
    try TLSClientContext(authorityPEM: Array(Data(contentsOf: URL(fileURLWithPath: folder + "/gateway/ca.crt"))))
  }

  /// The status by the control socket, the equation checked; cheaper than by a process.
  func quickStatus() throws -> Status {
    guard let status = try ControlClient.ask(.status, directory: data)?.status, status.fixes.isBalanced else {
      throw Failure(description: "no status, or out of balance")
    }
    return status
  }

  @discardableResult func quickStatus(_ what: String, until isSo: (Status) -> Bool) throws -> Status {
    let deadline = inAMinute()
    while true {
      let status = try quickStatus()
      if isSo(status) { return status }
      guard SystemClock.now() < deadline else { throw Failure(description: "not \(what): \(status)") }
    }
  }

  /// Settings with which memory can be measured under AddressSanitizer too: it keeps what was freed, and the frames of functions that
  /// have returned, none of it the gateway's own. Without it nobody reads them.
  static let ownMemory: [String: String] = {
    let given = ProcessInfo.processInfo.environment["ASAN_OPTIONS"].map { $0 + ":" } ?? ""
    return ["ASAN_OPTIONS": given + "quarantine_size_mb=0:thread_local_quarantine_size_kb=0:detect_stack_use_after_return=0"]
  }()

  /// Resident memory of the gateway in bytes.
  func residentBytes() throws -> Int {
    let text = try String(contentsOfFile: "/proc/\(server?.id ?? 0)/status", encoding: .utf8)
    let line = text.split(separator: "\n").first { $0.hasPrefix("VmRSS:") } ?? ""
    return (line.split(separator: " ").compactMap { Int($0) }.first ?? 0) * 1_024
  }
}

/// A device that behaves, beside those that do not: its fixes must keep being acked.
final class LiveDevice {
  let device: HostileDevice
  private(set) var acked: UInt64 = 0

  init(_ enrolled: Enrolled, _ context: TLSClientContext, port: UInt16, ipv6: Bool = false) throws {
    device = try HostileDevice(context, port: port, ipv6: ipv6)
    try device.frame(Uplink.hello(enrolled.token, stream: 77))
  }

  /// Sends a fix and waits for its ack.
  func send() throws {
    try device.frame(Uplink.fix(acked + 1))
    let next = acked + 1
    guard try device.wait(until: { $0.through >= next }) else {
      throw GatewayProcess.Failure(description: "the live device was cut off: \(device.refusals)")
    }
    acked = next
  }
}
