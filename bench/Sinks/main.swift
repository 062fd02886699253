import ArgumentParser
import CCopyLoop
import Foundation
import GateCore
import GatePostgres
import GateStore

struct SinkBench: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "fixgate-bench-sinks", abstract: "Measure sinks against a real PostgreSQL.",
    subcommands: [CopyCommand.self, IngestCommand.self])
}

/// A database made for this. The password, if it needs one, is in PGPASSWORD.
struct ServerOptions: ParsableArguments {
  @Option(help: "Folder of the server's Unix socket, or its host.") var host: String
  @Option(help: "Its port.") var port = 5_432
  @Option(help: "A database whose schema fixgate may be dropped.") var database = "fixgate_bench"
  @Option(help: "The user.") var user = NSUserName()

  var password: String? { ProcessInfo.processInfo.environment["PGPASSWORD"] }

  var server: PostgresServer {
    PostgresServer(
      host: host, port: port, database: database, user: user, password: password, sslMode: "disable", rootCertificate: nil,
      timeoutS: 120)
  }

  /// With new tables.
  func connect() throws -> PostgresConnection {
    let connection = try PostgresConnection.open(server)
    try connection.run("DROP SCHEMA IF EXISTS fixgate CASCADE")
    _ = try PostgresSchema.migrate(connection, partitions: 0)
    return connection
  }
}

/// How fast `PostgresSink` stores, beside the same transactions written in C. Both store the same fixes in the same tables, in
/// turn, emptied before each.
struct CopyCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "copy", abstract: "Rows a second through PostgresSink and through a bare C loop, in turn.")

  @OptionGroup var options: ServerOptions
  @Option(help: "Fixes a round.") var fixes = 200_000
  @Option(help: "Devices that they come from.") var devices = 1_000
  @Option(help: "Rows in a transaction.") var batch = 20_000
  @Option(help: "Rounds of each; the medians are compared.") var rounds = 5

  func run() throws {
    let connection = try options.connect()
    let (batches, rows) = made()
    var seconds: [[Double]] = [[], []]
    for round in 0...rounds {
      for kind in [0, 1] {
        try connection.run("TRUNCATE fixgate.fix, fixgate.latest, fixgate.cursor; CHECKPOINT")
        let start = ContinuousClock.now
        if kind == 0 { try store(batches, options.server) } else { try storeInC(rows) }
        let took = (ContinuousClock.now - start) / .seconds(1)
        let count = try connection.query("SELECT count(*) FROM fixgate.fix").first?.first ?? nil
        guard count == "\(fixes)" else { throw ValidationError("\(count ?? "no") rows of \(fixes) were stored") }
        if round > 0 { seconds[kind].append(took) }
      }
    }
    let medians = seconds.map { $0.sorted()[$0.count / 2] }
    print("by        rows/s (median)   least    most   (\(fixes) fixes, \(devices) devices, \(batch) a transaction)")
    for (name, times) in zip(["fixgate", "C"], seconds) {
      let rates = times.map { Int(Double(fixes) / $0) }.sorted()
      print(name.padding(toLength: 10, withPad: " ", startingAt: 0), rates[rates.count / 2], rates[0], rates[rates.count - 1], separator: "  ")
    }
    print("fixgate / C: \((medians[1] / medians[0] * 100).rounded() / 100)")
  }

  /// The same fixes as journal batches of 1,000 records, and as rows for C in the order of the key within each transaction.
  private func made() -> (batches: [[UInt8]], rows: [copy_fix]) {
    var batches: [[UInt8]] = []
    var rows: [copy_fix] = []
    for index in 0..<fixes {
      var record = Record()
      record.tenant = 1
      record.device = UInt32(index % devices) + 1
      record.stream = 7
      record.transport = 1
      record.fix.sequence = UInt64(index / devices) + 1
      record.fix.fixTimeMs = 1_750_000_000_000 + Int64(index / devices) * 1_000
      record.receiveTimeMs = record.fix.fixTimeMs + 250
      record.fix.latitudeE7 = 525_200_066 + Int32(index % 10_000)
      record.fix.longitudeE7 = 134_049_540 - Int32(index % 7_000)
      record.fix.present = [.time, .position]
      for (column, value) in [(.horizontalAccuracyDm, 45), (.speedCmPerS, 1_250), (.courseCdeg, 9_000), (.batteryPercent, 71)] as [(Column, Int32)] {
        record.fix.present.insert(FixFields(column))
        record.fix.values[column.index] = value
      }
      if index % 1_000 == 0 { batches.append([]) }
      let start = batches[batches.count - 1].count
      batches[batches.count - 1] += [UInt8](repeating: 0, count: record.encodedBytes)
      var out = batches[batches.count - 1].mutableSpan
      _ = record.write(into: &out, at: start, from: Span())
      rows.append(
        copy_fix(
          tenant: 1, device: Int32(record.device), stream: 7, sequence: Int64(record.fix.sequence),
          receive_time_ms: record.receiveTimeMs, fix_time_ms: record.fix.fixTimeMs, latitude_e7: record.fix.latitudeE7,
          longitude_e7: record.fix.longitudeE7, horizontal_accuracy_dm: 45, speed_cm_per_s: 1_250, course_cdeg: 9_000,
          battery_percent: 71))
    }
    for start in stride(from: 0, to: fixes, by: batch) {
      rows[start..<min(start + batch, fixes)].sort { ($0.device, $0.sequence) < ($1.device, $1.sequence) }
    }
    return (batches, rows)
  }

  private func store(_ batches: [[UInt8]], _ server: PostgresServer) throws {
    var builder = RegistrySnapshot.Builder()
    builder.addTenant(1, name: "bench")
    for device in 1...UInt32(devices) {
      builder.addDevice(device, tenant: 1, subject: 0, externalID: "device-\(device)", revoked: false)
    }
    let names = RegistrySnapshot(builder, generation: 1)
    var sink = try PostgresSink(PostgresSink.Options(server: server, gateway: "bench"))
    var lsn: UInt64 = 0
    for bytes in batches {
      try sink.write(bytes.span, records: 0..<bytes.count, skip: 0, firstLSN: lsn, names: names)
      lsn = min(lsn + 1_000, UInt64(fixes))
      if lsn % UInt64(batch) == 0 { _ = try sink.commit(nextLSN: lsn) }
    }
    if sink.cursor < lsn { _ = try sink.commit(nextLSN: lsn) }
  }

  private func storeInC(_ rows: [copy_fix]) throws {
    let words = "host='\(options.host)' port=\(options.port) dbname='\(options.database)' user='\(options.user)' sslmode=disable"
    guard unsafe copy_batches(words, rows, rows.count, batch) == 0 else { throw ValidationError("the C loop was refused") }
  }
}

SinkBench.main()
