import GateCore
import GateDevice
import GateMemory
import GateProto
import GateStore
import GateTLS
import Gateway

/// What a seed came to.
package struct Outcome: Equatable, Sendable {
  package var seed: UInt64
  /// The promise that was broken; `nil` if none was.
  package var violation: Violation?
  /// Of all that happened, in order: the same seed and build give the same number.
  package var trace: UInt64
  package var events: Int
  package var tally = Tally()
}

/// How much of what a world has seen, so that a seed's reach can be told.
package struct Tally: Equatable, Sendable {
  package var recorded = 0
  package var acked = 0
  package var rows = 0
  package var starts = 0
  package var failedStarts = 0
  package var crashes = 0
  package var torn = 0
  package var duplicates: UInt64 = 0
  package var refused: UInt64 = 0
  package var renumbered = 0

  package init() {}
}

/// A gateway, its disk and store, its devices and the network between, in one thread under one clock; a seed decides all.
///
/// The logic is production's; what it asks of disk, network and clocks is done here, and fails as `FaultPlan` says.
/// First come the faults, then quiet: everything must come to rest and every promise hold (`Checks.swift`).
package struct World: ~Copyable {
  let seed: UInt64
  var random: SeededRandom
  let plan: FaultPlan
  let configuration: Configuration
  private var queue = EventQueue()
  var now = Instant(ns: 1_000_000_000)
  var eventCount = 0
  private var trace: UInt64 = 0xcbf2_9ce4_8422_2325

  let disk: SimDisk
  private let data: SimFolder
  private let journal: SimFolder
  let table = SimTable()
  var gateway: SimGateway?
  private var life = 0
  private var powerWasCut = false
  private var isQuiet = false
  /// A crash in the middle of a disk call: what kind it is to be.
  private var cutsPowerInCall = false
  private var wallOffsetMs: Int64 = 0

  var devices: [SimDevice] = []
  private var owners = 0
  private var deviceCount: UInt32 = 0
  private var revoked: Set<UInt32> = []
  private var registry = RegistrySnapshot.empty
  private var links: [SimLink] = []

  /// Acked, by key: whose fix it was, as the device that deleted it knows.
  var acked: [SimTable.Key: SimDevice.FixName] = [:]
  /// Streams that two devices believe to be theirs.
  var shared: Set<SimTable.Key> = []
  var sharedDevices: Set<UInt32> = []
  var violation: Violation?
  var tally = Tally()

  private var deviceWakes: [Instant?] = []
  private var workerWakes: [Instant?] = []
  private var sequencerWake: Instant?
  private var sinkWake: Instant?
  private var checkpointerWake: Instant?
  private var sinkSyncAt = Instant(ns: 0)

  private static let wallStartMs: Int64 = 1_780_000_000_000
  private static let eventsMax = 400_000
  private static let quietNs: UInt64 = 3_600_000_000_000

  package init(seed: UInt64) {
    self.seed = seed
    var random = SeededRandom(seed: seed)
    plan = FaultPlan(&random)
    configuration = World.configuration(plan, &random)
    disk = SimDisk(seed: random.next())
    data = disk.makeFolder()
    journal = disk.makeFolder()
    disk.rates = SimDisk.Rates(
      sync: plan.syncFails, write: plan.writeFails, short: plan.writesShort, names: plan.namesFail)
    table.failing = plan.sinkFails
    self.random = random
    for _ in 0..<plan.people { enrol() }
    publishRegistry()
    push(.boot, after: 0)
    for fault in plan.faults { queue.push(.fault(fault.kind), at: now.advanced(byNs: fault.at.ns), order: self.random.next()) }
    push(.quiet, after: plan.chaosNs)
  }

  private static func configuration(_ plan: FaultPlan, _ random: inout SeededRandom) -> Configuration {
    var configuration = Configuration()
    configuration.journal.checkpointIntervalS = plan.checkpointS
    configuration.journal.segmentBytes = plan.segmentBytes
    configuration.journal.commitIntervalUs = Int.random(in: 100...20_000, using: &random)
    if plan.smallJournal { configuration.journal.bytesMax = 8 * plan.segmentBytes }
    if plan.tightLimits {
      configuration.limits.frames.perSecond = 5
      configuration.limits.frames.burst = 10
      configuration.limits.live.perSecond = 10
      configuration.limits.live.burst = 60
      configuration.limits.backlog.perSecond = 20
      configuration.limits.backlog.burst = 100
      configuration.limits.panic.perSecond = 1
      configuration.limits.panic.burst = 60
    }
    configuration.limits.backlogWindow = Int.random(in: 1...500, using: &random)
    return configuration
  }

  /// Runs faults, then quiet, then the last checks.
  package consuming func run() -> Outcome {
    while violation == nil {
      guard let (at, event) = queue.pop() else {
        violation = .stuck(whatIsLeft())
        break
      }
      now = at
      eventCount += 1
      handle(event)
      if isQuiet, violation == nil {
        if isDrained {
          checkEnd()
          break
        }
        if now.ns > plan.chaosNs + World.quietNs { violation = .stuck(whatIsLeft()) }
      }
      if eventCount >= World.eventsMax { violation = .stuck(whatIsLeft()) }
    }
    tally.rows = table.rows.count
    tally.acked = acked.count
    note(UInt64(table.rows.count))
    for row in table.rows { note(row.lsn ^ row.key.sequence << 20 ^ UInt64(row.key.stream) << 32) }
    let outcome = Outcome(seed: seed, violation: violation, trace: trace, events: eventCount, tally: tally)
    return outcome
  }

  /// With it set, what happens is told line by line: to find out why a seed fails.
  package var tells = false

  func tell(_ text: @autoclosure () -> String) {
    if tells { print("\(now.ns / 1_000) us: \(text())") }
  }

  // MARK: - Time and chance

  var wallMs: Int64 { World.wallStartMs + Int64(now.ns / 1_000_000) + wallOffsetMs }

  mutating func note(_ value: UInt64) { trace = (trace ^ value) &* 0x100_0000_01b3 }

  private mutating func chance(_ rate: UInt64) -> Bool { rate > 0 && !isQuiet && random.next() % 1_024 < rate }

  private mutating func upTo(_ ns: UInt64) -> UInt64 { random.next() % (ns + 1) }

  private mutating func push(_ event: EventQueue.Event, after ns: UInt64) {
    queue.push(event, at: now.advanced(byNs: ns), order: random.next())
  }

  private mutating func push(_ event: EventQueue.Event, at: Instant) {
    queue.push(event, at: max(at, now), order: random.next())
  }

  private mutating func wakeDevice(_ index: Int, at: Instant) {
    let at = max(at, now)
    if let known = deviceWakes[index], known <= at { return }
    deviceWakes[index] = at
    push(.device(index), at: at)
  }

  private mutating func wakeWorker(_ index: Int) {
    let at = now.advanced(byNs: upTo(200_000))
    if let known = workerWakes[index], known <= at { return }
    workerWakes[index] = at
    push(.worker(index, run: life), at: at)
  }

  private mutating func wakeSequencer(at: Instant) {
    let at = max(at, now.advanced(byNs: 1))
    if let known = sequencerWake, known <= at { return }
    sequencerWake = at
    push(.sequencer(run: life), at: at)
  }

  private mutating func wakeSink(at: Instant) {
    let at = max(at, now.advanced(byNs: 1))
    if let known = sinkWake, known <= at { return }
    sinkWake = at
    push(.sink(run: life), at: at)
  }

  // MARK: - Events

  private mutating func handle(_ event: EventQueue.Event) {
    note(now.ns)
    switch event {
    case .boot: boot()
    case .worker(let index, let run):
      guard run == life, workerWakes[index] == now else { return }
      workerWakes[index] = nil
      note(1)
      workerStep(index)
    case .sequencer(let run):
      guard run == life, sequencerWake == now else { return }
      sequencerWake = nil
      note(2)
      sequencerStep()
    case .sink(let run):
      guard run == life, sinkWake == now else { return }
      sinkWake = nil
      note(3)
      sinkStep()
    case .checkpointer(let run):
      guard run == life, let gateway else { return }
      note(4)
      checkpointerWake = nil
      gateway.checkpointStep()
      tell("checkpoint \(gateway.checkpointLSN)")
      afterGatewayStep()
    case .up(let link): arriveUp(link)
    case .down(let link): arriveDown(link)
    case .record(let index): record(index)
    case .device(let index):
      guard deviceWakes[index] == now else { return }
      deviceWakes[index] = nil
      note(5)
      deviceStep(index)
    case .fault(let kind):
      if !isQuiet {
        note(6 &+ UInt64(kind.rawValue) << 8)
        tell("fault: \(kind)")
        strike(kind)
      }
    case .quiet: becomeQuiet()
    }
  }

  private mutating func becomeQuiet() {
    isQuiet = true
    disk.rates = SimDisk.Rates()
    disk.set(full: false, broken: false)
    table.failing = 0
    wakeSink(at: now)
  }

  // MARK: - The gateway's life

  private mutating func boot() {
    guard gateway == nil else { return }
    disk.restart(powerCut: powerWasCut)
    if powerWasCut { table.cutPower(&random) }
    powerWasCut = false
    life += 1
    do {
      let started = try SimGateway(
        run: life, configuration: configuration, segmentBytes: plan.segmentBytes, disk: disk, data: data,
        journal: journal, table: table, workers: plan.workers, devicesMax: 64, seed: random.next(), at: now)
      gateway = started
      tally.starts += 1
      tally.torn += started.tornCount
      workerWakes = Array(repeating: nil, count: plan.workers)
      sequencerWake = nil
      sinkWake = nil
      checkpointerWake = nil
      sinkSyncAt = now
      note(started.durableLSN)
      tell("start \(tally.starts): durable \(started.durableLSN), sink \(table.cursor), torn \(started.tornCount), checkpoint \(started.checkpointLSN), rewritten \(started.rewritten)")
      checkRecovery(started)
      wakeSequencer(at: now)
      wakeSink(at: now)
    } catch let error as GatewayError {
      violation = .doesNotStart("\(error)")
    } catch {
      tally.failedStarts += 1
      tell("start failed: \(error)")
      note(7)
      if disk.isDown { powerWasCut = cutsPowerInCall }
      push(.boot, after: 1_000_000_000 + upTo(1_000_000_000))
    }
    if gateway != nil { afterGatewayStep() }
  }

  /// After anything that touched the disk: the crash may have come in it.
  private mutating func afterGatewayStep() {
    if disk.isDown {
      die(powerCut: cutsPowerInCall)
      return
    }
    guard let gateway else { return }
    checkStep(gateway)
    if gateway.hasCheckpoint, checkpointerWake == nil {
      let at = now.advanced(byNs: upTo(500_000_000))
      checkpointerWake = at
      push(.checkpointer(run: life), at: at)
    }
  }

  private mutating func die(powerCut: Bool) {
    guard let gateway else { return }
    tally.crashes += 1
    tell("crash, power cut: \(powerCut), durable \(gateway.durableLSN)")
    tally.duplicates += gateway.snapshot.duplicate
    tally.refused += gateway.snapshot.refused
    disk.stop()
    self.gateway = nil
    powerWasCut = powerCut
    for index in links.indices where links[index].run == life && !links[index].isBroken { cut(index) }
    life += 1
    push(.boot, after: 10_000_000 + upTo(3_000_000_000))
  }

  private mutating func workerStep(_ index: Int) {
    guard let gateway else { return }
    let worker = gateway.workers[index]
    perform(worker.step(registry: registry, at: now, wallMs: wallMs))
    if !worker.toSequencer.isEmpty { wakeSequencer(at: now.advanced(byNs: upTo(300_000))) }
    if worker.hasWork { wakeWorker(index) }
  }

  private mutating func sequencerStep() {
    guard let gateway else { return }
    let durable = gateway.durableLSN
    let more = gateway.sequencerStep(at: now, wallMs: wallMs)
    if disk.isDown {
      die(powerCut: cutsPowerInCall)
      return
    }
    if gateway.durableLSN != durable {
      note(gateway.durableLSN)
      tell("durable \(gateway.durableLSN)")
      wakeSink(at: now.advanced(byNs: upTo(plan.slowSink ? 8_000_000_000 : 100_000_000)))
    }
    for index in gateway.workers.indices where gateway.workers[index].hasWork { wakeWorker(index) }
    afterGatewayStep()
    wakeSequencer(at: more ? now.advanced(byNs: upTo(100_000)) : gateway.sequencerDeadline(at: now))
  }

  private mutating func sinkStep() {
    guard let gateway else { return }
    var next = now.advanced(byNs: plan.slowSink && !isQuiet ? 3_000_000_000 : 500_000_000)
    do {
      if try gateway.sinkStep(names: registry) { next = now.advanced(byNs: upTo(1_000_000)) }
      if now >= sinkSyncAt {
        sinkSyncAt = now.advanced(byNs: upTo(5_000_000_000))
        try gateway.sinkSync()
      }
    } catch {
      note(8)
    }
    note(gateway.sinkCursor)
    afterGatewayStep()
    if self.gateway != nil { wakeSink(at: next) }
  }

  private mutating func perform(_ actions: [SimWorker.Action]) {
    for action in actions {
      switch action {
      case .send(let link, let bytes): sendDown(link, bytes)
      case .close(let link): queueDown(link, .end)
      }
    }
  }

  // MARK: - Network

  private mutating func pieces(of bytes: [UInt8]) -> [[UInt8]] {
    guard plan.pieces, bytes.count > 1 else { return [bytes] }
    var pieces: [[UInt8]] = []
    var at = 0
    while at < bytes.count {
      let end = min(bytes.count, at + 1 + Int(upTo(UInt64(bytes.count))))
      pieces.append(Array(bytes[at..<end]))
      at = end
    }
    return pieces
  }

  private mutating func latencyNs() -> UInt64 { 100_000 + upTo(plan.latencyMs * 1_000_000) }

  private mutating func queueUp(_ index: Int, _ arrival: SimLink.Arrival) {
    guard !links[index].isBroken else { return }
    links[index].up.append(arrival)
    links[index].upAt = max(links[index].upAt, now.advanced(byNs: latencyNs()))
    push(.up(link: index), at: links[index].upAt)
    if chance(plan.linkBreaks) { cut(index) }
  }

  private mutating func queueDown(_ index: Int, _ arrival: SimLink.Arrival) {
    guard !links[index].isBroken else { return }
    if case .bytes(let bytes) = arrival { links[index].downBytes += bytes.count }
    links[index].down.append(arrival)
    var delay = latencyNs()
    if plan.slowReaders, !isQuiet, links[index].device % 2 == 0 { delay += upTo(10_000_000_000) }
    links[index].downAt = max(links[index].downAt, now.advanced(byNs: delay))
    push(.down(link: index), at: links[index].downAt)
    if chance(plan.linkBreaks) { cut(index) }
  }

  /// One call is one frame, and no arrival holds bytes of two: a device's acks can then be told apart.
  private mutating func sendDown(_ index: Int, _ bytes: [UInt8]) {
    for piece in pieces(of: bytes) { queueDown(index, .bytes(piece)) }
    if links[index].downBytes > 65_536, !links[index].isBroken {
      gateway?.workers[links[index].worker].drop(links[index].session)
      cut(index)
    }
  }

  /// Breaks a link: either side hears of it some time after what was under way.
  private mutating func cut(_ index: Int) {
    guard !links[index].isBroken else { return }
    links[index].cut(&random)
    links[index].up.append(.end)
    links[index].down.append(.end)
    push(.up(link: index), at: max(links[index].upAt, now.advanced(byNs: upTo(20_000_000_000))))
    push(.down(link: index), at: max(links[index].downAt, now.advanced(byNs: upTo(isQuiet ? 10_000_000 : 20_000_000_000))))
  }

  private mutating func arriveUp(_ index: Int) {
    guard !links[index].up.isEmpty else { return }
    let arrival = links[index].up.removeFirst()
    guard let gateway, links[index].run == life else { return }
    gateway.workers[links[index].worker].arrived(arrival, for: links[index].session)
    wakeWorker(links[index].worker)
  }

  private mutating func arriveDown(_ index: Int) {
    guard !links[index].down.isEmpty else { return }
    let arrival = links[index].down.removeFirst()
    if case .bytes(let bytes) = arrival { links[index].downBytes -= bytes.count }
    let device = links[index].device
    guard devices[device].link == index else { return }
    switch arrival {
    case .end: hangUp(device)
    case .bytes(let bytes): receive(bytes, device)
    }
  }

  // MARK: - Devices

  private mutating func deviceOptions() -> DeviceOptions {
    var options = DeviceOptions()
    options.batchFixes = plan.batchFixes
    if plan.liveFirst { options.lanes = .liveFirst }
    options.firstWindow = 1 + upTo(200)
    if random.next() % 4 == 0 { options.batchWaitNs = upTo(3_000_000_000) }
    return options
  }

  private mutating func enrol() {
    deviceCount += 1
    var token = [UInt8](repeating: 0, count: Hello.tokenBytes)
    for i in token.indices { token[i] = UInt8(truncatingIfNeeded: random.next()) }
    add(
      SimDevice(
        device: deviceCount, owner: owners, token: token, stream: UInt32(truncatingIfNeeded: random.next()) | 1,
        toRecord: plan.fixesPerDevice, options: deviceOptions()))
  }

  private mutating func add(_ device: SimDevice) {
    owners += 1
    devices.append(device)
    deviceWakes.append(nil)
    push(.record(device: devices.count - 1), after: upTo(plan.chaosNs / 4))
    wakeDevice(devices.count - 1, at: now.advanced(byNs: upTo(1_000_000_000)))
  }

  private mutating func publishRegistry() {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "t")
    var known: Set<UInt32> = []
    for device in devices where known.insert(device.device).inserted {
      builder.addDevice(
        device.device, tenant: 1, subject: 0, externalID: "d\(device.device)", revoked: revoked.contains(device.device))
      builder.addToken(
        selector: device.token.span.load64(at: 0), hash: SecretHash(Digest.sha256(device.token.span).span),
        device: device.device, revoked: false)
    }
    registry = RegistrySnapshot(builder, generation: random.next())
  }

  private mutating func record(_ index: Int) {
    guard !devices[index].isGone, devices[index].toRecord > 0 else { return }
    let count = min(devices[index].toRecord, 1 + Int(upTo(12)))
    devices[index].toRecord -= count
    tally.recorded += count
    let clock = World.wallStartMs + Int64(now.ns / 1_000_000) + devices[index].clockOffsetMs
    devices[index].record(count: count, at: now, clockMs: clock, odd: plan.oddFixes, &random)
    wakeDevice(index, at: now)
    push(.record(device: index), after: upTo(plan.chaosNs / 6))
  }

  private mutating func deviceStep(_ index: Int) {
    guard !devices[index].isGone, devices[index].session.fatal == nil else { return }
    guard let link = devices[index].link else {
      connect(index)
      return
    }
    if devices[index].session.isSilent(at: now) {
      cut(link)
      hangUp(index)
      return
    }
    var frame: [UInt8] = []
    let clock = World.wallStartMs + Int64(now.ns / 1_000_000) + devices[index].clockOffsetMs
    let fixes = devices[index].fixes
    while devices[index].session.nextFrame(into: &frame, at: now, clockMs: clock, from: fixes) {
      tell("device \(index) sends \(frame.count) bytes, stream \(devices[index].session.log.stream)")
      for piece in pieces(of: frame) { queueUp(link, .bytes(piece)) }
      frame.removeAll(keepingCapacity: true)
    }
    if let deadline = devices[index].session.deadline {
      wakeDevice(index, at: max(deadline, now.advanced(byNs: 1_000_000)))
    }
  }

  private mutating func connect(_ index: Int) {
    let from = max(devices[index].reconnectAt, devices[index].session.pausedUntil)
    guard now >= from else {
      wakeDevice(index, at: from)
      return
    }
    guard let gateway else {
      devices[index].connectFailures = min(devices[index].connectFailures + 1, 5)
      let backOff: UInt64 = 200_000_000 << UInt64(devices[index].connectFailures)
      wakeDevice(index, at: now.advanced(byNs: backOff + upTo(backOff)))
      return
    }
    devices[index].connectFailures = 0
    let worker = Int(upTo(UInt64(plan.workers - 1)))
    let link = links.count
    links.append(
      SimLink(device: index, worker: worker, run: life, session: gateway.workers[worker].accept(link: link), at: now))
    devices[index].link = link
    devices[index].session.connected(at: now)
    wakeDevice(index, at: now.advanced(byNs: latencyNs()))
  }

  private mutating func hangUp(_ index: Int) {
    if let link = devices[index].link, !links[link].isBroken { cut(link) }
    devices[index].link = nil
    devices[index].session.disconnected()
    devices[index].reconnectAt = now.advanced(byNs: upTo(2_000_000_000))
    wakeDevice(index, at: devices[index].reconnectAt)
  }

  private mutating func receive(_ bytes: [UInt8], _ index: Int) {
    let before = devices[index].session.log
    var events: [DeviceEvent] = []
    do {
      try devices[index].session.receive(bytes.span, at: now, into: &events)
    } catch {
      violation = .gatewayBrokeSpecification("\(error)")
      return
    }
    for event in events {
      tell("device \(index) hears \(event)")
      if case .renumbered = event {
        tally.renumbered += 1
        devices[index].save()
      }
    }
    if devices[index].session.log.ackedCount != before.ackedCount { noteAcks(index, before: before) }
    if let code = devices[index].session.fatal { checkFatal(code, of: index, revoked: revoked) }
    if !isQuiet, random.next() % 4 == 0 { devices[index].save() }
    wakeDevice(index, at: now)
  }

  private mutating func noteAcks(_ index: Int, before: UploadLog) {
    let log = devices[index].session.log
    var new = log.acked
    for range in before.acked.ranges { new.remove(range) }
    for range in new.ranges {
      for place in range {
        guard let sequence = log.sequence(of: place) else { continue }
        let key = SimTable.Key(device: devices[index].device, stream: log.stream, sequence: sequence)
        note(sequence)
        acked[key] = SimDevice.FixName(owner: devices[index].owners[Int(place) - 1], place: place)
      }
    }
  }

  // MARK: - Faults

  private mutating func strike(_ kind: FaultKind) {
    let index = Int(upTo(UInt64(devices.count - 1)))
    switch kind {
    case .kill: die(powerCut: false)
    case .powerCut: die(powerCut: true)
    case .killInCall, .powerCutInCall:
      cutsPowerInCall = kind == .powerCutInCall
      disk.crash(inCalls: 1 + upTo(12))
    case .diskFull: disk.set(full: true)
    case .diskBroken: disk.set(broken: true)
    case .diskHealed: disk.set(full: false, broken: false)
    case .gatewayClockStep: wallOffsetMs += Int64(upTo(7_200_000)) - 3_600_000
    case .deviceClockStep: devices[index].clockOffsetMs += Int64(upTo(7_200_000)) - 3_600_000
    case .deviceRestart:
      guard !devices[index].isGone else { return }
      let fatal = devices[index].session.fatal
      if let link = devices[index].link { cut(link) }
      if fatal == nil { devices[index].restart() }
      wakeDevice(index, at: now.advanced(byNs: upTo(3_000_000_000)))
    case .deviceWiped: wipe(index, sameStream: false)
    case .deviceWipedSameStream: wipe(index, sameStream: true)
    case .deviceCloned:
      guard !devices[index].isGone, devices.count < 8 else { return }
      sharedDevices.insert(devices[index].device)
      add(SimDevice(clone: devices[index], owner: owners, toRecord: Int(upTo(20))))
    case .revoked:
      guard random.next() % 2 == 0, revoked.count + 1 < Int(deviceCount) else { return }
      revoked.insert(devices[index].device)
      publishRegistry()
      guard let gateway else { return }
      for worker in gateway.workers { perform(worker.closeRevoked(registry)) }
    case .linksBroken:
      for link in links.indices where links[link].run == life { cut(link) }
    }
  }

  /// The flash is gone: what was not acked is lost with it, and counting begins anew.
  private mutating func wipe(_ index: Int, sameStream: Bool) {
    guard !devices[index].isGone, devices.count < 8 else { return }
    let old = devices[index]
    if let link = old.link { cut(link) }
    devices[index].isGone = true
    devices[index].link = nil
    if sameStream { sharedDevices.insert(old.device) }
    add(
      SimDevice(
        device: old.device, owner: owners, token: old.token,
        stream: sameStream ? old.session.log.stream : UInt32(truncatingIfNeeded: random.next()) | 1,
        toRecord: Int(upTo(20)), options: deviceOptions()))
  }

  // MARK: - Rest

  private var isDrained: Bool {
    guard let gateway, devices.allSatisfy({ $0.isSettled }) else { return false }
    return gateway.sinkCursor == gateway.durableLSN && gateway.snapshot.pending == 0
      && gateway.workers.allSatisfy { !$0.hasWork }
  }

  private func whatIsLeft() -> String {
    var text = "gateway \(gateway == nil ? "down" : gateway?.problem ?? "up")"
    if let gateway { text += ", sink \(gateway.sinkCursor) of \(gateway.durableLSN)" }
    for (index, device) in devices.enumerated() where !device.isSettled {
      text += "; device \(index): \(device.session.log.unsettledCount) of \(device.session.log.recorded) unsettled"
    }
    return text + ", at \(now.ns / 1_000_000) ms, \(eventCount) events"
  }
}
