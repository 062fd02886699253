import GateCore
import GateJetStream
import GateNet
import GatePostgres
import GateStore
import GateTLS
import Synchronization

/// The sinks of a running gateway: a thread each, but for those that are paused. Changes while the gateway runs, one change at a
/// time.
final class Sinks: Sendable {
  /// What all sinks are made with.
  struct Surroundings: Sendable {
    /// Relative paths of the configuration start here.
    var folder: String
    /// The data directory.
    var directory: String
    var journalPath: String
    var sequencer: SequencerLink
    var registry: RegistryHolder
    /// `nil`: nothing is sealed in the journal.
    var keys: SubjectKeyHolder?
    var failed: EventFD
    var log: Log
  }

  private struct Running {
    let link: SinkLink
    /// `nil`: paused.
    var thread: ThreadHandle?
  }

  private struct State {
    var running: [Running] = []
    /// Settings of the embedded store.
    var embedded: Configuration.SQLite
  }

  private let around: Surroundings
  private let identity: String
  private let state: Mutex<State>

  private static let graceNs: UInt64 = 5_000_000_000

  /// - Parameter firstCursor: all below was stored by the first sink before this run.
  init(_ configuration: Configuration, firstCursor: UInt64, around: Surroundings) throws {
    self.around = around
    identity = try GatewayIdentity.take(in: Directory(around.directory))
    state = Mutex(State(embedded: configuration.sqlite))
    try state.withLock { state in
      for (index, settings) in configuration.sinks.enumerated() {
        let progress = index == 0 ? SinkProgress(cursor: firstCursor) : try marked(settings)
        state.running.append(try start(settings, state.embedded, progress))
      }
      publish(state.running)
    }
  }

  /// Where the first sink goes on, as far as can be said before its thread runs.
  /// - Throws: the embedded store cannot be used.
  static func firstCursor(_ configuration: Configuration, directory: String) throws -> UInt64 {
    guard let first = configuration.sinks.first else { return 0 }
    if first.type == .sqlite { return try embedded(configuration.sqlite, directory: directory, cipher: nil).cursor }
    return SinkMark.read(first.name, in: try Directory(directory)) ?? 0
  }

  /// Where data goes now, paused sinks included.
  var labels: [SinkLabel] { state.withLock { $0.running.map(\.link.settings.label) } }

  /// Settings of the embedded store, if it is one of the sinks.
  var embedded: SinkSettings? {
    state.withLock { $0.running.map(\.link.settings).first { $0.type == .sqlite } }
  }

  /// Stores what is durable, as far as the sinks take it.
  func stop() {
    state.withLock { state in
      let deadline = SystemClock.now().advanced(byNs: Sinks.graceNs)
      for sink in state.running { sink.link.stop(by: deadline) }
      for sink in state.running { sink.thread?.join() }
    }
  }

  // MARK: - Changes

  /// Brings the sinks to what the configuration names now. Those that stay as they are go on undisturbed.
  /// - Throws: nothing was changed.
  func apply(_ configuration: Configuration) throws {
    try state.withLock { state in
      guard configuration.sinks.first?.name == state.running.first?.link.settings.name else { throw SinkChangeError.first }
      for settings in configuration.sinks { try Sinks.check(settings) }
      let isEmbeddedChanged = configuration.sqlite != state.embedded
      var next: [Running] = []
      for settings in configuration.sinks {
        guard let old = state.running.first(where: { $0.link.settings.name == settings.name }) else {
          next.append(try start(settings, configuration.sqlite, try marked(settings)))
          around.log(.notice, "sink \(settings.name) was added")
          continue
        }
        if old.link.settings == settings, !(settings.type == .sqlite && isEmbeddedChanged) {
          next.append(old)
          continue
        }
        end(old)
        next.append(try start(settings, configuration.sqlite, old.link.progress))
        around.log(.notice, "sink \(settings.name) was changed\(settings.isPaused ? ": it is paused" : "")")
      }
      for old in state.running where !configuration.sinks.contains(where: { $0.name == old.link.settings.name }) {
        end(old)
        around.log(.notice, "sink \(old.link.settings.name) was removed")
      }
      state = State(running: next, embedded: configuration.sqlite)
      publish(next)
    }
  }

  private func end(_ sink: Running) {
    sink.link.stop(by: SystemClock.now().advanced(byNs: Sinks.graceNs))
    sink.thread?.join()
  }

  private func publish(_ running: [Running]) {
    let links = running.map(\.link)
    around.sequencer.sinks.withLock { $0 = links }
  }

  private func marked(_ settings: SinkSettings) throws -> SinkProgress {
    let directory = try Directory(around.directory)
    if let mark = SinkMark.read(settings.name, in: directory) { return SinkProgress(cursor: mark) }
    guard settings.start == .newest else {
      return SinkProgress(cursor: around.sequencer.journalFirstLSN.load(ordering: .acquiring))
    }
    let newest = around.sequencer.durableLSN.load(ordering: .acquiring)
    // Or a restart before its first transaction would leave out what came between.
    try SinkMark.write(newest, of: settings.name, in: directory)
    return SinkProgress(cursor: newest)
  }

  // MARK: - One sink

  private func start(
    _ settings: SinkSettings, _ embedded: Configuration.SQLite, _ progress: SinkProgress
  ) throws -> Running {
    var progress = progress
    progress.isOpen = false
    if settings.isPaused { progress.waitingSinceMs = progress.waitingSinceMs ?? SystemClock.wallMs() }
    if let kept = settings.keptInstead {
      around.log(.warning, "sink \(settings.name): 'subject erase' and retention do not reach it: \(kept)")
    }
    let link = try SinkLink(settings, progress: progress)
    guard !settings.isPaused else { return Running(link: link, thread: nil) }
    // One a thread: it holds what the thread works with.
    let cipher = try around.keys.map { try RingCipher($0) }
    let around = around
    let identity = identity
    let thread = try ThreadHandle("fixgate-sink", failed: around.failed, log: around.log) {
      try Sinks.run(link, embedded: embedded, identity: identity, cipher: cipher, around: around)
    }
    return Running(link: link, thread: thread)
  }

  /// Whether this build of fixgate has such sinks.
  package static func check(_ settings: SinkSettings) throws(SinkChangeError) {
    switch settings.type {
    case .sqlite: return
    case .postgresql:
      #if !PostgreSQL
      throw .notBuilt(settings.name, trait: "PostgreSQL")
      #endif
    case .jetstream:
      #if !JetStream
      throw .notBuilt(settings.name, trait: "JetStream")
      #endif
    }
  }

  /// The body of a sink's thread.
  private static func run(
    _ link: SinkLink, embedded: Configuration.SQLite, identity: String, cipher: RingCipher?, around: Surroundings
  ) throws(NetError) {
    let settings = link.settings
    // Only what is counted suffers if the mark cannot be written.
    func keep(_ cursor: UInt64) {
      try? SinkMark.write(cursor, of: settings.name, in: Directory(around.directory))
    }
    switch settings.type {
    case .sqlite:
      let feeder = SinkFeeder(
        link: link, sequencer: around.sequencer, registry: around.registry, journalPath: around.journalPath,
        batchRows: embedded.batchRows, intervalMs: embedded.intervalMs, cipher: cipher, log: around.log,
        open: { try Sinks.embedded(embedded, directory: around.directory, cipher: cipher) })
      try feeder.run()
    case .postgresql:
      #if PostgreSQL
      let feeder = SinkFeeder(
        link: link, sequencer: around.sequencer, registry: around.registry, journalPath: around.journalPath,
        batchRows: settings.batchRows, intervalMs: settings.intervalMs, cipher: cipher, log: around.log,
        keep: keep,
        open: {
          let server = try PostgresServer(settings, folder: around.folder)
          let options = PostgresSink.Options(
            server: server, gateway: identity, quarantineMs: Int64(settings.postgres.quarantineDays) * 86_400_000,
            firstLSN: settings.start == .newest ? link.progress.cursor : 0)
          return try PostgresSink(options, isOver: { link.isOver })
        })
      try feeder.run()
      #endif
    case .jetstream:
      #if JetStream
      let feeder = SinkFeeder(
        link: link, sequencer: around.sequencer, registry: around.registry, journalPath: around.journalPath,
        batchRows: settings.batchRows, intervalMs: settings.intervalMs, cipher: cipher, log: around.log,
        keep: keep,
        open: {
          let options = JetStreamSink.Options(
            server: try JetStreamServer(settings, folder: around.folder), stream: StreamSettings(settings.jetStream),
            gateway: identity, shards: settings.jetStream.shards, window: settings.jetStream.window,
            syncIntervalS: settings.jetStream.syncIntervalS)
          let mark = SinkMark.read(settings.name, in: try Directory(around.directory)) ?? 0
          return try JetStreamSink(options, mark: mark, isOver: { link.isOver })
        })
      try feeder.run()
      #endif
    }
  }

  private static func embedded(
    _ settings: Configuration.SQLite, directory: String, cipher: RingCipher?
  ) throws(StoreError) -> SQLiteSink {
    var options = SQLiteSink.Options()
    options.quarantineMs = Int64(settings.quarantineDays) * 86_400_000
    options.quarantineRowsMax = Int64(settings.quarantineRows)
    return try SQLiteSink(path: settings.path(in: directory), options: options, cipher: cipher)
  }
}

extension Configuration.SQLite {
  func path(in directory: String) -> String { file.hasPrefix("/") ? file : directory + "/" + file }
}

/// Why sinks cannot be as the configuration names them.
package enum SinkChangeError: Error, Equatable, Sendable {
  /// The equation is about the first sink of the run.
  case first
  case notBuilt(String, trait: String)
}

extension SinkChangeError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .first: "sinks: the first sink counts, and stays first while the gateway runs; pause it, or restart the gateway to change it"
    case .notBuilt(let name, let trait):
      "sinks: this fixgate was built without the kind of '\(name)'; build it with 'swift build -c release --traits \(trait)'"
    }
  }
}
