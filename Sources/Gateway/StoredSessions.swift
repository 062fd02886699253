package import GateCore
import GateNet
package import GateStore
import GateTLS

/// One worker's part of the session file.
package struct StoredSessions: Sendable {
  package let file: SessionFile
  let share: SessionFile.Share
  private let registryKey: [UInt8]
  private let reservation: WriteReservation

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
    return try open(
      in: try Directory(directory), registryKey: registryKey, slotsMax: slotsMax, workers: workers,
      wallMs: SystemClock.wallMs(), log: log)
  }

  /// - Parameter wallMs: now, ms since 1970-01-01 UTC.
  package static func open(
    in directory: borrowing Directory, registryKey: [UInt8], slotsMax: Int, workers: Int, wallMs: Int64,
    reservation: WriteReservation = .standard, log: Log
  ) throws -> [StoredSessions] {
    let file = try SessionFile.open(in: directory, nowS: UInt64(max(wallMs, 0)) / 1_000, reservation: reservation)
    let (shares, damaged) = try file.deal(to: workers, slotsMax: slotsMax) { Int($0) % workers }
    if damaged > 0 { log(.notice, "\(SessionFile.name): \(damaged) slots are damaged; their devices make a new handshake") }
    return shares.map { StoredSessions(file: file, share: $0, registryKey: registryKey, reservation: reservation) }
  }

  var sessionsMax: Int { max(share.taken.count + share.free.count, 1) }

  func makeShelf() throws(TLSError) -> SessionShelf {
    SessionShelf(
      seal: try SessionSeal(registryKey: registryKey), base: file.base, free: share.free, reservation: reservation)
  }
}

/// The thread that syncs the session file, so that no worker waits for it.
package final class SessionKeeper {
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
      guard SessionKeeper.sync(file, in: { () throws(JournalError) in try Directory(directory) }, log: log) else { return }
    }
  }

  /// Makes durable what is not. If that fails the file is given up.
  /// - Returns: whether to go on.
  package static func sync(
    _ file: SessionFile, in directory: () throws(JournalError) -> Directory, log: Log
  ) -> Bool {
    guard !file.isSynced else { return true }
    do throws(JournalError) {
      try file.sync()
      return true
    } catch {
      log(
        .error,
        "\(SessionFile.name) could not be synced (\(error)) and is given up: sessions over UDP end with this process, their devices then make a new handshake"
      )
    }
    do throws(JournalError) { try SessionFile.abandon(in: try directory()) } catch {
      log(.error, "\(SessionFile.name) could not be removed: \(error). Remove it before the next start")
    }
    return false
  }
}
