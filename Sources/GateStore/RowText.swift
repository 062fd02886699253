package import GateCore

/// The text columns of one row, rendered one behind the other into bytes that are reused from row to row.
package struct RowText {
  package private(set) var bytes: [UInt8] = []
  package private(set) var workSubject: Range<Int>?
  package private(set) var task: Range<Int>?
  package private(set) var stop: Range<Int>?
  package private(set) var originals: Range<Int>?
  package private(set) var attributes: Range<Int>?
  /// From the device's `Work`; the record's own number counts before it.
  package private(set) var policyVersion: UInt32?

  package init() {}

  /// - Parameter source: the bytes the record was read from.
  /// - Throws: where attributes or work are not protobuf: the decoder lets no such thing through.
  package mutating func render(_ record: Record, from source: Span<UInt8>) throws(DecodeError) {
    bytes.removeAll(keepingCapacity: true)
    workSubject = nil
    task = nil
    stop = nil
    originals = nil
    attributes = nil
    policyVersion = nil
    if !record.fix.work.isEmpty {
      let work = try WorkReader(record.fix.work, in: source)
      policyVersion = work.policyVersion
      workSubject = plain(work.subject, source)
      task = plain(work.task, source)
      stop = plain(work.stop, source)
    }
    if record.originalCount > 0 { originals = render(originalsOf: record) }
    if !record.fix.attributes.isEmpty { attributes = try render(attributesOf: record, source) }
  }

  /// `{"latitude_e7": 950000000}`, by wire name, or by field number where there is no such column.
  private mutating func render(originalsOf record: Record) -> Range<Int> {
    let start = bytes.count
    for i in 0..<record.originalCount {
      let original = record.originals[i]
      bytes.append(UInt8(ascii: i == 0 ? "{" : ","))
      bytes.append(UInt8(ascii: "\""))
      switch original.field {
      case 2: append("time_ms")
      case 3: append("latitude_e7")
      case 4: append("longitude_e7")
      case 29: append("monotonic_ms")
      case 5...28: append(FixTable.columnNames[Int(original.field) - Column.first])
      default: bytes.append(decimal: Int64(original.field))
      }
      append("\":")
      bytes.append(decimal: original.value)
    }
    bytes.append(UInt8(ascii: "}"))
    return start..<bytes.count
  }

  /// `{"id": value, ...}`: a blob is a hex string, and so is a number that JSON does not have ("NaN").
  private mutating func render(attributesOf record: Record, _ source: Span<UInt8>) throws(DecodeError) -> Range<Int>? {
    let start = bytes.count
    var reader = AttributeReader(record.fix.attributes)
    while let attribute = try reader.next(in: source) {
      bytes.append(UInt8(ascii: bytes.count == start ? "{" : ","))
      bytes.append(UInt8(ascii: "\""))
      bytes.append(decimal: Int64(attribute.id))
      append("\":")
      switch attribute.value {
      case .integer(let value): bytes.append(decimal: value)
      case .number(let value):
        if value.isFinite { append(value.description) } else { append("\"\(value.description)\"") }
      case .text(let range): bytes.append(json: range, of: source)
      case .blob(let range):
        bytes.append(UInt8(ascii: "\""))
        for i in range {
          bytes.append(hexDigit(source[i] >> 4))
          bytes.append(hexDigit(source[i] & 15))
        }
        bytes.append(UInt8(ascii: "\""))
      }
    }
    if bytes.count == start { return nil }
    bytes.append(UInt8(ascii: "}"))
    return start..<bytes.count
  }

  /// Text for a column of its own: a NUL would hide what stands behind it from the shell.
  private mutating func plain(_ range: Range<Int>?, _ source: Span<UInt8>) -> Range<Int>? {
    guard let range, !range.isEmpty else { return nil }
    let start = bytes.count
    for i in range { bytes.append(source[i] == 0 ? UInt8(ascii: "?") : source[i]) }
    return start..<bytes.count
  }

  private mutating func append(_ text: String) { bytes.append(contentsOf: text.utf8) }
}

private func hexDigit(_ value: UInt8) -> UInt8 {
  value < 10 ? UInt8(ascii: "0") + value : UInt8(ascii: "a") + value - 10
}

extension [UInt8] {
  /// Appends a number in decimal.
  mutating func append(decimal value: Int64) {
    if value < 0 { append(UInt8(ascii: "-")) }
    append(magnitude: value.magnitude, digits: 1)
  }

  /// Appends a number with leading zeros up to `digits`.
  mutating func append(magnitude value: UInt64, digits: Int) {
    var buffer = InlineArray<20, UInt8>(repeating: UInt8(ascii: "0"))
    var rest = value
    var count = 0
    repeat {
      buffer[count] = UInt8(ascii: "0") + UInt8(rest % 10)
      rest /= 10
      count += 1
    } while rest != 0
    for i in (0..<Swift.max(count, Swift.min(digits, 20))).reversed() { append(buffer[i]) }
  }

  /// Appends `value` / 10^`places` exactly: integer arithmetic, no rounding, all places written.
  mutating func append(fixed value: Int64, places: Int) {
    if value < 0 { append(UInt8(ascii: "-")) }
    var scale: UInt64 = 1
    for _ in 0..<places { scale *= 10 }
    append(magnitude: value.magnitude / scale, digits: 1)
    if places > 0 {
      append(UInt8(ascii: "."))
      append(magnitude: value.magnitude % scale, digits: places)
    }
  }

  /// Appends UTF-8 as a JSON string.
  mutating func append(json range: Range<Int>, of source: Span<UInt8>) {
    append(UInt8(ascii: "\""))
    for i in range {
      let byte = source[i]
      switch byte {
      // PostgreSQL has no NUL in JSON, and C strings end there.
      case 0: append(contentsOf: "\\ufffd".utf8)
      case UInt8(ascii: "\""), UInt8(ascii: "\\"):
        append(UInt8(ascii: "\\"))
        append(byte)
      case 0..<0x20, 0x7f:
        append(contentsOf: "\\u00".utf8)
        append(hexDigit(byte >> 4))
        append(hexDigit(byte & 15))
      default: append(byte)
      }
    }
    append(UInt8(ascii: "\""))
  }
}
