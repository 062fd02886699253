/// What is wrong with a length prefix. The stream cannot be resynchronised: the caller refuses and closes.
package enum FrameError: Error, Equatable, Sendable {
  /// The frame whose prefix begins at `offset` is `length` bytes long, above `Limits.frameBytesMax`. Close the connection.
  case oversize(offset: Int, length: UInt64)
  /// The prefix at `offset` goes on past `Limits.framePrefixBytesMax`: padded, or a length of 2 MiB or more. Close the
  /// connection.
  case badPrefix(offset: Int)
}

/// Finds length-prefixed frames in a byte stream. Copies nothing and keeps nothing between calls.
///
/// Layout: payload length as a varint, then the payload (proto/README, "Stream framing").
package enum FrameScanner {
  /// - Parameters:
  ///   - start: offset of a frame boundary in `bytes`.
  ///   - end: offset behind the last byte received. Bytes from there on are never looked at.
  /// - Returns: the payload's range in `bytes`, empty for a frame of no bytes; `nil` if more bytes are needed.
  /// - Throws: as soon as the bytes at hand prove the prefix wrong, so the answer does not depend on how they arrived.
  package static func next(in bytes: Span<UInt8>, from start: Int, to end: Int) throws(FrameError) -> Range<Int>? {
    precondition(0 <= start && start <= end && end <= bytes.count)
    var length: UInt64 = 0
    var at = start
    while at < end {
      let byte = bytes[at]
      length |= UInt64(byte & 0x7f) &<< UInt64(7 &* (at &- start))
      at &+= 1
      if byte < 0x80 {
        guard length <= UInt64(Limits.frameBytesMax) else { throw .oversize(offset: start, length: length) }
        let payload = at..<at &+ Int(length)
        return payload.upperBound <= end ? payload : nil
      }
      guard at &- start < Limits.framePrefixBytesMax else { throw .badPrefix(offset: start) }
    }
    return nil
  }
}
