import Foundation
import GateCore
import GateJetStream
import GateNet
import GatePostgres
package import GateStore

/// `fixgate store drain`: a stream that gateways publish to, into one of the databases of the configuration.
package struct StreamStore {
  package struct Options: Sendable {
    /// Of type jetstream.
    package var from: SinkSettings
    package var into: SinkSettings
    /// Of the durable consumer at the server.
    package var consumer: String
    package var ackWaitS: Int
    /// End once there is nothing left.
    package var untilEmpty: Bool

    package init(from: SinkSettings, into: SinkSettings, consumer: String, ackWaitS: Int, untilEmpty: Bool) {
      self.from = from
      self.into = into
      self.consumer = consumer
      self.ackWaitS = ackWaitS
      self.untilEmpty = untilEmpty
    }
  }

  private let options: Options
  private let embedded: Configuration.SQLite
  /// Relative paths of the configuration start here.
  private let folder: String
  /// The data directory.
  private let directory: String
  private let log: Log

  /// - Throws: `StreamStoreError`, `SinkChangeError`.
  package init(
    _ options: Options, _ configuration: Configuration, folder: String, directory: String, log: @escaping Log
  ) throws {
    guard options.from.type == .jetstream else { throw StreamStoreError.notAStream(options.from.name) }
    guard options.into.type != .jetstream else { throw StreamStoreError.notADatabase(options.into.name) }
    guard JetStreamSettings.isName(options.consumer) else { throw StreamStoreError.consumer(options.consumer) }
    try Sinks.check(options.from)
    try Sinks.check(options.into)
    self.options = options
    embedded = configuration.sqlite
    self.folder = folder
    self.directory = directory
    self.log = log
  }

  /// Stores what comes, until told to stop or until the stream is empty.
  /// - Parameters:
  ///   - started: called once, as soon as stream and database have answered.
  ///   - pause: waits for so many ns; whether to go on.
  /// - Returns: what became of all records.
  package func run(started: @escaping () -> Void, pause: @escaping (_ ns: UInt64) throws -> Bool) throws -> SinkCounts {
    #if JetStream
    let settings = options.into
    switch settings.type {
    case .sqlite:
      let path = embedded.path(in: directory)
      guard !FileManager.default.fileExists(atPath: directory + "/" + GatewayServer.registryName) else {
        throw StreamStoreError.gatewaysOwn(path)
      }
      try FileManager.default.createDirectory(
        atPath: directory, withIntermediateDirectories: true, attributes: [.posixPermissions: 0o700])
      let lock = try DirectoryLock.take(directory)
      defer { extendLifetime(lock) }
      _ = try SQLiteSink(path: path)
      return try loop(
        NameIndexes(file: path), batchRows: embedded.batchRows, intervalMs: embedded.intervalMs, started, pause
      ) { _ in
        var sqlite = SQLiteSink.Options()
        sqlite.quarantineMs = Int64(embedded.quarantineDays) * 86_400_000
        sqlite.quarantineRowsMax = Int64(embedded.quarantineRows)
        return try SQLiteSink(path: path, options: sqlite)
      }
    case .postgresql:
      #if PostgreSQL
      let gateway = "jetstream-\(options.from.jetStream.stream)-\(options.consumer)"
      return try loop(NameIndexes(), batchRows: settings.batchRows, intervalMs: settings.intervalMs, started, pause) { isOver in
        try PostgresSink(
          PostgresSink.Options(
            server: try PostgresServer(settings, folder: folder), gateway: gateway,
            quarantineMs: Int64(settings.postgres.quarantineDays) * 86_400_000), isOver: isOver)
      }
      #endif
    case .jetstream: break
    }
    #endif
    return SinkCounts()
  }

  #if JetStream
  private static var waitMs: Int { 500 }
  private static var backOffMinNs: UInt64 { 100_000_000 }
  private static var backOffMaxNs: UInt64 { 10_000_000_000 }

  private func loop<Sink: FixSink & ~Copyable>(
    _ known: NameIndexes, batchRows: Int, intervalMs: Int, _ started: () -> Void,
    _ pause: @escaping (_ ns: UInt64) throws -> Bool, open: (_ isOver: @escaping () -> Bool) throws -> Sink
  ) throws -> SinkCounts {
    var names = known
    var total = SinkCounts()
    var backOffNs: UInt64 = 0
    var hasStarted = false
    let isOver = { (try? pause(0)) != true }
    while true {
      do {
        let consumer = try JetStreamConsumer(
          try JetStreamServer(options.from, folder: folder), StreamSettings(options.from.jetStream),
          ConsumerSettings(name: options.consumer, ackWaitS: options.ackWaitS, messagesMax: ConsumerSettings.messagesMax),
          isOver: isOver)
        var drain = StreamDrain(
          sink: try open(isOver), consumer: consumer, batchRows: batchRows, intervalMs: intervalMs, mask: options.into.mask,
          now: { SystemClock.now() })
        if !hasStarted { started() }
        if backOffNs > 0 { log(.notice, "sink \(options.into.name) takes fixes again") }
        hasStarted = true
        backOffNs = 0
        while try pause(0) {
          if let counts = try drain.step(waitMs: StreamStore.waitMs, names: &names) {
            total += counts
          } else if options.untilEmpty, try drain.remaining() == 0 {
            return total
          }
        }
        return total
      } catch {
        // What would not do from the start, and will not by itself, is told and not tried again.
        guard !(error is NetError), hasStarted || StreamStore.passes(error) else { throw error }
        if backOffNs == 0 { log(.error, "sink \(options.into.name) is behind, fixes stay in the stream: \(error)") }
        backOffNs = min(max(backOffNs * 2, StreamStore.backOffMinNs), StreamStore.backOffMaxNs)
        guard try pause(backOffNs + UInt64.random(in: 0...backOffNs / 4)) else { return total }
      }
    }
  }

  private static func passes(_ error: any Error) -> Bool {
    #if PostgreSQL
    if let error = error as? PostgresError { return error.passes }
    #endif
    return (error as? JetStreamError)?.passes ?? false
  }
  #endif
}

/// Why a stream cannot be drained that way.
package enum StreamStoreError: Error, Equatable, Sendable {
  case notAStream(String)
  case notADatabase(String)
  case consumer(String)
  case gatewaysOwn(String)
}

extension StreamStoreError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .notAStream(let name): "sink '\(name)' is no stream: '--from' takes one of type jetstream"
    case .notADatabase(let name): "sink '\(name)' is a stream: '--into' takes one of type sqlite or postgresql"
    case .consumer(let name): "'\(name)' names no consumer: up to 64 letters, digits, - and _"
    case .gatewaysOwn(let path):
      "\(path) belongs to the gateway of this data directory; drain into PostgreSQL, or with a configuration that has a data.directory of its own"
    }
  }
}
