/// The protobuf wire format: tags, varints, lengths and what to skip. No state: `at` is the position in `bytes`, and
/// the end of `bytes` is the end of the message that is read, so one comparison serves as end test and bounds check.
///
/// Positions stay those of the whole frame: a message is read from the frame's bytes cut off behind it, not cut in front.
package enum WireReader {
  /// Groups inside groups that a skipped unknown field may have.
  package static let groupDepthMax = 16

  /// Whether there is a byte at `at`: asked as the span's own check asks, so that one comparison is left of the two.
  @inline(__always)
  static func has(_ bytes: Span<UInt8>, _ at: Int) -> Bool { UInt(bitPattern: at) < UInt(bitPattern: bytes.count) }

  /// Reads a varint of one to ten bytes. Bits above 64 are dropped, as the encoding guide says.
  ///
  /// Up to three bytes are read in line, each behind a branch that predicts well. `at` is not lent to a function that is
  /// not inlined, here and in the callers' loops, so that it can stay in a register.
  @inline(__always)
  static func varint(_ bytes: Span<UInt8>, _ at: inout Int) throws(DecodeError) -> UInt64 {
    guard has(bytes, at) else { throw .truncated(offset: at) }
    let first = UInt64(bytes[at])
    if first < 0x80 {
      at &+= 1
      return first
    }
    if bytes.count &- at >= 3 {
      let second = UInt64(bytes[at &+ 1])
      if second < 0x80 {
        at &+= 2
        return first & 0x7f | second &<< 7
      }
      let third = UInt64(bytes[at &+ 2])
      if third < 0x80 {
        at &+= 3
        return first & 0x7f | (second & 0x7f) &<< 7 | third &<< 14
      }
    }
    let long = try longVarint(bytes, at)
    at = long.end
    return long.value
  }

  @inline(never)
  static func longVarint(_ bytes: Span<UInt8>, _ start: Int) throws(DecodeError) -> (value: UInt64, end: Int) {
    if bytes.count &- start >= 8 {
      let word = word64(bytes, start)
      let ends = ~word & 0x8080_8080_8080_8080
      if ends != 0 {
        let bits = UInt64(truncatingIfNeeded: ends.trailingZeroBitCount)  // 7, 15, ... 63
        let kept = word & (~0 &>> (63 &- bits)) & 0x7f7f_7f7f_7f7f_7f7f
        return (gathered(kept), start &+ Int(truncatingIfNeeded: bits &>> 3) &+ 1)
      }
    }
    var at = start
    var value: UInt64 = 0
    var shift: UInt64 = 0
    while at < bytes.count {
      let byte = bytes[at]
      at &+= 1
      value |= UInt64(byte & 0x7f) &<< shift
      if byte < 0x80 { return (value, at) }
      shift &+= 7
      if shift == 70 { throw .badVarint(offset: start) }
    }
    throw .truncated(offset: start)
  }

  /// Moves the low seven bits of eight bytes together: pairs, then fours, then all.
  @inline(__always)
  private static func gathered(_ bytes: UInt64) -> UInt64 {
    let pairs = bytes & 0x007f_007f_007f_007f | (bytes & 0x7f00_7f00_7f00_7f00) &>> 1
    let fours = pairs & 0x0000_3fff_0000_3fff | (pairs & 0x3fff_0000_3fff_0000) &>> 2
    return fours & 0x0fff_ffff | (fours &>> 32) &<< 28
  }

  /// Eight bytes, little endian, of which all must be there. One bounds check, one load.
  @inline(__always)
  static func word64(_ bytes: Span<UInt8>, _ at: Int) -> UInt64 {
    let word = bytes.extracting(at..<at &+ 8)
    let low = UInt64(word[0]) | UInt64(word[1]) &<< 8 | UInt64(word[2]) &<< 16 | UInt64(word[3]) &<< 24
    let high = UInt64(word[4]) &<< 32 | UInt64(word[5]) &<< 40 | UInt64(word[6]) &<< 48 | UInt64(word[7]) &<< 56
    return low | high
  }

  /// Four bytes, in the same way.
  @inline(__always)
  static func word32(_ bytes: Span<UInt8>, _ at: Int) -> UInt32 {
    let word = bytes.extracting(at..<at &+ 4)
    return UInt32(word[0]) | UInt32(word[1]) &<< 8 | UInt32(word[2]) &<< 16 | UInt32(word[3]) &<< 24
  }

  /// Reads a tag: field number and wire type. Padding to five bytes is legal.
  @inline(__always)
  static func tag(_ bytes: Span<UInt8>, _ at: inout Int) throws(DecodeError) -> UInt32 {
    let start = at
    guard at < bytes.count else { throw .truncated(offset: at) }
    let first = bytes[at]
    if first < 0x80, first >= 8 {
      at &+= 1
      return UInt32(first)
    }
    let long = try longTag(bytes, start)
    at = long.end
    return long.value
  }

  @inline(never)
  private static func longTag(_ bytes: Span<UInt8>, _ start: Int) throws(DecodeError) -> (value: UInt32, end: Int) {
    var at = start
    let value = try varint(bytes, &at)
    guard at &- start <= 5, value <= UInt64(UInt32.max), value >= 8 else { throw .badTag(offset: start) }
    return (UInt32(truncatingIfNeeded: value), at)
  }

  /// Reads a length prefix and steps over what it measures.
  @inline(__always)
  static func range(_ bytes: Span<UInt8>, _ at: inout Int) throws(DecodeError) -> Range<Int> {
    let start = at
    let length = try varint(bytes, &at)
    guard length <= UInt64(truncatingIfNeeded: bytes.count &- at) else { throw .truncated(offset: start) }
    let body = at
    at &+= Int(truncatingIfNeeded: length)
    return body..<at
  }

  @inline(__always)
  static func fixed32(_ bytes: Span<UInt8>, _ at: inout Int) throws(DecodeError) -> UInt32 {
    guard bytes.count &- at >= 4 else { throw .truncated(offset: at) }
    let value = word32(bytes, at)
    at &+= 4
    return value
  }

  /// Steps over the value of a field whose tag has been read.
  static func skip(_ tag: UInt32, _ bytes: Span<UInt8>, _ at: inout Int, tagAt: Int) throws(DecodeError) {
    switch tag & 7 {
    case 0: _ = try varint(bytes, &at)
    case 1: try step(8, bytes, &at)
    case 2: _ = try range(bytes, &at)
    case 3: try skipGroup(tag &>> 3, bytes, &at, depth: 1, tagAt: tagAt)
    case 4: throw .unmatchedGroup(offset: tagAt)
    case 5: try step(4, bytes, &at)
    default: throw .badTag(offset: tagAt)
    }
  }

  private static func step(_ length: Int, _ bytes: Span<UInt8>, _ at: inout Int) throws(DecodeError) {
    guard bytes.count &- at >= length else { throw .truncated(offset: at) }
    at &+= length
  }

  private static func skipGroup(
    _ field: UInt32, _ bytes: Span<UInt8>, _ at: inout Int, depth: Int, tagAt: Int
  ) throws(DecodeError) {
    guard depth <= groupDepthMax else { throw .nestedTooDeep(offset: tagAt) }
    while true {
      let innerAt = at
      let inner = try tag(bytes, &at)
      switch inner & 7 {
      case 3: try skipGroup(inner &>> 3, bytes, &at, depth: depth + 1, tagAt: innerAt)
      case 4:
        guard inner &>> 3 == field else { throw .unmatchedGroup(offset: innerAt) }
        return
      default: try skip(inner, bytes, &at, tagAt: innerAt)
      }
    }
  }

  @inline(__always)
  static func zigzag32(_ raw: UInt64) -> UInt32 {
    let low = UInt32(truncatingIfNeeded: raw)
    return low &>> 1 ^ (0 &- (low & 1))
  }

  @inline(__always)
  static func zigzag64(_ raw: UInt64) -> UInt64 { raw &>> 1 ^ (0 &- (raw & 1)) }

  /// - Parameter wide: false for a 32-bit field, whose varint is cut to 32 bits first.
  @inline(__always)
  static func zigzag(_ raw: UInt64, wide: Bool) -> UInt64 { wide ? zigzag64(raw) : UInt64(zigzag32(raw)) }
}
