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

/// A gateway, its disk and store, its devices and the network between, in one thread under one clock; a seed decides all.
///
/// The logic is production's; what it asks of disk, network and clocks is done here, and fails as `FaultPlan` says.
/// First come the faults, then quiet: everything must come to rest and every promise hold (`Checks.swift`).
package struct World: ~Copyable {
  let seed: UInt64
  var random: SeededRandom
  let plan: FaultPlan
  let configuration: Configuration
  var queue = EventQueue()
  var now = Instant(ns: 1_000_000_000)
  var eventCount = 0
  var trace: UInt64 = 0xcbf2_9ce4_8422_2325

  let disk: SimDisk
  let data: SimFolder
  let journal: SimFolder
  let table = SimTable()
  /// The real store beside the table, in some worlds.
  let store: SimStore?
  var gateway: SimGateway?
  var life = 0
  var powerWasCut = false
  var failedStartsInARow = 0
  var isQuiet = false
  /// A crash in the middle of a disk call: what kind it is to be.
  var cutsPowerInCall = false
  var wallOffsetMs: Int64 = 0

  var devices: [SimDevice] = []
  var owners = 0
  var deviceCount: UInt32 = 0
  var revoked: Set<UInt32> = []
  var registry = RegistrySnapshot.empty
  var registryVersion: UInt64 = 0
  /// Revoked, and what had come of them before has been taken.
  var silenced: Set<UInt32> = []
  /// The highest sequence that was ever taken, by device and stream.
  var highest: [UInt32: [UInt32: UInt64]] = [:]
  var links: [SimLink] = []
  /// On their way; places that are free again.
  var datagrams: [SimDatagram] = []
  var freeDatagrams: [Int] = []
  /// Whose conversation has had which address.
  var addresses: [PeerAddress: (device: Int, key: Int)] = [:]
  var addressesGiven = 0
  var keysGiven = 0
  /// Every record that either side has sealed under a session's keys.
  var recordsSealed: [RecordName: UInt64] = [:]
  var sessionFile = SessionFileHistory()

  /// In worlds whose journal is sealed.
  let subjects: SimSubjects?
  var forgetting: Forgetting?
  var isForgettingAwake = false
  var isNewRun = false
  /// Number of the first checkpoint in which nothing lies under retired keys.
  var checkpointNeeded: UInt64 = 0
  /// Acked, stored, then deleted because somebody wanted it forgotten.
  var erasedKeys: Set<SimTable.Key> = []
  /// No clock has been set, and no fix is odd: what a device recorded is what the gateway judges.
  var clocksAreTrue: Bool

  /// Acked, by key: whose fix it was, as the device that deleted it knows.
  var acked: [SimTable.Key: SimDevice.FixName] = [:]
  /// Streams that two devices believe to be theirs.
  var shared: Set<SimTable.Key> = []
  var sharedDevices: Set<UInt32> = []
  var violation: Violation?
  var tally = Tally()

  var deviceWakes: [Instant?] = []
  var workerWakes: [Instant?] = []
  var sequencerWake: Instant?
  var sinkWake: Instant?
  var checkpointerWake: Instant?
  var keeperWake: Instant?
  var sinkSyncAt = Instant(ns: 0)

  static let wallStartMs: Int64 = 1_780_000_000_000
  static let eventsMax = 400_000
  static let devicesMax = 64
  static let failedStartsMax = 3
  /// One world in so many has the real store.
  static let storeOneIn: UInt64 = 16
  static let quietNs: UInt64 = 3_600_000_000_000

  package init(seed: UInt64) {
    self.seed = seed
    var random = SeededRandom(seed: seed)
    let plan = FaultPlan(seed: seed, &random)
    self.plan = plan
    configuration = World.configuration(plan, &random)
    disk = SimDisk(seed: random.next())
    data = disk.makeFolder()
    journal = disk.makeFolder()
    subjects = plan.privacy.seals ? SimSubjects(seed: ~seed) : nil
    clocksAreTrue = !plan.oddFixes && !plan.datagrams.clockIsLost
    do {
      store = seed % World.storeOneIn == 0 ? try SimStore() : nil
    } catch {
      fatalError("no temporary folder for the store: \(error)")
    }
    disk.rates = SimDisk.Rates(
      sync: plan.syncFails, write: plan.writeFails, short: plan.writesShort, names: plan.namesFail)
    table.failing = plan.sinkFails
    self.random = random
    for _ in 0..<plan.people { enrol() }
    publishRegistry()
    push(.boot, after: 0)
    for fault in plan.faults { queue.push(.fault(fault.kind), at: now.advanced(byNs: fault.at.ns), order: self.random.next()) }
    for (request, share) in plan.privacy.requests {
      queue.push(.asked(request), at: now.advanced(byNs: plan.chaosNs / 1_024 * share), order: share)
    }
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
    if plan.datagrams.isOn {
      // A datagram is filled by bytes, and must fit a burst.
      configuration.limits.live.burst = max(configuration.limits.live.burst, 200)
      configuration.limits.backlog.burst = max(configuration.limits.backlog.burst, 200)
      configuration.limits.panic.burst = max(configuration.limits.panic.burst, 200)
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

  mutating func chance(_ rate: UInt64) -> Bool { rate > 0 && !isQuiet && random.next() % 1_024 < rate }

  mutating func upTo(_ ns: UInt64) -> UInt64 { random.next() % (ns + 1) }

  mutating func push(_ event: EventQueue.Event, after ns: UInt64) {
    queue.push(event, at: now.advanced(byNs: ns), order: random.next())
  }

  mutating func push(_ event: EventQueue.Event, at: Instant) {
    queue.push(event, at: max(at, now), order: random.next())
  }

  mutating func wakeDevice(_ index: Int, at: Instant) {
    let at = max(at, now)
    if let known = deviceWakes[index], known <= at { return }
    deviceWakes[index] = at
    push(.device(index), at: at)
  }

  mutating func wakeWorker(_ index: Int) { wakeWorker(index, at: now.advanced(byNs: upTo(200_000))) }

  mutating func wakeWorker(_ index: Int, at: Instant) {
    if let known = workerWakes[index], known <= at { return }
    workerWakes[index] = at
    push(.worker(index, run: life), at: at)
  }

  mutating func wakeSequencer(at: Instant) {
    let at = max(at, now.advanced(byNs: 1))
    if let known = sequencerWake, known <= at { return }
    sequencerWake = at
    push(.sequencer(run: life), at: at)
  }

  mutating func wakeSink(at: Instant) {
    let at = max(at, now.advanced(byNs: 1))
    if let known = sinkWake, known <= at { return }
    sinkWake = at
    push(.sink(run: life), at: at)
  }

  // MARK: - Events

  mutating func handle(_ event: EventQueue.Event) {
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
    case .keeper(let run):
      guard run == life else { return }
      note(9)
      keeperStep()
    case .subjects(let run):
      guard run == life else { return }
      note(10)
      subjectsStep()
    case .asked(let request): ask(request)
    case .up(let link): arriveUp(link)
    case .down(let link): arriveDown(link)
    case .datagram(let place): arriveDatagram(place)
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

  mutating func becomeQuiet() {
    isQuiet = true
    disk.rates = SimDisk.Rates()
    disk.set(full: false, broken: false)
    table.failing = 0
    wakeSink(at: now)
  }

  // MARK: - The gateway's life

  mutating func boot() {
    guard gateway == nil else { return }
    disk.restart(powerCut: powerWasCut)
    if powerWasCut { cutPowerOfStore() }
    powerWasCut = false
    life += 1
    restoreSessionFile()
    forgetting = nil
    isForgettingAwake = false
    isNewRun = true
    checkpointNeeded = 0
    subjects?.reload()
    do {
      let started = try SimGateway(
        run: life, configuration: configuration, segmentBytes: plan.segmentBytes, disk: disk, data: data,
        journal: journal, table: table, store: store, keys: subjects?.holder, workers: plan.workers,
        reservation: plan.datagrams.reservation, registry: registry,
        seed: random.next(), at: now, wallMs: wallMs)
      gateway = started
      tally.starts += 1
      failedStartsInARow = 0
      tally.torn += started.tornCount
      workerWakes = Array(repeating: nil, count: plan.workers + 1)
      sequencerWake = nil
      sinkWake = nil
      checkpointerWake = nil
      keeperWake = nil
      sinkSyncAt = now
      note(started.durableLSN)
      tell("start \(tally.starts): durable \(started.durableLSN), sink \(table.cursor), torn \(started.tornCount), checkpoint \(started.checkpointLSN), rewritten \(started.rewritten)")
      checkRecovery(started)
      checkSessions(started)
      subjects?.noteEnd(started.durableLSN, isStart: true)
      wakeKeeperOfSubjects()
      wakeSequencer(at: now)
      wakeSink(at: now)
    } catch let error as GatewayError {
      violation = .doesNotStart("\(error)")
    } catch {
      tally.failedStarts += 1
      failedStartsInARow += 1
      // Somebody looks after it, or most of a world's time would pass without a gateway.
      if failedStartsInARow == World.failedStartsMax { disk.set(full: false, broken: false) }
      sessionFile.startFailed()
      if let error = error as? SessionFileError { heed(error) }
      tell("start failed: \(error)")
      note(7)
      if disk.isDown { powerWasCut = cutsPowerInCall }
      push(.boot, after: 1_000_000_000 + upTo(1_000_000_000))
    }
    if gateway != nil { afterGatewayStep() }
  }

  /// Of the real store a power cut takes all that it may or nothing.
  mutating func cutPowerOfStore() {
    guard let store else {
      table.cutPower(&random, all: false)
      return
    }
    guard random.next() % 2 == 0 else { return }
    table.cutPower(&random, all: true)
    do { try store.cutPower() } catch { fatalError("the store's folder: \(error)") }
  }

  /// After anything that touched the disk: the crash may have come in it.
  mutating func afterGatewayStep() {
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

  mutating func die(powerCut: Bool) {
    guard let gateway else { return }
    tally.crashes += 1
    tell("crash, power cut: \(powerCut), durable \(gateway.durableLSN)")
    tally.duplicates += gateway.snapshot.duplicate
    tally.refused += gateway.snapshot.refused
    if powerCut, gateway.datagrams?.hasUnsynced == true { tally.cutsUnsynced += 1 }
    noteSessions(gateway, powerCut: powerCut)
    disk.stop()
    self.gateway = nil
    powerWasCut = powerCut
    if powerCut, plan.datagrams.clockIsLost { wallOffsetMs = -Int64(now.ns / 1_000_000) - 60_000 }
    for index in links.indices where links[index].run == life && !links[index].isBroken { cut(index) }
    life += 1
    push(.boot, after: 10_000_000 + upTo(plan.datagrams.twinsAndKills > 0 ? 100_000_000 : 3_000_000_000))
  }

  mutating func workerStep(_ index: Int) {
    guard let gateway else { return }
    if index == plan.workers {
      datagramWorkerStep()
      return
    }
    let worker = gateway.workers[index]
    perform(worker.step(registry: registry, at: now, wallMs: wallMs))
    if !worker.toSequencer.isEmpty { wakeSequencer(at: now.advanced(byNs: upTo(300_000))) }
    if worker.hasWork { wakeWorker(index) }
  }

  mutating func sequencerStep() {
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
    for index in gateway.ports.indices where gateway.ports[index].hasWork { wakeWorker(index) }
    afterGatewayStep()
    wakeSequencer(at: more ? now.advanced(byNs: upTo(100_000)) : gateway.sequencerDeadline(at: now))
  }

  mutating func sinkStep() {
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

  mutating func perform(_ actions: [SimWorker.Action]) {
    for action in actions {
      switch action {
      case .send(let link, let bytes): sendDown(link, bytes)
      case .close(let link): queueDown(link, .end)
      }
    }
  }

  // MARK: - Rest

  var isDrained: Bool {
    guard let gateway, devices.allSatisfy({ $0.isSettled }) else { return false }
    if let subjects, !subjects.isSettled { return false }
    return gateway.sinkCursor == gateway.durableLSN && gateway.snapshot.pending == 0
      && gateway.ports.allSatisfy { !$0.hasWork }
  }

  func whatIsLeft() -> String {
    var text = "gateway \(gateway == nil ? "down" : gateway?.problem ?? "up")"
    if let gateway { text += ", sink \(gateway.sinkCursor) of \(gateway.durableLSN)" }
    for (index, device) in devices.enumerated() where !device.isSettled {
      text += "; device \(index): \(device.session.log.unsettledCount) of \(device.session.log.recorded) unsettled"
    }
    if let subjects, !subjects.isSettled { text += "; somebody is not forgotten yet: \(subjects.erasures)" }
    return text + ", at \(now.ns / 1_000_000) ms, \(eventCount) events"
  }
}
