/// What is wrong with a control message. The bytes came from a peer: the gateway refuses the frame as `malformed`
/// and closes; a device closes and connects again. `field` is the field number in the message that was read.
package enum ProtoError: Error, Equatable, Sendable {
  /// Not protobuf, or more memory than a control message may take. Groups are among what libprotobuf-c calls malformed.
  case malformed
  /// A field that the message means nothing without.
  case missing(field: Int)
  /// A text or a byte string that is longer than its bound, or a token that is neither empty nor 32 bytes.
  case badLength(field: Int, bytes: Int)
  /// More entries than the bound.
  case tooMany(field: Int, count: Int)
  /// A text that is not UTF-8.
  case notText(field: Int)
  /// A range of sequences that is empty, passes 2^62 or runs backwards.
  case badRange(field: Int)
}
