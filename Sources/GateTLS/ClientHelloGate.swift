/// Looks at the first bytes of a connection, before anything is spent on it.
package enum ClientHelloGate {
  /// Longest ClientHello in bytes, header included. Browsers with post-quantum keys stay below 2 KB.
  package static let clientHelloBytesMax = 16_384
  /// Longest first record in bytes: what a receive buffer must hold before an engine is made.
  package static let firstRecordBytesMax = 5 + clientHelloBytesMax

  package enum Refusal: Equatable, Sendable {
    case http
    /// Other printable text.
    case plainText
    /// An SSL 2.0 ClientHello.
    case sslv2
    /// A DTLS record.
    case dtls
    /// A TLS record of another content type, such as 23 = application data or 21 = alert.
    case unexpectedRecord(contentType: UInt8)
    /// TLS 1.1 or older, by the ClientHello's version: 0x0302 = TLS 1.1.
    case oldVersion(UInt16)
    /// Record or ClientHello above the bound.
    case tooLarge(bytes: Int)
    /// A handshake record that holds no ClientHello.
    case malformed
    case other
  }

  package enum Answer: Equatable, Sendable {
    /// Wait until this many bytes are there in all.
    case needMore(totalBytes: Int)
    /// The first record is whole and begins a ClientHello: make an engine and hand it all bytes.
    case clientHello
    /// Close; the peer gets no answer.
    case refused(Refusal)
  }

  /// Pure: the same bytes give the same answer, and a longer prefix never takes back `.refused`.
  ///
  /// Layout (RFC 8446 sections 5.1 and 4.1.2): content type 22, version (2 bytes), length (2); type 1, length (3),
  /// version (2), and so on. A ClientHello that is cut into several records passes with the first of them.
  /// - Parameter bytes: all that the connection has sent so far.
  package static func examine(_ bytes: Span<UInt8>) -> Answer {
    guard bytes.count >= 5 else { return .needMore(totalBytes: 5) }
    guard bytes[0] == 22 else { return .refused(refusal(of: bytes)) }
    if bytes[1] == 0xFE { return .refused(.dtls) }
    guard bytes[1] == 3 else { return .refused(.malformed) }
    let length = Int(bytes[3]) << 8 | Int(bytes[4])
    guard length <= clientHelloBytesMax else { return .refused(.tooLarge(bytes: length)) }
    guard length > 0 else { return .refused(.malformed) }
    guard bytes.count > 5 else { return .needMore(totalBytes: 5 + length) }
    guard bytes[5] == 1 else { return .refused(.malformed) }
    if length >= 4, bytes.count >= 9 {
      let hello = Int(bytes[6]) << 16 | Int(bytes[7]) << 8 | Int(bytes[8])
      guard hello <= clientHelloBytesMax - 4 else { return .refused(.tooLarge(bytes: hello + 4)) }
      // Version 2, random 32, session id 1, suites 2 + 2, compression 1 + 1.
      guard hello >= 41, length - 4 <= hello else { return .refused(.malformed) }
      if length >= 6, bytes.count >= 11 {
        let version = UInt16(bytes[9]) << 8 | UInt16(bytes[10])
        guard version >= 0x0303 else { return .refused(.oldVersion(version)) }
      }
    }
    return bytes.count - 5 >= length ? .clientHello : .needMore(totalBytes: 5 + length)
  }

  /// Whether a ClientHello that `examine` let pass offers to go on with an earlier session: an extension `pre_shared_key`
  /// (RFC 8446 section 4.2.11), or a `session_ticket` that is not empty (RFC 5077 section 3.2). A claim: whether the
  /// ticket is good comes out in the handshake. What lies behind the first record is not looked at.
  package static func offersResumption(_ bytes: Span<UInt8>) -> Bool {
    guard bytes.count >= 5 else { return false }
    let end = min(5 + (Int(bytes[3]) << 8 | Int(bytes[4])), bytes.count)
    // Record header 5, handshake header 4, version 2, random 32.
    var at = 43
    guard at < end else { return false }
    at += 1 + Int(bytes[at])
    guard at + 2 <= end else { return false }
    at += 2 + (Int(bytes[at]) << 8 | Int(bytes[at + 1]))
    guard at < end else { return false }
    at += 1 + Int(bytes[at])
    // Length of the extensions, then type 2, length 2, content.
    at += 2
    while at + 4 <= end {
      let type = Int(bytes[at]) << 8 | Int(bytes[at + 1])
      let length = Int(bytes[at + 2]) << 8 | Int(bytes[at + 3])
      if type == 41 || (type == 35 && length > 0) { return true }
      at += 4 + length
    }
    return false
  }

  /// Names what is not TLS. At least 5 bytes.
  private static func refusal(of bytes: Span<UInt8>) -> Refusal {
    let head = UInt32(bytes[0]) << 24 | UInt32(bytes[1]) << 16 | UInt32(bytes[2]) << 8 | UInt32(bytes[3])
    switch head {
    // "GET ", "POST", "PUT ", "HEAD", "OPTI", "PRI ", "DELE", "PATC", "CONN"
    case 0x4745_5420, 0x504F_5354, 0x5055_5420, 0x4845_4144, 0x4F50_5449, 0x5052_4920, 0x4445_4C45, 0x5041_5443,
      0x434F_4E4E:
      return .http
    default: break
    }
    if bytes[0] & 0x80 != 0, bytes[2] == 1 { return .sslv2 }
    if (20...24).contains(bytes[0]), bytes[1] == 3 { return .unexpectedRecord(contentType: bytes[0]) }
    if (20...26).contains(bytes[0]), bytes[1] == 0xFE { return .dtls }
    for i in 0..<5 where !((0x20...0x7E).contains(bytes[i]) || bytes[i] == 10 || bytes[i] == 13 || bytes[i] == 9) {
      return .other
    }
    return .plainText
  }
}
