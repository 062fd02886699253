import ArgumentParser
import BenchFleet
import BenchStarts

/// `starts`: what a device pays until its first fix is on disk.
struct StartsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "starts",
    abstract: "Count round trips and bytes of each way to start, up to the ack of the first fix, with the real gateway.")

  @Option(help: "Folder on the disk to use.")
  var folder = "."

  func run() throws { try StartsCommand.printStarts(folder) }

  @discardableResult
  static func printStarts(_ folder: String) throws -> [Start] {
    let starts = try Starts.run(fixes: PathCommand.track(100), in: folder)
    print("| way to start | round trips | bytes up, packets | bytes down, packets | bytes |\n|---|---|---|---|---|")
    for start in starts {
      let traffic = start.traffic
      print(
        "| \(start.way) | \(start.roundTrips) | \(traffic.bytesUp), \(traffic.packetsUp) | \(traffic.bytesDown), \(traffic.packetsDown) | \(traffic.bytesUp + traffic.bytesDown) |"
      )
    }
    return starts
  }
}
