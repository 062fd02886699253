#if PostgreSQL
import Foundation
import GatePostgres

/// A PostgreSQL cluster of its own in a temporary folder, on a free port and a Unix socket; gone when this value is. The server
/// does not run as root: where the tests do, it runs as the user `postgres` of the package.
final class TemporaryPostgres {
  static let password = "correct horse"

  let folder: String
  let port: UInt16
  private var server: Child?
  private let usesTLS: Bool

  /// Whose certificate the server has, PEM; and one whose it has not.
  var authority: String { folder + "/ca.crt" }
  var otherAuthority: String { folder + "/other-ca.crt" }

  /// Where Debian puts the newest one.
  private static let programs: String = {
    let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
    return "/usr/lib/postgresql/\(versions.compactMap { Int($0) }.max() ?? 0)/bin"
  }()

  /// - Parameter tlsName: in the server's certificate, which an authority of its own has signed; over TCP it then takes TLS only.
  ///   `nil`: it has no TLS.
  init(tlsName: String? = nil) throws {
    usesTLS = tlsName != nil
    folder = "/tmp/fixgate-postgres-" + UUID().uuidString
    port = try GatewayProcess.freePort()
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    try Data(TemporaryPostgres.password.utf8).write(to: URL(fileURLWithPath: folder + "/password"))
    if getuid() == 0 { try run("/bin/chown", ["-R", "postgres", folder]) }
    try run(
      "/bin/sh",
      ["-c", TemporaryPostgres.asUser + "\(TemporaryPostgres.programs)/initdb -D \(folder)/data -U fixgate -N -A scram-sha-256 --pwfile=\(folder)/password >/dev/null"])
    if let tlsName { try certify(tlsName) }
    try start()
    try connect("postgres").run("CREATE DATABASE fixgate")
  }

  deinit {
    server?.kill9()
    try? FileManager.default.removeItem(atPath: folder)
  }

  private func certify(_ name: String) throws {
    for authority in ["ca", "other-ca"] {
      try openssl(authority, name: authority, ["-addext", "basicConstraints=critical,CA:TRUE"])
    }
    try openssl(
      "server", name: name, ["-CA", authority, "-CAkey", folder + "/ca.key", "-addext", "subjectAltName=DNS:\(name)"])
    let access = "local all all scram-sha-256\nhostssl all all 127.0.0.1/32 scram-sha-256\n"
    try Data(access.utf8).write(to: URL(fileURLWithPath: folder + "/data/pg_hba.conf"))
    if getuid() == 0 { try run("/bin/chown", ["-R", "postgres", folder]) }
  }

  /// A key and a certificate, `FILE.key` and `FILE.crt`.
  private func openssl(_ file: String, name: String, _ more: [String]) throws {
    try run(
      "/usr/bin/env",
      [
        "openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
        "-subj", "/CN=\(name)", "-keyout", "\(folder)/\(file).key", "-out", "\(folder)/\(file).crt",
      ] + more)
    try run("/bin/chmod", ["600", "\(folder)/\(file).key"])
  }

  private static var asUser: String {
    getuid() == 0 ? "exec setpriv --reuid=postgres --regid=postgres --clear-groups " : "exec "
  }

  private func run(_ program: String, _ arguments: [String]) throws {
    let outcome = try Child(program, arguments).wait(seconds: 60)
    guard outcome?.status == 0 else {
      throw GatewayProcess.Failure(description: "\(program) \(arguments): \(outcome?.errors ?? "does not end")")
    }
  }

  /// Starts the server and waits until it takes connections. After a kill the old one's last children may take a moment to end.
  func start() throws {
    for _ in 0..<100 {
      let child = try Child(
        "/bin/sh",
        [
          "-c", TemporaryPostgres.asUser + """
            \(TemporaryPostgres.programs)/postgres -D \(folder)/data -p \(port) -k \(folder) -c listen_addresses=127.0.0.1 \
            -c log_line_prefix= -c shared_buffers=16MB -c max_connections=20 \(tlsSettings) 2>&1
            """,
        ])
      server = child
      if child.line("LOG:  database system is ready", seconds: 60) != nil { return }
      _ = child.wait(seconds: 10)
    }
    throw GatewayProcess.Failure(description: "PostgreSQL does not start")
  }

  private var tlsSettings: String {
    usesTLS ? "-c ssl=on -c ssl_cert_file=\(folder)/server.crt -c ssl_key_file=\(folder)/server.key" : ""
  }

  func kill9() {
    server?.kill9()
    server = nil
  }

  /// It does not answer until `wake`: neither the server nor those that serve a connection.
  func freeze() { signal("STOP") }
  func wake() { signal("CONT") }

  private func signal(_ name: String) {
    guard let id = server?.id else { return }
    _ = try? Child("/bin/sh", ["-c", "kill -\(name) \(id) $(pgrep -P \(id))"]).wait(seconds: 10)
  }

  func server(_ database: String = "fixgate", password: String = TemporaryPostgres.password) -> PostgresServer {
    PostgresServer(
      host: folder, port: Int(port), database: database, user: "fixgate", password: password, sslMode: "disable",
      rootCertificate: nil, timeoutS: 20)
  }

  func connect(_ database: String = "fixgate") throws -> PostgresConnection { try PostgresConnection.open(server(database)) }

  /// The only value of a query's only row, as text.
  func value(_ sql: String) throws -> String? { try connect().query(sql).first?.first ?? nil }

  func count(_ sql: String) throws -> Int { try value(sql).flatMap { Int($0) } ?? -1 }

  /// Makes tables that are new and empty.
  func makeTables(partitions: Int = 0) throws {
    let connection = try connect()
    try connection.run("DROP SCHEMA IF EXISTS fixgate CASCADE")
    _ = try PostgresSchema.migrate(connection, partitions: partitions)
  }

  /// A device's stored fixes, in order of stream and sequence.
  func rows(of device: String) throws -> [TrackRow] {
    try connect().query(
      """
      SELECT f.sequence, f.fix_time_ms, f.latitude_e7, f.longitude_e7 FROM fixgate.fix f
      JOIN fixgate.device d ON d.idx = f.device WHERE d.id = $1 ORDER BY f.stream, f.sequence
      """, [device]
    ).map { row in
      let numbers = row.map { $0.flatMap { Int64($0) } ?? -1 }
      return TrackRow(sequence: numbers[0], timeMs: numbers[1], latitudeE7: numbers[2], longitudeE7: numbers[3])
    }
  }
}

extension GatewayProcess {
  /// An entry of the list for that server; `more` goes before what is usual. The password is in a file beside the configuration.
  func sink(_ name: String, _ server: TemporaryPostgres, more: [String] = []) throws -> String {
    try Data((TemporaryPostgres.password + "\n").utf8).write(to: URL(fileURLWithPath: folder + "/gateway/db.password"))
    let usual = [
      "name: \(name)", "host: \(server.folder)", "port: \(server.port)", "sslmode: disable", "password_file: db.password",
      "interval_ms: 20",
    ]
    let others = usual.filter { key in !more.contains { $0.prefix { $0 != ":" } == key.prefix { $0 != ":" } } }
    return "  - type: postgresql\n" + (others + more).map { "    \($0)\n" }.joined()
  }
}
#endif
