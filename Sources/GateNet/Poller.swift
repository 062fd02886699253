import CLinux
import Glibc

/// One thread's epoll. Level-triggered: what is not read is told again.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package struct Poller: ~Copyable, @unchecked Sendable {
  package struct Interest: OptionSet, Sendable {
    package let rawValue: UInt8
    package init(rawValue: UInt8) { self.rawValue = rawValue }
    package static let read = Interest(rawValue: 1)
    package static let write = Interest(rawValue: 2)
    /// The peer has ended its direction; what it sent before is not told.
    package static let end = Interest(rawValue: 4)
  }

  package struct Event: Equatable, Sendable {
    package let token: UInt64
    /// Reading will not block: bytes, the end, or an error, which the read tells.
    package let readable: Bool
    package let writable: Bool
    /// The peer sends nothing more: told where `read` or `end` is watched for.
    package let ended: Bool
    /// Both directions are down, or the socket failed.
    package let hungUp: Bool
  }

  private let descriptor: FileDescriptor
  private let events: UnsafeMutablePointer<epoll_event>
  private let capacity: Int

  /// - Parameter capacity: most events told by one `wait`.
  /// - Throws: `.system(.epoll)`: stop the process.
  package init(capacity: Int = 256) throws(NetError) {
    precondition(capacity > 0 && capacity <= 65_536)
    let raw = epoll_create1(Int32(EPOLL_CLOEXEC))
    guard raw >= 0 else { throw .system(.epoll, errno: errno) }
    descriptor = FileDescriptor(taking: raw)
    self.capacity = capacity
    unsafe events = .allocate(capacity: capacity)
    unsafe events.initialize(repeating: epoll_event(), count: capacity)
  }

  deinit { unsafe events.deallocate() }

  /// Watches a descriptor. Closing it ends the watch.
  /// - Parameter token: comes back in its events; never looked into.
  /// - Throws: `.system(.epoll)`: no memory or no watch left (ENOMEM, ENOSPC); refuse the connection.
  package borrowing func add(_ watched: borrowing FileDescriptor, token: UInt64, for interest: Interest) throws(NetError) {
    try control(EPOLL_CTL_ADD, watched, token, interest)
  }

  /// Replaces interest and token.
  package borrowing func modify(
    _ watched: borrowing FileDescriptor, token: UInt64, for interest: Interest
  ) throws(NetError) {
    try control(EPOLL_CTL_MOD, watched, token, interest)
  }

  package borrowing func remove(_ watched: borrowing FileDescriptor) throws(NetError) {
    try control(EPOLL_CTL_DEL, watched, 0, [])
  }

  /// Waits for events, at most `timeoutNs` rounded up to a millisecond; `nil` waits for ever. A signal ends the wait early.
  /// - Returns: number of events, to be had from `event(at:)` until the next wait.
  package mutating func wait(timeoutNs: UInt64?) throws(NetError) -> Int {
    let timeout = timeoutNs.map(Poller.milliseconds) ?? -1
    let count = unsafe epoll_wait(descriptor.raw, events, Int32(capacity), timeout)
    guard count < 0 else { return Int(count) }
    let code = errno
    trapIfOurs(code)
    guard code == EINTR else { throw .system(.epoll, errno: code) }
    return 0
  }

  /// - Parameter index: below what the last `wait` returned.
  package borrowing func event(at index: Int) -> Event {
    precondition(index >= 0 && index < capacity)
    let bits = unsafe events[index].events
    return Event(
      token: unsafe events[index].data.u64,
      readable: bits & (EPOLLIN.rawValue | EPOLLRDHUP.rawValue | EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0,
      writable: bits & EPOLLOUT.rawValue != 0,
      ended: bits & EPOLLRDHUP.rawValue != 0,
      hungUp: bits & (EPOLLHUP.rawValue | EPOLLERR.rawValue) != 0)
  }

  private borrowing func control(
    _ operation: Int32, _ watched: borrowing FileDescriptor, _ token: UInt64, _ interest: Interest
  ) throws(NetError) {
    var bits: UInt32 = 0
    if interest.contains(.read) { bits |= EPOLLIN.rawValue | EPOLLRDHUP.rawValue }
    if interest.contains(.write) { bits |= EPOLLOUT.rawValue }
    if interest.contains(.end) { bits |= EPOLLRDHUP.rawValue }
    var event = unsafe epoll_event(events: bits, data: epoll_data_t(u64: token))
    guard unsafe epoll_ctl(descriptor.raw, operation, watched.raw, &event) == 0 else {
      let code = errno
      trapIfOurs(code)
      throw .system(.epoll, errno: code)
    }
  }

  /// Rounded up, so that a wait never ends before its deadline.
  static func milliseconds(_ ns: UInt64) -> Int32 {
    let (whole, part) = ns.quotientAndRemainder(dividingBy: 1_000_000)
    return Int32(clamping: whole + (part > 0 ? 1 : 0))
  }
}
