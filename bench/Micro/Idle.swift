import ArgumentParser
import BenchPath
import GateNet

/// `idle`: memory of the real gateway for each connection that is silent.
struct Idle: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Measure what the gateway keeps for a silent TLS connection, with fixgate's records and with libssl's.")

  @Option(help: "Connections.") var connections = 5_000
  @Option(help: "Folder on the disk to use.") var folder = "."

  func run() throws {
    try OpenFiles.raiseLimit()
    for ownRecords in [true, false] {
      let bytes = try IdleMemory.measure(
        connections: connections, ownRecords: ownRecords, in: folder, track: PathCommand.track(1_000))
      print("\(pad(ownRecords ? "fixgate" : "libssl", 9)) \(Int(bytes)) bytes a connection (\(connections) connections)")
    }
  }
}
