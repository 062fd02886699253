#if PostgreSQL
import BenchFleet
import Foundation
import GateCore
import GateNet
package import GatePostgres

/// A PostgreSQL server of its own, with what Debian's package sets but for memory; it syncs. Gone when this value is. As root it
/// runs as the user `postgres` of the package.
package final class TemporaryCluster {
  private let folder: String
  private let port: UInt16
  private var postmaster: Process?

  /// Where Debian puts the newest one.
  private static let programs: String = {
    let versions = (try? FileManager.default.contentsOfDirectory(atPath: "/usr/lib/postgresql")) ?? []
    return "/usr/lib/postgresql/\(versions.compactMap { Int($0) }.max() ?? 0)/bin"
  }()

  private static let asUser = getuid() == 0 ? "exec setpriv --reuid=postgres --regid=postgres --clear-groups " : "exec "

  /// - Parameter parent: a folder that the server's user may enter, on the disk to be measured.
  package init(in parent: String) throws {
    folder = parent + "/fixgate-postgres-\(UUID().uuidString.prefix(8))"
    // The Unix socket's name alone counts.
    port = UInt16.random(in: 12_000..<32_000)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: false)
    if getuid() == 0 { try TemporaryCluster.sh("chown postgres '\(folder)'") }
    try TemporaryCluster.sh(
      TemporaryCluster.asUser + "'\(TemporaryCluster.programs)/initdb' -D '\(folder)/data' -U fixgate -N -A trust")
    try start()
    try connect(database: "postgres").run("CREATE DATABASE fixgate")
  }

  deinit {
    kill9()
    try? FileManager.default.removeItem(atPath: folder)
  }

  package var server: PostgresServer { server(database: "fixgate") }
  /// The same in libpq's words.
  package var conninfo: String { "host='\(folder)' port=\(port) dbname=fixgate user=fixgate" }

  private func server(database: String) -> PostgresServer {
    PostgresServer(
      host: folder, port: Int(port), database: database, user: "fixgate", password: nil, sslMode: "disable",
      rootCertificate: nil, timeoutS: 120)
  }

  package func connect() throws(PostgresError) -> PostgresConnection { try connect(database: "fixgate") }

  private func connect(database: String) throws(PostgresError) -> PostgresConnection {
    try PostgresConnection.open(server(database: database))
  }

  /// Makes tables that are new and empty.
  package func makeTables() throws(PostgresError) {
    let connection = try connect()
    try connection.run("DROP SCHEMA IF EXISTS fixgate CASCADE")
    _ = try PostgresSchema.migrate(connection, partitions: 0)
  }

  /// An entry of a gateway's list of sinks, named `warehouse`.
  package var sink: String {
    """
      - type: postgresql
        name: warehouse
        host: \(folder)
        port: \(port)
        sslmode: disable

    """
  }

  // MARK: Well and sick

  /// Starts the server and waits until it takes connections.
  package func start() throws {
    let child = Process()
    child.executableURL = URL(filePath: "/bin/sh")
    child.arguments = [
      "-c", TemporaryCluster.asUser + """
        '\(TemporaryCluster.programs)/postgres' -D '\(folder)/data' -p \(port) -k '\(folder)' -c listen_addresses= \
        -c shared_buffers=256MB -c max_wal_size=4GB -c log_min_messages=fatal
        """,
    ]
    child.standardOutput = FileHandle.nullDevice
    child.standardError = FileHandle.nullDevice
    try child.run()
    postmaster = child
    let never = try EventFD()
    let deadline = SystemClock.now().advanced(byNs: 60_000_000_000)
    while true {
      do throws(PostgresError) {
        _ = try connect(database: "postgres")
        return
      } catch {
        guard SystemClock.now() < deadline else { throw error }
      }
      do throws(NetError) {
        try never.descriptor.wait(readable: true, writable: false, until: SystemClock.now().advanced(byNs: 50_000_000))
      } catch .timedOut {
      }
    }
  }

  package func kill9() {
    guard let child = postmaster else { return }
    signal("KILL")
    child.waitUntilExit()
    postmaster = nil
  }

  /// It answers nothing until `wake`: neither the server nor those that serve a connection.
  package func freeze() { signal("STOP") }
  package func wake() { signal("CONT") }

  private func signal(_ name: String) {
    guard let id = postmaster?.processIdentifier else { return }
    try? TemporaryCluster.sh("kill -\(name) \(id) $(pgrep -P \(id))")
  }

  private static func sh(_ command: String) throws {
    try GatewayProcess.run("/bin/sh", ["-c", command])
  }
}
#endif
