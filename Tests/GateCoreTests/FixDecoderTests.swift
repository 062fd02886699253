import GateCore
import Testing
import WireVectors

struct FixDecoderTests {
  @Test(arguments: WireVector.all)
  func vectors(vector: WireVector) {
    switch decoded(vector.kind, vector.bytes) {
    case .success(let text): #expect(text == vector.expected)
    case .failure(let error): #expect(errorText(error) == vector.expected)
    }
  }

  /// A message cut off anywhere is refused or means less; bytes behind its end are never part of it.
  @Test(arguments: WireVector.all)
  func readsNothingBehindTheEnd(vector: WireVector) throws {
    for end in 0...vector.bytes.count {
      let alone = decoded(vector.kind, Array(vector.bytes[..<end]))
      for filler: UInt8 in [0x00, 0x7f, 0xff] {
        let padded = Array(vector.bytes[..<end]) + [UInt8](repeating: filler, count: 16)
        #expect(decodedPrefix(vector.kind, padded, end) == alone)
      }
    }
  }

  @Test(arguments: 0..<200 as Range<UInt64>)
  func readsWhatTheEncoderWrites(seed: UInt64) throws {
    var maker = RandomFixes(seed: seed)
    let fixes = maker.run(1 + maker.random.below(80))
    let wanted = try fixes.map { try FixText.describe($0, in: maker.source.span) }
    var rows: [UInt8] = []
    for fix in fixes { FixEncoder.row(fix, from: maker.source.span, into: &rows) }
    #expect(try texts(rows) == wanted)
    var batch: [UInt8] = []
    FixEncoder.batch(fixes[...], work: [], from: maker.source.span, into: &batch)
    #expect(try texts(batch) == wanted)
  }

  @Test func batchesOfAFrameFollowEachOther() throws {
    var maker = RandomFixes(seed: 1)
    let fixes = maker.run(Limits.fixesPerFrameMax, attributes: false)
    var out: [UInt8] = []
    FixEncoder.batch(fixes[..<500], work: [], into: &out)
    FixEncoder.batch(fixes[500...], work: [], into: &out)
    #expect(try texts(out).count == Limits.fixesPerFrameMax)
    FixEncoder.batch(fixes[..<1], work: [], into: &out)
    #expect(throws: DecodeError.self) { try texts(out) }
  }

  @Test func roomIsTheCallers() throws {
    var maker = RandomFixes(seed: 2)
    let fixes = maker.run(10, attributes: false)
    var out: [UInt8] = []
    FixEncoder.batch(fixes[...], work: [], into: &out)
    var room = [Fix](repeating: Fix(), count: 9)
    var span = room.mutableSpan
    var scanner = UplinkScanner(0..<out.count)
    guard case .batch(let body) = try scanner.next(in: out.span) else { return #expect(Bool(false)) }
    do throws(DecodeError) {
      _ = try FixDecoder.batch(out.span, body, into: &span, at: 0)
      #expect(Bool(false))
    } catch {
      #expect(error == .tooManyFixes(offset: body.lowerBound))
    }
  }

  private func texts(_ payload: [UInt8]) throws(DecodeError) -> [String] {
    let bytes = payload.span
    var fixes = [Fix](repeating: Fix(), count: Limits.fixesPerFrameMax)
    var scanner = UplinkScanner(0..<payload.count)
    var count = 0
    while let part = try scanner.next(in: bytes) {
      switch part {
      case .fix(let body):
        try FixDecoder.fix(bytes, body, into: &fixes[count])
        count += 1
      case .batch(let body):
        var span = fixes.mutableSpan
        count += try FixDecoder.batch(bytes, body, into: &span, at: count)
      default: break
      }
    }
    var texts: [String] = []
    for fix in fixes[..<count] { texts.append(try FixText.describe(fix, in: bytes)) }
    return texts
  }
}
