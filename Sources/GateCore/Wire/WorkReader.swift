/// What a fix was recorded for: the `Work` entries of `Fix.work`, merged as protobuf merges a message that occurs more
/// than once. Ranges are UTF-8, positions in the bytes that the region belongs to; `nil` is absent.
package struct WorkReader: Equatable, Sendable {
  package private(set) var subject: Range<Int>?
  package private(set) var task: Range<Int>?
  package private(set) var stop: Range<Int>?
  package private(set) var policyVersion: UInt32?

  /// - Parameter bytes: the frame or record that the region was taken from.
  /// - Throws: never for a region that `FixDecoder` has made, since it checks them.
  package init(_ region: Region, in bytes: Span<UInt8>) throws(DecodeError) {
    let bytes = bytes.extracting(first: region.range.upperBound)
    var at = region.range.lowerBound
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      if tag == 30 << 3 | 2 {
        try merge(bytes, try WireReader.range(bytes, &at))
      } else {
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
  }

  private mutating func merge(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) {
    let bytes = bytes.extracting(first: range.upperBound)
    var at = range.lowerBound
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3 | 2: subject = try WireReader.range(bytes, &at)
      case 2 << 3 | 2: task = try WireReader.range(bytes, &at)
      case 3 << 3 | 2: stop = try WireReader.range(bytes, &at)
      case 4 << 3: policyVersion = UInt32(truncatingIfNeeded: try WireReader.varint(bytes, &at))
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
  }

  /// Where the `Work` fields of a region lie, their tags included.
  struct Fields {
    private var at: Int
    private let end: Int

    init(_ region: Region) {
      at = region.range.lowerBound
      end = region.range.upperBound
    }

    mutating func next(in bytes: Span<UInt8>) throws(DecodeError) -> Range<Int>? {
      let bytes = bytes.extracting(first: end)
      while at < bytes.count {
        let tagAt = at
        let tag = try WireReader.tag(bytes, &at)
        if tag == 30 << 3 | 2 {
          _ = try WireReader.range(bytes, &at)
          return tagAt..<at
        }
        try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
      return nil
    }
  }
}
