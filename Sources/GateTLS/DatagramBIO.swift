import COpenSSL
import GateCore
import Glibc

/// What libssl and its callbacks reach while a call of `DTLSHandshake` runs: one record to read, and all that it writes. One
/// allocation a handshake; libssl's BIO and ex_data 0 hold a pointer to it.
///
/// `input` is the caller's memory and is set only while libssl is called. `extensionBytes` is from malloc: libssl reads it
/// after the callback has returned.
@safe struct HandshakeCell {
  var input: UnsafePointer<UInt8>? = nil
  var inputCount = 0
  /// All that libssl wrote since it was last emptied: whole records, one behind another.
  var output: [UInt8] = []
  /// A flight without certificates is no longer.
  private static let outputBytesUsual = 256
  var outputOverflowed = false

  /// What records to us shall bear; `nil` = neither ask for connection IDs nor agree to them.
  let ownConnectionID: ConnectionID?
  /// What records to the peer shall bear; `nil` until the peer's extension was read.
  var peerConnectionID: ConnectionID? = nil
  let extensionBytes: UnsafeMutablePointer<UInt8>

  /// Called with a device's identity; writes its key and returns the length.
  let preSharedKey: PreSharedKeyLookup?
  /// A client's own identity, NUL at its end.
  let identity: [UInt8]

  init(ownConnectionID: ConnectionID?, preSharedKey: PreSharedKeyLookup?, identity: [UInt8]) {
    self.ownConnectionID = ownConnectionID
    self.preSharedKey = preSharedKey
    self.identity = identity
    unsafe extensionBytes = .allocate(capacity: 1 + ConnectionID.bytesMax)
    output.reserveCapacity(HandshakeCell.outputBytesUsual)
  }

  func release() { unsafe extensionBytes.deallocate() }

  /// - Returns: nil for an `SSL` that is none of ours.
  static func of(_ ssl: OpaquePointer?) -> UnsafeMutablePointer<HandshakeCell>? {
    guard let ssl = unsafe ssl else { return nil }
    return unsafe SSL_get_ex_data(ssl, 0)?.assumingMemoryBound(to: HandshakeCell.self)
  }
}

/// The BIO method over `HandshakeCell`. A memory BIO would lose where a datagram ends.
enum DatagramBIO {
  /// Bytes that libssl may write before they are taken. A flight with a long certificate chain is about 10 KB.
  static let outputBytesMax = 32_768

  /// Made once, never freed. `nil` only without memory.
  private nonisolated(unsafe) static let method: OpaquePointer? = {
    let index = BIO_get_new_index()
    guard index != -1, let method = unsafe BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "datagram") else { return nil }
    unsafe BIO_meth_set_read_ex(method) { bio, into, room, got in
      guard let bio = unsafe bio, let into = unsafe into, let got = unsafe got,
        let cell = unsafe BIO_get_data(bio)?.assumingMemoryBound(to: HandshakeCell.self)
      else { return 0 }
      unsafe gate_BIO_clear_retry_flags(bio)
      // A datagram is read once, and what does not fit is lost, as with a socket.
      guard let input = unsafe cell.pointee.input else {
        unsafe gate_BIO_set_retry_read(bio)
        return 0
      }
      let count = unsafe min(room, cell.pointee.inputCount)
      unsafe memcpy(into, input, count)
      unsafe cell.pointee.input = nil
      unsafe got.pointee = count
      return 1
    }
    unsafe BIO_meth_set_write_ex(method) { bio, from, count, written in
      guard let bio = unsafe bio, let from = unsafe from, let written = unsafe written,
        let cell = unsafe BIO_get_data(bio)?.assumingMemoryBound(to: HandshakeCell.self)
      else { return 0 }
      unsafe gate_BIO_clear_retry_flags(bio)
      guard count <= outputBytesMax - (unsafe cell.pointee.output.count) else {
        unsafe cell.pointee.outputOverflowed = true
        return 0
      }
      unsafe cell.pointee.output.append(contentsOf: UnsafeRawBufferPointer(start: from, count: count))
      unsafe written.pointee = count
      return 1
    }
    // Every question about MTU, peer or timeout is answered with 0: libssl has been told what it needs.
    unsafe BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
    return unsafe method
  }()

  /// A BIO over `cell`, which must outlive it. The caller owns the BIO.
  static func make(over cell: UnsafeMutablePointer<HandshakeCell>) -> OpaquePointer? {
    guard let method = unsafe method, let bio = unsafe BIO_new(method) else { return nil }
    unsafe BIO_set_data(bio, cell)
    unsafe BIO_set_init(bio, 1)
    return unsafe bio
  }
}
