import GateCore

/// Seals the keys of sessions for the session file, and opens them again, by `Seal` under a key made from the registry's.
/// Layout: `SessionSlot`, from `changingBytes` on.
///
/// A session is sealed once in its life: the rest of its slot changes without. So random nonces stay far from colliding.
///
/// Sendable: there is one owner, which may hand it to another thread.
package struct SessionSeal: ~Copyable, Sendable {
  package static let keyBytes = Seal.keyBytes

  private var key: SealKey

  /// - Parameter registryKey: the content of `tls.registry_key`, `keyBytes` long.
  /// - Throws: `.library`: stop.
  package init(registryKey: [UInt8]) throws(TLSError) {
    precondition(registryKey.count == SessionSeal.keyBytes)
    // The registry key is uniform, so one hash over it and a label makes a key of its own purpose.
    var bytes = Digest.sha256((registryKey + Array("fixgate session file 1".utf8)).span)
    defer { wipe(&bytes) }
    key = try SealKey(bytes)
  }

  /// Writes the second part of a slot: everything from `SessionSlot.changingBytes` on.
  /// - Throws: `.library`: the slot is not worth writing.
  package mutating func close(
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
    try session.withKeyBlock { block throws(TLSError) in
      try key.close(block, context: context.span, into: &bytes, at: SessionSlot.sealedAt)
    }
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
    let sealed = bytes.extracting(SessionSlot.sealedAt..<SessionSlot.sealedAt + block.count + Seal.overheadBytes)
    var room = block.mutableSpan
    guard key.open(sealed, context: context.span, into: &room, at: 0) else { return nil }
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
