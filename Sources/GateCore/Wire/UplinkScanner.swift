/// One field of an `Uplink`. Ranges are message bodies, positions in the bytes that are scanned.
package enum UplinkPart: Equatable, Sendable {
  case hello(Range<Int>)
  case fix(Range<Int>)
  case batch(Range<Int>)
  case gap(Range<Int>)
  case ping(Range<Int>)
  case applied(Range<Int>)
  /// Number of a `Lane`, of all fixes in the frame; the last one counts. Numbers that `Lane` lacks come through.
  case lane(Int32)
  /// The last one counts.
  case oldestHeld(UInt64)
  /// The last one counts.
  case sendTimeMs(Int64)
}

/// Walks the top level of one `Uplink`, in one pass and without looking into its messages. Repeated occurrences of
/// `hello`, `ping` and `applied` are handed out one by one; a message split over several is the concatenation of its parts.
package struct UplinkScanner: Sendable {
  /// Fields that this version does not know, and fields with another wire type than this version knows.
  package private(set) var unknownFields = 0
  private var at: Int
  private let end: Int

  /// - Parameter range: one frame's payload, from `FrameScanner` or a datagram.
  package init(_ range: Range<Int>) {
    at = range.lowerBound
    end = range.upperBound
  }

  /// - Parameter bytes: the span in which the range given to `init` lies, the same in each call.
  /// - Returns: the next field that this version knows; `nil` at the end.
  package mutating func next(in bytes: Span<UInt8>) throws(DecodeError) -> UplinkPart? {
    let bytes = bytes.extracting(first: end)
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3 | 2: return .hello(try WireReader.range(bytes, &at))
      case 2 << 3 | 2: return .fix(try WireReader.range(bytes, &at))
      case 3 << 3 | 2: return .batch(try WireReader.range(bytes, &at))
      case 4 << 3 | 2: return .gap(try WireReader.range(bytes, &at))
      case 5 << 3 | 2: return .ping(try WireReader.range(bytes, &at))
      case 6 << 3 | 2: return .applied(try WireReader.range(bytes, &at))
      case 7 << 3: return .lane(Int32(truncatingIfNeeded: try WireReader.varint(bytes, &at)))
      case 8 << 3: return .oldestHeld(try WireReader.varint(bytes, &at))
      case 9 << 3: return .sendTimeMs(Int64(bitPattern: try WireReader.varint(bytes, &at)))
      default:
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
        unknownFields &+= 1
      }
    }
    return nil
  }
}
