/// Every bound of the system, and how the bounds relate. Peers can reach these numbers; nothing may pass them.
package enum Limits {
  /// Longest frame in bytes, length prefix not counted. One TLS record's worth of plaintext.
  package static let frameBytesMax = 16_384
  /// Longest length prefix in bytes: a varint of `frameBytesMax`.
  package static let framePrefixBytesMax = 3
  /// Most fixes in one frame. A column that ends early repeats its last difference, so bytes alone do not bound this.
  package static let fixesPerFrameMax = 1_024
  /// Longest attributes of one fix in bytes, tags included.
  package static let attributeBytesMax = 1_024
  /// Longest `Work` of one fix in bytes.
  package static let workBytesMax = 256
  /// Highest sequence number.
  package static let sequenceMax: UInt64 = 1 << 62
  /// Ranges above the contiguous mark that one stream may have; a fix that would need one more is refused.
  package static let rangesPerStreamMax = 64
  /// Streams that one device may ever use.
  package static let streamsPerDeviceMax = 256
  /// Ranges told in one ack; the device learns of the rest later.
  package static let rangesPerAckMax = 16
  /// Runs of verdicts told in one ack; more are not told, only stored.
  package static let judgementsPerAckMax = 16
  /// Values of one fix that normalising may change.
  package static let originalsPerFixMax = 16
  /// Longest journal record in bytes: header, all values, originals, attributes, work, padding.
  package static let recordBytesMax = 80 + 8 + 24 * 4 + originalsPerFixMax * 12 + attributeBytesMax + workBytesMax + 8
  /// Records of one frame in bytes: attributes and work of all its fixes lie in the frame, but a batch's work is repeated.
  package static let messageBytesMax =
    WorkerMessage.headerBytes + fixesPerFrameMax * (recordBytesMax - attributeBytesMax) + frameBytesMax
  /// Journal batches start at multiples of this, so that a torn write never touches a batch that is durable already.
  package static let journalBlockBytes = 4_096
}
