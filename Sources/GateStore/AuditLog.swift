package import GateCore
import Glibc

/// The audit log of a data directory: append-only files of chained lines (`AuditChain`), and `audit.head` beside them, which
/// tells a cut from a crash. The gateway and the command line write it side by side, under a lock.
///
/// `audit.log` is being written; `audit-N.log` are full, N their first number.
package struct AuditLog: Sendable {
  package static let name = "audit.log"
  package static let headName = "audit.head"
  static let lockName = "audit.lock"
  /// How long to wait for another writer.
  private static let patienceMs = 5_000

  let directory: String
  package let digest: AuditChain.Digest
  private let fileBytesMax: Int
  private let filesMax: Int

  /// - Parameters:
  ///   - digest: SHA-256.
  ///   - fileBytesMax: a file that long is closed; of closed ones `filesMax` are kept.
  package init(
    directory: String, digest: @escaping AuditChain.Digest, fileBytesMax: Int = Limits.auditFileBytesMax,
    filesMax: Int = Limits.auditFilesMax
  ) {
    self.directory = directory
    self.digest = digest
    self.fileBytesMax = fileBytesMax
    self.filesMax = filesMax
  }

  /// Adds an entry, durably. Call it before what it tells of: what cannot be told of must not happen.
  /// - Throws: the entry is not known to be on disk.
  package func append(_ entry: AuditEntry, timeMs: Int64) throws(AuditError) {
    let directory = try AuditLog.open(self.directory)
    let lock = try AuditLog.locked(directory)
    try write(entry, timeMs, directory)
    // Held until here.
    _ = consume lock
  }

  private func write(_ entry: AuditEntry, _ timeMs: Int64, _ directory: borrowing Directory) throws(AuditError) {
    var head = try AuditLog.head(directory) ?? AuditHead()
    let wasClosed = directory.contains(AuditLog.closedName(head.file))
    if !directory.contains(AuditLog.name), head.chain.number > 0, !wasClosed { throw .damaged }
    var size: Int? = 0
    do throws(JournalError) {
      // A file that was closed right before a crash has no successor yet.
      if !wasClosed { size = try catchUp(&head, directory) }
      if let full = size, full >= fileBytesMax {
        try directory.rename(AuditLog.name, to: AuditLog.closedName(head.file))
        size = 0
      }
    } catch {
      throw .disk(error)
    }
    guard let size else { throw .damaged }
    try write(entry, timeMs, &head, at: size, directory)
  }

  /// - Parameter size: of the file; 0 = it is to be made.
  private func write(
    _ entry: AuditEntry, _ timeMs: Int64, _ head: inout AuditHead, at size: Int, _ directory: borrowing Directory
  ) throws(AuditError) {
    var lines: [UInt8] = []
    if size == 0 {
      head.file = head.chain.number + 1
      lines = head.chain.open(timeMs: timeMs, digest: digest)
    }
    lines += head.chain.append(entry, timeMs: timeMs, digest: digest)
    head.bytes = size + lines.count
    do throws(JournalError) {
      let file = try DiskFile(AuditLog.name, in: directory, flags: O_RDWR | O_CREAT)
      try file.write(lines.span, [UInt8]().span, padding: 0, at: size)
      try file.sync()
      if size == 0 { try directory.sync() }
      let closed = try AuditLog.closed(directory)
      head.first = closed.suffix(filesMax).first ?? head.file
      try DurableFile.replace(AuditLog.headName, in: directory, with: head.encoded.span)
      for number in closed.dropLast(filesMax) { try directory.remove(AuditLog.closedName(number)) }
    } catch {
      throw .disk(error)
    }
  }

  /// Brings the head up to lines that were written right before a crash, and cuts off one that was not finished: nobody was
  /// told that it is there.
  /// - Returns: the file's size then; `nil` if the file is not what was written.
  private func catchUp(_ head: inout AuditHead, _ directory: borrowing Directory) throws(JournalError) -> Int? {
    let file = try DiskFile(AuditLog.name, in: directory, flags: O_RDWR | O_CREAT)
    let size = try file.size()
    guard size >= head.bytes else { return nil }
    var bytes = [UInt8](repeating: 0, count: size - head.bytes)
    let count = try file.read(into: &bytes, 0..<bytes.count, at: head.bytes)
    bytes.removeLast(bytes.count - count)
    var at = 0
    while let end = bytes[at...].firstIndex(of: 0x0A) {
      let line = Array(bytes[at..<end])
      guard (try? head.chain.check(line.span, digest: digest)) != nil else { return nil }
      at = end + 1
    }
    if at < bytes.count { try file.truncate(to: head.bytes + at) }
    return head.bytes + at
  }
}

/// The files, for writer and reader alike.
extension AuditLog {
  static func closedName(_ first: UInt64) -> String { "audit-\(first).log" }

  /// First numbers of the closed files, ascending.
  static func closed(_ directory: borrowing Directory) throws(JournalError) -> [UInt64] {
    try directory.names().compactMap { name in
      guard name.hasPrefix("audit-"), name.hasSuffix(".log") else { return nil }
      return UInt64(name.dropFirst(6).dropLast(4))
    }.sorted()
  }

  static func open(_ path: String) throws(AuditError) -> Directory {
    do throws(JournalError) { return try Directory(path) } catch { throw .disk(error) }
  }

  /// - Returns: `nil` when there is none.
  static func head(_ directory: borrowing Directory) throws(AuditError) -> AuditHead? {
    do throws(JournalError) {
      guard let bytes = try DurableFile.read(headName, in: directory, bytesMax: 4_096) else { return nil }
      if let head = AuditHead(bytes) { return head }
    } catch {
      if case .oversize = error { throw .damaged }
      throw .disk(error)
    }
    throw .damaged
  }

  static func locked(_ directory: borrowing Directory) throws(AuditError) -> DiskFile {
    do throws(JournalError) {
      let file = try DiskFile(lockName, in: directory, flags: O_RDWR | O_CREAT)
      var waitedMs = 0
      while true {
        do throws(JournalError) {
          try file.lock()
          return file
        } catch {
          guard error == .locked, waitedMs < patienceMs else { throw error }
          waitedMs += 5
          usleep(5_000)
        }
      }
    } catch {
      throw error == .locked ? .busy : .disk(error)
    }
  }
}

/// Why the audit log took no entry, or cannot be read. What was to be told of must not happen.
package enum AuditError: Error, Equatable, Sendable {
  case disk(JournalError)
  /// Another process has held the lock for long.
  case busy
  /// The files are not what was written last.
  case damaged
}

extension AuditError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .disk(let error):
      "the audit log cannot be read or written, and nothing is done that is not in it: \(error.reason)"
    case .busy: "another process holds the audit log for too long; end it, or try again"
    case .damaged:
      "the audit log has been changed by others than fixgate: 'fixgate audit verify' says where. Keep its files as they are; to go "
        + "on, move audit.log, audit.head and audit-*.log elsewhere, and a new log begins"
    }
  }
}

extension JournalError {
  /// What to do, without the word journal.
  fileprivate var reason: String {
    switch self {
    case .full: "no space is left; free some in the data directory"
    case .readOnly: "the file system is read-only; repair it and mount it for writing"
    case .denied(_, let code): "permission is denied (errno \(code)); run this as the user that owns the data directory"
    case .missing: "the data directory is not there; check data.directory, or that its volume is mounted"
    case .broken(_, let code): "the disk failed (errno \(code)); check the kernel log"
    default: description
    }
  }
}
