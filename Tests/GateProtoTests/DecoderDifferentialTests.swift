import GateCore
import Testing
import WireVectors

/// `FixDecoder` against libprotobuf-c and a plain expansion: on vectors, on messages as devices write them, on the same
/// messages in every other legal spelling, and on broken ones.
struct DecoderDifferentialTests {
  @Test(arguments: WireVector.all)
  func vectorsDepartOnlyWhereTheySaySo(vector: WireVector) {
    let theirs = DecoderDifferentialOracle.read(vector.kind, vector.bytes)
    let legal = !vector.expected.hasPrefix("!")
    switch vector.oracle {
    case .agrees: #expect(theirs == (legal ? vector.expected : nil))
    case .refuses: #expect(theirs == nil && legal)
    case .takes: #expect(theirs != nil && theirs != vector.expected)
    }
    if vector.oracle != .agrees { #expect(!DepartureFinder.find(vector.kind, vector.bytes).isEmpty) }
  }

  @Test func everyDepartureHasAVector() {
    let shown = WireVector.all.filter { $0.oracle != .agrees }
      .reduce(into: Set<Departure>()) { $0.formUnion(DepartureFinder.find($1.kind, $1.bytes)) }
    #expect(shown == Set(Departure.allCases))
  }

  @Test(arguments: 0..<300 as Range<UInt64>)
  func realMessagesAgree(seed: UInt64) throws {
    for (kind, message) in messages(seed: seed) {
      let ours = try decoded(kind, message).get()
      #expect(ours == DecoderDifferentialOracle.read(kind, message), "seed \(seed)")
    }
  }

  @Test(arguments: 0..<200 as Range<UInt64>)
  func everyLegalSpellingMeansTheSame(seed: UInt64) throws {
    var spelling = LegalSpelling(seed: seed)
    for (kind, message) in messages(seed: seed) {
      let plain = try decoded(kind, message).get()
      let other = spelling.respell(kind, message)
      #expect(try decoded(kind, other).get() == plain, "seed \(seed)")
      #expect(DecoderDifferentialOracle.read(kind, other) == plain, "seed \(seed)")
    }
  }

  /// Byte flips, cuts, insertions and copies: both accept and mean the same, or both refuse, unless a named departure
  /// is in the message.
  @Test(arguments: 0..<200 as Range<UInt64>)
  func brokenMessagesAgree(seed: UInt64) {
    var random = Seeded(seed: ~seed)
    for (kind, message) in messages(seed: seed) {
      for _ in 0..<25 {
        var bytes = message
        for _ in 0...random.below(3) { mutate(&bytes, &random) }
        let ours = try? decoded(kind, bytes).get()
        let theirs = DecoderDifferentialOracle.read(kind, bytes)
        if ours == theirs { continue }
        let why = DepartureFinder.find(kind, bytes)
        #expect(!why.isEmpty, "seed \(seed) \(kind) \(FixText.hex(bytes.span, bytes.indices))")
      }
    }
  }

  /// The mutations above are neither all harmless nor all fatal, and few need a departure to explain them.
  @Test func brokenMessagesSayAllThereIs() {
    var (taken, refused, departed) = (0, 0, 0)
    var random = Seeded(seed: 5)
    for seed: UInt64 in 0..<40 {
      for (kind, message) in messages(seed: seed) {
        for _ in 0..<25 {
          var bytes = message
          mutate(&bytes, &random)
          let ours = try? decoded(kind, bytes).get()
          if ours != DecoderDifferentialOracle.read(kind, bytes) {
            departed += 1
          } else if ours == nil {
            refused += 1
          } else {
            taken += 1
          }
        }
      }
    }
    #expect(taken > 300 && refused > 300 && departed < 400, "\(taken) taken, \(refused) refused, \(departed) departed")
  }

  private func messages(seed: UInt64) -> [(WireVector.Kind, [UInt8])] {
    var maker = RandomFixes(seed: seed)
    let fixes = maker.run(1 + maker.random.below(24))
    var batch: [UInt8] = []
    FixEncoder.batch(fixes[...], work: maker.work(), from: maker.source.span, into: &batch)
    var row: [UInt8] = []
    FixEncoder.row(fixes[0], from: maker.source.span, into: &row)
    return [(.row, body(row)), (.batch, body(batch))]
  }

  /// The message without `Uplink`'s tag and length.
  private func body(_ field: [UInt8]) -> [UInt8] {
    var scanner = UplinkScanner(0..<field.count)
    switch try? scanner.next(in: field.span) {
    case .fix(let range), .batch(let range): return Array(field[range])
    default: preconditionFailure("the encoder wrote something else")
    }
  }

  private func mutate(_ bytes: inout [UInt8], _ random: inout Seeded) {
    if bytes.isEmpty { return bytes.append(UInt8(random.below(256))) }
    let at = random.below(bytes.count)
    switch random.below(6) {
    case 0: bytes[at] = UInt8(random.below(256))
    case 1: bytes[at] ^= 1 << UInt8(random.below(8))
    case 2: bytes.removeSubrange(at...)
    case 3: bytes.remove(at: at)
    case 4: bytes.insert(UInt8(random.below(256)), at: at)
    default: bytes.insert(contentsOf: bytes[at..<min(bytes.count, at + 1 + random.below(12))], at: random.below(bytes.count))
    }
  }
}
