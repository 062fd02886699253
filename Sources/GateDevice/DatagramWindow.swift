import GateCore

/// The datagrams of a session that are not answered yet: how many there may be, and when one counts as lost.
///
/// A datagram is answered when the gateway has said something about each of its fixes. A lost one is not sent again as it
/// was: its places become sendable, and go out in a new one.
///
/// The time-out follows RFC 6298, with Karn's rule: an answer to what was sent twice measures nothing. So that a time-out that
/// was doubled comes down again, datagrams then carry a ping, whose pong says which one it is for. The window follows RFC 5681,
/// in datagrams. A datagram is also lost when three that were sent after it have been answered (RFC 9002 section 6.1.1).
struct DatagramWindow: Sendable {
  private struct Sent {
    let number: UInt64
    /// `nil` if it holds no fix, but hello.
    let places: ClosedRange<UInt64>?
    let at: Instant
    /// Some of it had been sent before: an answer does not say which copy it is for.
    let isAmbiguous: Bool
  }

  /// In the order in which they were sent.
  private var sent: [Sent] = []
  private var numbers: UInt64 = 0
  /// Places that went out in a datagram that was lost, and are not answered yet.
  private var sentBefore = RangeSet64()
  private var random: SeededRandom

  private var smoothedNs: UInt64?
  private var variationNs: UInt64 = 0
  /// Time-outs since the gateway has last said anything.
  private var timeouts = 0
  private var hasAnswer = false
  /// Doublings of the time-out, until a round trip is measured.
  private var backOff = 0
  /// Pings since then, by number.
  private var pings: [UInt32: Instant] = [:]
  private var waitNs = DatagramWindow.firstWaitNs
  /// When the wait for an answer began.
  private var waitingSince = Instant(ns: 0)

  private var window = 4.0
  private var threshold = Double(DatagramWindow.most)
  /// Losses of datagrams below this number belong to one that the window has shrunk for.
  private var recovered: UInt64 = 0

  /// Datagrams that may ever be under way.
  static let most = 32
  static let firstWaitNs: UInt64 = 1_000_000_000
  /// The gateway answers when a disk has synced, which now and then takes longer than the network does.
  static let waitMinNs: UInt64 = 200_000_000
  static let waitMaxNs: UInt64 = 8_000_000_000
  /// After so many time-outs in a row the gateway has forgotten the session, or is not there ...
  private static let timeoutsMax = 10
  /// ... and after fewer if it has never answered in it.
  private static let timeoutsAtFirstMax = 8
  private static let overtaken: UInt64 = 3
  private static let pingsMax = 16

  /// - Parameter seed: of the jitter.
  init(seed: UInt64) { random = SeededRandom(seed: seed) }

  var isEmpty: Bool { sent.isEmpty }
  var count: Int { sent.count }
  var isFull: Bool { sent.count >= Int(window) }

  /// When the oldest datagram counts as lost; `nil` if none is under way.
  var deadline: Instant? { sent.isEmpty ? nil : waitingSince.advanced(byNs: waitNs) }

  /// The gateway has been asked often enough.
  var isSilent: Bool {
    timeouts >= (hasAnswer ? DatagramWindow.timeoutsMax : DatagramWindow.timeoutsAtFirstMax)
  }

  mutating func send(_ places: ClosedRange<UInt64>?, at now: Instant) {
    if sent.isEmpty { waitingSince = now }
    let isAmbiguous = places.map { sentBefore.overlaps($0) } ?? (timeouts > 0)
    sent.append(Sent(number: numbers, places: places, at: now, isAmbiguous: isAmbiguous))
    numbers += 1
  }

  /// The number of a ping for the next datagram, if it needs one.
  mutating func ping(at now: Instant) -> UInt32? {
    guard backOff > 0, pings.count < DatagramWindow.pingsMax else { return nil }
    let number = UInt32(truncatingIfNeeded: numbers)
    pings[number] = now
    return number
  }

  mutating func pong(_ number: UInt32, at now: Instant) {
    guard let sentAt = pings[number] else { return }
    measure(now.since(sentAt))
    waitNs = timeoutNs
  }

  /// The gateway has said something about these places: they are new if they are ever sent again.
  mutating func answered(_ places: ClosedRange<UInt64>) { sentBefore.remove(places) }

  /// The gateway has spoken: takes out what is answered, and measures.
  /// - Parameter isOpen: nothing has been said about some of these places; `nil` = about hello.
  /// - Returns: places of datagrams that are lost.
  mutating func settle(at now: Instant, isOpen: (ClosedRange<UInt64>?) -> Bool) -> [ClosedRange<UInt64>] {
    timeouts = 0
    hasAnswer = true
    var newest: UInt64?
    var left: [Sent] = []
    for each in sent {
      if isOpen(each.places) {
        left.append(each)
        continue
      }
      newest = each.number
      if !each.isAmbiguous { measure(now.since(each.at)) }
      window = min(Double(DatagramWindow.most), window + (window < threshold ? 1 : 1 / window))
    }
    sent = left
    guard let newest else { return [] }
    if backOff == 0 { waitNs = timeoutNs }
    waitingSince = now
    return lose { $0.number + DatagramWindow.overtaken <= newest }
  }

  /// - Returns: places of the datagrams that are lost because the time for an answer is over: of all of them.
  mutating func expire(at now: Instant) -> [ClosedRange<UInt64>] {
    guard let deadline, now >= deadline else { return [] }
    timeouts += 1
    backOff = min(backOff + 1, 10)
    let doubled = min(timeoutNs << UInt64(backOff), DatagramWindow.waitMaxNs)
    waitNs = doubled + random.next() % (doubled / 2)
    let lost = lose { _ in true }
    window = 1
    return lost
  }

  /// All that is under way is refused.
  mutating func forget() { sent.removeAll() }

  private var timeoutNs: UInt64 {
    guard let smoothedNs else { return DatagramWindow.firstWaitNs }
    return min(max(smoothedNs + 4 * variationNs, DatagramWindow.waitMinNs), DatagramWindow.waitMaxNs)
  }

  /// RFC 6298 section 2.
  private mutating func measure(_ roundTripNs: UInt64) {
    backOff = 0
    pings.removeAll()
    guard let smoothed = smoothedNs else {
      smoothedNs = roundTripNs
      variationNs = roundTripNs / 2
      return
    }
    let difference = max(smoothed, roundTripNs) - min(smoothed, roundTripNs)
    variationNs = (3 * variationNs + difference) / 4
    smoothedNs = (7 * smoothed + roundTripNs) / 8
  }

  private mutating func lose(_ isLost: (Sent) -> Bool) -> [ClosedRange<UInt64>] {
    let lost = sent.filter(isLost)
    guard let last = lost.last else { return [] }
    sent.removeAll(where: isLost)
    if last.number >= recovered {
      recovered = numbers
      threshold = max(window / 2, 2)
      window = threshold
    }
    let places = lost.compactMap(\.places)
    for range in places { sentBefore.insert(range) }
    return places
  }
}
