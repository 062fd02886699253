package import GateCore

/// Random fixes that a device could have recorded, and some that none would: extreme values, holes, odd columns.
package struct RandomFixes {
  package var random: Seeded
  /// What the fixes' regions are positions in.
  package private(set) var source: [UInt8] = []

  package init(seed: UInt64) { random = Seeded(seed: seed) }

  /// - Returns: consecutive fixes. Columns are common to all, common to some, or none's.
  package mutating func run(_ count: Int, attributes: Bool = true) -> [Fix] {
    var fix = Fix()
    fix.sequence = random.chance(5) ? Limits.sequenceMax : UInt64(random.below(1 << 20))
    fix.fixTimeMs = 1_700_000_000_000 + Int64(random.below(1_000_000)) * (random.chance(50) ? 1_000 : 1)
    let step = random.chance(50) ? 1_000 : 1 + random.below(70_000)
    let odds = (0..<27).map { _ in [0, 0, 30, 100, 100][random.below(5)] }
    let wild = random.chance(20)
    var fixes: [Fix] = []
    for _ in 0..<count {
      fix.present = []
      fix.fixTimeMs += random.chance(90) ? Int64(step) : Int64(random.below(1 << 30)) - 1 << 29
      fix.latitudeE7 = moved(fix.latitudeE7, wild)
      fix.longitudeE7 = moved(fix.longitudeE7, wild)
      fix.monotonicMs &+= UInt64(step)
      for bit: UInt32 in 0..<27 where random.chance(odds[Int(bit)]) {
        fix.present.formUnion(FixFields(rawValue: 1 << bit))
      }
      for column in Column.allCases {
        let kept = fix.values[column.index]
        fix[column] = fix.present.contains(FixFields(column)) ? moved(kept, wild) : nil
      }
      fix.attributes = attributes && random.chance(15) ? entries() : Region()
      fixes.append(fix)
      fix.sequence += 1
    }
    return fixes
  }

  private mutating func moved(_ value: Int32, _ wild: Bool) -> Int32 {
    if wild { return Int32(truncatingIfNeeded: random.next() >> UInt64(random.below(40))) }
    return random.chance(40) ? value : value &+ Int32(random.below(400) - 200)
  }

  /// One to three attributes, appended to `source`.
  private mutating func entries() -> Region {
    let start = source.count
    for _ in 0...random.below(3) {
      var body: [UInt8] = []
      WireWriter.field(1, UInt64(random.below(100_000)), into: &body)
      switch random.below(4) {
      case 0: WireWriter.field(2, random.next() >> UInt64(random.below(60)), into: &body)
      case 1:
        body.append(3 << 3 | 1)
        for _ in 0..<8 { body.append(UInt8(random.below(256))) }
      case 2:
        let text = Array("Straße \(random.below(1_000))".utf8)
        WireWriter.header(4, bytes: text.count, into: &body)
        body += text
      default:
        let length = random.below(20)
        WireWriter.header(5, bytes: length, into: &body)
        for _ in 0..<length { body.append(UInt8(random.below(256))) }
      }
      WireWriter.header(31, bytes: body.count, into: &source)
      source += body
    }
    return Region(offset: UInt32(start), length: UInt32(source.count - start))
  }

  /// Body of a `Work` message, or nothing.
  package mutating func work() -> [UInt8] {
    if random.chance(60) { return [] }
    var body: [UInt8] = []
    for field: UInt32 in 1...3 where random.chance(60) {
      let text = Array("ref-\(random.below(10_000))".utf8)
      WireWriter.header(field, bytes: text.count, into: &body)
      body += text
    }
    if random.chance(50) { WireWriter.field(4, UInt64(random.below(300)), into: &body) }
    return body
  }
}
