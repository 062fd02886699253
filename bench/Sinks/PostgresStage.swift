#if PostgreSQL
import BenchHarness
import BenchReport
package import BenchStages
import CCopyLoop
import GatePostgres

/// The same fixes through `PostgresSink` and through the same transactions as one would write them in C, into the same tables of
/// the same server, emptied before each.
package enum PostgresStage {
  /// - Parameter batchRows: rows in a transaction.
  package static func make(
    _ cluster: TemporaryCluster, fixes: Int, devices: Int, batchRows: Int
  ) throws -> Stage {
    try cluster.makeTables()
    let load = CopyLoad(fixes: fixes, devices: devices, batchRows: batchRows)
    // Once before: the database then knows all devices, by the numbers that C's rows carry.
    try load.store(in: cluster.server)
    let tables = Tables(try cluster.connect())
    let words = cluster.conninfo
    return Stage(
      "PostgreSQL, \(batchRows) rows a transaction, \(devices) devices", item: "row", items: fixes,
      targets: [.speed(of: "C", least: 0.9)], clock: .wall,
      [
        Contest.Entry("fixgate", prepare: { tables.empty(for: 0) }, outcome: { tables.found(by: 0) }) {
          do { try load.store(in: cluster.server) } catch { preconditionFailure("\(error)") }
          return UInt64(fixes)
        },
        Contest.Entry("C", prepare: { tables.empty(for: 1) }, outcome: { tables.found(by: 1) }) {
          precondition(unsafe copy_batches(words, load.rows, load.rows.count, batchRows) == 0, "the server refused C's rows")
          return UInt64(fixes)
        },
      ])
  }

  /// What each contestant leaves in the tables.
  private final class Tables {
    private let connection: PostgresConnection
    private var filling: Int?
    private var hashes: [Int: UInt64] = [:]

    init(_ connection: consuming PostgresConnection) { self.connection = connection }

    func empty(for contestant: Int) {
      look()
      do { try connection.run("TRUNCATE fixgate.fix, fixgate.latest, fixgate.cursor; CHECKPOINT") } catch {
        preconditionFailure("\(error)")
      }
      filling = contestant
    }

    func found(by contestant: Int) -> UInt64 {
      look()
      return hashes[contestant] ?? 0
    }

    private func look() {
      guard let filling else { return }
      self.filling = nil
      let sums = ["fix", "latest"].map { "SELECT count(*) || ' ' || sum(hashtextextended(t::text, 0)) FROM fixgate.\($0) t" }
      do {
        let rows = try connection.query(sums.joined(separator: " UNION ALL "))
        var hash = ResultHash()
        for byte in rows.map({ $0[0] ?? "" }).joined(separator: " ").utf8 { hash.add(byte) }
        hashes[filling] = hash.value
      } catch { preconditionFailure("\(error)") }
    }
  }
}
#endif
