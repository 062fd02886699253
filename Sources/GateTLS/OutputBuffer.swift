import Glibc

/// Ciphertext that waits to be sent: one block from malloc, or none.
@safe struct OutputBuffer: ~Copyable {
  private var block: UnsafeMutablePointer<UInt8>? = nil
  private(set) var capacity = 0
  private var start = 0
  private var end = 0

  init() {}

  deinit { unsafe free(block) }

  /// Bytes that wait.
  var waiting: Int { end - start }

  /// Lends room for `count` bytes behind what waits; `body` moves its offset past those that it filled. What it filled before
  /// it throws does not count.
  /// - Returns: false above `TLSEngine.outputBytesHardMax` or without memory; `body` was not called then.
  mutating func append<E: Error>(
    upTo count: Int, _ body: (inout MutableSpan<UInt8>, inout Int) throws(E) -> Void
  ) throws(E) -> Bool {
    guard reserve(count), let block = unsafe block else { return false }
    var room = unsafe MutableSpan(_unsafeStart: block + end, count: count)
    var filled = 0
    try body(&room, &filled)
    precondition(filled >= 0 && filled <= count)
    end += filled
    return true
  }

  /// Copies `count` bytes behind what waits.
  /// - Returns: false as `append(upTo:_:)`.
  mutating func append(_ bytes: UnsafeRawPointer, count: Int) -> Bool {
    guard reserve(count), let block = unsafe block else { return false }
    unsafe memcpy(block + end, bytes, count)
    end += count
    return true
  }

  private mutating func reserve(_ count: Int) -> Bool {
    guard count <= TLSEngine.outputBytesHardMax - waiting else { return false }
    guard count > capacity - end else { return true }
    let needed = waiting + count
    if needed <= capacity, let block = unsafe block {
      unsafe memmove(block, block + start, waiting)
    } else {
      var grown = max(capacity, TLSEngine.outputBytesKept)
      while grown < needed { grown *= 2 }
      guard let memory = unsafe malloc(grown) else { return false }
      let bytes = unsafe memory.assumingMemoryBound(to: UInt8.self)
      if let block = unsafe block {
        unsafe memcpy(bytes, block + start, waiting)
        unsafe free(block)
      }
      unsafe block = bytes
      capacity = grown
    }
    end = waiting
    start = 0
    return true
  }

  /// Hands what waits to `send`, which says how many bytes it took; these leave.
  /// - Returns: true when nothing waits any more.
  mutating func drain<E: Error>(_ send: (Span<UInt8>) throws(E) -> Int) throws(E) -> Bool {
    guard waiting > 0, let block = unsafe block else { return true }
    let bytes = unsafe UnsafeBufferPointer(start: block + start, count: waiting)
    let taken = try send(unsafe bytes.span)
    precondition(taken >= 0 && taken <= waiting)
    start += taken
    guard start == end else { return false }
    start = 0
    end = 0
    return true
  }

  /// Frees an empty block that has grown above `TLSEngine.outputBytesKept`.
  mutating func shrink() {
    if waiting == 0, capacity > TLSEngine.outputBytesKept { release() }
  }

  mutating func release() {
    unsafe free(block)
    unsafe block = nil
    capacity = 0
    start = 0
    end = 0
  }

  /// Gives an empty block away, which is the caller's to free; nothing if it is not of the size that is kept.
  mutating func takeBlock() -> UnsafeMutablePointer<UInt8>? {
    guard waiting == 0, capacity == TLSEngine.outputBytesKept, let taken = unsafe block else { return nil }
    unsafe block = nil
    capacity = 0
    return unsafe taken
  }

  /// Takes over a block of `TLSEngine.outputBytesKept` bytes.
  mutating func adopt(_ fresh: UnsafeMutablePointer<UInt8>) {
    precondition(capacity == 0)
    unsafe block = fresh
    capacity = TLSEngine.outputBytesKept
  }
}
