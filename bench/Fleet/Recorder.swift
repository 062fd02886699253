package import GateCore
package import Histogram

/// What a fleet saw of the messages that were due within one span of time. Times are ns.
package struct Recorder {
  /// From the moment a message was due to its ack, by lane number.
  package private(set) var latency: [Histogram<UInt64>]
  /// From the moment a message was due to the moment the generator took it up: the generator's own lateness.
  package private(set) var lag = Recorder.histogram()
  /// From the loss of a connection to the next one's handshake done.
  package private(set) var reconnection = Recorder.histogram()
  package private(set) var resumed = 0
  /// Fixes whose ack came within the span.
  package private(set) var acked = 0
  /// Messages that were due within the span, and those of them that were never answered.
  package private(set) var due = 0
  package private(set) var unanswered = 0
  package let span: Range<Instant>

  package init(span: Range<Instant>, lanes: Int) {
    self.span = span
    latency = Array(repeating: Recorder.histogram(), count: lanes)
  }

  package mutating func tookUp(due moment: Instant, at now: Instant) {
    guard span.contains(moment) else { return }
    due += 1
    lag.record(now.since(moment))
  }

  package mutating func heard(fixes: Int, at now: Instant) {
    if span.contains(now) { acked += fixes }
  }

  package mutating func answered(due moment: Instant, at now: Instant, lane: Int) {
    guard span.contains(moment) else { return }
    latency[lane].record(now.since(moment))
  }

  /// It counts with the time it has waited so far: its latency is at least that.
  package mutating func leftUnanswered(due moment: Instant, at now: Instant, lane: Int) {
    guard span.contains(moment) else { return }
    unanswered += 1
    latency[lane].record(now.since(moment))
  }

  package mutating func reconnected(lost: Instant, at now: Instant, resumed isResumed: Bool) {
    guard span.contains(lost) else { return }
    reconnection.record(now.since(lost))
    if isResumed { resumed += 1 }
  }

  /// All lanes.
  package var latencyOfAll: Histogram<UInt64> {
    var all = Recorder.histogram()
    for each in latency { all.add(each) }
    return all
  }

  /// 1 us to 1 hour, to three digits.
  private static func histogram() -> Histogram<UInt64> {
    Histogram(lowestDiscernibleValue: 1_000, highestTrackableValue: 3_600_000_000_000, numberOfSignificantValueDigits: .three)
  }
}
