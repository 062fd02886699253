#if PostgreSQL
import CPostgreSQL
import Glibc

/// Where a server is and who asks.
package struct PostgresServer: Sendable {
  /// Name, address, or the folder of a Unix socket.
  package var host: String
  package var port: Int
  package var database: String
  package var user: String
  package var password: String?
  /// disable, require, verify-ca, verify-full.
  package var sslMode: String
  /// PEM; `nil` = libpq's default place.
  package var rootCertificate: String?
  /// For each answer.
  package var timeoutS: Int

  package init(
    host: String, port: Int, database: String, user: String, password: String?, sslMode: String,
    rootCertificate: String?, timeoutS: Int
  ) {
    self.host = host
    self.port = port
    self.database = database
    self.user = user
    self.password = password
    self.sslMode = sslMode
    self.rootCertificate = rootCertificate
    self.timeoutS = timeoutS
  }

  var parameters: [(String, String)] {
    var all = [
      ("host", host), ("port", "\(port)"), ("dbname", database), ("user", user), ("sslmode", sslMode),
      ("application_name", "fixgate"), ("client_encoding", "UTF8"), ("gssencmode", "disable"),
    ]
    if let password { all.append(("password", password)) }
    if let rootCertificate { all.append(("sslrootcert", rootCertificate)) }
    return all
  }
}

/// Owns one connection. No call waits longer than the server's `timeoutS`, whatever the other end does; after an error that is
/// not `.server`, none will work any more.
@safe package struct PostgresConnection: ~Copyable {
  private let raw: OpaquePointer
  private let timeoutS: Int
  /// Asked every half second while nothing comes: whether to give up.
  private let isOver: () -> Bool

  /// Connects, with TLS and password.
  package static func open(
    _ server: PostgresServer, isOver: @escaping () -> Bool = { false }
  ) throws(PostgresError) -> PostgresConnection {
    let parameters = server.parameters
    let made = unsafe CStrings(parameters.map(\.0)).withPointers { keys in
      unsafe CStrings(parameters.map(\.1)).withPointers { values in unsafe PQconnectStartParams(keys, values, 0) }
    }
    guard let raw = unsafe made else { throw .unreachable(words: "out of memory") }
    let connection = unsafe PostgresConnection(raw, timeoutS: server.timeoutS, isOver: isOver)
    try connection.connect()
    return connection
  }

  @unsafe private init(_ raw: OpaquePointer, timeoutS: Int, isOver: @escaping () -> Bool) {
    unsafe self.raw = raw
    self.timeoutS = timeoutS
    self.isOver = isOver
  }

  deinit { unsafe PQfinish(raw) }

  private borrowing func connect() throws(PostgresError) {
    // Then a refusal carries its SQLSTATE, whatever the server's language.
    _ = unsafe PQsetErrorVerbosity(raw, PQERRORS_SQLSTATE)
    let deadline = seconds() + Double(timeoutS)
    guard unsafe PQstatus(raw) != CONNECTION_BAD else { throw failure() }
    var step = PGRES_POLLING_WRITING
    while true {
      switch step {
      case PGRES_POLLING_OK:
        guard unsafe PQsetnonblocking(raw, 1) == 0 else { throw .lost }
        return
      case PGRES_POLLING_READING: try wait(POLLIN, until: deadline)
      case PGRES_POLLING_WRITING: try wait(POLLOUT, until: deadline)
      default: throw failure()
      }
      step = unsafe PQconnectPoll(raw)
    }
  }

  /// Why there is no connection, out of libpq's words.
  private borrowing func failure() -> PostgresError {
    let text = unsafe String(cString: PQerrorMessage(raw))
    let lines = text.split(separator: "\n").map { $0.trimmingPrefix(while: \.isWhitespace) }
    for line in lines {
      if let state = line.components(after: "FATAL:"), state.count == 5 { return .refused(state: state) }
    }
    if lines.contains(where: { $0.contains("no password supplied") }) { return .refused(state: "28P01") }
    for line in lines { if let reason = PostgresError.Unproven(line) { return .unproven(reason) } }
    return .unreachable(words: lines.first.map { String($0.prefix(300)) } ?? "no reason is known")
  }

  // MARK: Statements

  /// Runs statements without parameters, one behind the other.
  /// - Returns: rows that the last one changed.
  @discardableResult package borrowing func run(_ sql: String) throws(PostgresError) -> Int {
    guard unsafe PQsendQuery(raw, sql) == 1 else { throw .lost }
    return try unsafe results { _ in }
  }

  /// Runs one statement with parameters, all as text.
  /// - Returns: the rows as text; `nil` is NULL.
  package borrowing func query(_ sql: String, _ parameters: [String] = []) throws(PostgresError) -> [[String?]] {
    let sent = unsafe CStrings(parameters).withPointers { values in
      unsafe PQsendQueryParams(raw, sql, Int32(parameters.count), nil, values, nil, nil, 0)
    }
    guard sent == 1 else { throw .lost }
    var rows: [[String?]] = []
    try unsafe results { result in
      let columns = unsafe PQnfields(result)
      for row in 0..<(unsafe PQntuples(result)) {
        rows.append(
          (0..<columns).map { column in
            unsafe PQgetisnull(result, row, column) == 1 ? nil : String(cString: PQgetvalue(result, row, column))
          })
      }
    }
    return rows
  }

  /// Runs `COPY ... FROM STDIN (FORMAT binary)`; statements without rows may go before it.
  /// - Parameter next: the next rows, while the server reads those before; `nil` = there are no more.
  /// - Returns: rows copied.
  @discardableResult borrowing func copy(_ sql: String, _ next: () -> CopyRows?) throws(PostgresError) -> Int {
    guard unsafe PQsendQuery(raw, sql) == 1 else { throw .lost }
    try flush()
    try beginCopy()
    while let rows = next() { try send(rows) }
    while true {
      let ended = unsafe PQputCopyEnd(raw, nil)
      guard ended >= 0 else { throw .lost }
      try flush()
      if ended == 1 { break }
    }
    return try unsafe results { _ in }
  }

  private borrowing func send(_ rows: CopyRows) throws(PostgresError) {
    let bytes = rows.bytes
    var at = 0
    while at < rows.at {
      let end = min(at + PostgresConnection.chunkBytes, rows.at)
      let sent = unsafe bytes.span.extracting(at..<end).withUnsafeBytes {
        unsafe PQputCopyData(raw, $0.baseAddress?.assumingMemoryBound(to: CChar.self), Int32($0.count))
      }
      guard sent >= 0 else { throw .lost }
      if sent == 1 { at = end }
      try flush()
    }
  }

  private borrowing func beginCopy() throws(PostgresError) {
    while true {
      try receive()
      guard let result = unsafe PQgetResult(raw) else { throw .lost }
      defer { unsafe PQclear(result) }
      switch unsafe PQresultStatus(result) {
      case PGRES_COPY_IN: return
      case PGRES_COMMAND_OK: continue
      default:
        let error = unsafe PostgresConnection.error(result)
        try drain()
        throw error
      }
    }
  }

  private static let chunkBytes = 256 << 10

  // MARK: Waiting

  /// Takes all results of what was sent.
  @unsafe @discardableResult private borrowing func results(
    _ body: (OpaquePointer) -> Void
  ) throws(PostgresError) -> Int {
    try flush()
    var rows = 0
    var failure: PostgresError?
    while true {
      try receive()
      guard let result = unsafe PQgetResult(raw) else { break }
      defer { unsafe PQclear(result) }
      switch unsafe PQresultStatus(result) {
      case PGRES_COMMAND_OK, PGRES_TUPLES_OK, PGRES_EMPTY_QUERY:
        rows = unsafe Int(String(cString: PQcmdTuples(result))) ?? 0
        unsafe body(result)
      default: failure = failure ?? (unsafe PostgresConnection.error(result))
      }
    }
    if let failure { throw unsafe PQstatus(raw) == CONNECTION_BAD ? .lost : failure }
    return rows
  }

  private borrowing func drain() throws(PostgresError) {
    while true {
      try receive()
      guard let result = unsafe PQgetResult(raw) else { return }
      unsafe PQclear(result)
    }
  }

  @unsafe private static func error(_ result: OpaquePointer) -> PostgresError {
    guard let state = unsafe PQresultErrorField(result, Int32(UInt8(ascii: "C"))) else { return .lost }
    return .server(state: unsafe String(cString: state))
  }

  /// Sends what libpq has buffered; takes what comes meanwhile, or both ends could wait for each other.
  private borrowing func flush() throws(PostgresError) {
    let deadline = seconds() + Double(timeoutS)
    while true {
      switch unsafe PQflush(raw) {
      case 0: return
      case 1:
        if try wait(POLLIN | POLLOUT, until: deadline) & Int16(POLLIN) != 0 {
          guard unsafe PQconsumeInput(raw) == 1 else { throw .lost }
        }
      default: throw .lost
      }
    }
  }

  /// Waits until `PQgetResult` will not.
  private borrowing func receive() throws(PostgresError) {
    let deadline = seconds() + Double(timeoutS)
    while unsafe PQisBusy(raw) == 1 {
      try wait(POLLIN, until: deadline)
      guard unsafe PQconsumeInput(raw) == 1 else { throw .lost }
    }
  }

  @discardableResult private borrowing func wait(_ events: Int32, until deadline: Double) throws(PostgresError) -> Int16 {
    while true {
      var descriptor = pollfd(fd: unsafe PQsocket(raw), events: Int16(events), revents: 0)
      let left = deadline - seconds()
      guard left > 0, !isOver() else { throw .timedOut(seconds: timeoutS) }
      let count = unsafe poll(&descriptor, 1, Int32(min(left, 0.5) * 1_000) + 1)
      if count > 0 { return descriptor.revents }
    }
  }

  private func seconds() -> Double {
    var time = timespec()
    unsafe clock_gettime(CLOCK_MONOTONIC, &time)
    return Double(time.tv_sec) + Double(time.tv_nsec) / 1e9
  }
}

/// Owns copies of strings, as C wants them.
@safe private struct CStrings: ~Copyable {
  private let copies: [UnsafeMutablePointer<CChar>?]

  init(_ strings: [String]) { unsafe copies = strings.map { unsafe strdup($0) } }

  deinit { for unsafe copy in unsafe copies { unsafe free(copy) } }

  /// - Parameter body: gets a pointer a string, and a null behind the last; they are good until it returns.
  @unsafe func withPointers<Result>(_ body: ([UnsafePointer<CChar>?]) -> Result) -> Result {
    unsafe body(copies.map { unsafe UnsafePointer($0) } + [nil])
  }
}

extension PostgresError.Unproven {
  /// - Parameter line: of libpq 15's words, which are English unless a program sets a locale. `nil` if it is about something else.
  fileprivate init?(_ line: some StringProtocol) {
    let words = line.ranges(of: " failed: ").last.map { String(line[$0.upperBound...].prefix(300)) } ?? String(line.prefix(300))
    if words.contains("does not support SSL") {
      self = .noTLS
    } else if words.contains("certificate verify failed") {
      self = .authority
    } else if words.contains("does not match host name") {
      self = .name(words: words)
    } else if words.contains("root certificate file") {
      self = .authorityFile(words: words)
    } else {
      return nil
    }
  }
}

extension StringProtocol {
  /// What stands behind the last `word`, without spaces around it.
  fileprivate func components(after word: String) -> String? {
    guard let range = ranges(of: word).last else { return nil }
    return String(self[range.upperBound...].filter { !$0.isWhitespace })
  }
}
#endif
