import GateCore
import Testing

/// `WireReader` through a row: every length and padding of a varint, at every distance from the end of the buffer, since
/// long and short ones are read in different ways.
struct WireReaderTests {
  @Test func everyVarintReadsTheSameWhereverItLies() throws {
    for bits in 0...64 {
      for value in [UInt64(1) &<< UInt64(min(bits, 63)), bits == 64 ? ~0 : (1 << UInt64(bits)) &- 1] {
        var plain: [UInt8] = []
        WireWriter.varint(value, into: &plain)
        for length in plain.count...10 {
          var padded = plain
          for _ in plain.count..<length {
            padded[padded.count - 1] |= 0x80
            padded.append(0)
          }
          for slack in 0...9 {
            let message = [2 << 3] + padded
            let buffer = message + [UInt8](repeating: 0xff, count: slack)
            var fix = Fix()
            try FixDecoder.fix(buffer.span, 0..<message.count, into: &fix)
            #expect(fix.fixTimeMs == Int64(bitPattern: value))
            // The same as the monotonic time, with fields behind it.
            let behind: [UInt8] = [29 << 3 & 0x7f | 0x80, 1] + padded + [UInt8](repeating: 6 << 3, count: 1) + [9]
            try FixDecoder.fix(behind.span, 0..<behind.count, into: &fix)
            #expect(fix.monotonicMs == value && fix[.speedCmPerS] == 9)
          }
        }
      }
    }
  }
}
