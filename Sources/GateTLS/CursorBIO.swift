import COpenSSL
import Glibc

/// Where libssl reads and writes while a call of `TLSEngine` runs: straight from the caller's ciphertext, and into a
/// buffer of ours. One allocation per connection; libssl's BIO holds a pointer to it.
///
/// `input` is the caller's memory and is set only while `receive` runs.
@safe struct Cursor: ~Copyable {
  var input: UnsafePointer<UInt8>? = nil
  var inputCount = 0
  var inputAt = 0
  /// Bytes that may still be read before the handshake must be done.
  var handshakeBudget = TLSEngine.handshakeBytesMax
  var budgetSpent = false

  var output = OutputBuffer()
  var outputOverflowed = false
  var tap = RecordTap()
}

/// The BIO method over `Cursor`. A memory BIO would copy every byte once more.
enum CursorBIO {
  /// Made once, never freed. `nil` only without memory.
  private nonisolated(unsafe) static let method: OpaquePointer? = {
    let index = BIO_get_new_index()
    guard index != -1, let method = unsafe BIO_meth_new(index | BIO_TYPE_SOURCE_SINK, "cursor") else { return nil }
    unsafe BIO_meth_set_read_ex(method) { bio, into, wanted, got in
      guard let bio = unsafe bio, let into = unsafe into, let got = unsafe got,
        let cursor = unsafe BIO_get_data(bio)?.assumingMemoryBound(to: Cursor.self)
      else { return 0 }
      unsafe gate_BIO_clear_retry_flags(bio)
      let left = unsafe cursor.pointee.inputCount - cursor.pointee.inputAt
      guard left > 0, let input = unsafe cursor.pointee.input else {
        unsafe gate_BIO_set_retry_read(bio)
        return 0
      }
      let count = unsafe min(wanted, left, cursor.pointee.handshakeBudget)
      guard count > 0 else {
        unsafe cursor.pointee.budgetSpent = true
        return 0
      }
      unsafe memcpy(into, input + cursor.pointee.inputAt, count)
      unsafe cursor.pointee.inputAt += count
      if unsafe cursor.pointee.handshakeBudget != Int.max { unsafe cursor.pointee.handshakeBudget -= count }
      unsafe got.pointee = count
      return 1
    }
    unsafe BIO_meth_set_write_ex(method) { bio, from, count, written in
      guard let bio = unsafe bio, let from = unsafe from, let written = unsafe written,
        let cursor = unsafe BIO_get_data(bio)?.assumingMemoryBound(to: Cursor.self)
      else { return 0 }
      unsafe gate_BIO_clear_retry_flags(bio)
      guard unsafe cursor.pointee.output.append(from, count: count) else {
        unsafe cursor.pointee.outputOverflowed = true
        return 0
      }
      unsafe written.pointee = count
      return 1
    }
    unsafe BIO_meth_set_ctrl(method) { _, command, _, _ in command == BIO_CTRL_FLUSH ? 1 : 0 }
    return unsafe method
  }()

  /// The cursor of a connection, while one of its callbacks runs. libssl may stand a buffer of its own before the BIO that is
  /// written, never before the one that is read.
  static func cursor(of ssl: OpaquePointer?) -> UnsafeMutablePointer<Cursor>? {
    guard let ssl = unsafe ssl, let bio = unsafe SSL_get_rbio(ssl) else { return nil }
    return unsafe BIO_get_data(bio)?.assumingMemoryBound(to: Cursor.self)
  }

  /// A BIO that reads and writes `cursor`, which must outlive it. The caller owns the BIO.
  static func make(over cursor: UnsafeMutablePointer<Cursor>) -> OpaquePointer? {
    guard let method = unsafe method, let bio = unsafe BIO_new(method) else { return nil }
    unsafe BIO_set_data(bio, cursor)
    unsafe BIO_set_init(bio, 1)
    return unsafe bio
  }
}
