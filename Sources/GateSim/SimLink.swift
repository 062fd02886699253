import GateCore

/// A connection between a device and a worker: bytes arrive in order or not at all, in pieces of any length.
struct SimLink {
  enum Arrival {
    case bytes([UInt8])
    /// Nothing comes behind it.
    case end
  }

  let device: Int
  let worker: Int
  /// The gateway's run.
  let run: Int
  let session: SessionID
  /// Broken for good: what is under way is cut off somewhere.
  var isBroken = false
  var up: [Arrival] = []
  var down: [Arrival] = []
  var upAt: Instant
  var downAt: Instant
  /// Bytes on their way to the device: what the gateway's buffers hold for a device that does not read.
  var downBytes = 0

  init(device: Int, worker: Int, run: Int, session: SessionID, at now: Instant) {
    self.device = device
    self.worker = worker
    self.run = run
    self.session = session
    upAt = now
    downAt = now
  }

  /// The network drops it: of what is under way a part arrives, cut at any byte, and then the end.
  mutating func cut(_ random: inout SeededRandom) {
    isBroken = true
    SimLink.cut(&up, &random)
    SimLink.cut(&down, &random)
  }

  /// The number of arrivals stays, since each has its event.
  private static func cut(_ arrivals: inout [Arrival], _ random: inout SeededRandom) {
    guard !arrivals.isEmpty else { return }
    let kept = Int.random(in: 0..<arrivals.count, using: &random)
    if case .bytes(let bytes) = arrivals[kept] {
      let count = Int.random(in: 0...bytes.count, using: &random)
      arrivals[kept] = .bytes(Array(bytes[..<count]))
    }
    for i in kept + 1..<max(arrivals.count, kept + 1) { arrivals[i] = .end }
  }
}
