import ArgumentParser
import BenchHarness
import GateCore

/// `wire`: what a fix costs in bytes.
struct Wire: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Count bytes a fix, in batches and alone, on a recorded track or a made-up one.")

  @Option(help: "Track to measure: lat,lng,datetime,uid as CSV, .gz or plain. Without it: a made-up courier.")
  var track: String?

  struct Sizes {
    var fixes = 0
    var batches: [(size: Int, bytes: Int)] = []
    var lone: [Int] = []
  }

  func run() throws {
    let tracks = try track.map(Track.read) ?? [.courier(seed: 1, points: 60_000)]
    let sizes = Wire.measure(tracks)
    print("\(sizes.fixes) fixes; Uplink payload, length prefix and TLS not counted")
    for (size, bytes) in sizes.batches {
      print("batches of \(size): \(number(Double(bytes) / Double(sizes.fixes), 5)) bytes a fix")
    }
    let lone = sizes.lone.sorted()
    let mean = Double(lone.reduce(0, +)) / Double(lone.count)
    let long = lone.count(where: { $0 > 34 })
    print("lone fix: \(number(mean, 5)) bytes mean, \(lone[lone.count / 2]) median, \(lone[lone.count - 1]) most, \(long) above 34")
  }

  static func measure(_ tracks: [Track]) -> Sizes {
    var sizes = Sizes()
    let sets = tracks.map { FixModel.fixes($0) }
    let nothing: [UInt8] = []
    for size in [1, 10, 60, 300] {
      var bytes = 0
      for fixes in sets {
        for start in stride(from: 0, to: fixes.count, by: size) {
          var out: [UInt8] = []
          FixEncoder.batch(fixes[start..<min(fixes.count, start + size)], work: [], into: &out)
          bytes += out.count
        }
      }
      sizes.batches.append((size, bytes))
    }
    for fix in sets.joined() {
      var out: [UInt8] = []
      FixEncoder.row(fix, from: nothing.span, into: &out)
      sizes.lone.append(out.count)
      sizes.fixes += 1
    }
    return sizes
  }
}
