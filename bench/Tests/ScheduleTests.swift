import BenchFleet
import GateCore
import Histogram
import Testing

@Suite struct ScheduleTests {
  private let schedule = Schedule(devices: 50, messagesPerSecond: 1_000, start: Instant(ns: 7_000), seed: 3)

  @Test func messagesAscendAndEachDeviceSendsOnceAPeriod() {
    var last = Instant(ns: 0)
    for round in 0..<4 {
      var seen: Set<Int> = []
      for place in 0..<50 {
        let (device, due) = schedule[round * 50 + place]
        #expect(due >= last)
        last = due
        #expect(seen.insert(device).inserted)
        let periodStart = schedule.start.advanced(byNs: UInt64(round) * 50_000_000)
        #expect(due >= periodStart && due <= periodStart.advanced(byNs: 50_000_000))
      }
    }
  }

  @Test func aDeviceKeepsItsMomentOfThePeriod() {
    let first = schedule[17]
    let second = schedule[17 + 50]
    #expect(first.device == second.device)
    #expect(second.due.since(first.due) == 50_000_000)
  }

  @Test func theRateIsWhatWasAskedFor() {
    #expect(schedule[100_000].due.since(schedule[0].due) == 100_000_000_000)
  }

  @Test func momentsAreSpreadAndTheSameForASeed() {
    let other = Schedule(devices: 50, messagesPerSecond: 1_000, start: Instant(ns: 7_000), seed: 4)
    let same = Schedule(devices: 50, messagesPerSecond: 1_000, start: Instant(ns: 7_000), seed: 3)
    let dues = (0..<50).map { schedule[$0].due }
    #expect(dues == (0..<50).map { same[$0].due })
    #expect(dues != (0..<50).map { other[$0].due })
    // Half of the fleet, give or take, in each half of the period.
    let early = dues.count { $0.since(schedule.start) < 25_000_000 }
    #expect((15...35).contains(early))
  }

  @Test func aBeatComesAsOftenAsItShouldHoweverLateItIsAsked() {
    var beat = Beat(perSecond: 100, start: Instant(ns: 0))
    let early = beat.take(at: Instant(ns: 9_999_999))
    #expect(!early)
    var taken = 0
    while beat.take(at: Instant(ns: 1_000_000_000)) { taken += 1 }
    #expect(taken == 100)
    var never = Beat(perSecond: 0, start: Instant(ns: 0))
    let ever = never.take(at: Instant(ns: .max))
    #expect(never.next == nil && !ever)
  }
}

@Suite struct RecorderTests {
  private let span = Instant(ns: 1_000_000)..<Instant(ns: 2_000_000)

  @Test func latencyCountsFromWhenAMessageWasDueAndOnlyWithinTheSpan() {
    var recorder = Recorder(span: span, lanes: 1)
    recorder.answered(due: Instant(ns: 999_999), at: Instant(ns: 1_500_000), lane: 0)
    recorder.answered(due: Instant(ns: 1_000_000), at: Instant(ns: 9_000_000), lane: 0)
    recorder.answered(due: Instant(ns: 2_000_000), at: Instant(ns: 2_000_001), lane: 0)
    #expect(recorder.latencyOfAll.totalCount == 1)
    #expect(abs(Int(recorder.latencyOfAll.max) - 8_000_000) <= 8_000)
  }

  @Test func whatWasNeverAnsweredCountsWithItsWait() {
    var recorder = Recorder(span: span, lanes: 1)
    recorder.answered(due: span.lowerBound, at: span.lowerBound.advanced(byNs: 1_000), lane: 0)
    recorder.leftUnanswered(due: span.lowerBound, at: span.lowerBound.advanced(byNs: 5_000_000_000), lane: 0)
    #expect(recorder.unanswered == 1)
    #expect(recorder.latencyOfAll.max >= 5_000_000_000)
  }

  @Test func fixesCountWhenTheirAckComes() {
    var recorder = Recorder(span: span, lanes: 1)
    recorder.heard(fixes: 5, at: Instant(ns: 999_999))
    recorder.heard(fixes: 7, at: Instant(ns: 1_999_999))
    recorder.heard(fixes: 9, at: Instant(ns: 2_000_000))
    #expect(recorder.acked == 7)
  }
}
