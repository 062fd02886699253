import COpenSSL
import Glibc

/// Learns from libssl, while it runs a connection of TLS 1.3, what one must know to go on without it: the application traffic
/// secrets, and how many records went under them. The secrets never leave memory and are wiped.
@safe struct RecordTap: ~Copyable {
  /// What one end sends.
  struct Flow {
    var secretBytes = 0
    /// Records under the secret.
    var records: UInt64 = 0
  }

  private static let secretBytesMax = 48
  /// The client's secret, and at `secretBytesMax` the server's.
  private var secrets: SecretBytes? = nil
  private var fromClient = Flow()
  private var fromServer = Flow()
  var hasSecrets: Bool { fromClient.secretBytes > 0 && fromServer.secretBytes > 0 }
  /// libssl has changed keys since (RFC 8446 section 4.6.3): the secrets are good no more.
  private(set) var isOutdated = false
  /// libssl holds the header of a record whose rest has not come, which `SSL_has_pending` does not tell, or a part of a message.
  var isMidway: Bool { isMidRecord || isMidMessage }
  private var isMidRecord = false
  private var isMidMessage = false

  init() {}

  /// Lets the connections of a context be tapped, from the handshake on.
  static func install(in context: OpaquePointer) {
    unsafe SSL_CTX_set_keylog_callback(context) { ssl, line in
      guard let line = unsafe line, let cursor = unsafe CursorBIO.cursor(of: ssl) else { return }
      unsafe cursor.pointee.tap.note(line: line)
    }
    unsafe SSL_CTX_set_msg_callback(context) { written, _, type, bytes, count, ssl, _ in
      guard count > 0, let bytes = unsafe bytes?.assumingMemoryBound(to: UInt8.self),
        let cursor = unsafe CursorBIO.cursor(of: ssl)
      else { return }
      let isSent = written == 1
      switch type {
      case SSL3_RT_HEADER where !isSent: unsafe cursor.pointee.tap.isMidRecord = true
      case SSL3_RT_INNER_CONTENT_TYPE:
        unsafe cursor.pointee.tap.noteRecord(bytes[0], isSent: isSent, isServer: SSL_is_server(ssl) == 1)
      case SSL3_RT_HANDSHAKE: unsafe cursor.pointee.tap.noteMessage(bytes[0], isSent: isSent)
      default: break
      }
    }
  }

  /// The records as they go on from here.
  /// - Returns: `nil` unless both secrets are known and fit the suite.
  /// - Throws: `.library`.
  func recordLayer(_ suite: TLSSuite, isServer: Bool, contentBytesMax: Int) throws(TLSError) -> TLSRecordLayer? {
    guard fromClient.secretBytes == suite.secretBytes, fromServer.secretBytes == suite.secretBytes else { return nil }
    switch secrets {
    case .none: return nil
    case .some(let secrets):
      return try secrets.withSpan { bytes throws(TLSError) in
        let client = bytes.extracting(..<suite.secretBytes)
        let server = bytes.extracting(RecordTap.secretBytesMax..<RecordTap.secretBytesMax + suite.secretBytes)
        return try TLSRecordLayer(
          suite: suite, readSecret: isServer ? client : server, writeSecret: isServer ? server : client,
          readSequence: (isServer ? fromClient : fromServer).records,
          writeSequence: (isServer ? fromServer : fromClient).records, contentBytesMax: contentBytesMax)
      }
    }
  }

  /// A line of libssl's key log: label, client random and secret, the two in hexadecimal. libssl starts to count records anew at
  /// the same moment.
  private mutating func note(line: UnsafePointer<CChar>) {
    if let count = unsafe keepSecret(of: line, label: "CLIENT_TRAFFIC_SECRET_0 ", at: 0) {
      fromClient = Flow(secretBytes: count)
    } else if let count = unsafe keepSecret(of: line, label: "SERVER_TRAFFIC_SECRET_0 ", at: RecordTap.secretBytesMax) {
      fromServer = Flow(secretBytes: count)
    }
  }

  /// - Returns: bytes of the secret that was put to `offset`; `nil` if the line has another label.
  private mutating func keepSecret(of line: UnsafePointer<CChar>, label: StaticString, at offset: Int) -> Int? {
    let labelBytes = label.utf8CodeUnitCount
    guard unsafe strncmp(line, UnsafeRawPointer(label.utf8Start).assumingMemoryBound(to: CChar.self), labelBytes) == 0,
      let behindRandom = unsafe strchr(line + labelBytes, Int32(UInt8(ascii: " ")))
    else { return nil }
    let digits = unsafe behindRandom + 1
    let count = unsafe strlen(digits) / 2
    guard count <= RecordTap.secretBytesMax else { return nil }
    if secrets == nil { secrets = SecretBytes(count: 2 * RecordTap.secretBytesMax) }
    guard let to = unsafe secrets?.start else { return nil }
    for i in 0..<count {
      unsafe to[offset + i] = RecordTap.nibble(digits[2 * i]) << 4 | RecordTap.nibble(digits[2 * i + 1])
    }
    return count
  }

  private static func nibble(_ digit: CChar) -> UInt8 {
    let value = UInt8(bitPattern: digit)
    return value <= UInt8(ascii: "9") ? value - UInt8(ascii: "0") : (value | 0x20) - UInt8(ascii: "a") + 10
  }

  /// A protected record was sealed or opened; those before the secrets do not count.
  private mutating func noteRecord(_ type: UInt8, isSent: Bool, isServer: Bool) {
    if isSent == isServer { fromServer.records += 1 } else { fromClient.records += 1 }
    guard !isSent else { return }
    isMidRecord = false
    if type == TLSContentType.handshake.rawValue { isMidMessage = true }
  }

  /// A handshake message was sent, or came in whole.
  private mutating func noteMessage(_ type: UInt8, isSent: Bool) {
    if type == HandshakeType.keyUpdate { isOutdated = true }
    if !isSent { isMidMessage = false }
  }
}
