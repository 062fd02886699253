import ArgumentParser
import BenchHarness
import BenchStages

/// `records`: TLS 1.3 records of AES-128-GCM, sealed by one end and opened by the other, through the gateway's engine with its
/// own records and with libssl's, and the ciphers alone.
struct Records: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Seal and open TLS records by fixgate, by libssl, and by libcrypto's ciphers alone, in one run.")

  @Option(help: "Rounds; the medians are printed.") var rounds = 15
  @Option(help: "Records a round.") var records = 20_000
  @Option(help: "Connections that take turns; may be repeated.") var connections = [1, 1_000]
  @Option(help: "Bytes of plaintext a record; may be repeated.") var bytes = [100, 1_400]

  func run() throws {
    print("connections  bytes  by                      ns/record   least    most   ratio  allocations/record")
    for connections in connections {
      for bytes in bytes {
        let results = try Records.contest(connections: connections, bytes: bytes, records: records, rounds: rounds)
        for result in results {
          let n = Double(records)
          print(
            pad("\(connections)", 12), pad("\(bytes)", 6), pad(result.name, 25), number(result.medianNs / n, 7),
            number(result.leastNs / n, 7), number(result.mostNs / n, 7), number(result.medianNs / results[0].medianNs, 7),
            number(Double(result.allocations) / n, 8))
        }
      }
    }
  }

  static func contest(connections: Int, bytes: Int, records: Int, rounds: Int) throws -> [Contest.Result] {
    let content = (0..<bytes).map { UInt8(truncatingIfNeeded: $0) }
    let own = try Lines(connections, ownRecords: true)
    let libssl = try Lines(connections, ownRecords: false)
    let keyed = BareCiphers(connections)
    let shared = BareCiphers(1)
    return Contest.run(
      [
        .init("fixgate") { own.send(content, times: records) },
        .init("libssl") { libssl.send(content, times: records) },
        .init("EVP, a context a key") { keyed.send(content, times: records, rekeying: false) },
        .init("EVP, one context re-keyed") { shared.send(content, times: records, rekeying: true) },
      ], rounds: rounds)
  }
}
