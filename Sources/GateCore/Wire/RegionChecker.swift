/// Checks what a fix's regions hold before anything is stored: wire structure, UTF-8 and length. Readers of a stored
/// region need not fail.
enum RegionChecker {
  /// Grows `region` so that it ends at `end`; an empty one begins at `start`.
  static func extend(_ region: Region, from start: Int, to end: Int, workAt: Int) throws(DecodeError) -> Region {
    let grown = extend(region, from: start, to: end)
    guard grown.length <= Limits.workBytesMax else { throw .workTooLong(offset: workAt) }
    return grown
  }

  static func extend(_ region: Region, from start: Int, to end: Int, attributesAt: Int) throws(DecodeError) -> Region {
    let grown = extend(region, from: start, to: end)
    guard grown.length <= Limits.attributeBytesMax else { throw .attributesTooLong(offset: attributesAt) }
    return grown
  }

  static func extend(_ region: Region, from start: Int, to end: Int) -> Region {
    let offset = region.isEmpty ? UInt32(start) : region.offset
    return Region(offset: offset, length: UInt32(end) - offset)
  }

  /// - Parameter range: the body of one `Attribute`.
  static func attribute(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) {
    let bytes = bytes.extracting(first: range.upperBound)
    var at = range.lowerBound
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      if tag == 4 << 3 | 2 {
        try text(bytes, try WireReader.range(bytes, &at))
      } else {
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
  }

  /// - Parameter range: the body of one `Work`.
  static func work(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) {
    let bytes = bytes.extracting(first: range.upperBound)
    var at = range.lowerBound
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3 | 2, 2 << 3 | 2, 3 << 3 | 2: try text(bytes, try WireReader.range(bytes, &at))
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
  }

  /// - Parameter range: the body of one `FixAttributes`.
  /// - Returns: its index; 0 when absent.
  static func fixAttributes(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) -> UInt32 {
    let bytes = bytes.extracting(first: range.upperBound)
    var at = range.lowerBound
    var index: UInt32 = 0
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3: index = UInt32(truncatingIfNeeded: try WireReader.varint(bytes, &at))
      case 31 << 3 | 2: try attribute(bytes, try WireReader.range(bytes, &at))
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
    return index
  }

  private static func text(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) {
    do throws(UTF8.ValidationError) {
      _ = try UTF8Span(validating: bytes.extracting(range))
    } catch {
      throw .badText(offset: range.lowerBound)
    }
  }
}
