import COpenSSL

/// What the callbacks of a server's or a device's `SSL_CTX` work with. The context owns it: connections keep their context
/// alive, and with it this, also after a reload has put another one in its place.
///
/// Sendable: nothing changes after `init`.
@safe final class ContextAttachment: @unchecked Sendable {
  /// Ticket keys, newest first, each `TLSServerContext.ticketKeyBytes` long. The first seals, all open.
  private(set) var ticketKeys: [[UInt8]] = []
  /// Server: the key of an identity.
  let findKey: ExternalKey.Lookup?
  /// Server: whether a device's early data is taken; `nil` = never. The authorities judge the certificate it had shown.
  let earlyDataGate: EarlyDataGate?
  let authorities: ClientAuthorities?
  /// Device: the key it offers, and its identity where libssl can point to it.
  let ownKey: ExternalKey?
  let ownIdentity: UnsafePointer<UInt8>?

  init(ticketKeys: [UInt8] = [], proof: ClientProof = ClientProof(), ownKey: ExternalKey? = nil) {
    let size = TLSServerContext.ticketKeyBytes
    for start in stride(from: 0, to: ticketKeys.count, by: size) {
      self.ticketKeys.append(Array(ticketKeys[start..<start + size]))
    }
    findKey = proof.findKey
    earlyDataGate = proof.earlyData
    authorities = proof.authorities
    self.ownKey = ownKey
    if let identity = ownKey?.identity {
      let copy = UnsafeMutablePointer<UInt8>.allocate(capacity: identity.count)
      unsafe copy.initialize(from: identity, count: identity.count)
      unsafe ownIdentity = unsafe UnsafePointer(copy)
    } else {
      unsafe ownIdentity = nil
    }
  }

  deinit {
    for i in ticketKeys.indices { wipe(&ticketKeys[i]) }
    unsafe ownIdentity?.deallocate()
  }

  /// One index for the process; libcrypto calls the release when it frees a context.
  private static let index: Int32 = unsafe gate_SSL_CTX_new_ex_index { _, attached, _, _, _, _ in
    guard let attached = unsafe attached else { return }
    unsafe Unmanaged<ContextAttachment>.fromOpaque(attached).release()
  }

  /// - Throws: `.library`.
  func attach(to context: OpaquePointer) throws(TLSError) {
    ErrorQueue.clear()
    let retained = unsafe Unmanaged.passRetained(self)
    guard ContextAttachment.index >= 0,
      unsafe SSL_CTX_set_ex_data(context, ContextAttachment.index, retained.toOpaque()) == 1
    else {
      unsafe retained.release()
      throw .library(code: ErrorQueue.drain())
    }
  }

  /// The attachment of a connection's context, while one of its callbacks runs.
  static func of(_ ssl: OpaquePointer?) -> ContextAttachment? {
    guard let ssl = unsafe ssl, let context = unsafe SSL_get_SSL_CTX(ssl),
      let attached = unsafe SSL_CTX_get_ex_data(context, index)
    else { return nil }
    return unsafe Unmanaged<ContextAttachment>.fromOpaque(attached).takeUnretainedValue()
  }
}
