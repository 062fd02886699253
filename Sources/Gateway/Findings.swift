import GateCore
import GateStore
import GateTLS

/// What a start finds on disk. What needs nothing of the rest is read beside it, so that a large fleet waits for the slowest
/// reader and not for all of them in turn.
struct Findings: ~Copyable {
  let registry: RegistrySnapshot
  /// `nil`: nothing is sealed.
  let keys: SubjectKeys?
  /// All below was stored by the first sink before this run.
  let firstCursor: UInt64
  var recovery: Recovery
  /// By worker; `nil` = sessions over UDP end with this process.
  let stored: [StoredSessions]?

  /// - Parameters:
  ///   - directory: the data directory, which is this process's own.
  ///   - keyPath: where `registryKey` was read.
  /// - Throws: any error of the parts: do not start. No thread is left then. A start that fails may have used up one of a
  ///   session's 2^32 blocks of record numbers.
  init(
    _ configuration: Configuration, directory: String, journalPath: String, keyPath: String, registryKey: [UInt8]?,
    workers: Int, log: @escaping Log
  ) throws {
    let registryPath = directory + "/" + GatewayServer.registryName
    let generation = try RegistryStore(path: registryPath).generation()
    let known = try Errand("fixgate-known") { try RegistryStore(path: registryPath).loadSnapshot() }
    let slotsMax = configuration.dtls.sessionsMax
    let sessions =
      configuration.listen.dtls.isEmpty
      ? nil
      : try Errand("fixgate-slots") {
        try StoredSessions.open(
          directory: directory, registryKey: registryKey, slotsMax: slotsMax, workers: workers, log: log)
      }
    let keys = try SubjectKeys.open(directory: directory, keyPath: keyPath)
    let firstCursor = try Sinks.firstCursor(configuration, directory: directory)
    let recovery = try Recovery.run(
      directory: directory, journalPath: journalPath, segmentBytes: configuration.journal.segmentBytes,
      sinkCursor: firstCursor, cipher: try keys.map { try RingCipher($0.holder) }, log: log)
    let registry = try known.value()
    // Whoever was added in between may be known now, and have no key yet.
    if registry.generation != generation { try keys?.cover() }
    let stored = try sessions?.value() ?? nil
    (self.registry, self.keys, self.firstCursor, self.stored) = (registry, keys, firstCursor, stored)
    self.recovery = recovery
  }
}
