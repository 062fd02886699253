/// Handshake messages that may come behind the handshake (RFC 8446 section 4.6).
enum HandshakeType {
  static let newSessionTicket: UInt8 = 4
  static let keyUpdate: UInt8 = 24
}

/// Reads what a peer says behind the handshake: KeyUpdate, and tickets where the peer is a server, which are passed over. A
/// message may be cut into records, and records may hold several; nothing of a message is kept but where it stands.
///
/// Layout of a message: type (1), length (3), body.
struct HandshakeMessages {
  /// What the messages of one record come to.
  enum Outcome: Equatable {
    case nothing
    case keyUpdate(requested: Bool)
  }

  private let takesTickets: Bool
  private var header: UInt32 = 0
  private var headerBytes: UInt8 = 0
  private var bodyLeft: UInt32 = 0

  init(takesTickets: Bool) { self.takesTickets = takesTickets }

  /// Nothing else may come before its rest (RFC 8446 section 5.1).
  var isMidMessage: Bool { headerBytes > 0 }

  /// - Parameter bytes: the content of one record.
  /// - Throws: `.record`.
  mutating func read(_ bytes: Span<UInt8>) throws(TLSError) -> Outcome {
    guard bytes.count > 0 else { throw .record(.unexpected(contentType: TLSContentType.handshake.rawValue)) }
    var at = 0
    while at < bytes.count {
      if headerBytes < 4 {
        header = header << 8 | UInt32(bytes[at])
        headerBytes += 1
        at += 1
        if headerBytes == 4 { try begin() }
        continue
      }
      if type == HandshakeType.keyUpdate {
        // Behind it other keys are in force, so it ends its record (RFC 8446 section 5.1).
        guard bytes[at] <= 1 else { throw .record(.malformed) }
        guard at + 1 == bytes.count else { throw .record(.unexpectedMessage(type: type)) }
        end()
        return .keyUpdate(requested: bytes[at] == 1)
      }
      let count = min(Int(bodyLeft), bytes.count - at)
      at += count
      bodyLeft -= UInt32(count)
      if bodyLeft == 0 { end() }
    }
    return .nothing
  }

  private var type: UInt8 { UInt8(truncatingIfNeeded: header >> 24) }

  private mutating func begin() throws(TLSError) {
    bodyLeft = header & 0xFF_FFFF
    switch type {
    case HandshakeType.keyUpdate:
      guard bodyLeft == 1 else { throw .record(.malformed) }
    case HandshakeType.newSessionTicket where takesTickets:
      guard bodyLeft > 0 else { throw .record(.malformed) }
    default: throw .record(.unexpectedMessage(type: type))
    }
  }

  private mutating func end() {
    headerBytes = 0
    header = 0
    bodyLeft = 0
  }
}
