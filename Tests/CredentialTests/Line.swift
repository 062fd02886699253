import GateCore
import GateNet
import GateProto
import GateTLS
import Testing

/// A device's connection, held by hand: one frame at a time.
struct Line: ~Copyable {
  private let stream: TCPStream
  private(set) var engine: TLSEngine
  private var plain: [UInt8] = []
  private var at = 0
  private var isOver = false

  private init(stream: consuming TCPStream, engine: consuming TLSEngine) {
    self.stream = stream
    self.engine = engine
  }

  /// Connects and shakes hands.
  static func open(_ port: UInt16, _ context: TLSClientContext, ticket: [UInt8]? = nil) throws -> Line {
    let engine = try TLSEngine(client: context, serverName: "localhost", ticket: ticket)
    var line = Line(
      stream: try TCPStream.connect(to: HostPort(host: "127.0.0.1", port: port), until: Line.deadline), engine: engine)
    try line.flush()
    while !line.engine.isEstablished, !line.isOver { try line.receive() }
    try line.flush()
    return line
  }

  private static var deadline: Instant { SystemClock.now().advanced(byNs: 20_000_000_000) }

  mutating func hello(token: [UInt8] = [], stream number: UInt32 = 7, next: UInt64 = 1) throws {
    var frame: [UInt8] = []
    Hello(token: token, stream: number, nextSequence: next).append(into: &frame)
    try send(&frame)
  }

  mutating func enrol(_ request: Enrol) throws {
    var frame: [UInt8] = []
    request.append(into: &frame)
    try send(&frame)
  }

  mutating func ping(_ id: UInt32) throws {
    var frame: [UInt8] = []
    Ping(id: id).append(into: &frame)
    try send(&frame)
  }

  /// Sends what was encoded as one frame.
  mutating func send(_ frame: inout [UInt8]) throws {
    Frame.close(from: 0, in: &frame)
    try engine.write(frame.span)
    try flush()
  }

  /// The next message; `nil` once the gateway has closed.
  mutating func next() throws -> Downlink? {
    while true {
      if let payload = try FrameScanner.next(in: plain.span, from: at, to: plain.count) {
        at = payload.upperBound
        return try Downlink.decode(plain.span, payload)
      }
      if isOver { return nil }
      try receive()
    }
  }

  /// The code of the refusal that ends the connection.
  mutating func refusal() throws -> RefusalCode? {
    var code: RefusalCode?
    while let message = try next() { code = message.refusals.last?.code ?? code }
    return code
  }

  /// Whether the session goes on, as its own ping and pong show.
  mutating func isAlive(_ id: UInt32) throws -> Bool {
    try ping(id)
    while let message = try next() {
      if message.pong == id { return true }
    }
    return false
  }

  private mutating func flush() throws {
    while engine.outputCount > 0 {
      var blocked = false
      _ = try engine.drain { bytes throws(NetError) in
        switch try stream.write(bytes) {
        case .bytes(let count): return count
        case .wouldBlock: blocked = true
        case .closed: throw .refused
        }
        return 0
      }
      if blocked { try stream.descriptor.wait(readable: false, writable: true, until: Line.deadline) }
    }
  }

  private mutating func receive() throws {
    try stream.descriptor.wait(readable: true, writable: false, until: Line.deadline)
    var cipher = [UInt8](repeating: 0, count: 32_768)
    var count = 0
    var room = cipher.mutableSpan
    let result = try stream.read(into: &room, at: &count)
    switch result {
    case .wouldBlock: return
    case .closed:
      isOver = true
      return
    case .bytes: break
    }
    var opened = [UInt8](repeating: 0, count: 65_536)
    var end = 0
    var space = opened.mutableSpan
    let progress = try engine.receive(cipher.span.extracting(..<count), plaintext: &space, at: &end)
    plain += opened[..<end]
    if progress == .closed { isOver = true }
  }
}
