import Glibc

/// What the connections of one thread share, so that an idle one keeps little more than its keys: libcrypto's contexts, and
/// blocks for output. The first use binds it to its thread; another thread's use of it, or of a connection that uses it, traps.
@safe package final class ThreadCipher {
  /// Most blocks of `TLSEngine.outputBytesKept` bytes that wait for use.
  package static let spareBlocksMax = 1_024

  let records: RecordCipher
  private var spare: [UnsafeMutablePointer<UInt8>] = unsafe []
  private var thread: pthread_t? = nil

  /// - Throws: `.library`: this libcrypto lacks a cipher; stop.
  package init() throws(TLSError) {
    do throws(DTLSError) { records = try RecordCipher() } catch {
      if case .library(let code) = error { throw .library(code: code) }
      throw .library(code: 0)
    }
    unsafe spare.reserveCapacity(ThreadCipher.spareBlocksMax)
  }

  deinit { for unsafe block in unsafe spare { unsafe free(block) } }

  /// Traps on any thread but one.
  func enter() {
    let current = pthread_self()
    guard let thread else {
      thread = current
      return
    }
    precondition(pthread_equal(thread, current) != 0, "a connection on another thread than its cipher")
  }

  /// Equips an output that has no block with a spare one, if there is one.
  func equip(_ output: inout OutputBuffer) {
    guard output.capacity == 0, let block = unsafe spare.popLast() else { return }
    unsafe output.adopt(block)
  }

  /// Takes the block of an output that has nothing to send.
  func reclaim(_ output: inout OutputBuffer) {
    guard output.waiting == 0 else { return }
    if unsafe spare.count < ThreadCipher.spareBlocksMax, let block = unsafe output.takeBlock() {
      unsafe spare.append(block)
    } else {
      output.release()
    }
  }
}
