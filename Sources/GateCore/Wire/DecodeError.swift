/// Why a frame was not understood. `offset` is the position, in the span that was handed in, of the first byte of what
/// is wrong: a tag, a varint, a length prefix, a message body. Every case means the same to the caller: nothing of the
/// frame is taken, it is refused as malformed or too large, and the bytes behind it are still good.
package enum DecodeError: Error, Equatable, Sendable {
  /// The message ends inside a field. Refuse the frame.
  case truncated(offset: Int)
  /// Field number 0, wire type 6 or 7, or a tag above 32 bits. Refuse the frame.
  case badTag(offset: Int)
  /// A varint of more than ten bytes. Refuse the frame.
  case badVarint(offset: Int)
  /// A group ends that was not begun, or another one than was begun. Refuse the frame.
  case unmatchedGroup(offset: Int)
  /// Groups in unknown fields lie deeper than `WireReader.groupDepthMax`. Refuse the frame.
  case nestedTooDeep(offset: Int)
  /// A string is not UTF-8. Refuse the frame.
  case badText(offset: Int)
  /// A column has more values than the batch has fixes for it. Refuse the frame.
  case columnTooLong(offset: Int)
  /// A batch without a number of fixes, or of 0 fixes. Refuse the frame.
  case badCount(offset: Int)
  /// A mask for no column that can have one, a second one for a column, or bits past the last fix. Refuse the frame.
  case badMask(offset: Int)
  /// Attributes for a fix that the batch does not have, or not in ascending order. Refuse the frame.
  case badIndex(offset: Int)
  /// The batch's sequences run past 2^64. Refuse the frame.
  case badSequence(offset: Int)
  /// More fixes than the caller has room for, or than `Limits.fixesPerFrameMax`. Refuse the frame as too large.
  case tooManyFixes(offset: Int)
  /// The attributes of one fix take more than `Limits.attributeBytesMax`. Refuse the frame as too large.
  case attributesTooLong(offset: Int)
  /// A fix's or a batch's `Work` entries take more than `Limits.workBytesMax`. Refuse the frame as too large.
  case workTooLong(offset: Int)
}
