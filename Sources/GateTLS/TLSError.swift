/// What one of the PEM inputs is for.
package enum TLSInput: String, Equatable, Sendable {
  case certificate
  case key
  case authority
  case request
}

package enum TLSError: Error, Equatable, Sendable {
  // A connection. The engine has put the fitting alert into its output: send what the socket takes, then close.

  /// The peer broke TLS, or garbage or a forged record came in; `code` is libssl's.
  case protocolViolation(code: UInt)
  /// The peer broke TLS in the records behind the handshake.
  case record(TLSRecordFault)
  /// Peer and we share no TLS version.
  case noSharedVersion(code: UInt)
  /// Peer and we share no cipher suite, group or signature algorithm.
  case noSharedAlgorithm(code: UInt)
  /// The peer refused us with this alert (RFC 8446 section 6). Nothing more will come.
  case alert(UInt8)
  /// The peer's certificate was refused; `result` is X509_V_ERR_*. Only the operator can mend it: no quick retry.
  case certificateRefused(result: Int)
  /// The peer's certificate is good but for another name or address.
  case nameMismatch(result: Int)
  /// The peer sent more than `TLSEngine.handshakeBytesMax` without finishing its handshake.
  case handshakeTooLarge
  /// The peer makes us answer, by key updates, and does not read the answers.
  case outputOverflow
  /// `write` found no room: nothing was encrypted. Drain the output and write again. The connection lives.
  case outputFull(waitingBytes: Int)
  /// `write` before the handshake is done, after `close`, or any call after a failure. The connection's end is near.
  case notOpen

  // Start and reload: stop the process, or keep the old context.

  /// libssl or libcrypto failed where no peer is at fault, out of memory for one; `code` is its first error.
  case library(code: UInt)
  /// The file could not be read.
  case file(TLSInput, errno: Int32)
  /// Not PEM, or not what it should be; `code` is libcrypto's, 0 if it had none.
  case malformed(TLSInput, code: UInt)
  /// The private key is encrypted; fixgate asks for no passphrase.
  case keyEncrypted
  /// The key of a certificate request has less than 112 bits of security.
  case weakKey
  /// Private key and certificate do not belong together.
  case keyMismatch
  /// `index` of the names for a certificate is neither a DNS name nor an address.
  case name(index: Int)
  /// The server name to verify is neither a DNS name nor an address.
  case serverName
  /// libssl is older than 3.0.
  case unsupportedLibrary(major: UInt32, minor: UInt32)
}

extension TLSError {
  /// What libcrypto says of a part that DTLS uses too.
  init(_ error: DTLSError) {
    if case .library(let code) = error { self = .library(code: code) } else { self = .library(code: 0) }
  }
}
