import COpenSSL
import Glibc

/// Text for logs and the command line: what is wrong and what to do. Never a key, a name or a peer's bytes.
extension TLSError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .protocolViolation(let code): "the peer broke TLS\(TLSError.library(code))"
    case .record(let fault): "the peer broke TLS: \(TLSError.text(fault))"
    case .noSharedVersion:
      "no TLS version in common; to serve old modems allow TLS 1.2 in the configuration"
    case .noSharedAlgorithm(let code):
      "no cipher suite, group or signature algorithm in common\(TLSError.library(code))"
    case .alert(let number): "the peer refused with alert \(number) (\(TLSError.alertName(number)))"
    case .certificateRefused(let result):
      "the peer's certificate was refused: \(TLSError.verification(result)); check the CA file and both clocks"
    case .nameMismatch(let result):
      "the server's certificate is for another name: \(TLSError.verification(result)); make one that bears the name"
    case .handshakeTooLarge: "the peer sent \(TLSEngine.handshakeBytesMax) bytes and did not finish its handshake"
    case .outputOverflow: "the peer asks for answers and does not read them"
    case .outputFull(let waiting): "\(waiting) bytes wait to be sent; nothing more was taken"
    case .notOpen: "the TLS connection is not open"
    case .library(let code): "libssl failed\(TLSError.library(code))"
    case .file(let input, let code):
      "the \(input.rawValue) file cannot be read: \(unsafe String(cString: strerror(code)))"
    case .malformed(let input, let code):
      "the \(input.rawValue) is not PEM that libssl can read\(TLSError.library(code))"
    case .keyEncrypted: "the private key is encrypted; decrypt it with `openssl pkey` and protect the file by its mode"
    case .weakKey: "the key of the request is too weak; make one with P-256: openssl ecparam -name prime256v1 -genkey"
    case .keyMismatch: "private key and certificate do not belong together; check that both files were replaced"
    case .name(let index): "name \(index + 1) is neither a DNS name nor an IP address"
    case .serverName: "the server name is neither a DNS name nor an IP address"
    case .unsupportedLibrary(let major, let minor):
      "libssl \(major).\(minor) is too old; install 3.0 (Debian 12, Ubuntu 24.04)"
    }
  }

  /// libcrypto's words for an error code, in front of them a colon; empty for 0.
  private static func library(_ code: UInt) -> String {
    guard code != 0 else { return "" }
    guard let reason = unsafe ERR_reason_error_string(code) else { return ": code \(code)" }
    return unsafe ": " + String(cString: reason)
  }

  private static func text(_ fault: TLSRecordFault) -> String {
    switch fault {
    case .forged: "a record was damaged, forged or repeated on the way"
    case .oversize(let bytes): "a record of \(bytes) bytes is longer than agreed"
    case .unexpected(let type): "a record of type \(type) may not come here"
    case .unexpectedMessage(let type): "a message of type \(type) may not come here"
    case .malformed: "an alert or message does not have its form"
    case .barren: "\(TLSRecordStream.barrenRecordsMax) records in a row brought no data"
    case .keyWornOut: "it does not change its key though it was asked to"
    }
  }

  private static func verification(_ result: Int) -> String {
    unsafe String(cString: X509_verify_cert_error_string(result))
  }

  private static func alertName(_ number: UInt8) -> String {
    unsafe String(cString: SSL_alert_desc_string_long(Int32(number)))
  }
}
