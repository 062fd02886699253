import GateCore
import Testing
import WireVectors

struct FrameScannerTests {
  private enum Answer: Equatable {
    case frame(Range<Int>)
    case more
    case wrong(FrameError)
  }

  private struct Scan: Equatable {
    var frames: [Range<Int>]
    var last: Answer
  }

  private func ask(_ bytes: [UInt8], from start: Int = 0, to end: Int? = nil) -> Answer {
    do throws(FrameError) {
      return try FrameScanner.next(in: bytes.span, from: start, to: end ?? bytes.count).map(Answer.frame) ?? .more
    } catch {
      return .wrong(error)
    }
  }

  @Test func prefixes() {
    #expect(ask([]) == .more)
    #expect(ask([0]) == .frame(1..<1))
    #expect(ask([2, 9, 9, 9]) == .frame(1..<3))
    #expect(ask([2, 9]) == .more)
    #expect(ask([0x82, 0x00, 9, 9]) == .frame(2..<4))
    #expect(ask([0x82, 0x80, 0x00, 9, 9]) == .frame(3..<5))
    #expect(ask([0x80]) == .more)
    #expect(ask([0x80, 0x80]) == .more)
    #expect(ask([0x80, 0x80, 0x80]) == .wrong(.badPrefix(offset: 0)))
    #expect(ask([0x81, 0x80, 0x01]) == .wrong(.oversize(offset: 0, length: 16_385)))
    #expect(ask([0x80, 0x80, 0x01]) == .more)
    #expect(ask([0xff, 0xff, 0x7f]) == .wrong(.oversize(offset: 0, length: 2_097_151)))
    #expect(ask([0x80, 0x80, 0x01] + [UInt8](repeating: 7, count: Limits.frameBytesMax)) == .frame(3..<16_387))
    #expect(ask([7, 7, 0xff, 0xff, 0xff], from: 2) == .wrong(.badPrefix(offset: 2)))
  }

  @Test func bytesBehindTheEndAreNotLookedAt() {
    #expect(ask([0x80, 0x80, 0x80, 0x80], to: 2) == .more)
    #expect(ask([3, 1, 2, 3], to: 3) == .more)
  }

  /// Whole, byte by byte, and split at every place: the same frames, the same end.
  @Test(arguments: 0..<40 as Range<UInt64>)
  func howBytesArriveDoesNotMatter(seed: UInt64) {
    var random = Seeded(seed: seed)
    var stream: [UInt8] = []
    for _ in 0..<8 {
      let length = [0, 1, 5, 127, 128, 300][random.below(6)]
      WireWriter.varint(UInt64(length), into: &stream)
      for _ in 0..<length { stream.append(UInt8(random.below(256))) }
    }
    if random.chance(50) { stream += [[0xff, 0xff, 0xff, 0xff], [0xff, 0xff, 0x7f], [0x05, 0x01]][random.below(3)] }
    let whole = scan(stream, arrivals: [stream.count])
    #expect(whole.frames.count >= 8)
    #expect(scan(stream, arrivals: Array(1...stream.count)) == whole)
    for split in 0...stream.count { #expect(scan(stream, arrivals: [split, stream.count]) == whole) }
  }

  private func scan(_ stream: [UInt8], arrivals: [Int]) -> Scan {
    var frames: [Range<Int>] = []
    var start = 0
    var last = Answer.more
    for end in arrivals {
      while true {
        last = ask(stream, from: start, to: end)
        guard case .frame(let range) = last else { break }
        frames.append(range)
        start = range.upperBound
      }
      if case .wrong = last { break }
    }
    return Scan(frames: frames, last: last)
  }
}
