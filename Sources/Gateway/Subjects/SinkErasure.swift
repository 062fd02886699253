import GateCore
import GateNet
import GatePostgres
import GateStore
import Synchronization

extension SinkSettings.Kind {
  /// Whether an erasure deletes there.
  package var isErasable: Bool { self == .sqlite || self == .postgresql }

  /// What an erasure leaves to whoever runs the sink; `nil` = nothing.
  package var leftByErasure: String? {
    if self == .sqlite { return nil }
    return isErasable ? "its pages, logs and backups" : "all of it: delete it there"
  }

  /// Whether retention deletes there what has had its time.
  package var keepsRetention: Bool { self == .sqlite }
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
    let names = try registry.names(tenant: target.tenant, owner: target.owner)
    let database = try PostgresErasure(
      PostgresServer(sink, folder: folder), gateway: GatewayIdentity.take(in: Directory(directory)), isOver: isOver)
    try database.erase(
      target,
      PostgresErasure.Names(
        tenant: names.tenant, subject: target.owner.isDevice ? nil : names.owner,
        devices: Array(Set(try registry.carried(by: target.owner).map(\.id)))))
    #endif
  }
}
