import CLinux
import Glibc

/// Wakes a thread that waits in its `Poller`, from any other. Many signals before the wake-up count as one.
package final class EventFD: Sendable {
  package let descriptor: FileDescriptor

  /// - Throws: `.system(.eventDescriptor)`: stop the process.
  package init() throws(NetError) {
    let raw = eventfd(0, Int32(EFD_CLOEXEC | EFD_NONBLOCK))
    guard raw >= 0 else { throw .system(.eventDescriptor, errno: errno) }
    descriptor = FileDescriptor(taking: raw)
  }

  /// Never blocks and does not fail: a full counter is a wake-up that is under way already.
  package func signal() {
    if eventfd_write(descriptor.raw, 1) != 0 { trapIfOurs(errno) }
  }

  /// Takes back all signals so far. Do so before looking at what they announce.
  /// - Returns: whether there was one.
  @discardableResult
  package func clear() -> Bool {
    var count: UInt64 = 0
    let result = unsafe eventfd_read(descriptor.raw, &count)
    if result != 0 { trapIfOurs(errno) }
    return result == 0
  }
}
