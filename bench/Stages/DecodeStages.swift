import BenchHarness
import BenchReport
import GateCore

/// The same packets through `GateCore`, the same algorithm in C, libprotobuf-c and SwiftProtobuf.
enum DecodeStages {
  static func make(_ setting: Stage.Setting) -> [Stage] {
    let fixes = Rides.fixes(20_100 / setting.shrink)
    let rowTargets: [StageResult.Target] = [.speed(of: "C", least: 0.9), .speed(of: "SwiftProtobuf", least: 10)]
    let rows = [1, 10, 60].map { size in
      stage(
        "decode, rows by \(size)", packets(fixes, size) { row($0) }, rivals: [("C", false)], targets: rowTargets)
    }
    let columns = stage(
      "decode, columns of 60", packets(fixes, 60) { batch($0) }, rivals: [("C", false), ("C with SIMD", true)],
      targets: [.speed(of: "C with SIMD", least: 0.8), .speed(of: "SwiftProtobuf", least: 4.5)])
    let scattered = [[UInt8]](repeating: scatteredPacket(fixes: 800), count: max(1, fixes.count / 800))
    return rows + [
      columns,
      stage("decode, 800 scattered", Packets(scattered, fixes: scattered.count * 800), rivals: [], targets: []),
    ]
  }

  private static func stage(
    _ name: String, _ packets: Packets, rivals: [(name: String, simd: Bool)], targets: [StageResult.Target]
  ) -> Stage {
    let gate = GateDecoder(packets)
    let protobufC = ProtobufCDecoder(packets: packets)
    let swift = SwiftProtobufDecoder(packets: packets)
    var entries = [Contest.Entry("fixgate", outcome: { gate.hash().value }) { gate.timed() }]
    for rival in rivals where !rival.simd || RivalDecoder.hasSIMD {
      let decoder = RivalDecoder(packets, simd: rival.simd)
      entries.append(Contest.Entry(rival.name, outcome: { decoder.hash().value }) { decoder.timed() })
    }
    entries.append(Contest.Entry("libprotobuf-c", outcome: { protobufC.hash().value }) { protobufC.timed() })
    entries.append(Contest.Entry("SwiftProtobuf", outcome: { swift.hash().value }) { swift.timed() })
    return Stage(
      name, item: "fix", items: packets.fixes, bytesWritten: Double(MemoryLayout<Fix>.stride), targets: targets, entries)
  }

  private static func packets(_ fixes: [Fix], _ size: Int, _ encode: (ArraySlice<Fix>) -> [UInt8]) -> Packets {
    Packets(
      stride(from: 0, to: fixes.count, by: size).map { encode(fixes[$0..<min(fixes.count, $0 + size)]) }, fixes: fixes.count)
  }

  private static func row(_ fixes: ArraySlice<Fix>) -> [UInt8] {
    var out: [UInt8] = []
    let nothing: [UInt8] = []
    for fix in fixes { FixEncoder.row(fix, from: nothing.span, into: &out) }
    return out
  }

  private static func batch(_ fixes: ArraySlice<Fix>) -> [UInt8] {
    var out: [UInt8] = []
    FixEncoder.batch(fixes, work: [], into: &out)
    return out
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
}
