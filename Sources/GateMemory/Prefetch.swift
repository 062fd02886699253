public import CGateShims

/// Has the CPU fetch an object from memory while something else is done. Worth it where thousands of objects take turns, so that
/// each is cold, and the work in between takes as long as a miss of all caches, some 100 ns.
///
/// Inlined, so that nobody retains the object, which would wait for its memory.
/// - Parameter bytes: of the object, from its start. More than it has does no harm.
@inlinable @inline(__always)
package func prefetch(_ object: AnyObject, bytes: Int) {
  let start = unsafe Unmanaged.passUnretained(object).toOpaque()
  for offset in stride(from: 0, to: bytes, by: 64) { unsafe gate_prefetch(start + offset) }
}
