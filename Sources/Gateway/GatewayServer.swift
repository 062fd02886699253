import Foundation
import GateCore
import GateMemory
package import GateNet
import GateProto
import GateStore
import GateTLS
import Synchronization

/// A running gateway: opens everything in the order in which it depends on each other, starts the threads, and ends them in the
/// order in which fixes flow, so that what was taken is stored or in the journal.
package final class GatewayServer {
  /// Bound addresses, with real ports.
  package let addresses: [String]
  /// Of UDP.
  package let datagramAddresses: [String]
  /// Signalled when a thread failed and the process should end.
  package let failed: EventFD

  private let directory: String
  private let registry: RegistryHolder
  private let reloader: Reloader
  private let enroller: Enroller
  private let shifts: ShiftKeeper
  private let privacy: PrivacyContext
  private let links: [WorkerLink]
  private let sequencerLink: SequencerLink
  private let started: Instant
  private let controlStop: EventFD
  private var workerThreads: [ThreadHandle] = []
  private var sequencerThread: ThreadHandle?
  private let sinks: Sinks
  private var checkpointThread: ThreadHandle?
  private var keeperThread: ThreadHandle?
  private let keeperStop: EventFD
  private var subjectThread: ThreadHandle?
  private var retentionThread: ThreadHandle?
  private let subjects: SubjectKeeper?
  private var controlThread: ThreadHandle?
  private var enrolThread: ThreadHandle?
  private var readServer: ReadServer?
  private var shiftThread: ThreadHandle?
  private var readThreads: [ThreadHandle] = []
  private let lock: DirectoryLock
  private let log: Log

  /// One virtual shard of connection IDs each, at least.
  package static let workersMax = 256
  package static let registryName = "registry.db"
  package static let journalName = "journal"

  /// - Parameters:
  ///   - folder: relative paths of the configuration start here.
  ///   - reread: the configuration as it stands now, for `reload`; `nil` = it never changes.
  /// - Throws: any error of the parts, each with a description that says what to do.
  package init(
    _ configuration: Configuration, folder: String, reread: (@Sendable () throws -> Configuration)? = nil,
    log: @escaping Log
  ) throws {
    self.log = log
    started = SystemClock.now()
    func path(_ text: String, in base: String) -> String { text.hasPrefix("/") ? text : base + "/" + text }
    directory = path(configuration.data.directory, in: folder)
    switch try TLSLibrary.check() {
    case .supported: break
    case .newer: log(.warning, "libssl is \(TLSLibrary.name); fixgate is tested with 3.0")
    }
    if let limit = try? OpenFiles.raiseLimit(), limit < configuration.limits.connectionsMax + 64 {
      log(
        .warning,
        "the system allows \(limit) open files, fewer than limits.connections_max: raise 'ulimit -n' to accept all")
    }
    Signals.ignoreWriteSignals()

    let material = try TLSMaterial(configuration, folder: folder, nowS: SystemClock.wallMs() / 1_000)
    material.warn(configuration, log)
    try Directory.make(directory)
    lock = try DirectoryLock.take(directory)
    let store = try RegistryStore(path: directory + "/" + GatewayServer.registryName)
    try store.checkEgress(to: configuration.sinkLabels)
    for sink in configuration.sinks { try Sinks.check(sink) }
    let workers = configuration.workers > 0 ? configuration.workers : min(CPUs.available, GatewayServer.workersMax)
    let journalPath = directory + "/" + GatewayServer.journalName
    var found = try Findings(
      configuration, directory: directory, journalPath: journalPath,
      keyPath: path(configuration.tls.registryKey, in: folder), registryKey: material.registryKey, workers: workers, log: log)
    let (keys, stored) = (found.keys, found.stored)
    found.registry.warn(devicesMax: configuration.data.devicesMax, log)
    registry = RegistryHolder(found.registry)
    if keys == nil {
      log(.warning, "positions lie readable in the journal: there is no \(configuration.tls.registryKey); see tls.registry_key")
    }
    func cipher() throws -> RingCipher? { try keys.map { try RingCipher($0.holder) } }
    let (context, ticketKeys) = try material.makeContext(configuration, registry: registry)
    let tls = TLSHolder(context)

    var links: [WorkerLink] = []
    for _ in 0..<workers { links.append(try WorkerLink()) }
    self.links = links
    sequencerLink = try SequencerLink(backlogWindow: configuration.limits.backlogWindow)
    failed = try EventFD()
    controlStop = try EventFD()
    keeperStop = try EventFD()

    let listening = try Listening(configuration, workers: workers)
    addresses = listening.tlsAddresses
    datagramAddresses = listening.dtlsAddresses
    if let advice = ReceiveBuffer.advice(
      granted: listening.receiveBufferBytes, wanted: configuration.dtls.receiveBufferBytes)
    {
      log(.warning, advice)
    }
    let dtls = datagramAddresses.isEmpty ? nil : DTLSHolder(try material.makeDTLSContext(registry: registry))
    let cookieKey = try randomBytes(CookieGate.keyBytes)

    let presence = Presence(devices: configuration.data.devicesMax + 1)
    let datagramPresence = Presence(devices: configuration.data.devicesMax + 1)
    let limiters = LimiterTable(
      settings: configuration.limits.table, devices: configuration.data.devicesMax, tenants: Limits.tenantsMax)
    let sequencerLink = sequencerLink
    let registry = registry
    let failed = failed
    let keeperStop = keeperStop

    let sequencer = Sequencer(
      settings: Sequencer.Settings(configuration), link: sequencerLink, workers: links, limiters: limiters,
      journal: found.recovery.takeJournal(), devices: found.recovery.devices, recovered: found.recovery.recovered,
      checkpointLSN: found.recovery.checkpointLSN, cipher: try cipher(), log: log)
    let checkpointer = Checkpointer(link: sequencerLink, directory: directory, cipher: try cipher(), log: log)

    sinks = try Sinks(
      configuration, firstCursor: max(found.firstCursor, found.recovery.journalFirstLSN),
      around: Sinks.Surroundings(
        folder: folder, directory: directory, journalPath: journalPath, sequencer: sequencerLink, registry: registry,
        keys: keys?.holder, failed: failed, log: log))

    let reloader = Reloader(
      configuration: configuration, folder: folder, directory: directory, tls: tls, dtls: dtls, material: material,
      ticketKeys: ticketKeys, registry: registry, keys: keys, links: links, sinks: sinks, reread: reread, log: log)
    self.reloader = reloader
    let enroller = try Enroller(
      configuration: configuration, folder: folder, directory: directory, reloader: reloader, log: log)
    self.enroller = enroller
    let shifts = try ShiftKeeper(directory: directory, reloader: reloader, log: log)
    self.shifts = shifts
    let privacy = PrivacyContext(
      devices: configuration.data.devicesMax, tenants: Limits.tenantsMax, shifts: shifts)
    self.privacy = privacy

    let stores = configuration.sinks.contains { $0.type == .sqlite } ? [configuration.sqlite.path(in: directory)] : []
    let data = directory
    let sealsCheckpoint = found.recovery.isCheckpointReadable
    let subjects = try keys.map {
      try SubjectKeeper(
        $0, folder: folder, directory: data, stores: stores, sealsCheckpoint: sealsCheckpoint, link: sequencerLink, log: log)
    }
    self.subjects = subjects

    checkpointThread = try ThreadHandle("fixgate-marks", failed: failed, log: log) { try checkpointer.run() }
    if let file = stored?.first?.file {
      let keeper = SessionKeeper(file, directory: directory, stop: keeperStop, log: log)
      keeperThread = try ThreadHandle("fixgate-sessions", failed: failed, log: log) { try keeper.run() }
    }
    sequencerThread = try ThreadHandle("fixgate-seq", failed: failed, log: log) { try sequencer.run() }
    for index in 0..<workers {
      let context = WorkerContext(
        configuration: configuration, tls: tls, registry: registry, limiters: limiters, link: links[index],
        sequencer: sequencerLink, listeners: listening.tls[index],
        dtls: dtls.map {
          DatagramContext(contexts: $0, listeners: listening.dtls[index], cookieKey: cookieKey, stored: stored?[index])
        },
        connectionsMax: (configuration.limits.connectionsMax + workers - 1) / workers, index: index, peers: links,
        presence: presence, datagramPresence: datagramPresence, enroller: enroller, privacy: privacy,
        log: log)
      workerThreads.append(
        try ThreadHandle("fixgate-worker\(index)", failed: failed, log: log) { try Worker(context).run() })
    }
    enrolThread = try ThreadHandle("fixgate-enrol", failed: failed, log: log) { try enroller.run() }
    shiftThread = try ThreadHandle("fixgate-shifts", failed: failed, log: log) { try shifts.run() }
    if let subjects {
      subjectThread = try ThreadHandle("fixgate-subjects", failed: failed, log: log) { try subjects.run() }
      retentionThread = try ThreadHandle("fixgate-expiry", failed: failed, log: log) { try subjects.retention.run() }
    }
    let places = LivePlaces(registry: registry, sequencer: sequencerLink, sinks: sinks)
    let answer = GatewayServer.answering(
      reloader: reloader, registry: registry, links: links, sequencer: sequencerLink, places: places, privacy: privacy,
      subjects: subjects, started: started)
    if !configuration.listen.read.isEmpty {
      let desk = ReadDesk(
        directory: directory, storePath: path(configuration.sqlite.file, in: directory), keys: keys?.holder,
        subjects: subjects,
        marks: { device in
          guard let marks = GatewayServer.askMarks(device, sequencer: sequencerLink) else {
            throw ReadProblem("the gateway did not answer in time; it may wait for its disk")
          }
          return (marks, true)
        },
        places: { request in places.answer(request) })
      let server = try ReadServer(path: path(configuration.listen.read, in: folder), stop: controlStop, desk: desk)
      readServer = server
      for index in 0..<ReadServer.threads {
        readThreads.append(try ThreadHandle("fixgate-read\(index)", failed: failed, log: log) { try server.run() })
      }
    }
    let control = try ControlServer(directory: directory, stop: controlStop, answer: answer)
    let box = ControlBox(control)
    controlThread = try ThreadHandle("fixgate-control", failed: failed, log: log) { try box.run() }
  }

  /// Ends the gateway in the order in which fixes flow.
  package func stop() {
    readServer?.end()
    controlStop.signal()
    controlThread?.join()
    subjects?.stop()
    subjectThread?.join()
    retentionThread?.join()
    for thread in readThreads { thread.join() }
    enroller.stop()
    enrolThread?.join()
    shifts.stop()
    shiftThread?.join()
    for link in links { link.send(.drain) }
    for thread in workerThreads { thread.join() }
    keeperStop.signal()
    keeperThread?.join()
    sequencerLink.stop()
    sequencerThread?.join()
    sequencerLink.stopCheckpoints()
    sinks.stop()
    checkpointThread?.join()
  }

  /// Reads certificate, key, ticket keys, authorities, registry and the list of sinks anew. No connection is dropped but those whose credential
  /// is good no more; what cannot be used leaves the old in force, with a line in the log.
  package func reload() { _ = reloader.reloadAll() }

  /// Counts of one moment.
  package func status() -> Status? {
    GatewayServer.askStatus(
      registry: registry, links: links, sequencer: sequencerLink, privacy: privacy, started: started)
  }

  // MARK: - Parts

  private static func answering(
    reloader: Reloader, registry: RegistryHolder, links: [WorkerLink], sequencer: SequencerLink, places: LivePlaces,
    privacy: PrivacyContext, subjects: SubjectKeeper?, started: Instant
  ) -> @Sendable (ControlRequest) -> ControlAnswer {
    { request in
      switch request {
      case .status:
        ControlAnswer(
          status: askStatus(
            registry: registry, links: links, sequencer: sequencer, privacy: privacy, started: started))
      case .reload:
        reloader.reloadRegistry()
      case .reloadAll:
        reloader.reloadAll()
      case .marks(let device):
        askMarks(device, sequencer: sequencer).map { marks in
          var answer = ControlAnswer()
          answer.marks = marks
          return answer
        } ?? ControlAnswer(problem: "the gateway did not answer in time; it may wait for its disk")
      case .places: places.answer(request)
      case .ask(let device): ask(device, sequencer: sequencer, links: links)
      case .steering(let tenant): steering(of: tenant, registry.snapshot, privacy.steering)
      case .subjects, .rotateKeys: subjects?.answer(request) ?? ControlAnswer(problem: SubjectKeeper.noKeys)
      }
    }
  }

  private static func askMarks(_ device: UInt32, sequencer: SequencerLink) -> [StreamMarks]? {
    let box = AnswerBox<[StreamMarks]>()
    sequencer.request(.marks(device: device) { marks in box.put(marks) })
    return box.wait(until: SystemClock.now().advanced(byNs: 10_000_000_000))
  }

  /// Asks for holes below what has come: what lies above is on its way or will be.
  private static func ask(_ device: UInt32, sequencer: SequencerLink, links: [WorkerLink]) -> ControlAnswer {
    guard let marks = askMarks(device, sequencer: sequencer) else {
      return ControlAnswer(problem: "the gateway did not answer in time; it may wait for its disk")
    }
    var answer = ControlAnswer()
    answer.asked = 0
    for stream in marks {
      let runs = stream.holes.filter { !$0.isTail }.prefix(Limits.rangesPerAckMax).map(\.run)
      guard !runs.isEmpty else { continue }
      guard let completion = try? Completion(links.count) else {
        return ControlAnswer(problem: "the gateway is out of file descriptors")
      }
      for link in links { link.send(.ask(device: device, stream: stream.stream, runs, completion)) }
      guard completion.wait(until: SystemClock.now().advanced(byNs: 10_000_000_000)) else {
        return ControlAnswer(problem: "not all threads of the gateway have answered yet")
      }
      answer.asked? += completion.asked.load(ordering: .relaxed)
    }
    return answer
  }

  private static func steering(of tenant: String, _ registry: RegistrySnapshot, _ steering: Steering) -> ControlAnswer {
    let wallMs = SystemClock.wallMs()
    var answer = ControlAnswer()
    answer.steering = (1...max(registry.maxDeviceIndex, 1)).compactMap { device in
      let index = registry.tenant(ofDevice: device)
      guard index != 0, registry.tenantName(index) == tenant, !registry.isRevoked(device: device) else { return nil }
      let state = steering.state(of: device)
      let mustStop = registry.privacy.mustStop(device: device, tenant: index, at: wallMs)
      let confirmed = state.confirmed > 0 && Steering.saysStop(state.confirmed) == mustStop
      return ControlAnswer.Steered(
        device: registry.externalID(ofDevice: device), stop: mustStop, told: state.told > 0, confirmed: confirmed)
    }
    return answer
  }

  private static func askStatus(
    registry: RegistryHolder, links: [WorkerLink], sequencer: SequencerLink, privacy: PrivacyContext, started: Instant
  ) -> Status? {
    let box = AnswerBox<Snapshot>()
    sequencer.request(.snapshot { snapshot in box.put(snapshot) })
    guard let snapshot = box.wait(until: SystemClock.now().advanced(byNs: 10_000_000_000)) else { return nil }
    let uptimeS = Double(SystemClock.now().since(started)) / 1e9
    let known = registry.snapshot
    var status = Status(snapshot, devices: known.deviceCount, workers: links, uptimeS: uptimeS) { code in
      RefusalCode(rawValue: code).map { "\($0)" } ?? "\(code)"
    }
    for tenant in known.tenants {
      let count = privacy.dropped.load(Int(tenant.index))
      if count > 0 { status.fields_dropped[tenant.name] = count }
    }
    return status
  }
}

/// Waits for the sequencer's answer.
final class AnswerBox<Answer: Sendable>: Sendable {
  private let content = Mutex<Answer?>(nil)
  private let ready = DispatchSemaphore(value: 0)

  func put(_ answer: Answer) {
    content.withLock { $0 = answer }
    ready.signal()
  }

  func wait(until deadline: Instant) -> Answer? {
    let ns = Int(deadline.since(SystemClock.now()))
    guard ready.wait(timeout: .now() + .nanoseconds(ns)) == .success else { return nil }
    return content.withLock { $0 }
  }
}

/// A control server, to be handed to its thread.
private final class ControlBox {
  private let server: ControlServer
  init(_ server: consuming ControlServer) { self.server = server }
  func run() throws { try server.run() }
}
