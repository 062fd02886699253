import BenchFleet
import Foundation
package import GateCore
import GateNet
import Histogram
import Synchronization

/// Acks of devices that send at times of their own while all of a tenant's subjects get new keys, again and again, against
/// acks while nobody changes anything.
package struct Rotation {
  package var connections: Int
  package var subjects: Int
  package var fixesPerSecond: Double
  package var seconds: UInt64
  /// From the start of one rotation to that of the next, unless it takes longer.
  package var everySeconds: UInt64

  package init(connections: Int, subjects: Int, fixesPerSecond: Double, seconds: UInt64, everySeconds: UInt64) {
    self.connections = connections
    self.subjects = subjects
    self.fixesPerSecond = fixesPerSecond
    self.seconds = seconds
    self.everySeconds = everySeconds
  }

  package struct Phase {
    /// How long each rotation took, in ns; empty = none was asked for.
    package var rotationNs: [UInt64] = []
    package var keys = 0
    package var fixes = 0
    /// From the moment a fix was due to its ack, in ns.
    package var medianNs: UInt64 = 0
    package var p99Ns: UInt64 = 0
    package var longestNs: UInt64 = 0
  }

  /// A phase without and a phase with, in turn.
  package func run(rounds: Int, in folder: String, track: [Fix]) throws -> [(quiet: Phase, rotating: Phase)] {
    let enrolment = try Enrolment(devices: connections)
    try enrolment.assignSubjects()
    try enrolment.addSubjects(subjects - connections)
    let gateway = try GatewayProcess(enrolment, in: folder, workers: 1)
    let devices = Device.fixgate(enrolment, lanes: [1, 0, 0], fixes: track, batch: 1, messagesInFlight: 64)
    var fleet = try Fleet(devices, batch: 1, connect: try gateway.connector())
    _ = try fleet.open(connections)
    _ = try phase(&fleet, nil, seed: 0)
    var phases: [(quiet: Phase, rotating: Phase)] = []
    for round in 1...UInt64(rounds) {
      phases.append((try phase(&fleet, nil, seed: 2 * round), try phase(&fleet, gateway, seed: 2 * round + 1)))
    }
    guard try fleet.settle(within: 20_000_000_000) else { throw PathError.unbalanced }
    try gateway.stop()
    return phases
  }

  private func phase(_ fleet: inout Fleet, _ rotated: GatewayProcess?, seed: UInt64) throws -> Phase {
    let start = SystemClock.now().advanced(byNs: 100_000_000)
    let end = start.advanced(byNs: seconds * 1_000_000_000)
    let rotator = rotated.map { Rotator($0.data) }
    let everyNs = everySeconds * 1_000_000_000
    let thread = try OSThread("rotation") { rotator?.run(from: start, until: end, everyNs: everyNs) }
    let schedule = Schedule(devices: connections, messagesPerSecond: fixesPerSecond, start: start, seed: seed)
    let result = Result { try fleet.run(.open(schedule), recording: start..<end, until: end.advanced(byNs: 2_000_000_000)) }
    thread.join()
    try result.get()
    var phase = Phase()
    if let rotator { (phase.rotationNs, phase.keys) = try rotator.result() }
    let latency = fleet.recorder.latencyOfAll
    phase.fixes = Int(latency.totalCount)
    phase.medianNs = latency.valueAtPercentile(50)
    phase.p99Ns = latency.valueAtPercentile(99)
    phase.longestNs = latency.max
    return phase
  }

  /// Asks for one rotation after the other, on a thread of its own.
  private final class Rotator: Sendable {
    private struct State {
      var ns: [UInt64] = []
      var keys = 0
      var failure: (any Error)?
    }

    private let data: String
    private let state = Mutex(State())

    init(_ data: String) { self.data = data }

    func run(from start: Instant, until end: Instant, everyNs: UInt64) {
      var next = start
      while next < end {
        Thread.sleep(forTimeInterval: Double(next.since(SystemClock.now())) / 1e9)
        let began = SystemClock.now()
        do {
          let keys = try GatewayProcess.rotateKeys(in: data)
          state.withLock {
            $0.ns.append(SystemClock.now().since(began))
            $0.keys = keys
          }
        } catch {
          return state.withLock { $0.failure = error }
        }
        next = max(next.advanced(byNs: everyNs), SystemClock.now())
      }
    }

    func result() throws -> (ns: [UInt64], keys: Int) {
      try state.withLock { state in
        if let failure = state.failure { throw failure }
        return (state.ns, state.keys)
      }
    }
  }
}
