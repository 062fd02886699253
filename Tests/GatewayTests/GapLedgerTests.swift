import Foundation
import GateCore
import GateStore
import Gateway
import Testing

@Suite struct GapLedgerTests {
  /// Through 3, then 6 to 8; the next is 12.
  private func marks() -> StreamMarks {
    var state = StreamState(stream: 7)
    _ = state.durable.insert(.init(first: 1, last: 3))
    _ = state.durable.insert(.init(first: 6, last: 8))
    var marks = StreamMarks(state)
    marks.next = 12
    return marks
  }

  private func missing(_ first: UInt64, _ count: UInt64, _ reason: String, _ since: Int64? = nil) -> GapLedger.Entry {
    GapLedger.Entry(stream: 7, first: first, count: count, state: .missing, reason: reason, since_ms: since)
  }

  @Test func holesAreWhatIsMissing() {
    let ledger = GapLedger(live: true, marks: [marks()], settled: [], stored: [7: 6])
    #expect(ledger.gaps == [missing(4, 2, "not_sent"), missing(9, 3, "not_sent")])
    #expect(ledger.streams == [.init(stream: 7, through: 3, recorded: 11, stored: 6, missing: 5)])
    #expect(marks().holes.map(\.isTail) == [false, true])
  }

  @Test(arguments: [
    (StreamMarks.Run(first: 9, count: 3), [(9, 3, "limited")]),
    (StreamMarks.Run(first: 10, count: 1), [(9, 1, "not_sent"), (10, 1, "limited"), (11, 1, "not_sent")]),
    (StreamMarks.Run(first: 1, count: 9), [(9, 1, "limited"), (10, 2, "not_sent")]),
    (StreamMarks.Run(first: 11, count: 100), [(9, 2, "not_sent"), (11, 1, "limited")]),
    (StreamMarks.Run(first: 12, count: 3), [(9, 3, "not_sent")]),
  ] as [(StreamMarks.Run, [(UInt64, UInt64, String)])])
  func theLimitersPartIsNamed(limited: StreamMarks.Run, tail: [(UInt64, UInt64, String)]) {
    var marks = marks()
    marks.limited = limited
    marks.limitedMs = 5
    let gaps = GapLedger(live: true, marks: [marks], settled: [], stored: [:]).gaps.filter { $0.first >= 9 }
    #expect(gaps == tail.map { missing($0.0, $0.1, $0.2, $0.2 == "limited" ? 5 : nil) })
  }

  @Test func settledRunsHaveTheirReason() {
    func run(_ first: UInt64, _ reason: SettledRun.Reason, stored: UInt64 = 0) -> SettledRun {
      var run = SettledRun(stream: 7, first: first, count: 2, reason: reason, receiveTimeMs: 9)
      run.stored = stored
      return run
    }
    let ledger = GapLedger(
      live: false, marks: [],
      settled: [
        run(1, .gap(3)), run(3, .gap(0)), run(5, .gap(6), stored: 2), run(7, .gap(2), stored: 1), run(9, .held(42)),
        run(11, .refused(42)), run(13, .refused(99)), run(15, .gap(99)),
      ], stored: [:])
    #expect(ledger.gaps.map(\.first) == [1, 3, 7, 9, 11, 13, 15])
    #expect(ledger.gaps.map(\.state) == [.closed, .closed, .closed, .held, .dropped, .refused, .closed])
    #expect(
      ledger.gaps.map(\.reason) == [
        "device_off", "no_longer_held", "never_recorded", "future", "future", "99", "no_longer_held",
      ])
    #expect(ledger.gaps.map(\.count) == [2, 2, 1, 2, 2, 2, 2])
  }

  @Test(arguments: [ControlRequest.status, .reload, .marks(device: 7), .ask(device: .max)])
  func requestsComeBackAsTheyWere(request: ControlRequest) throws {
    let data = try JSONEncoder().encode(request)
    #expect(!data.contains(0x0A) && data.count < 256)
    #expect(try JSONDecoder().decode(ControlRequest.self, from: data) == request)
  }

  @Test(arguments: ["status", "{}", "{\"request\":\"marks\"}", "{\"request\":\"marks\",\"device\":-1}", "{\"request\":\"no\"}"])
  func otherRequestsAreNone(text: String) {
    #expect(throws: (any Error).self) { try JSONDecoder().decode(ControlRequest.self, from: Data(text.utf8)) }
  }
}
