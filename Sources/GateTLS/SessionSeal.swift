import COpenSSL
import GateCore

/// Seals the keys of sessions for the session file, and opens them again: AES-256-GCM under a key made from the registry's.
/// Layout: `SessionSlot`, from `changingBytes` on; the sealed block is nonce (12 random bytes), ciphertext, tag (16).
///
/// A session is sealed once in its life: the rest of its slot changes without. So random nonces stay far from colliding.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package struct SessionSeal: ~Copyable, @unchecked Sendable {
  package static let keyBytes = 32
  private static let nonceBytes = 12
  private static let tagBytes = 16

  private let sealing: OpaquePointer
  private let opening: OpaquePointer

  /// - Parameter registryKey: the content of `tls.registry_key`, `keyBytes` long.
  /// - Throws: `.library`: stop.
  package init(registryKey: [UInt8]) throws(TLSError) {
    precondition(registryKey.count == SessionSeal.keyBytes)
    // The registry key is uniform, so one hash over it and a label makes a key of its own purpose.
    var key = Digest.sha256((registryKey + Array("fixgate session file 1".utf8)).span)
    defer { wipe(&key) }
    ErrorQueue.clear()
    guard let sealing = unsafe EVP_CIPHER_CTX_new(), let opening = unsafe EVP_CIPHER_CTX_new(),
      unsafe EVP_EncryptInit_ex(sealing, EVP_aes_256_gcm(), nil, key, nil) == 1,
      unsafe EVP_DecryptInit_ex(opening, EVP_aes_256_gcm(), nil, key, nil) == 1
    else { throw .library(code: ErrorQueue.drain()) }
    unsafe self.sealing = sealing
    unsafe self.opening = opening
  }

  deinit {
    unsafe EVP_CIPHER_CTX_free(sealing)
    unsafe EVP_CIPHER_CTX_free(opening)
  }

  /// Writes the second part of a slot: everything from `SessionSlot.changingBytes` on.
  /// - Throws: `.library`: the slot is not worth writing.
  package func close(
    _ session: borrowing DTLSSession, connectionID: UInt64, slot: UInt32, into bytes: inout MutableSpan<UInt8>
  ) throws(TLSError) {
    precondition(bytes.count == SessionSlot.bytes)
    for i in SessionSlot.changingBytes..<SessionSlot.bytes { bytes[i] = 0 }
    let suite = session.suite
    let peer = session.writeConnectionID
    bytes.store(suite.rawValue, at: SessionSlot.changingBytes)
    bytes[SessionSlot.changingBytes + 2] = UInt8(peer.count)
    for i in 0..<peer.count { bytes[SessionSlot.changingBytes + 3 + i] = peer[i] }
    let context = SessionSeal.context(bytes.span, connectionID: connectionID, slot: slot)
    let nonce = try randomBytes(SessionSeal.nonceBytes)
    for i in 0..<SessionSeal.nonceBytes { bytes[SessionSlot.sealedAt + i] = nonce[i] }
    let raw = unsafe sealing
    ErrorQueue.clear()
    let done = session.withKeyBlock { block in
      unsafe bytes.withUnsafeMutableBufferPointer { out in
        unsafe block.withUnsafeBufferPointer { secret in
          var count: Int32 = 0
          let text = unsafe out.baseAddress! + SessionSlot.sealedAt + SessionSeal.nonceBytes
          let tag = unsafe text + secret.count
          return unsafe EVP_EncryptInit_ex(raw, nil, nil, nil, nonce) == 1
            && EVP_EncryptUpdate(raw, nil, &count, context, Int32(context.count)) == 1
            && EVP_EncryptUpdate(raw, text, &count, secret.baseAddress, Int32(secret.count)) == 1
            && EVP_EncryptFinal_ex(raw, tag, &count) == 1
            && gate_EVP_CTRL_GCM_get_tag(raw, Int32(SessionSeal.tagBytes), tag) == 1
        }
      }
    }
    guard done else { throw .library(code: ErrorQueue.drain()) }
  }

  /// Makes the session of a whole slot again.
  /// - Parameters:
  ///   - number: of the slot; a slot that lies elsewhere than it was written does not open.
  ///   - writeSequence: where it goes on, below `DTLSSession.sequencesMax`.
  /// - Returns: `nil` if the slot was sealed under another key, or is not what was written.
  func open(_ bytes: Span<UInt8>, _ slot: SessionSlot, number: UInt32, writeSequence: UInt64) -> DTLSSession? {
    precondition(bytes.count == SessionSlot.bytes)
    guard let suite = DTLSSuite(rawValue: bytes.load16(at: SessionSlot.changingBytes)),
      case let peerBytes = Int(bytes[SessionSlot.changingBytes + 2]), peerBytes <= ConnectionID.bytesMax,
      case let peerAt = SessionSlot.changingBytes + 3,
      let peer = ConnectionID(bytes.extracting(peerAt..<peerAt + peerBytes))
    else { return nil }
    let context = SessionSeal.context(bytes, connectionID: slot.connectionID, slot: number)
    var block = [UInt8](repeating: 0, count: suite.keyBlockBytes)
    defer { wipe(&block) }
    let size = block.count
    let raw = unsafe opening
    let done = unsafe bytes.withUnsafeBufferPointer { input in
      var count: Int32 = 0
      var rest: UInt8 = 0
      let nonce = unsafe input.baseAddress! + SessionSlot.sealedAt
      let text = unsafe nonce + SessionSeal.nonceBytes
      let tag = unsafe UnsafeMutableRawPointer(mutating: text + size)
      return unsafe EVP_DecryptInit_ex(raw, nil, nil, nil, nonce) == 1
        && EVP_DecryptUpdate(raw, nil, &count, context, Int32(context.count)) == 1
        && EVP_DecryptUpdate(raw, &block, &count, text, Int32(size)) == 1
        && gate_EVP_CTRL_GCM_set_tag(raw, Int32(SessionSeal.tagBytes), tag) == 1
        && EVP_DecryptFinal_ex(raw, &rest, &count) == 1
    }
    guard done else {
      ErrorQueue.clear()
      return nil
    }
    let own = slot.address == nil ? ConnectionID(gateway: slot.connectionID) : ConnectionID()
    return try? DTLSSession(
      suite: suite, role: .server, keyBlock: block.span, readConnectionID: own, writeConnectionID: peer,
      writeSequence: writeSequence, window: ReplayWindow(allBelow: slot.readNext))
  }

  /// What the sealed block belongs to: slot, connection ID, suite and the peer's connection ID.
  private static func context(_ bytes: Span<UInt8>, connectionID: UInt64, slot: UInt32) -> [UInt8] {
    var context = [UInt8](repeating: 0, count: 12 + SessionSlot.sealedAt - SessionSlot.changingBytes)
    var room = context.mutableSpan
    room.store(slot, at: 0)
    room.store(connectionID, at: 4)
    room.copy(bytes, SessionSlot.changingBytes..<SessionSlot.sealedAt, to: 12)
    return context
  }
}
