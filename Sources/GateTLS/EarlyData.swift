import COpenSSL
import Glibc

/// Decides whether a device's early data is taken, by what its ticket carries and the certificate that it had shown. Called
/// on the connection's thread, before a byte of it is decrypted. Where the answer is no, the handshake goes on without.
package typealias EarlyDataGate = @Sendable (_ carried: [UInt8], _ peer: PeerCertificate?) -> Bool

/// What became of early data (0-RTT, RFC 8446 section 2.3).
package enum EarlyData: Equatable, Sendable {
  /// There was none, or the ClientHello has not come.
  case none
  case accepted
  /// Skipped unread: the ticket does not allow it, is too old or cannot be opened, or the gate refused it.
  case rejected
}

extension TLSEngine {
  /// Bytes of early data that a ticket of the gateway allows: a frame's worth.
  package static let earlyDataBytesMax: UInt32 = 16_384

  package var earlyData: EarlyData {
    switch own {
    case .some(let own): return own.earlyData
    case .none: break
    }
    return switch unsafe SSL_get_early_data_status(ssl) {
    case SSL_EARLY_DATA_ACCEPTED: .accepted
    case SSL_EARLY_DATA_REJECTED: .rejected
    default: .none
    }
  }

  /// Client: how much early data may go with a connection to `serverName` that is resumed by the ticket; 0 if the ticket
  /// does not allow any, or is no good.
  package static func earlyDataBytesMax(of ticket: [UInt8], to serverName: String) -> Int {
    OfferedSession(ticket, for: Array(serverName.utf8))?.earlyDataBytesMax ?? 0
  }

  /// Server: puts a ticket into the output that carries `bytes`, sealed. The peer brings them back when it resumes.
  /// Nothing in TLS 1.2, whose tickets are part of the handshake, nor once libssl is let go.
  /// - Throws: `.notOpen`; anything else: the connection failed.
  package mutating func issueTicket(carrying bytes: [UInt8]) throws(TLSError) {
    guard isEstablished else { throw .notOpen }
    guard handle != nil, version == .tls13, let session = unsafe rawSession else { return }
    let data = TicketContent(identity: ticketContent?.identity ?? [], carried: bytes).encoded
    ErrorQueue.clear()
    guard unsafe SSL_SESSION_set1_ticket_appdata(session, data, data.count) == 1 && SSL_new_session_ticket(ssl) == 1
      && SSL_do_handshake(ssl) == 1
    else { throw fail() }
  }

  /// Server: what the ticket carries by which the session was resumed, or that was issued last; empty if there is none. Only
  /// once established, or while early data is taken, and until libssl is let go.
  package var carried: [UInt8] { isEstablished || takesEarlyData ? ticketContent?.carried ?? [] : [] }

  /// `nil` once libssl is let go.
  var ticketContent: TicketContent? {
    guard handle != nil else { return nil }
    return unsafe TicketContent(of: rawSession)
  }
}

/// The application data of a ticket, which libssl keeps inside the sealed session. Layout: u8 length of the external key's
/// identity, the identity, then what the gateway had it carry.
struct TicketContent {
  var identity: [UInt8]
  var carried: [UInt8]

  init(identity: [UInt8], carried: [UInt8] = []) {
    precondition(identity.count <= ExternalKey.identityBytesMax)
    self.identity = identity
    self.carried = carried
  }

  init?(of session: OpaquePointer?) {
    var data: UnsafeMutableRawPointer? = nil
    var count = 0
    guard let session = unsafe session, unsafe SSL_SESSION_get0_ticket_appdata(session, &data, &count) == 1, count > 0,
      let data = unsafe data
    else { return nil }
    let bytes = unsafe Array(UnsafeRawBufferPointer(start: data, count: count))
    let end = 1 + Int(bytes[0])
    guard end <= bytes.count else { return nil }
    identity = Array(bytes[1..<end])
    carried = Array(bytes[end...])
  }

  var encoded: [UInt8] { [UInt8(identity.count)] + identity + carried }
}

extension EarlyData {
  /// Tickets of the context allow early data, and `ContextAttachment.earlyDataGate` decides each time.
  ///
  /// libssl's own protection against replay would keep every ticket in this process, so that no other gateway, nor this one
  /// after a restart, could resume it. It is switched off, because a replay does no harm here: early data holds fixes and
  /// nothing else, and a fix that comes again is a duplicate. What is left is the check of the ticket's age (10 s).
  static func accept(in context: OpaquePointer) -> Bool {
    unsafe SSL_CTX_set_options(context, gate_SSL_OP_NO_ANTI_REPLAY())
    unsafe SSL_CTX_set_allow_early_data_cb(
      context,
      { ssl, _ in
        guard let attachment = unsafe ContextAttachment.of(ssl), let gate = attachment.earlyDataGate,
          let session = unsafe SSL_get_session(ssl), let content = unsafe TicketContent(of: session)
        else { return 0 }
        let certificate = unsafe SSL_SESSION_get0_peer(session)
        let peer = unsafe certificate.flatMap { raw in
          attachment.authorities.flatMap { unsafe PeerCertificate(raw, vouchedForBy: $0) }
        }
        return gate(content.carried, peer) ? 1 : 0
      }, nil)
    // Of what is skipped unread, ciphertext counts: records' overhead comes on top.
    return unsafe SSL_CTX_set_max_early_data(context, TLSEngine.earlyDataBytesMax) == 1
      && SSL_CTX_set_recv_max_early_data(context, TLSEngine.earlyDataBytesMax * 5 / 4) == 1
  }
}

/// A client's session, read from the bytes that `TLSEngine.sessionTicket` gave.
@safe struct OfferedSession: ~Copyable {
  let raw: OpaquePointer

  /// One for another name or in a form that libssl cannot read is none: the handshake is then a full one.
  init?(_ bytes: [UInt8], for serverName: [UInt8]) {
    guard bytes.count > 2 + serverName.count,
      Int(bytes[0]) | Int(bytes[1]) << 8 == serverName.count,
      bytes[2..<2 + serverName.count].elementsEqual(serverName)
    else { return nil }
    let session = unsafe bytes.withUnsafeBufferPointer { bytes in
      var start = unsafe bytes.baseAddress.map { unsafe $0 + 2 + serverName.count }
      return unsafe d2i_SSL_SESSION(nil, &start, bytes.count - 2 - serverName.count)
    }
    ErrorQueue.clear()
    guard let session = unsafe session else { return nil }
    unsafe raw = session
  }

  deinit { unsafe SSL_SESSION_free(raw) }

  /// 0 if the ticket has run out: libssl would not offer it, and the early data would be lost on the way.
  var earlyDataBytesMax: Int {
    let ageS = unsafe Int(time(nil)) - SSL_SESSION_get_time(raw)
    return unsafe ageS < Int(SSL_SESSION_get_ticket_lifetime_hint(raw)) ? Int(SSL_SESSION_get_max_early_data(raw)) : 0
  }

  /// As it travels.
  var ticket: [UInt8] { unsafe OfferedSession.ticket(of: raw) }

  static func ticket(of session: OpaquePointer) -> [UInt8] {
    var start: UnsafePointer<UInt8>? = nil
    var count = 0
    unsafe SSL_SESSION_get0_ticket(session, &start, &count)
    return unsafe Array(UnsafeBufferPointer(start: start, count: count))
  }
}
