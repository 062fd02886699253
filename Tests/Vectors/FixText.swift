package import GateCore

/// A fix as one line of text, for comparing and for vectors: `seq=1 time=5 lat=1 lon=2 c6=300 mono=9 work=s,t,p,1 a7=i-1`.
/// Absent parts are left out; texts and blobs are in hexadecimal.
package enum FixText {
  package static func describe(_ fix: Fix, in bytes: Span<UInt8>) throws(DecodeError) -> String {
    var parts = ["seq=\(fix.sequence)"]
    if fix.present.contains(.time) { parts.append("time=\(fix.fixTimeMs)") }
    if fix.present.contains(.position) { parts.append("lat=\(fix.latitudeE7) lon=\(fix.longitudeE7)") }
    for column in Column.allCases {
      if let value = fix[column] {
        parts.append("c\(column.rawValue)=\(value)")
      } else if fix.values[column.index] != 0 {
        parts.append("c\(column.rawValue)=not-zeroed")
      }
    }
    if fix.present.contains(.monotonic) { parts.append("mono=\(fix.monotonicMs)") }
    if !fix.work.isEmpty { parts.append(try work(fix.work, in: bytes)) }
    var reader = AttributeReader(fix.attributes)
    while let attribute = try reader.next(in: bytes) {
      let value =
        switch attribute.value {
        case .integer(let value): "i\(value)"
        case .number(let value): "n\(value.bitPattern)"
        case .text(let range): "t\(hex(bytes, range))"
        case .blob(let range): "b\(hex(bytes, range))"
        }
      parts.append("a\(attribute.id)=\(value)")
    }
    return parts.joined(separator: " ")
  }

  private static func work(_ region: Region, in bytes: Span<UInt8>) throws(DecodeError) -> String {
    let work = try WorkReader(region, in: bytes)
    let texts = [work.subject, work.task, work.stop].map { range in range.map { hex(bytes, $0) } ?? "-" }
    return "work=\(texts.joined(separator: ",")),\(work.policyVersion.map(String.init) ?? "-")"
  }

  package static func hex(_ bytes: Span<UInt8>, _ range: Range<Int>) -> String {
    var text = ""
    for i in range {
      text += String(bytes[i] >> 4, radix: 16) + String(bytes[i] & 15, radix: 16)
    }
    return text
  }
}

/// What the decoder makes of a message: its fixes as text joined by ` ; `, or the error.
package func decoded(_ kind: WireVector.Kind, _ message: [UInt8]) -> Result<String, DecodeError> {
  decodedPrefix(kind, message, message.count)
}

/// The same for the first `end` bytes, the others lying behind the message.
package func decodedPrefix(_ kind: WireVector.Kind, _ buffer: [UInt8], _ end: Int) -> Result<String, DecodeError> {
  let bytes = buffer.span
  var fixes = [Fix](repeating: dirty, count: Limits.fixesPerFrameMax)
  do throws(DecodeError) {
    var count = 1
    switch kind {
    case .row: try FixDecoder.fix(bytes, 0..<end, into: &fixes[0])
    case .batch:
      var span = fixes.mutableSpan
      count = try FixDecoder.batch(bytes, 0..<end, into: &span, at: 0)
    }
    var texts: [String] = []
    for fix in fixes[..<count] { texts.append(try FixText.describe(fix, in: bytes)) }
    return .success(texts.joined(separator: " ; "))
  } catch {
    return .failure(error)
  }
}

/// A fix that shows whether the decoder overwrites all of it.
private let dirty: Fix = {
  var fix = Fix()
  fix.sequence = 99
  fix.present = FixFields(rawValue: ~0)
  for i in fix.values.indices { fix.values[i] = -77 }
  fix.attributes = Region(offset: 1, length: 9_999)
  fix.work = Region(offset: 1, length: 9_999)
  return fix
}()

/// `!case@offset`, as vectors spell it.
package func errorText(_ error: DecodeError) -> String {
  let text = "\(error)"  // truncated(offset: 3)
  return "!" + text.replacing("(offset: ", with: "@").dropLast()
}
