/// What can go wrong with DTLS. Peers cause most of it at will, so each is counted and only the first few are logged.
package enum DTLSError: Error, Equatable, Sendable {
  // A record. Drop it without an answer (RFC 6347 section 4.1.2.7); the session lives and nothing of it has changed.

  /// The bytes at `offset` are no record, or end before it does. The rest of the datagram goes with it.
  case malformed(offset: Int)
  /// The record's version is not DTLS 1.2.
  case version(UInt16)
  /// The record is longer than a record may be (RFC 6347 section 4.1), or than the room for its plaintext.
  case oversize(bytes: Int)
  /// A record of epoch 0 or 2 and above: a handshake's, or nothing of ours.
  case wrongEpoch(UInt16)
  /// A classic record in a session with connection IDs, or the other way round, or another session's.
  case wrongConnectionID
  /// The number was seen before.
  case replayed
  /// The number lies below the replay window.
  case tooOld
  /// The tag is wrong: forged, damaged, or sealed with other keys.
  case forged
  /// Authentic, but neither a type nor a content that DTLS 1.2 knows. The peer is broken; dropping is enough.
  case unknownContent

  // Sealing.

  /// All record numbers are used: end the session, the device makes a new handshake.
  case sequenceExhausted
  /// The plaintext is above `DTLSSession.plaintextBytesMax`, or the datagram has no room left: nothing was sealed, no number
  /// was used.
  case noRoom

  // A handshake: it is over. An alert may wait in its output.

  /// What TLS says.
  case handshake(TLSError)
  /// The peer did not finish in time.
  case timedOut
  /// A call after the handshake failed.
  case notOpen

  /// libcrypto failed where no peer is at fault, out of memory for one. End the session; `code` is its first error.
  case library(code: UInt)
}
