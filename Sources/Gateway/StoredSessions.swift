import GateCore
import GateNet
import GateStore
import GateTLS

/// One worker's part of the session file.
package struct StoredSessions: Sendable {
  let file: SessionFile
  let share: SessionFile.Share
  private let registryKey: [UInt8]

  /// Opens the file for this run and deals it out.
  /// - Parameter slotsMax: how many sessions may be kept, of all workers together.
  /// - Returns: one part a worker; `nil` without a registry key, since there is nothing to seal the sessions' keys with.
  /// - Throws: `SessionFileError`: do not start.
  static func open(
    directory: String, registryKey: [UInt8]?, slotsMax: Int, workers: Int, log: Log
  ) throws -> [StoredSessions]? {
    guard let registryKey else {
      log(.notice, "there is no tls.registry_key to seal sessions over UDP with: they end with this process")
      return nil
    }
    let file = try SessionFile.open(in: try Directory(directory), nowS: UInt64(max(SystemClock.wallMs(), 0)) / 1_000)
    let (shares, damaged) = try file.deal(to: workers, slotsMax: slotsMax) { Int($0) % workers }
    if damaged > 0 { log(.notice, "\(SessionFile.name): \(damaged) slots are damaged; their devices make a new handshake") }
    return shares.map { StoredSessions(file: file, share: $0, registryKey: registryKey) }
  }

  var sessionsMax: Int { max(share.taken.count + share.free.count, 1) }

  func makeShelf() throws(TLSError) -> SessionShelf {
    SessionShelf(seal: try SessionSeal(registryKey: registryKey), base: file.base, free: share.free)
  }
}

/// The thread that syncs the session file, so that no worker waits for it.
final class SessionKeeper {
  /// Sessions younger than this may be gone after a power cut.
  private static let intervalNs: UInt64 = 1_000_000_000

  private let file: SessionFile
  private let directory: String
  private let stop: EventFD
  private let log: Log

  init(_ file: SessionFile, directory: String, stop: EventFD, log: @escaping Log) {
    self.file = file
    self.directory = directory
    self.stop = stop
    self.log = log
  }

  /// Until stopped, or until a sync fails.
  func run() throws(NetError) {
    var isStopping = false
    while !isStopping {
      do throws(NetError) {
        try stop.descriptor.wait(
          readable: true, writable: false, until: SystemClock.now().advanced(byNs: SessionKeeper.intervalNs))
        isStopping = true
      } catch .timedOut {
      }
      guard !file.isSynced else { continue }
      do throws(JournalError) { try file.sync() } catch {
        abandon(error)
        return
      }
    }
  }

  private func abandon(_ error: JournalError) {
    log(
      .error,
      "\(SessionFile.name) could not be synced (\(error)) and is given up: sessions over UDP end with this process, their devices then make a new handshake"
    )
    do {
      try SessionFile.abandon(in: try Directory(directory))
    } catch { log(.error, "\(SessionFile.name) could not be removed: \(error). Remove it before the next start") }
  }
}
