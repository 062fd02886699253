package import GateCore
import GateProto

/// A conversation over UDP, where a frame is a datagram, may be lost, and then goes out again.
extension DeviceSession {
  /// A DTLS session stands, over UDP. Nothing keeps it alive: a device may sleep for as long as it likes.
  /// - Parameters:
  ///   - isResumed: the gateway has heard hello of this stream in this session, so another one is not needed.
  ///   - seed: of the jitter of retransmission.
  package mutating func connectedOverUDP(at now: Instant, isResumed: Bool, seed: UInt64) {
    datagrams = DatagramWindow(seed: seed)
    fixesThatFit = options.batchFixes
    begin(at: now)
    needsHello = !isResumed
  }

  /// Takes the plaintext of one datagram. Once this DTLS session is over nothing of it counts: an ack that comes late speaks of
  /// the stream before.
  /// - Throws: when the gateway breaks the specification.
  package mutating func receive(
    datagram: Span<UInt8>, at now: Instant, into events: inout [DeviceEvent]
  ) throws(DeviceError) {
    guard !isClosing else { return }
    let downlink: Downlink
    do { downlink = try Downlink.decode(datagram, 0..<datagram.count) } catch { throw .malformed(error) }
    take(downlink, at: now, into: &events)
    settleDatagrams(at: now)
  }

  /// Until hello is answered there is one datagram: whatever overtook it would only be sent back. Panic waits for no window.
  func mayGo(_ lane: Lane?) -> Bool {
    guard let datagrams else { return true }
    return !(datagrams.isFull || helloIsOpen && !datagrams.isEmpty) || lane == .panic
  }

  /// When a device that was told to stop says hello again, which alone tells it over UDP that it may go on; `nil` = it was not.
  var asksAgainAt: Instant? {
    datagrams != nil && isStopped ? lastSent.advanced(byNs: DeviceSession.askAgainNs) : nil
  }
  private static let askAgainNs: UInt64 = 15 * 60 * 1_000_000_000

  mutating func expireDatagrams(at now: Instant) {
    guard let datagrams, let expiry = datagrams.deadline, now >= expiry else { return }
    framesLost += UInt64(datagrams.count)
    if helloIsOpen { needsHello = true }
    for places in self.datagrams?.expire(at: now) ?? [] { inFlight.remove(places) }
  }

  private mutating func settleDatagrams(at now: Instant) {
    let (open, helloIsOpen) = (inFlight, helloIsOpen)
    let lost = datagrams?.settle(at: now) { $0.map(open.overlaps) ?? helloIsOpen } ?? []
    framesLost += UInt64(lost.count)
    for places in lost { inFlight.remove(places) }
  }
}
