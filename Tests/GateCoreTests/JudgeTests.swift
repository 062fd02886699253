import GateCore
import Testing

private let start: Int64 = 1_790_000_000_000

/// One fix of a journey: seconds after `start`, 1e-7 degrees from Almaty, and what else it says.
private struct Step: Sendable {
  var s: Int64
  var northE7: Int32
  var eastE7: Int32 = 0
  var accuracyDm: Int32?
  var speedCmPerS: Int32?
  var moving = false
  var lane: UInt8 = 0
  var code: UInt16 = 0
  var source: Int32?
  var subject: UInt32 = 0
  let verdict: Verdict?

  var record: Record {
    var record = Record()
    record.lane = lane
    record.code = code
    record.subject = subject
    record.fix.sequence = 1
    record.fix.present = [.time, .position, .monotonic]
    record.fix.fixTimeMs = start + s * 1_000
    record.fix.latitudeE7 = 432_220_000 + northE7
    let longitude = 768_512_000 + Int64(eastE7)
    record.fix.longitudeE7 = Int32(longitude >= 1_800_000_000 ? longitude - 3_600_000_000 : longitude)
    if let accuracyDm { record.fix[.horizontalAccuracyDm] = accuracyDm }
    if let speedCmPerS { record.fix[.speedCmPerS] = speedCmPerS }
    if let source { record.fix[.source] = source }
    if moving {
      record.fix[.flagsKnown] = 1 << 4
      record.fix[.flags] = 1 << 4
    }
    record.fix[.signalDbm] = -90
    return record
  }
}

private struct Journey: Sendable, CustomTestStringConvertible {
  let name: String
  let steps: [Step]
  var rules = NormalisingRules()
  var testDescription: String { name }
}

private func rules(_ change: (inout NormalisingRules) -> Void) -> NormalisingRules {
  var rules = NormalisingRules()
  change(&rules)
  return rules
}

/// 100,000 of 1e-7 degree north are 1,112 m.
private let journeys: [Journey] = [
  Journey(
    name: "a car at 80 km/h",
    steps: (0..<10).map { Step(s: 10 * Int64($0), northE7: 20_000 * Int32($0), verdict: nil) }),
  Journey(
    name: "one outlier",
    steps: [
      Step(s: 0, northE7: 0, verdict: nil), Step(s: 10, northE7: 1_000_000, verdict: .teleport),
      Step(s: 20, northE7: 20_000, verdict: nil), Step(s: 30, northE7: 40_000, verdict: nil),
    ]),
  Journey(
    name: "a ferry without reports: the journey goes on elsewhere",
    steps: [
      Step(s: 0, northE7: 0, verdict: nil), Step(s: 10, northE7: 5_000_000, verdict: .teleport),
      Step(s: 20, northE7: 5_010_000, verdict: nil), Step(s: 30, northE7: 5_020_000, verdict: nil),
      Step(s: 40, northE7: 30_000, verdict: .teleport),
    ]),
  Journey(
    name: "in other hands a journey of its own",
    steps: [
      Step(s: 0, northE7: 0, subject: 1, verdict: nil), Step(s: 10, northE7: 9_000_000, subject: 2, verdict: nil),
      Step(s: 20, northE7: 0, subject: 2, verdict: .teleport), Step(s: 30, northE7: 9_010_000, subject: 2, verdict: nil),
    ]),
  // AWS's accuracy-based filter: moved less than the accuracies together is not moved.
  Journey(
    name: "both accuracies are considered",
    steps: [
      Step(s: 0, northE7: 0, accuracyDm: 5_000, verdict: nil),
      Step(s: 1, northE7: 150_000, accuracyDm: 5_000, verdict: nil),  // 1,669 m; 2 x (500 m + 500 m) + 90 m
      Step(s: 2, northE7: 0, accuracyDm: 50, verdict: .teleport),  // the same way back; 2 x (500 m + 5 m) + 90 m
    ]),
  Journey(
    name: "cells that do not say how exact they are",
    steps: [
      Step(s: 0, northE7: 0, verdict: nil), Step(s: 1, northE7: 800_000, source: 2, verdict: nil),
    ]),
  // traccar-client-android #382: a server whose maths need order refuses the newest fix first.
  Journey(
    name: "newest first",
    steps: (0..<10).map { Step(s: -10 * Int64($0), northE7: -20_000 * Int32($0), verdict: nil) }),
  Journey(
    name: "a backlog of this morning between live fixes",
    steps: [
      Step(s: 0, northE7: 0, verdict: nil), Step(s: -28_800, northE7: 9_000_000, lane: 1, verdict: nil),
      Step(s: 10, northE7: 20_000, verdict: nil), Step(s: -28_790, northE7: 9_020_000, lane: 1, verdict: nil),
      Step(s: -28_780, northE7: 1_000, lane: 1, verdict: .teleport), Step(s: 20, northE7: 40_000, verdict: nil),
    ]),
  Journey(
    name: "the same second twice",
    steps: [Step(s: 0, northE7: 0, verdict: nil), Step(s: 0, northE7: 8_000, verdict: nil)]),
  Journey(
    name: "a plane, class plane",
    steps: (0..<5).map { Step(s: 10 * Int64($0), northE7: 225_000 * Int32($0), verdict: nil) },
    rules: rules { $0.speedClass = .plane }),
  Journey(
    name: "a plane, class car",
    steps: (0..<3).map { Step(s: 10 * Int64($0), northE7: 225_000 * Int32($0), verdict: $0 == 0 ? nil : .teleport) }),
  Journey(
    name: "a car, class walker",
    steps: (0..<3).map { Step(s: 60 * Int64($0), northE7: 120_000 * Int32($0), verdict: $0 == 0 ? nil : .teleport) },
    rules: rules { $0.speedClass = .walker }),
  Journey(
    name: "across the date line",
    steps: [
      Step(s: 0, northE7: 0, eastE7: 1_031_487_000, verdict: nil),
      Step(s: 10, northE7: 0, eastE7: 1_031_489_000, verdict: nil),
    ]),
  Journey(
    name: "null island and a receiver without a fix are nowhere",
    steps: [
      Step(s: 0, northE7: 0, verdict: nil),
      Step(s: 10, northE7: -432_220_000, eastE7: -768_512_000, code: Verdict.nullIsland.rawValue, verdict: nil),
      Step(s: 20, northE7: 9_000_000, code: Verdict.receiverInvalid.rawValue, verdict: nil),
      Step(s: 30, northE7: 20_000, verdict: nil),
    ]),
  Journey(
    name: "teleports held",
    steps: [Step(s: 0, northE7: 0, verdict: nil), Step(s: 10, northE7: 1_000_000, verdict: .heldTeleport)],
    rules: rules { $0.teleport = .hold }),
  Journey(
    name: "teleports not looked for",
    steps: [Step(s: 0, northE7: 0, verdict: nil), Step(s: 10, northE7: 1_000_000, verdict: nil)],
    rules: rules { $0.teleport = .off }),
  // Firmware that repeats the last position (Teltonika through Traccar) while the wheel says that it turns.
  Journey(
    name: "a frozen receiver, and what follows when it thaws",
    steps: [
      Step(s: 0, northE7: 0, speedCmPerS: 1_500, verdict: nil), Step(s: 10, northE7: 0, speedCmPerS: 1_500, verdict: nil),
      Step(s: 20, northE7: 0, speedCmPerS: 1_500, verdict: .frozen), Step(s: 600, northE7: 0, moving: true, verdict: .frozen),
      Step(s: 610, northE7: 200_000, speedCmPerS: 1_500, verdict: nil),
    ]),
  Journey(
    name: "parked",
    steps: (0..<6).map { Step(s: 60 * Int64($0), northE7: 0, speedCmPerS: 20, verdict: nil) }),
  Journey(
    name: "moving, one digit apart",
    steps: (0..<6).map { Step(s: Int64($0), northE7: Int32($0 & 1), moving: true, verdict: nil) }),
]

@Suite struct JudgeTests {
  @Test(arguments: journeys)
  fileprivate func judges(_ journey: Journey) {
    let judge = Judge(journey.rules)
    var travel = Travel()
    var replayed = Travel()
    for (i, step) in journey.steps.enumerated() {
      var record = step.record
      var bytes = [UInt8](repeating: 0, count: 512)
      var out = bytes.mutableSpan
      _ = record.write(into: &out, at: 64, from: Span())
      let verdict = judge.judge(bytes.span, at: 64, in: &travel)
      #expect(verdict == step.verdict, "step \(i)")
      if let verdict {
        record.code = verdict.rawValue
        if verdict.outcome == .held { record.kind = .held }
      }
      replayed.replay(record)
      #expect(replayed == travel, "a replay leads elsewhere after step \(i)")
    }
  }

  @Test(arguments: [
    (0, 0, 0, 10_000_000, 111_194.9, 2.0),
    (525_200_066, 134_049_540, 525_200_066, 134_049_550, 0.06767, 0.0001),
    // Almaty to Astana: 972.9 km along the surface.
    (432_220_000, 768_512_000, 511_694_000, 714_491_000, 972_000, 3_000),
    (0, 1_799_999_999, 0, -1_800_000_000, 0.0111, 0.001),
    (900_000_000, 0, -900_000_000, 900_000_000, 12_742_000, 1),
  ] as [(Int32, Int32, Int32, Int32, Double, Double)])
  func chords(lat1: Int32, lon1: Int32, lat2: Int32, lon2: Int32, metres: Double, within: Double) {
    #expect(abs(Earth.chordM(lat1, lon1, lat2, lon2) - metres) <= within)
  }
}
