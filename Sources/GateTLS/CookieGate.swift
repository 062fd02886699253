package import GateCore

/// Stands before everything a datagram of epoch 0 could cost: a client proves that it receives at its address before any state
/// is made for it (RFC 6347 section 4.2.1). Keeps nothing of a client; answers are smaller than what they answer.
///
/// Cookie: the first 16 bytes of HMAC-SHA256 over period number, length of the address, address, version, random, session id, suites and compression
/// methods, which a client may not change between its two hellos. The period's number in the MAC makes a new cookie every 30
/// seconds; this and the last one are good, so a cookie lives for 30 to 60 seconds.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package struct CookieGate: ~Copyable, @unchecked Sendable {
  package static let keyBytes = 32
  package static let cookieBytes = 16
  package static let periodNs: UInt64 = 30_000_000_000
  /// Bytes of a HelloVerifyRequest with our cookie.
  package static let replyBytes = DTLSRecord.headerBytes + DTLSClientHello.messageHeaderBytes + 3 + cookieBytes

  package enum Answer: Equatable, Sendable {
    /// Send the reply; keep nothing.
    case verify
    /// The client receives at its address: `record` lies whole in the datagram; make a `DTLSHandshake` with it.
    case proven(record: Range<Int>)
    /// Drop the datagram without an answer.
    case refused
  }

  private typealias MAC = InlineArray<32, UInt8>
  private let hash: KeyedHash

  /// - Parameter key: `keyBytes` random bytes, the same in all workers, since the kernel may spread one client's hellos.
  /// - Throws: `.library`: stop.
  package init(key: [UInt8]) throws(DTLSError) {
    precondition(key.count == CookieGate.keyBytes)
    let hash = try KeyedHash()
    try hash.use(key: key.span)
    self.hash = hash
  }

  /// Looks at the first record of a datagram from an address that has neither a session nor a handshake.
  /// - Parameters:
  ///   - address: the peer's address and port in any fixed form, at most 32 bytes.
  ///   - reply: `replyBytes` of room; filled when the answer is `.verify`.
  package func examine(
    _ datagram: Span<UInt8>, from address: Span<UInt8>, at now: Instant, reply: inout MutableSpan<UInt8>
  ) -> Answer {
    precondition(reply.count >= CookieGate.replyBytes && address.count <= 32)
    guard let record = try? DTLSRecord.next(in: datagram, from: 0), record.type == .handshake, record.epoch == 0,
      let hello = DTLSClientHello(in: datagram.extracting(record.fragment))
    else { return .refused }
    let message = datagram.extracting(record.fragment)
    let period = now.ns / CookieGate.periodNs
    if !hello.cookie.isEmpty {
      let cookie = message.extracting(hello.cookie)
      for back in 0...min(1, period) {
        guard let expected = mac(message, hello, address: address, period: period - back) else { return .refused }
        if constantTimeEqual(expected.span.extracting(first: CookieGate.cookieBytes), cookie) {
          return .proven(record: record.whole)
        }
      }
    }
    // A stale cookie is answered like none: the client tries once more.
    guard datagram.count >= CookieGate.replyBytes, let cookie = mac(message, hello, address: address, period: period)
    else { return .refused }
    writeReply(cookie, sequence: record.sequence, into: &reply)
    return .verify
  }

  /// HelloVerifyRequest (RFC 6347 section 4.2.1): version DTLS 1.0, the ClientHello's own sequence, message sequence 0.
  private func writeReply(_ mac: MAC, sequence: UInt64, into reply: inout MutableSpan<UInt8>) {
    let body = 3 + CookieGate.cookieBytes
    let length = DTLSClientHello.messageHeaderBytes + body
    var at = 0
    func put(_ bytes: [UInt8]) {
      for byte in bytes {
        reply[at] = byte
        at += 1
      }
    }
    put([DTLSContentType.handshake.rawValue, 0xFE, 0xFF, 0, 0])
    for shift in stride(from: 40, through: 0, by: -8) { put([UInt8(truncatingIfNeeded: sequence >> UInt64(shift))]) }
    put([0, UInt8(length)])
    // Type 3, length, message sequence 0, fragment of all.
    put([3, 0, 0, UInt8(body), 0, 0, 0, 0, 0, 0, 0, UInt8(body)])
    put([0xFE, 0xFF, UInt8(CookieGate.cookieBytes)])
    for i in 0..<CookieGate.cookieBytes { reply[at + i] = mac[i] }
  }

  private func mac(
    _ message: Span<UInt8>, _ hello: DTLSClientHello, address: Span<UInt8>, period: UInt64
  ) -> MAC? {
    var mac = MAC(repeating: 0)
    var room = mac.mutableSpan
    room.store(period, at: 0)
    room[8] = UInt8(address.count)
    guard hash.begin(), hash.add(room.span.extracting(first: 9)), hash.add(address),
      hash.add(message.extracting(hello.beforeCookie)), hash.add(message.extracting(hello.afterCookie)),
      hash.finish(into: &room, at: 0)
    else { return nil }
    return mac
  }
}

/// Where the parts of an unfragmented ClientHello lie (RFC 6347 section 4.2.1, RFC 5246 section 7.4.1.2).
struct DTLSClientHello {
  /// Type, length (3), message sequence (2), fragment offset (3), fragment length (3).
  static let messageHeaderBytes = 12

  /// Positions in the record's fragment. Version, random and session id; the session id's length ahead of it, so that no two
  /// hellos give the same bytes.
  let beforeCookie: Range<Int>
  let cookie: Range<Int>
  /// Suites and compression methods, lengths included.
  let afterCookie: Range<Int>
  let random: Range<Int>

  /// `nil` unless `fragment` is exactly one whole ClientHello of DTLS 1.0 or 1.2.
  init?(in fragment: Span<UInt8>) {
    let header = DTLSClientHello.messageHeaderBytes
    guard fragment.count >= header + 2 + 32 + 1, fragment[0] == 1 else { return nil }
    func number(_ at: Int, _ count: Int) -> Int { (0..<count).reduce(0) { $0 << 8 | Int(fragment[at + $1]) } }
    let length = number(1, 3)
    guard length == fragment.count - header, number(6, 3) == 0, number(9, 3) == length else { return nil }
    guard fragment[header] == 0xFE, fragment[header + 1] == 0xFF || fragment[header + 1] == 0xFD else { return nil }
    random = header + 2..<header + 34
    var at = header + 34
    /// Steps over a vector.
    func vector(lengthBytes: Int, max: Int) -> Range<Int>? {
      guard fragment.count - at >= lengthBytes else { return nil }
      let count = number(at, lengthBytes)
      let from = at + lengthBytes
      guard count <= max, count <= fragment.count - from else { return nil }
      at = from + count
      return from..<at
    }
    guard let sessionID = vector(lengthBytes: 1, max: 32) else { return nil }
    beforeCookie = header..<sessionID.upperBound
    guard let cookie = vector(lengthBytes: 1, max: 255) else { return nil }
    self.cookie = cookie
    guard let suites = vector(lengthBytes: 2, max: 1_024), !suites.isEmpty,
      let compression = vector(lengthBytes: 1, max: 255), !compression.isEmpty
    else { return nil }
    afterCookie = cookie.upperBound..<compression.upperBound
    guard at == fragment.count || vector(lengthBytes: 2, max: 65_535) != nil && at == fragment.count else { return nil }
  }
}
