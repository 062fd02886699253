import GateCore
import GateMemory
import GateStore
import GateTLS
import Gateway

/// One run of the gateway, from recovery to its death: all that a crash takes away.
final class SimGateway {
  let run: Int
  let workers: [SimWorker]
  /// The worker over UDP, in worlds that have one.
  let datagrams: SimDatagrams?
  /// All of these, as the sequencer sees them.
  let ports: [any SimPort]
  private var loop: CommitLoop
  private var drain: SinkDrain<SimSink>
  private let data: SimFolder
  /// Seals the places in checkpoints.
  private let checkpointCipher: RingCipher?
  private let limiters: LimiterTable
  /// What the sink's thread sees.
  private(set) var durableLSN: UInt64
  private(set) var checkpointLSN: UInt64
  private var checkpoint: (lsn: UInt64, bytes: [UInt8], number: UInt64)?
  private var checkpointsMade: UInt64 = 0
  /// Of the last one that is on disk.
  private(set) var checkpointNumber: UInt64 = 0
  /// Device table right after recovery.
  let recoveredDevices: DeviceTable
  let corrupt: [JournalDamage]
  let tornCount: Int
  let rewritten: Int

  /// Recovers what the disk holds.
  /// - Parameters:
  ///   - keys: what the journal is sealed under; `nil` = it is not.
  ///   - reservation: of sessions over UDP; `nil` = the world has none.
  init(
    run: Int, configuration: Configuration, segmentBytes: Int, disk: SimDisk, data: SimFolder, journal: SimFolder,
    table: SimTable, store: SimStore?, keys: SubjectKeyHolder?, workers: Int, reservation: WriteReservation?, registry: RegistrySnapshot,
    seed: UInt64, at now: Instant, wallMs: Int64
  ) throws {
    self.run = run
    self.data = data
    checkpointCipher = try keys.map { try RingCipher($0) }
    let sink = try SimSink(table, store, disk, seed: seed &+ 1)
    var recovery = try Recovery.run(
      data: Directory(data), journal: { Directory(journal) }, segmentBytes: segmentBytes, sinkCursor: sink.cursor,
      salts: SeededRandom(seed: seed &+ 2), cipher: try keys.map { try RingCipher($0) }, log: { _, _ in })
    let reader = try JournalReader.open(
      in: Directory(journal), from: max(sink.cursor, recovery.journalFirstLSN))
    let limiters = LimiterTable(settings: configuration.limits.table, devices: World.devicesMax, tenants: Limits.tenantsMax)
    self.limiters = limiters
    let privacy = PrivacyContext(devices: World.devicesMax, tenants: Limits.tenantsMax)
    self.workers = (0..<workers).map { _ in
      SimWorker(configuration: configuration, limiters: limiters, privacy: privacy)
    }
    // Last of what can fail: each start uses up some of the sessions' record numbers.
    datagrams = try reservation.map {
      try SimDatagrams(
        configuration: configuration, limiters: limiters, privacy: privacy, registry: registry, disk: disk, data: data,
        reservation: $0, at: now, wallMs: wallMs)
    }
    ports = self.workers + (datagrams.map { [$0] } ?? [])
    corrupt = recovery.report.corrupt
    tornCount = recovery.report.torn.count
    rewritten = recovery.report.rewritten
    checkpointLSN = recovery.checkpointLSN
    recoveredDevices = recovery.devices
    loop = CommitLoop(
      settings: Sequencer.Settings(configuration), workers: ports.count, journal: recovery.takeJournal(),
      devices: recovery.devices, recovered: recovery.recovered, cipher: try keys.map { try RingCipher($0) },
      random: SeededRandom(seed: seed &+ 3), at: now, log: { _, _ in })
    durableLSN = loop.durableLSN
    drain = SinkDrain(batchRows: 64, sink: sink, reader: reader, cipher: try keys.map { try RingCipher($0) })
  }

  var devices: DeviceTable { loop.core.devices }
  var problem: String? { loop.problem }
  var sinkPosition: UInt64 { drain.position }
  var sinkCursor: UInt64 { drain.progress.cursor }
  var bufferedRows: Int { drain.sink.bufferedRows }
  var journalBytes: Int { loop.journal.bytesOnDisk }
  var journalFirstLSN: UInt64 { loop.journal.firstLSN }

  /// One turn of the sequencer's loop.
  /// - Returns: whether there may be more to do at once.
  func sequencerStep(at now: Instant, wallMs: Int64) -> Bool {
    var taken = false
    var more = true
    while more, loop.hasRoom {
      more = false
      for (index, port) in ports.enumerated() where loop.hasRoom {
        if port.toSequencer.pop({ loop.take($0, from: index, receiveTimeMs: wallMs) }) { more = true }
      }
      if more { taken = true }
    }
    let committed = loop.turn(at: now, stopping: false)
    deliver(at: now)
    loop.prepareAhead()
    for port in ports { port.window = UInt32(loop.backlogWindow) }
    if committed { return true }
    if loop.isChoreDue(at: now),
      let new = loop.chores(
        at: now, hold: JournalHold([sinkReport], wallMs: wallMs), checkpointLSN: checkpointLSN)
    {
      hand(new)
    }
    return taken
  }

  /// Goes on with the keys in force, and knows no places of these devices any more.
  /// - Returns: LSN below which all is sealed under older keys, and the number of the checkpoint without the places.
  /// - Throws: try again.
  func forget(_ devices: [UInt32], at now: Instant) throws(JournalError) -> (lsn: UInt64, checkpoint: UInt64) {
    if loop.turn(at: now, stopping: true) { deliver(at: now) }
    let checkpoint = try loop.forget(devices)
    hand(checkpoint)
    return (checkpoint.lsn, checkpointsMade)
  }

  private func hand(_ new: (lsn: UInt64, bytes: [UInt8])) {
    checkpointsMade += 1
    checkpoint = (new.lsn, new.bytes, checkpointsMade)
  }

  private func deliver(at now: Instant) {
    durableLSN = loop.durableLSN
    for (worker, reply) in loop.replies {
      ports[worker].toWorker.push(atMost: reply.encodedBytes) { out in
        reply.write(into: &out)
        return reply.encodedBytes
      }
    }
    for refund in loop.core.refunds {
      limiters.refund(device: refund.device, lane: Int(refund.lane), units: refund.count)
    }
    for charge in loop.core.charges {
      _ = limiters.charge(
        device: charge.device, tenant: charge.tenant, lane: Int(charge.lane), units: charge.count, at: now)
    }
    loop.clearReplies()
  }

  func sequencerDeadline(at now: Instant) -> Instant { loop.deadline(at: now) }

  /// - Returns: whether there may be more.
  func sinkStep(names: RegistrySnapshot) throws -> Bool { try drain.step(upTo: durableLSN, names: names) }

  func sinkSync() throws { try drain.sync() }

  var hasCheckpoint: Bool { checkpoint != nil }

  /// Writes the checkpoint that waits.
  func checkpointStep() {
    guard let (lsn, bytes, number) = checkpoint else { return }
    do {
      try CheckpointFile.write(bytes, in: Directory(data), with: checkpointCipher)
      checkpointLSN = lsn
      checkpointNumber = number
      checkpoint = nil
    } catch {
      // It is tried again.
    }
  }

  private var sinkReport: SinkReport {
    SinkReport(settings: SinkSettings(name: "table", type: .sqlite), progress: drain.progress)
  }

  var snapshot: Snapshot {
    loop.snapshot(received: ports.reduce(0) { $0 + $1.toSequencer.itemsPublished }, sinks: [sinkReport])
  }
}
