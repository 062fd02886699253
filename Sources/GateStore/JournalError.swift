import Glibc

/// The system call that failed.
package enum JournalCall: UInt8, Sendable {
  case open, list, read, write, sync, syncDirectory, rename, remove, makeDirectory, lock
}

/// Why the journal cannot go on. After any error of `commit` nothing of that batch may be acked; the same records may
/// be handed to `commit` again, which opens a new segment for them.
package enum JournalError: Error, Equatable, Sendable {
  /// The disk, the quota or the file size limit is used up. Refuse with a retry-after, go on draining, try again.
  case full(JournalCall, errno: Int32)
  /// The file system is read-only. Refuse with a retry-after; an operator has to act.
  case readOnly(JournalCall, errno: Int32)
  /// The process may not do this. An operator has to act.
  case denied(JournalCall, errno: Int32)
  /// The directory is not there. Stop at start; later, treat it like a broken disk.
  case missing(JournalCall, errno: Int32)
  /// The disk or the file system failed. The segment is abandoned; refuse with a retry-after, try again.
  case broken(JournalCall, errno: Int32)
  /// Another process holds the data directory. Stop.
  case locked
  /// A segment was written by a newer version of fixgate. Stop before anything is written.
  case version(segment: UInt64, version: UInt32)
  /// The reader's position is not in the journal: trimmed, or lost. Nothing can be read from there.
  case unreachable(lsn: UInt64)
  /// A small file is longer than its reader allows. Take it for damaged.
  case oversize(bytes: Int)

  package static func of(_ call: JournalCall, _ code: Int32) -> JournalError {
    // A bad descriptor or pointer is our bug, and going on could write into another file.
    precondition(code != EBADF && code != EFAULT, "journal: bad descriptor or pointer")
    switch code {
    case ENOSPC, EDQUOT, EFBIG: return .full(call, errno: code)
    case EROFS: return .readOnly(call, errno: code)
    case EACCES, EPERM: return .denied(call, errno: code)
    case ENOENT, ENOTDIR: return .missing(call, errno: code)
    default: return .broken(call, errno: code)
    }
  }
}

extension JournalError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .full(let call, let code):
      "journal: no space left (\(call), errno \(code)); nothing is acked until there is: free space in the data directory or raise its quota"
    case .readOnly(let call, let code):
      "journal: the file system is read-only (\(call), errno \(code)); check the kernel log, repair it and mount it for writing"
    case .denied(let call, let code):
      "journal: permission denied (\(call), errno \(code)); give the data directory to the user that runs fixgate, mode 0700"
    case .missing(let call, let code):
      "journal: the directory or a file in it is gone (\(call), errno \(code)); check that the data volume is mounted"
    case .broken(let call, let code):
      "journal: the disk failed (\(call), errno \(code)); nothing is acked until a new segment can be synced: check the kernel log and the disk"
    case .locked:
      "the data directory is in use by another fixgate; stop that one first, or choose another directory"
    case .version(let segment, let version):
      "journal: segment \(segment) has version \(version), newer than this fixgate; install the version that wrote it"
    case .unreachable(let lsn):
      "journal: no record \(lsn) or later can be read; it was trimmed or lost: restore the data directory or reset this sink's cursor"
    case .oversize(let bytes):
      "a file of \(bytes) bytes is longer than it can be; it is damaged: restore it from a copy or remove it"
    }
  }
}
