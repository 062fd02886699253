public import Synchronization

/// A bounded queue of byte messages from one producer thread to one consumer thread. No locks, no allocation.
///
/// Messages lie in one piece: one that does not fit before the end of the memory starts again at its beginning, behind a
/// skip mark. Positions count bytes for ever and are taken modulo the capacity, a power of two.
///
/// Layout of a message: u32 length of the payload, u32 zero, payload, padding to 8 bytes. Length `skip` = wrap.
///
/// Invariant: `tail <= head <= tail + capacity`; the producer alone moves `head`, the consumer alone `tail`.
///
/// `push` and `pop` are inlined into their callers, bodies included: a call of a closure a message took more time than the rest.
@safe @usableFromInline
package final class ByteRing: @unchecked Sendable {
  @usableFromInline let memory: UnsafeMutableRawPointer
  @usableFromInline let mask: UInt64
  @usableFromInline let published = Published()
  @usableFromInline let freed = Freed()
  /// Each touched by one side alone. Behind pointers, not members: code that callers inline would ask at run time, at each access,
  /// whether somebody else is in the middle of one, which takes longer than all the rest.
  @usableFromInline let producer: UnsafeMutablePointer<Producer>
  @usableFromInline let consumer: UnsafeMutablePointer<Consumer>

  /// The producer's own positions, so that the shared lines are read only when these run out.
  @usableFromInline struct Producer {
    @usableFromInline var head: UInt64 = 0
    @usableFromInline var knownTail: UInt64 = 0
    @usableFromInline var items: UInt64 = 0
    // Lines of its own: otherwise every step of one side would take the line from the other.
    private let after = InlineArray<16, UInt64>(repeating: 0)
  }

  @usableFromInline struct Consumer {
    @usableFromInline var tail: UInt64 = 0
    @usableFromInline var knownHead: UInt64 = 0
    private let after = InlineArray<16, UInt64>(repeating: 0)
  }

  /// What the producer tells, on cache lines of its own, so that the two sides do not slow each other down.
  @usableFromInline struct Published: ~Copyable {
    private let before = InlineArray<8, UInt64>(repeating: 0)
    @usableFromInline let head = Atomic<UInt64>(0)
    /// Items (fixes) in the messages up to `head`.
    @usableFromInline let items = Atomic<UInt64>(0)
    private let after = InlineArray<8, UInt64>(repeating: 0)
  }

  /// What the consumer tells, likewise.
  @usableFromInline struct Freed: ~Copyable {
    private let before = InlineArray<8, UInt64>(repeating: 0)
    @usableFromInline let tail = Atomic<UInt64>(0)
    private let after = InlineArray<8, UInt64>(repeating: 0)
  }

  @inlinable static var skip: UInt32 { .max }

  /// - Parameter capacity: bytes; a power of two, at least 64.
  package init(capacity: Int) {
    precondition(capacity >= 64 && capacity & (capacity - 1) == 0)
    unsafe memory = .allocate(byteCount: capacity, alignment: 64)
    mask = UInt64(capacity) - 1
    unsafe producer = .allocate(capacity: 1)
    unsafe consumer = .allocate(capacity: 1)
    unsafe producer.initialize(to: Producer())
    unsafe consumer.initialize(to: Consumer())
  }

  deinit {
    unsafe producer.deallocate()
    unsafe consumer.deallocate()
    unsafe memory.deallocate()
  }

  @inlinable package var capacity: Int { Int(truncatingIfNeeded: mask) &+ 1 }

  /// Whether a message of `bytes` fits now, wherever it would have to start. Producer only.
  @inlinable @inline(__always)
  package func hasRoom(for bytes: Int) -> Bool {
    let worst = UInt64(2 * (bytes + 16))
    if unsafe producer.pointee.head &+ worst &- producer.pointee.knownTail <= mask &+ 1 { return true }
    unsafe producer.pointee.knownTail = freed.tail.load(ordering: .acquiring)
    return unsafe producer.pointee.head &+ worst &- producer.pointee.knownTail <= mask &+ 1
  }

  /// Whether more than half of it is taken. Producer only.
  package var isFilling: Bool {
    let half = (mask &+ 1) / 2
    if unsafe producer.pointee.head &- producer.pointee.knownTail <= half { return false }
    unsafe producer.pointee.knownTail = freed.tail.load(ordering: .acquiring)
    return unsafe producer.pointee.head &- producer.pointee.knownTail > half
  }

  /// Writes one message and makes it visible. Producer only.
  ///
  /// - Parameters:
  ///   - bytesMax: room for the payload. The caller has asked `hasRoom(for:)`.
  ///   - items: added to `itemsPublished`.
  ///   - body: fills the payload from its start and returns its length, at least 1.
  @inlinable @inline(__always)
  package func push(atMost bytesMax: Int, items: Int = 0, _ body: (inout MutableSpan<UInt8>) -> Int) {
    precondition(bytesMax > 0 && hasRoom(for: bytesMax))
    var next = unsafe producer.pointee.head
    var at = Int(truncatingIfNeeded: next & mask)
    if capacity &- at < 8 + ((bytesMax + 7) & ~7) {
      unsafe memory.storeBytes(of: ByteRing.skip, toByteOffset: at, as: UInt32.self)
      next &+= UInt64(truncatingIfNeeded: capacity &- at)
      at = 0
    }
    let payload = unsafe UnsafeMutableBufferPointer(
      start: memory.advanced(by: at &+ 8).assumingMemoryBound(to: UInt8.self), count: bytesMax)
    var span = unsafe MutableSpan(_unsafeElements: payload)
    let length = body(&span)
    precondition(length > 0 && length <= bytesMax)
    unsafe memory.storeBytes(of: UInt32(length), toByteOffset: at, as: UInt32.self)
    next &+= UInt64(truncatingIfNeeded: 8 &+ ((length &+ 7) & ~7))
    unsafe producer.pointee.head = next
    unsafe producer.pointee.items &+= UInt64(items)
    unsafe published.items.store(producer.pointee.items, ordering: .relaxed)
    published.head.store(next, ordering: .releasing)
  }

  /// Items published so far, at least those of every message that `pop` has seen. Any thread.
  package var itemsPublished: UInt64 { published.items.load(ordering: .acquiring) }

  /// Whether nothing waits. Consumer only.
  @inlinable @inline(__always)
  package var isEmpty: Bool {
    if unsafe consumer.pointee.tail != consumer.pointee.knownHead { return false }
    unsafe consumer.pointee.knownHead = published.head.load(ordering: .acquiring)
    return unsafe consumer.pointee.tail == consumer.pointee.knownHead
  }

  /// Hands the oldest message to `body` and then frees its place. Consumer only.
  /// - Returns: false if nothing waits.
  @inlinable @inline(__always)
  package func pop(_ body: (Span<UInt8>) -> Void) -> Bool {
    if isEmpty { return false }
    var next = unsafe consumer.pointee.tail
    var at = Int(truncatingIfNeeded: next & mask)
    var length = unsafe memory.load(fromByteOffset: at, as: UInt32.self)
    if length == ByteRing.skip {
      next &+= UInt64(truncatingIfNeeded: capacity &- at)
      at = 0
      length = unsafe memory.load(fromByteOffset: 0, as: UInt32.self)
    }
    let payload = unsafe UnsafeBufferPointer(
      start: UnsafePointer(memory.advanced(by: at &+ 8).assumingMemoryBound(to: UInt8.self)),
      count: Int(length))
    body(unsafe Span(_unsafeElements: payload))
    next &+= UInt64(8 &+ ((length &+ 7) & ~7))
    unsafe consumer.pointee.tail = next
    freed.tail.store(next, ordering: .releasing)
    return true
  }
}
