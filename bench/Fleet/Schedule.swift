package import GateCore
import BenchHarness

/// When messages are meant to go out, whatever becomes of those before them: the open loop. Each device sends once a
/// period, at a moment of the period that is its own and drawn at random, as the devices of a real fleet do.
package struct Schedule: Sendable {
  package let start: Instant
  package let periodNs: Double
  /// Device and its moment as a share of the period, 0..<1, ascending.
  private let moments: [(device: Int, share: Double)]

  /// - Parameter messagesPerSecond: of all devices together.
  package init(devices: Int, messagesPerSecond: Double, start: Instant, seed: UInt64) {
    precondition(devices > 0 && messagesPerSecond > 0)
    var random = SplitMix(seed: seed)
    self.start = start
    periodNs = Double(devices) / messagesPerSecond * 1e9
    moments = (0..<devices).map { ($0, random.between(0, 1)) }.sorted { $0.share < $1.share }
  }

  /// Message number `index` of the run, from 0: ascending in time, each device once in every `devices` messages.
  package subscript(index: Int) -> (device: Int, due: Instant) {
    let (round, place) = index.quotientAndRemainder(dividingBy: moments.count)
    let moment = moments[place]
    return (moment.device, start.advanced(byNs: UInt64((Double(round) + moment.share) * periodNs)))
  }
}

/// Moments that are evenly spaced: reconnections.
package struct Beat: Sendable {
  package private(set) var next: Instant?
  private let gapNs: UInt64

  /// - Parameter perSecond: 0 for never.
  package init(perSecond: Double, start: Instant) {
    gapNs = perSecond > 0 ? UInt64(1e9 / perSecond) : 0
    next = perSecond > 0 ? start.advanced(byNs: gapNs) : nil
  }

  /// - Returns: whether a moment has come; it is then used up.
  package mutating func take(at now: Instant) -> Bool {
    guard let due = next, due <= now else { return false }
    next = due.advanced(byNs: gapNs)
    return true
  }
}
