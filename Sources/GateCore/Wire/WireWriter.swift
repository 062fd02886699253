/// Appends protobuf's wire format to bytes that the caller owns, in the shortest spelling.
package enum WireWriter {
  package static func varint(_ value: UInt64, into out: inout [UInt8]) {
    var rest = value
    while rest >= 0x80 {
      out.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest &>>= 7
    }
    out.append(UInt8(truncatingIfNeeded: rest))
  }

  /// A varint field.
  package static func field(_ number: UInt32, _ value: UInt64, into out: inout [UInt8]) {
    varint(UInt64(number &<< 3), into: &out)
    varint(value, into: &out)
  }

  package static func fixed32(_ number: UInt32, _ value: UInt32, into out: inout [UInt8]) {
    varint(UInt64(number &<< 3 | 5), into: &out)
    for shift: UInt32 in [0, 8, 16, 24] { out.append(UInt8(truncatingIfNeeded: value &>> shift)) }
  }

  /// Tag and length of a message, string, byte field or packed column; the body follows.
  package static func header(_ number: UInt32, bytes: Int, into out: inout [UInt8]) {
    varint(UInt64(number &<< 3 | 2), into: &out)
    varint(UInt64(bytes), into: &out)
  }

  /// Puts tag and length before what stands in `out` from `start` on.
  static func enclose(_ number: UInt32, from start: Int, in out: inout [UInt8]) {
    var prefix: [UInt8] = []
    header(number, bytes: out.count - start, into: &prefix)
    out.insert(contentsOf: prefix, at: start)
  }

  static func varintBytes(_ value: UInt64) -> Int { max(1, (70 - value.leadingZeroBitCount) / 7) }

  static func zigzag32(_ value: UInt32) -> UInt64 {
    UInt64(value &<< 1 ^ UInt32(bitPattern: Int32(bitPattern: value) &>> 31))
  }

  static func zigzag64(_ value: UInt64) -> UInt64 {
    value &<< 1 ^ UInt64(bitPattern: Int64(bitPattern: value) &>> 63)
  }
}
