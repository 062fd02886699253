import COpenSSL

/// libcrypto's error queue. It is per thread and outlives calls: clear it before each, empty it after a failure.
enum ErrorQueue {
  /// An empty queue is left alone: libcrypto would go through all of its entries.
  static func clear() { if ERR_peek_error() != 0 { ERR_clear_error() } }

  /// Empties the queue.
  /// - Returns: its first entry, which is the cause; 0 if it was empty.
  static func drain() -> UInt {
    let first = ERR_get_error()
    clear()
    return first
  }

  static func reason(_ code: UInt) -> Int32 { ERR_GET_REASON(code) }
  static func isFromSSL(_ code: UInt) -> Bool { ERR_GET_LIB(code) == ERR_LIB_SSL }

  /// Sorts an error of a connection. Verification is told from `verifyResult`, X509_V_OK = 0.
  static func connectionError(_ code: UInt, verifyResult: Int) -> TLSError {
    guard code != 0 else { return .protocolViolation(code: 0) }
    guard isFromSSL(code) else { return .protocolViolation(code: code) }
    let reason = reason(code)
    switch reason {
    case SSL_AD_REASON_OFFSET..<SSL_AD_REASON_OFFSET + 256:
      return .alert(UInt8(reason - SSL_AD_REASON_OFFSET))
    case SSL_R_CERTIFICATE_VERIFY_FAILED:
      switch Int32(verifyResult) {
      case X509_V_ERR_HOSTNAME_MISMATCH, X509_V_ERR_IP_ADDRESS_MISMATCH:
        return .nameMismatch(result: verifyResult)
      default: return .certificateRefused(result: verifyResult)
      }
    case SSL_R_UNSUPPORTED_PROTOCOL, SSL_R_WRONG_SSL_VERSION, SSL_R_VERSION_TOO_LOW, SSL_R_VERSION_TOO_HIGH,
      SSL_R_NO_PROTOCOLS_AVAILABLE:
      return .noSharedVersion(code: code)
    case SSL_R_NO_SHARED_CIPHER, SSL_R_NO_SHARED_GROUPS, SSL_R_NO_SHARED_SIGNATURE_ALGORITHMS,
      SSL_R_NO_SUITABLE_GROUPS, SSL_R_NO_SUITABLE_KEY_SHARE, SSL_R_NO_SUITABLE_SIGNATURE_ALGORITHM:
      return .noSharedAlgorithm(code: code)
    default:
      return .protocolViolation(code: code)
    }
  }
}
