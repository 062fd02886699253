import GateCore
import GateNet

/// Who gets in and in what order: a worker's source filter, its queue of handshakes, its memory.
///
/// Decides and counts; the worker opens and closes.
struct Admission {
  private let trusted: [NetworkPrefix]
  private var filter: SourceFilter
  var handshakes: HandshakeQueue
  /// Bytes that wait in the connections, as accounted by the worker.
  var bufferedBytes = 0
  /// A connection whose bytes would pass it is closed.
  let bufferedBytesMax: Int
  /// From here on nobody new is let in, and at the next sweep those that hold the most go, slow readers first ...
  var bufferedBytesHigh: Int { bufferedBytesMax / 4 * 3 }
  /// ... until this is left.
  var bufferedBytesLow: Int { bufferedBytesMax / 2 }
  /// No byte of plaintext completes a frame for this long: closed.
  let frameTimeoutNs: UInt64
  /// Output waits for this long: closed.
  let writeTimeoutNs: UInt64
  /// From accept to ClientHello, and from the handshake's begin to hello: the time between, in the queue, is the gateway's own.
  let handshakeTimeoutNs: UInt64

  /// Handshakes begun in one turn of the loop; live sessions are served between two turns.
  static let handshakesPerTurn = 4

  /// - Parameters:
  ///   - workers: the gateway's bounds are shared out among them; the kernel spreads connections evenly.
  ///   - seed: random, secret.
  init(_ limits: Configuration.Limiting, workers: Int, seed: UInt64) {
    trusted = limits.trustedSources.compactMap(NetworkPrefix.init)
    func share(_ limiter: Configuration.Limiter) -> GCRA {
      GCRA(
        perSecond: max((limiter.perSecond + UInt64(workers) - 1) / UInt64(workers), 1),
        burst: max((limiter.burst + UInt64(workers) - 1) / UInt64(workers), 1))
    }
    func share(_ number: Int) -> Int { max((number + workers - 1) / workers, 1) }
    filter = SourceFilter(
      settings: SourceFilter.Settings(
        openMax: UInt32(clamping: share(limits.sourceConnectionsMax)), connections: share(limits.sourceConnections),
        handshakes: share(limits.sourceHandshakes), failures: share(limits.sourceFailures)),
      seed: seed)
    bufferedBytesMax = share(limits.bufferedBytesMax)
    handshakeTimeoutNs = UInt64(limits.handshakeTimeoutS) * 1_000_000_000
    handshakes = HandshakeQueue(
      HandshakeQueue.Settings(
        rate: share(limits.handshakes), halfOpenMax: share(limits.handshakesHalfOpen),
        waitingMax: share(limits.handshakesWaiting), patienceNs: handshakeTimeoutNs / 2))
    frameTimeoutNs = UInt64(limits.frameTimeoutS) * 1_000_000_000
    writeTimeoutNs = UInt64(limits.writeTimeoutS) * 1_000_000_000
  }

  /// The source to charge; `nil` if the address is trusted.
  func source(of address: SocketAddress) -> Source? {
    if trusted.contains(where: { $0.contains(address) }) { return nil }
    return address.isIPv6 ? Source(ipv6High: address.high) : Source(ipv4: UInt32(truncatingIfNeeded: address.low))
  }

  /// - Returns: why a new connection is closed at once; a reason of `network.closed`.
  mutating func refusal(of source: Source?, at now: Instant) -> String? {
    if bufferedBytes >= bufferedBytesHigh { return "memory_pressure" }
    return source.flatMap { filter.admit($0, at: now)?.rawValue }
  }

  mutating func ended(_ source: Source?) {
    if let source { filter.ended(source) }
  }

  mutating func failed(_ source: Source?, at now: Instant) {
    if let source { filter.failed(source, at: now) }
  }

  /// A full handshake of this source is to begin.
  mutating func handshakeRefusal(of source: Source?, at now: Instant) -> String? {
    source.flatMap { filter.handshake($0, at: now)?.rawValue }
  }

  /// A handshake over UDP is to begin; it has no place in the queue, since its device sends its hello again by itself.
  mutating func datagramHandshakeRefusal(of source: Source?, at now: Instant) -> String? {
    if let source, filter.hasFailedTooOften(source, at: now) { return SourceFilter.Refusal.failures.rawValue }
    if let reason = handshakeRefusal(of: source, at: now) { return reason }
    return handshakes.charge(at: now) ? nil : "handshake_rate"
  }

  func isSuspect(_ source: Source?, at now: Instant) -> Bool {
    source.map { filter.isSuspect($0, at: now) } ?? false
  }

  /// What the peer is to blame for; its source is charged a failure.
  static let failures: Set<String> = ["not_tls", "timed_out", "handshake_slow"]
}
