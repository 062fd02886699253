import CSQLite

/// What SQLite or the disk under it refused. `code` is always SQLite's extended result code.
package enum StoreError: Error, Equatable, Sendable {
  /// No space left, or the file is at its page limit. Nothing of the transaction was written; try again once there is room.
  case full(code: Int32)
  /// Another process held the lock for longer than the busy timeout. Nothing was written; try again.
  case locked(code: Int32)
  /// The file is something else. It was not touched; the store stays closed.
  case notADatabase
  /// File, directory or file system do not permit writing. Nothing was written.
  case readOnly(code: Int32)
  /// The file cannot be opened or created. The store stays closed.
  case cannotOpen(code: Int32)
  /// Reading or writing failed. Nothing of the transaction counts as stored; try again, then look at the disk.
  case io(code: Int32)
  /// The file is damaged. Stop using it and restore it, or let a new one be filled.
  case corrupt(code: Int32)
  /// A newer fixgate has written the file. It was not touched; the store stays closed.
  case schemaTooNew(found: Int32, supported: Int32)
  /// The installed SQLite lacks what the schema needs. The store stays closed.
  case libraryTooOld(version: Int32)
  /// Anything else: a bug of ours or a limit of SQLite. The transaction was undone.
  case sqlite(code: Int32)

  /// The kernel may have dropped what was to be synced, and later syncs prove nothing. A write that failed left nothing behind
  /// that counts.
  var isFailedSync: Bool {
    guard case .io(let code) = self else { return false }
    // SQLITE_IOERR_FSYNC and SQLITE_IOERR_DIR_FSYNC, which Swift does not import.
    return code == SQLITE_IOERR | 4 << 8 || code == SQLITE_IOERR | 5 << 8
  }

  /// - Parameter code: an extended result code that is not OK, ROW or DONE.
  package init(code: Int32) {
    self =
      switch code & 0xff {
      case SQLITE_FULL: .full(code: code)
      case SQLITE_BUSY, SQLITE_LOCKED: .locked(code: code)
      case SQLITE_NOTADB: .notADatabase
      case SQLITE_READONLY, SQLITE_PERM: .readOnly(code: code)
      case SQLITE_CANTOPEN: .cannotOpen(code: code)
      case SQLITE_IOERR: .io(code: code)
      case SQLITE_CORRUPT: .corrupt(code: code)
      default: .sqlite(code: code)
      }
  }

  /// Whether the same call may succeed later without anybody's repair of the file.
  package var isTransient: Bool {
    switch self {
    case .full, .locked, .io, .readOnly: true
    case .notADatabase, .cannotOpen, .corrupt, .schemaTooNew, .libraryTooOld, .sqlite: false
    }
  }
}

extension StoreError: CustomStringConvertible {
  /// What happened and what to do about it. The caller names the file.
  package var description: String {
    switch self {
    case .full(let code): "no space left for the database; free some disk space (SQLite \(code))"
    case .locked(let code): "another process holds the database locked; end it or try again (SQLite \(code))"
    case .notADatabase: "the file is not an SQLite database; move it away or point data_dir elsewhere"
    case .readOnly(let code): "the database cannot be written; check owner and mode of the file and its directory (SQLite \(code))"
    case .cannotOpen(let code): "the database cannot be opened; check that its directory exists and may be entered (SQLite \(code))"
    case .io(let code): "reading or writing the database failed; check the disk and the kernel log (SQLite \(code))"
    case .corrupt(let code): "the database is damaged; stop the gateway, keep a copy and restore a backup (SQLite \(code))"
    case .schemaTooNew(let found, let supported):
      "the database has schema \(found), this fixgate knows up to \(supported); install the newer fixgate again"
    case .libraryTooOld(let version):
      "SQLite \(version / 1_000_000).\(version / 1_000 % 1_000) is installed, 3.40 or newer is needed; upgrade libsqlite3"
    case .sqlite(let code): "SQLite refused with code \(code); please report this"
    }
  }
}
