import Synchronization

/// A bounded queue of byte messages from one producer thread to one consumer thread. No locks, no allocation.
///
/// Messages lie in one piece: one that does not fit before the end of the memory starts again at its beginning, behind a
/// skip mark. Positions count bytes for ever and are taken modulo the capacity, a power of two.
///
/// Layout of a message: u32 length of the payload, u32 zero, payload, padding to 8 bytes. Length `skip` = wrap.
///
/// Invariant: `tail <= head <= tail + capacity`; the producer alone moves `head`, the consumer alone `tail`.
@safe
package final class ByteRing: @unchecked Sendable {
  private let memory: UnsafeMutableRawBufferPointer
  private let mask: UInt64
  private let head = PaddedAtomic()
  private let tail = PaddedAtomic()
  /// Items (fixes) in the messages published so far. Moves with `head`.
  private let published = PaddedAtomic()
  // Producer's and consumer's own copies, so that the shared lines are read only when these run out. Each side has lines of its
  // own here too: otherwise every step of one would take the line from the other.
  private var producerHead: UInt64 = 0
  private var knownTail: UInt64 = 0
  private var producerPublished: UInt64 = 0
  private let between = InlineArray<16, UInt64>(repeating: 0)
  private var consumerTail: UInt64 = 0
  private var knownHead: UInt64 = 0

  private static let skip = UInt32.max

  /// - Parameter capacity: bytes; a power of two, at least 64.
  package init(capacity: Int) {
    precondition(capacity >= 64 && capacity & (capacity - 1) == 0)
    unsafe memory = .allocate(byteCount: capacity, alignment: 64)
    mask = UInt64(capacity) - 1
  }

  deinit { unsafe memory.deallocate() }

  package var capacity: Int { Int(mask) + 1 }

  /// Whether a message of `bytes` fits now, wherever it would have to start. Producer only.
  package func hasRoom(for bytes: Int) -> Bool {
    let worst = UInt64(2 * (bytes + 16))
    if producerHead &+ worst &- knownTail <= mask &+ 1 { return true }
    knownTail = tail.value.load(ordering: .acquiring)
    return producerHead &+ worst &- knownTail <= mask &+ 1
  }

  /// Whether more than half of it is taken. Producer only.
  package var isFilling: Bool {
    let half = (mask &+ 1) / 2
    if producerHead &- knownTail <= half { return false }
    knownTail = tail.value.load(ordering: .acquiring)
    return producerHead &- knownTail > half
  }

  /// Writes one message and makes it visible. Producer only.
  ///
  /// - Parameters:
  ///   - bytesMax: room for the payload. The caller has asked `hasRoom(for:)`.
  ///   - items: added to `itemsPublished`.
  ///   - body: fills the payload from its start and returns its length, at least 1.
  package func push(atMost bytesMax: Int, items: Int = 0, _ body: (inout MutableSpan<UInt8>) -> Int) {
    precondition(bytesMax > 0 && hasRoom(for: bytesMax))
    var at = Int(producerHead & mask)
    if capacity - at < 8 + ((bytesMax + 7) & ~7) {
      unsafe memory.storeBytes(of: ByteRing.skip, toByteOffset: at, as: UInt32.self)
      producerHead &+= UInt64(capacity - at)
      at = 0
    }
    let payload = unsafe UnsafeMutableBufferPointer(
      start: memory.baseAddress!.advanced(by: at + 8).assumingMemoryBound(to: UInt8.self), count: bytesMax)
    var span = unsafe MutableSpan(_unsafeElements: payload)
    let length = body(&span)
    precondition(length > 0 && length <= bytesMax)
    unsafe memory.storeBytes(of: UInt32(length), toByteOffset: at, as: UInt32.self)
    producerHead &+= UInt64(8 + ((length + 7) & ~7))
    producerPublished &+= UInt64(items)
    published.value.store(producerPublished, ordering: .relaxed)
    head.value.store(producerHead, ordering: .releasing)
  }

  /// Items published so far, at least those of every message that `pop` has seen. Any thread.
  package var itemsPublished: UInt64 { published.value.load(ordering: .acquiring) }

  /// Whether nothing waits. Consumer only.
  package var isEmpty: Bool {
    if consumerTail != knownHead { return false }
    knownHead = head.value.load(ordering: .acquiring)
    return consumerTail == knownHead
  }

  /// Hands the oldest message to `body` and then frees its place. Consumer only.
  /// - Returns: false if nothing waits.
  package func pop(_ body: (Span<UInt8>) -> Void) -> Bool {
    if isEmpty { return false }
    var at = Int(consumerTail & mask)
    var length = unsafe memory.load(fromByteOffset: at, as: UInt32.self)
    if length == ByteRing.skip {
      consumerTail &+= UInt64(capacity - at)
      at = 0
      length = unsafe memory.load(fromByteOffset: 0, as: UInt32.self)
    }
    let payload = unsafe UnsafeBufferPointer(
      start: UnsafePointer(memory.baseAddress!.advanced(by: at + 8).assumingMemoryBound(to: UInt8.self)),
      count: Int(length))
    body(unsafe Span(_unsafeElements: payload))
    consumerTail &+= UInt64(8 + ((Int(length) + 7) & ~7))
    tail.value.store(consumerTail, ordering: .releasing)
    return true
  }
}

/// A counter on cache lines of its own, so that two threads that each write one do not slow each other down.
struct PaddedAtomic: ~Copyable {
  private let before = InlineArray<8, UInt64>(repeating: 0)
  let value = Atomic<UInt64>(0)
  private let after = InlineArray<8, UInt64>(repeating: 0)
}
