import GateCore
import GateNet
import GatePostgres
import GateStore
import Synchronization

extension SinkSettings.Kind {
  /// Whether erasure and retention delete there.
  package var isErasable: Bool { self == .sqlite || self == .postgresql }

  /// What an erasure leaves to whoever runs the sink; `nil` = nothing.
  package var leftByErasure: String? {
    if self == .sqlite { return nil }
    return isErasable ? "its pages, logs and backups" : "all of it: delete it there"
  }
}

extension SinkSettings {
  /// How long data stays where retention does not delete it; `nil` = it does.
  package var keptInstead: String? {
    if type.isErasable { return nil }
    let days = jetStream.maxDays
    let age = days > 0 ? "for \(days) days (max_days) at most" : "for good (max_days: 0)"
    return "messages stay \(jetStream.retention == .workqueue ? "until the consumer has them, or " : "")\(age)"
  }
}

/// Carries an erasure out in the sinks beside the embedded store.
struct SinkErasure: Sendable {
  /// Relative paths of the configuration start here.
  var folder: String
  /// The data directory.
  var directory: String
  var link: SequencerLink

  /// - Parameters:
  ///   - lsn: records below it may hold some of it.
  ///   - isOver: asked while a server is waited for; true = give up.
  /// - Returns: what became of it in each sink; `nil` = a sink may be storing what it has in hand: ask again.
  /// - Throws: a sink does not answer; ask again.
  func carryOut(
    _ target: SubjectRange, in registry: borrowing RegistryStore, below lsn: UInt64, isOver: @escaping () -> Bool
  ) throws -> [ErasureReceipt.Sink]? {
    var outcomes: [ErasureReceipt.Sink] = []
    for sink in link.sinks.withLock({ $0 }) {
      let settings = sink.settings
      if settings.type == .postgresql {
        // One that is paused has nothing in hand, and finds nothing that it could open.
        guard settings.isPaused || sink.progress.cursor >= lsn else { return nil }
        try erase(target, in: registry, from: settings, isOver: isOver)
      }
      outcomes.append(
        ErasureReceipt.Sink(name: settings.name, erased: settings.type.isErasable, left: settings.type.leftByErasure))
    }
    return outcomes
  }

  private func erase(
    _ target: SubjectRange, in registry: borrowing RegistryStore, from sink: SinkSettings, isOver: @escaping () -> Bool
  ) throws {
    #if PostgreSQL
    let rows = try PostgresSubjectRows(
      PostgresServer(sink, folder: folder), gateway: GatewayIdentity.take(in: Directory(directory)), isOver: isOver)
    try rows.erase(target, try registry.allNames(of: target))
    #endif
  }
}
