public import Synchronization

/// A fixed array of 64-bit words that several threads change: the limiter's state, counters by index.
@safe @usableFromInline
package final class AtomicWords: @unchecked Sendable {
  @usableFromInline let words: UnsafeMutablePointer<Atomic<UInt64>>
  @usableFromInline package let count: Int

  package init(count: Int) {
    self.count = count
    unsafe words = .allocate(capacity: count)
    for i in 0..<count { unsafe words.advanced(by: i).initialize(to: Atomic(0)) }
  }

  deinit {
    unsafe words.deinitialize(count: count)
    unsafe words.deallocate()
  }

  @inlinable @inline(__always)
  package func load(_ index: Int) -> UInt64 {
    precondition(index >= 0 && index < count)
    return unsafe words[index].load(ordering: .relaxed)
  }

  @inlinable @inline(__always)
  package func add(_ value: UInt64, to index: Int) {
    precondition(index >= 0 && index < count)
    unsafe words[index].wrappingAdd(value, ordering: .relaxed)
  }

  /// Puts `new` in place of `expected`.
  /// - Returns: `nil` on success, otherwise the value that is there instead.
  @inlinable @inline(__always)
  package func exchange(_ index: Int, expected: UInt64, new: UInt64) -> UInt64? {
    precondition(index >= 0 && index < count)
    let (exchanged, original) = unsafe words[index].weakCompareExchange(
      expected: expected, desired: new, ordering: .relaxed)
    return exchanged ? nil : original
  }
}
