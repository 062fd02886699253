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
  /// The last one counts.
  case sendMonotonicMs(UInt64)
  case enrol(Range<Int>)

  /// Fixes, and what is said about them: all that early data may hold.
  package var isAboutFixes: Bool {
    switch self {
    case .fix, .batch, .lane, .sendTimeMs, .sendMonotonicMs: true
    case .hello, .enrol, .gap, .ping, .applied, .oldestHeld: false
    }
  }
}

/// Walks the top level of one `Uplink`, in one pass and without looking into its messages. Repeated occurrences of
/// `hello`, `ping`, `applied` and `enrol` are handed out one by one; a message split over several is the concatenation of its parts.
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
    var at = self.at
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      if tag & 7 == 2, tag <= 6 << 3 | 2 {
        let body = try WireReader.range(bytes, &at)
        self.at = at
        switch tag &>> 3 {
        case 2: return .fix(body)
        case 3: return .batch(body)
        case 1: return .hello(body)
        case 4: return .gap(body)
        case 5: return .ping(body)
        default: return .applied(body)
        }
      }
      if tag & 7 == 0, tag >= 7 << 3, tag <= 10 << 3 {
        let value = try WireReader.varint(bytes, &at)
        self.at = at
        switch tag &>> 3 {
        case 7: return .lane(Int32(truncatingIfNeeded: value))
        case 8: return .oldestHeld(value)
        case 9: return .sendTimeMs(Int64(bitPattern: value))
        default: return .sendMonotonicMs(value)
        }
      }
      if tag == 11 << 3 | 2 {
        let body = try WireReader.range(bytes, &at)
        self.at = at
        return .enrol(body)
      }
      try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      unknownFields &+= 1
    }
    self.at = at
    return nil
  }
}
