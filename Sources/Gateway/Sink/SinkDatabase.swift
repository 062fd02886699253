import Foundation
import GateJetStream
import GatePostgres
package import GateStore

/// What the command line asks of a sink's database, without a gateway.
package enum SinkDatabase {
  /// Whether `serve` could store there now. Changes nothing.
  /// - Parameters:
  ///   - folder: relative paths of the configuration start here.
  ///   - directory: the data directory.
  /// - Returns: how it stands, in words.
  package static func check(
    _ sink: SinkSettings, _ configuration: Configuration, folder: String, directory: String
  ) throws -> String {
    try Sinks.check(sink)
    switch sink.type {
    case .sqlite:
      let path = configuration.sqlite.path(in: directory)
      guard FileManager.default.fileExists(atPath: path) else { return "is not there yet; 'serve' makes it" }
      try SchemaCheck.store(path)
    case .postgresql:
      #if PostgreSQL
      try PostgresSchema.checkAll(try PostgresConnection.open(try PostgresServer(sink, folder: folder)))
      #endif
    case .jetstream:
      #if JetStream
      try JetStreamConnection.open(try JetStreamServer(sink, folder: folder)).check(StreamSettings(sink.jetStream))
      #endif
      return "has the stream as it should be; NATS acks before it syncs: sync_interval_s (\(sink.jetStream.syncIntervalS) s) "
        + "must be no less than sync_interval of its servers, which is 2m unless set"
    }
    return "has a version that this fixgate can use"
  }

  /// How old the oldest of each kind is there, and what lies beyond its time, for each of some tenants.
  /// - Returns: `nil` = retention does not reach it.
  package static func states(
    _ rules: [RetentionRule], in sink: SinkSettings, _ configuration: Configuration, folder: String, directory: String
  ) throws -> [RetentionStates]? {
    try Sinks.check(sink)
    switch sink.type {
    case .sqlite:
      let path = configuration.sqlite.path(in: directory)
      guard FileManager.default.fileExists(atPath: path) else { return rules.map { _ in RetentionStates() } }
      let rows = try SQLiteSubjectRows(path: path)
      return try rules.map { try rows.states($0.cut) }
    case .postgresql:
      #if PostgreSQL
      let rows = try PostgresSubjectRows(
        PostgresServer(sink, folder: folder), gateway: GatewayIdentity.take(in: Directory(directory)))
      return try rules.map { try rows.states($0) }
      #else
      return nil
      #endif
    case .jetstream: return nil
    }
  }

  /// Makes or updates the sink's tables, or its stream.
  /// - Returns: what was done, in words.
  package static func migrate(_ sink: SinkSettings, folder: String) throws -> String {
    try Sinks.check(sink)
    switch sink.type {
    case .sqlite: return "nothing to do; 'serve' keeps it up to date"
    case .postgresql:
      #if PostgreSQL
      let connection = try PostgresConnection.open(try PostgresServer(sink, folder: folder))
      let found = try PostgresSchema.migrate(connection, partitions: sink.postgres.partitions)
      return found == nil ? "the tables were made, in schema fixgate" : "the tables are up to date"
      #else
      return ""
      #endif
    case .jetstream:
      #if JetStream
      let isNew = try JetStreamConnection.open(try JetStreamServer(sink, folder: folder)).migrate(StreamSettings(sink.jetStream))
      return isNew ? "the stream was made" : "the stream is as it should be"
      #else
      return ""
      #endif
    }
  }
}
