package import BenchFleet
package import BenchReport
import GateCore
import GateNet
import Histogram

/// One run of a fleet against a server that was started for it.
package struct LoadRun {
  let parameters: Case.Parameters
  let kind: Case.Kind
  /// Draws when devices send.
  let seed: UInt64

  /// How long messages may stay unanswered after the load has ended, and the store behind it.
  private static let settleNs: UInt64 = 10_000_000_000
  private static let drainNs: UInt64 = 120_000_000_000
  /// Silence before idle memory is looked at: buffers are let go, timers have run.
  private static let silenceNs: UInt64 = 1_000_000_000
  /// From so few connections on the slope is measured, so that what is there once does not count.
  private static let idleBase = 100

  package init(_ parameters: Case.Parameters, kind: Case.Kind, seed: UInt64) {
    (self.parameters, self.kind, self.seed) = (parameters, kind, seed)
  }

  /// Runs the load and ends the server.
  package func perform(on server: any Server, cores: Cores) throws -> Run {
    try Cores.pin(to: cores.generator)
    let inFlight = kind == .saturation ? parameters.inFlight : 1
    var fleet = try Fleet(
      server.fleet(lanes: parameters.lanes, batch: parameters.batch, messagesInFlight: max(inFlight, 4)),
      batch: parameters.batch, resumes: !parameters.fullHandshakes, connect: try server.connector())
    var run = Run()
    if cores.isShared { run.notes.append("server and generator shared one CPU") }
    try open(&fleet, server, &run)
    if kind != .idle { try load(&fleet, server, inFlight: inFlight, &run) }
    try server.finish(acked: fleet.ackedFixes)
    return run
  }

  private func open(_ fleet: inout Fleet, _ server: any Server, _ run: inout Run) throws {
    let base = min(LoadRun.idleBase, server.devices / 2)
    _ = try fleet.open(base)
    if kind == .idle { try quiet(&fleet) }
    let memory = Memory(of: server)
    let cpu = CPU(of: server)
    let opening = try fleet.open(server.devices)
    let used = CPU(of: server).total - cpu.total
    guard opening.connections > 0 else { return }
    let count = Double(opening.connections)
    run.figures[.openingsPerSecond] = count / (Double(opening.ns) / 1e9)
    run.figures[.openingCPU] = Double(used) / 1e3 / count
    run.figures[.openingGeneratorBusy] = Double(opening.generatorCPUNs) / Double(opening.ns)
    run.figures[.roundTrips] = Double(opening.roundTrips)
    run.figures[.openingUp] = Double(opening.traffic.bytesUp)
    run.figures[.openingDown] = Double(opening.traffic.bytesDown)
    guard kind == .idle else { return }
    try quiet(&fleet)
    let grown = Memory(of: server)
    run.figures[.idleUser] = Double(grown.user - memory.user) / count
    if let before = memory.kernel, let after = grown.kernel {
      run.figures[.idleKernel] = Double(after - before) / count
    } else {
      run.notes.append("kernel memory is told to root only")
    }
  }

  private func quiet(_ fleet: inout Fleet) throws {
    let now = SystemClock.now()
    let end = now.advanced(byNs: LoadRun.silenceNs)
    try fleet.run(.silent, recording: now..<end, until: end)
  }

  private func load(_ fleet: inout Fleet, _ server: any Server, inFlight: Int, _ run: inout Run) throws {
    var weather = Fleet.Weather()
    weather.reconnectsPerSecond = parameters.reconnectsPerSecond
    let warm = SystemClock.now().advanced(byNs: ns(parameters.warmUpS))
    try fleet.run(pace(inFlight, seed: seed &+ 1_000), weather: weather, recording: warm..<warm, until: warm)

    weather.storm = parameters.storm
    let (commits, traffic, acked, moves) = (try server.commits(), fleet.traffic, fleet.ackedFixes, fleet.moves)
    let (cpu, own) = (CPU(of: server), Cores.threadCPUNs)
    let start = SystemClock.now()
    let span = start..<start.advanced(byNs: ns(parameters.seconds))
    try fleet.run(pace(inFlight, seed: seed), weather: weather, recording: span, until: span.upperBound)
    let (cpuEnd, ownEnd) = (CPU(of: server), Cores.threadCPUNs)
    let commitsEnd = try server.commits()
    let lostEarly = fleet.connectionsLost
    let isSettled = try fleet.settle(within: LoadRun.settleNs)
    let all = Double(fleet.ackedFixes - acked)
    let carried = fleet.traffic - traffic

    let recorder = fleet.recorder
    let fixes = Double(recorder.acked)
    guard fixes > 0 else { throw FleetError.conversation("nothing was acked while it was measured") }
    run.figures[.fixesPerSecond] = fixes / parameters.seconds
    let millions = fixes / 1e6
    run.figures[.cpuPerMillion] = Double(cpuEnd.total - cpu.total) / 1e9 / millions
    for (stage, ns) in cpuEnd.stages(since: cpu) { run.figures[stage] = Double(ns) / 1e9 / millions }
    if let commits, let commitsEnd { run.figures[.fixesPerCommit] = fixes / Double(max(1, commitsEnd - commits)) }
    run.figures[.wireUp] = Double(carried.bytesUp) / all
    run.figures[.wireDown] = Double(carried.bytesDown) / all
    run.figures[.packets] = Double(carried.packetsUp + carried.packetsDown) / all
    run.figures[.unanswered] = Double(recorder.unanswered)
    run.figures[.refused] = Double(fleet.refusedFixes)
    note(recorder.latencyOfAll, in: &run)
    if recorder.latency.count(where: { $0.totalCount > 0 }) > 1 {
      for (lane, latency) in zip(["live", "backlog", "panic"], recorder.latency) where latency.totalCount > 0 {
        run.latencyByLane[lane] = latency.quantiles
      }
    }
    if fleet.moves > 0 { run.figures[.moves] = Double(fleet.moves - moves) }
    if recorder.reconnection.totalCount > 0 { note(reconnections: recorder, in: &run) }
    judgeGenerator(recorder, busy: Double(ownEnd - own) / (parameters.seconds * 1e9), in: &run)
    if !isSettled { run.notes.append("\(recorder.unanswered) messages had no ack 10 s after the load ended") }
    if lostEarly > 0 { run.notes.append("the server ended \(lostEarly) connections") }

    let drained = try drain(server)
    run.figures[.cpuPerMillionStored] = Double(CPU(of: server).total - cpu.total) / 1e9 / (all / 1e6)
    if !drained { run.notes.append("the store was still behind 120 s after the load ended") }
  }

  private func pace(_ inFlight: Int, seed: UInt64) -> Fleet.Pace {
    guard let offered = parameters.offered else { return .closed(inFlight: inFlight) }
    return .open(
      Schedule(
        devices: parameters.devices, messagesPerSecond: offered / Double(parameters.batch), start: SystemClock.now(),
        seed: seed))
  }

  private func note(_ latency: Histogram<UInt64>, in run: inout Run) {
    run.latency = latency.quantiles
    for (metric, percentile) in [(Metric.p50, 50.0), (.p90, 90), (.p99, 99), (.p999, 99.9), (.p9999, 99.99)] {
      // A percentile is told when ten messages lie beyond it.
      guard Double(latency.totalCount) * (1 - percentile / 100) >= 10 else { continue }
      run.figures[metric] = Double(latency.valueAtPercentile(percentile)) / 1e6
    }
    run.figures[.most] = Double(latency.max) / 1e6
  }

  private func note(reconnections recorder: Recorder, in run: inout Run) {
    let count = recorder.reconnection.totalCount
    run.figures[.reconnects] = Double(count)
    run.figures[.reconnectP50] = Double(recorder.reconnection.valueAtPercentile(50)) / 1e6
    run.figures[.reconnectP99] = Double(recorder.reconnection.valueAtPercentile(99)) / 1e6
    run.figures[.reconnectMost] = Double(recorder.reconnection.max) / 1e6
    run.figures[.resumedShare] = Double(recorder.resumed) / Double(count)
  }

  /// The generator's own part in what was measured.
  private func judgeGenerator(_ recorder: Recorder, busy: Double, in run: inout Run) {
    run.figures[.generatorBusy] = busy
    if kind == .offered {
      let lag = Double(recorder.lag.valueAtPercentile(99)) / 1e6
      run.figures[.lagP50] = Double(recorder.lag.valueAtPercentile(50)) / 1e6
      run.figures[.lagP99] = lag
      if Lateness.isLate(lagP99Ms: lag, latencyP99Ms: run.figures[.p99] ?? 0) {
        run.isLate = true
        run.notes.append("the generator was late: latencies are partly its own")
      }
    }
    if busy > Lateness.busyMax {
      run.isLate = true
      run.notes.append("the generator was busy all the time: the rate may be its limit, not the server's")
    }
  }

  /// Waits until all is in the store.
  private func drain(_ server: any Server) throws -> Bool {
    let end = SystemClock.now().advanced(byNs: LoadRun.drainNs)
    let never = try EventFD()
    while try server.backlog() > 0 {
      guard SystemClock.now() < end else { return false }
      do throws(NetError) {
        try never.descriptor.wait(
          readable: true, writable: false, until: SystemClock.now().advanced(byNs: 50_000_000))
      } catch .timedOut {
      }
    }
    return true
  }

  private func ns(_ seconds: Double) -> UInt64 { UInt64(seconds * 1e9) }
}

extension Histogram<UInt64> {
  /// From ns. Points get closer towards the tail, and end where ten messages are left.
  var quantiles: [Run.Quantile] {
    guard totalCount > 0 else { return [] }
    let end = 1 - 10 / Double(totalCount)
    var points: [Run.Quantile] = []
    for each in percentiles(ticksPerHalfDistance: 5) {
      let share = each.percentileLevelIteratedTo / 100
      if share > end { break }
      points.append(Run.Quantile(share: share, ms: Double(each.value) / 1e6))
    }
    return points
  }
}
