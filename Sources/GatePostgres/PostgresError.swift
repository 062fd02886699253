#if PostgreSQL
/// What PostgreSQL, or the way to it, refused. `state` is always the server's SQLSTATE, five letters and digits.
package enum PostgresError: Error, Equatable, Sendable {
  /// No server was reached, or TLS did not come about; `words` are libpq's. Try again.
  case unreachable(words: String)
  /// The server is not proven to be the one that was asked for. No password was sent.
  case unproven(Unproven)
  /// The server does not let us in: password, user, database. Try again once that is mended.
  case refused(state: String)
  /// The password's file cannot be read.
  case passwordFile(path: String)
  /// No answer in time; the connection was given up. Whether a commit was made is asked of the next one.
  case timedOut(seconds: Int)
  /// The connection ended. As above.
  case lost
  /// There is no schema `fixgate`.
  case noSchema
  case schemaTooOld(found: Int, supported: Int)
  /// A newer fixgate has migrated it. It was not touched.
  case schemaTooNew(found: Int, supported: Int)
  /// Table `fix` was made with another number of partitions.
  case partitions(found: Int, wanted: Int)
  /// The cursor is not where this sink left it. The value is spent.
  case cursorMoved
  /// Anything else. The transaction was undone.
  case server(state: String)

  /// What `sslmode` asks for and the server has not shown.
  package enum Unproven: Equatable, Sendable {
    /// It has no TLS.
    case noTLS
    /// No authority of `root_certificate` has signed its certificate, or that has ended.
    case authority
    /// Its certificate is for another name; `words` are libpq's.
    case name(words: String)
    /// The authorities' file cannot be read; `words` are libpq's, with its path.
    case authorityFile(words: String)
  }

  /// Whether it may be over in a moment without anybody's doing.
  package var passes: Bool {
    switch self {
    case .unreachable, .timedOut, .lost, .refused("57P03"): true
    default: false
    }
  }

  /// Whether the server has refused what a row holds, and not the statement or the moment.
  var concernsRows: Bool {
    // Data exceptions, constraints, and what a trigger of the operator's raises.
    if case .server(let state) = self { return state.hasPrefix("22") || state.hasPrefix("23") || state == "P0001" }
    return false
  }
}

extension PostgresError: CustomStringConvertible {
  /// What happened and what to do about it. The caller names the sink.
  package var description: String {
    switch self {
    case .unreachable(let words): "PostgreSQL cannot be reached: \(words)"
    case .unproven(.noTLS):
      "PostgreSQL there has no TLS, and 'sslmode' asks for it; set 'ssl = on' in its postgresql.conf, or 'sslmode: disable' where the way to it is yours alone"
    case .unproven(.authority):
      "PostgreSQL's certificate is not signed by an authority in 'root_certificate', or has ended; name the file of the authority that signed it"
    case .unproven(.name(let words)):
      "PostgreSQL's certificate is for another server: \(words); set 'host' to the name in the certificate"
    case .unproven(.authorityFile(let words)):
      "PostgreSQL's certificate cannot be checked: \(words); name the file of its authority in 'root_certificate'"
    case .refused("28P01"), .refused("28000"):
      "PostgreSQL refuses user or password; check 'user', the password file or variable, and pg_hba.conf of the server"
    case .refused("3D000"): "PostgreSQL has no such database; make it with 'createdb', or check 'database'"
    case .refused("53300"): "PostgreSQL has no connection left; raise max_connections there"
    case .refused("57P03"): "PostgreSQL is starting or stopping; it is tried again"
    case .refused(let state): "PostgreSQL refuses the connection (SQLSTATE \(state)); its log says why"
    case .passwordFile(let path): "\(path): the password file cannot be read; check password_file and the file's owner"
    case .timedOut(let seconds): "PostgreSQL did not answer within \(seconds) s; it is tried again, see its load or raise timeout_s"
    case .lost: "the connection to PostgreSQL ended; it is made anew"
    case .noSchema: "the database has no tables of fixgate; run 'fixgate store migrate'"
    case .schemaTooOld(let found, let supported):
      "the database has schema \(found), this fixgate needs \(supported); run 'fixgate store migrate'"
    case .schemaTooNew(let found, let supported):
      "the database has schema \(found), this fixgate knows up to \(supported); install the newer fixgate again"
    case .partitions(let found, let wanted):
      "table fix was made with \(found) partitions, 'partitions' says \(wanted); that cannot be changed: set it to \(found)"
    case .cursorMoved: "the cursor in the database is not where this gateway left it; it goes on from there"
    case .server("42501"): "PostgreSQL does not permit that to this user; grant it what 'fixgate store migrate' has made"
    case .server("42P01"): "the schema fixgate lacks a table that its version promises; bring it back from a backup, or drop the schema and run 'fixgate store migrate'"
    case .server("53100"): "PostgreSQL has no disk space left; free some there"
    case .server(let state): "PostgreSQL refused a statement (SQLSTATE \(state)); its log says why"
    }
  }
}
#endif
