import GateCore
import WireVectors

/// Writes a message anew in another legal spelling: fields in another order, packed columns split or unpacked, varints
/// padded, unknown fields between. Values of one field keep their order.
struct LegalSpelling {
  private var random: Seeded

  init(seed: UInt64) { random = Seeded(seed: seed &* 31) }

  private struct Field {
    var number: UInt32
    var wireType: UInt32
    /// Value, length prefix not included.
    var body: [UInt8]
  }

  mutating func respell(_ kind: WireVector.Kind, _ message: [UInt8]) -> [UInt8] {
    var pieces: [Field] = []
    for field in split(message) {
      if kind == .batch, field.wireType == 2, (2...29).contains(field.number) {
        pieces += column(field)
      } else {
        pieces.append(field)
      }
    }
    for _ in 0..<random.below(3) { pieces.append(unknown()) }

    // Any interleaving that keeps the order within each field number.
    var queues = Dictionary(grouping: pieces, by: \.number).sorted { $0.key < $1.key }.map { $0.value[...] }
    // Regions hold what lies between their fields, so entries of one kind stay together for the length limits.
    var out: [UInt8] = []
    while !queues.isEmpty {
      let pick = random.below(queues.count)
      let number = queues[pick].first?.number ?? 0
      repeat {
        if let next = queues[pick].popFirst() { write(next, into: &out) }
      } while (number == 30 || number == 31) && !queues[pick].isEmpty
      if queues[pick].isEmpty { queues.remove(at: pick) }
    }
    return out
  }

  private func split(_ message: [UInt8]) -> [Field] {
    let bytes = message.span
    var fields: [Field] = []
    var at = 0
    while at < message.count {
      let tag = value(bytes, &at)
      let start: Int
      let end: Int
      switch tag & 7 {
      case 0:
        start = at
        _ = value(bytes, &at)
        end = at
      case 2:
        let length = Int(value(bytes, &at))
        (start, end) = (at, at + length)
      default: (start, end) = (at, at + (tag & 7 == 1 ? 8 : 4))
      }
      at = end
      fields.append(Field(number: UInt32(tag >> 3), wireType: UInt32(tag & 7), body: Array(message[start..<end])))
    }
    return fields
  }

  private func value(_ bytes: Span<UInt8>, _ at: inout Int) -> UInt64 {
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while true {
      let byte = bytes[at]
      at += 1
      value |= UInt64(byte & 0x7f) << shift
      shift += 7
      if byte < 0x80 { return value }
    }
  }

  /// The column's values spread over packed and unpacked occurrences, some of them empty.
  private mutating func column(_ field: Field) -> [Field] {
    if random.chance(30) { return [field] }
    var fields: [Field] = []
    var at = 0
    while at < field.body.count {
      if random.chance(10) { fields.append(Field(number: field.number, wireType: 2, body: [])) }
      let packed = random.chance(60)
      let wanted = packed ? 1 + random.below(8) : 1
      var body: [UInt8] = []
      for _ in 0..<wanted where at < field.body.count {
        var number = value(field.body.span, &at)
        // A 32-bit value may be padded with ones to 64 bits, or with anything.
        if field.number != 2, field.number != 29, random.chance(5) { number |= random.next() << 32 }
        body += varint(number)
      }
      fields.append(Field(number: field.number, wireType: packed ? 2 : 0, body: body))
    }
    return fields
  }

  /// A varint, now and then padded with zeros to ten bytes at most.
  private mutating func varint(_ number: UInt64, longest: Int = 10) -> [UInt8] {
    var bytes: [UInt8] = []
    WireWriter.varint(number, into: &bytes)
    if random.chance(10), bytes.count < longest {
      bytes[bytes.count - 1] |= 0x80
      for _ in bytes.count..<random.below(longest - bytes.count) + bytes.count { bytes.append(0x80) }
      bytes.append(0)
    }
    return bytes
  }

  private mutating func unknown() -> Field {
    let number = 200 + UInt32(random.below(100_000))
    switch random.below(4) {
    case 0: return Field(number: number, wireType: 0, body: varint(random.next()))
    case 1: return Field(number: number, wireType: 1, body: [UInt8](repeating: 0xff, count: 8))
    case 2: return Field(number: number, wireType: 2, body: [0xff, 0xff, 0xff])
    default: return Field(number: number, wireType: 5, body: [1, 2, 3, 4])
    }
  }

  private mutating func write(_ field: Field, into out: inout [UInt8]) {
    out += varint(UInt64(field.number << 3 | field.wireType), longest: 5)
    if field.wireType == 2 { out += varint(UInt64(field.body.count), longest: 5) }
    out += field.body
  }
}
