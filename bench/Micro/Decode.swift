import ArgumentParser
import BenchHarness
import GateCore

/// `decode`: the same packets through `GateCore`, libprotobuf-c and SwiftProtobuf.
struct Decode: ParsableCommand {
  static let configuration = CommandConfiguration(
    abstract: "Decode rows and columns beside libprotobuf-c and SwiftProtobuf, on the same bytes in one run.")

  @Option(help: "Rounds; the medians are printed.") var rounds = 31
  @Option(help: "Fixes in each set of packets.") var fixes = 20_100

  struct Outcome {
    var title: String
    var results: [Contest.Result]
    var packets: Packets
    var hashes: [ResultHash]
  }

  func run() throws {
    guard Contest.counterBites() else { throw CleanExit.message("the allocation counter does not count") }
    print("set            decoder        ns/fix   least    most   ratio  allocations/packet  hash")
    for outcome in Decode.outcomes(fixes: fixes, rounds: rounds) {
      let ours = outcome.results[0].medianNs
      for (result, hash) in zip(outcome.results, outcome.hashes) {
        let n = Double(outcome.packets.fixes)
        print(
          pad(outcome.title, 14), pad(result.name, 14), number(result.medianNs / n, 6), number(result.leastNs / n, 7),
          number(result.mostNs / n, 7), number(result.medianNs / ours, 7),
          number(Double(result.allocations) / Double(outcome.packets.ranges.count), 19),
          " " + String(hash.value, radix: 16))
      }
      print(pad("", 14), outcome.packets.bytes.count / outcome.packets.ranges.count, "bytes a packet")
    }
  }

  static func outcomes(fixes count: Int, rounds: Int) -> [Outcome] {
    let fixes = (0..<max(1, count / 300)).flatMap { seed in
      FixModel.fixes(
        .courier(seed: UInt64(seed), points: 300), firstSequence: 100_000 + UInt64(seed) * 300, full: true,
        seed: UInt64(seed))
    }
    var sets = [
      ("rows of 1", 1, false), ("rows of 10", 10, false), ("rows of 60", 60, false), ("columns of 60", 60, true),
    ].map { title, size, columns in
      let packets = stride(from: 0, to: fixes.count, by: size).map {
        packet(fixes[$0..<min(fixes.count, $0 + size)], columns)
      }
      return (title, Packets(packets, fixes: fixes.count))
    }
    let scattered = [[UInt8]](repeating: scatteredPacket(fixes: 800), count: max(1, count / 800))
    sets.append(("scattered 800", Packets(scattered, fixes: scattered.count * 800)))
    return sets.map { title, packets in
      let gate = GateDecoder(packets)
      let protobufC = ProtobufCDecoder(packets: packets)
      let swift = SwiftProtobufDecoder(packets: packets)
      let results = Contest.run(
        [
          .init("fixgate") { gate.timed() }, .init("libprotobuf-c") { protobufC.timed() },
          .init("SwiftProtobuf") { swift.timed() },
        ], rounds: rounds)
      return Outcome(
        title: title, results: results, packets: packets, hashes: [gate.hash(), protobufC.hash(), swift.hash()])
    }
  }

  /// The costliest legal spelling of columns: unpacked, one value of each column in turn, a whole frame of them.
  private static func scatteredPacket(fixes: Int) -> [UInt8] {
    var body: [UInt8] = []
    WireWriter.field(1, 1, into: &body)
    for value in 0..<fixes {
      for column: UInt32 in [2, 3, 4, 5, 6, 7, 8, 9, 14, 15] { WireWriter.field(column, UInt64(value % 100), into: &body) }
    }
    WireWriter.field(32, UInt64(fixes), into: &body)
    var out: [UInt8] = []
    WireWriter.header(3, bytes: body.count, into: &out)
    return out + body
  }

  private static func packet(_ fixes: ArraySlice<Fix>, _ columns: Bool) -> [UInt8] {
    var out: [UInt8] = []
    let nothing: [UInt8] = []
    if columns {
      FixEncoder.batch(fixes, work: [], into: &out)
    } else {
      for fix in fixes { FixEncoder.row(fix, from: nothing.span, into: &out) }
    }
    return out
  }
}

func pad(_ text: String, _ width: Int) -> String { text + String(repeating: " ", count: max(0, width - text.count)) }

/// Two decimals, right-aligned.
func number(_ value: Double, _ width: Int) -> String {
  let hundredths = Int((value * 100).rounded())
  let text = "\(hundredths / 100)." + (hundredths % 100 < 10 ? "0" : "") + "\(hundredths % 100)"
  return String(repeating: " ", count: max(0, width - text.count)) + text
}
