import BenchHarness
import CRivals
import GateCore

/// Frames of one row each found in a receive buffer.
enum FrameStages {
  static func make(_ setting: Stage.Setting) -> [Stage] {
    var bytes: [UInt8] = []
    let none: [UInt8] = []
    let fixes = Rides.fixes(1_500)
    for fix in fixes {
      var row: [UInt8] = []
      FixEncoder.row(fix, from: none.span, into: &row)
      WireWriter.varint(UInt64(row.count), into: &bytes)
      bytes += row
    }
    let frames = UInt64(fixes.count)
    let repeats = max(1, 200 / setting.shrink)
    let ours = Contest.Entry("fixgate") {
      var found: UInt64 = 0
      for _ in 0..<repeats { found += scan(bytes) }
      precondition(found == frames * UInt64(repeats))
      return found
    }
    let rival = Contest.Entry("C") {
      var found: UInt64 = 0
      for _ in 0..<repeats { found += UInt64(unsafe rival_frames(bytes, bytes.count, Limits.frameBytesMax)) }
      precondition(found == frames * UInt64(repeats))
      return found
    }
    return [Stage("frame", item: "frame", items: fixes.count * repeats, [ours, rival])]
  }

  private static func scan(_ bytes: [UInt8]) -> UInt64 {
    var frames: UInt64 = 0
    var at = 0
    while let frame = try? FrameScanner.next(in: bytes.span, from: at, to: bytes.count) {
      at = frame.upperBound
      frames += 1
    }
    return frames
  }
}
