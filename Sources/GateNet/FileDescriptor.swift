import CLinux
package import GateCore
import Glibc

/// What came of one read.
package enum ReadResult: Equatable, Sendable {
  /// So many bytes, at least 1, lie in front of the new offset.
  case bytes(Int)
  /// Nothing there now: wait for the poller.
  case wouldBlock
  /// The other side has closed, orderly or not. Nothing more will come.
  case closed
}

/// What came of one write.
package enum WriteResult: Equatable, Sendable {
  /// So many bytes were taken, at least 1, maybe not all.
  case bytes(Int)
  case wouldBlock
  /// The other side is gone. What it has not acked in its own protocol must be taken as not received.
  case closed
}

/// Owns one descriptor; closed exactly once. A call on a descriptor that is not open, or with memory that is not ours,
/// is a bug of ours and traps: EBADF, EFAULT.
package struct FileDescriptor: ~Copyable, Sendable {
  package let raw: Int32

  /// Takes over an open descriptor.
  package init(taking raw: Int32) {
    precondition(raw >= 0)
    self.raw = raw
  }

  deinit {
    // Linux frees the number even when close is interrupted; a second try would hit someone else's.
    if Glibc.close(raw) != 0 { trapIfOurs(errno) }
  }

  /// Reads once, into `bytes` from `offset` to its end; `offset` moves on.
  /// - Throws: `.system(.read)`: close the connection.
  package borrowing func read(into bytes: inout MutableSpan<UInt8>, at offset: inout Int) throws(NetError) -> ReadResult {
    precondition(offset >= 0 && offset < bytes.count)
    let start = offset
    let raw = raw
    while true {
      let (count, code) = unsafe bytes.withUnsafeMutableBytes { room in
        let count = unsafe Glibc.read(raw, room.baseAddress! + start, room.count - start)
        return (count, errno)
      }
      if count > 0 {
        offset = start + count
        return .bytes(count)
      }
      if count == 0 { return .closed }
      switch code {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      case ECONNRESET, ETIMEDOUT, EPIPE, EHOSTUNREACH, ENETUNREACH, ECONNABORTED: return .closed
      default:
        trapIfOurs(code)
        throw .system(.read, errno: code)
      }
    }
  }

  /// Writes once to a socket, without SIGPIPE.
  /// - Throws: `.system(.write)`: close the connection.
  package borrowing func send(_ bytes: Span<UInt8>) throws(NetError) -> WriteResult {
    guard bytes.count > 0 else { return .bytes(0) }
    let raw = raw
    while true {
      let (count, code) = unsafe bytes.withUnsafeBytes { data in
        let count = unsafe Glibc.send(raw, data.baseAddress, data.count, Int32(MSG_NOSIGNAL))
        return (count, errno)
      }
      if count >= 0 { return .bytes(count) }
      switch code {
      case EINTR: continue
      case EAGAIN: return .wouldBlock
      case ECONNRESET, EPIPE, ETIMEDOUT, EHOSTUNREACH, ENETUNREACH, ECONNABORTED: return .closed
      default:
        trapIfOurs(code)
        throw .system(.write, errno: code)
      }
    }
  }

  /// Waits until the descriptor can be read, or written, or has failed, which the next call will tell. For clients and
  /// the command line; a worker has its `Poller`.
  /// - Parameter deadline: on `SystemClock`.
  /// - Throws: `.timedOut`; `.system(.poll)`.
  package borrowing func wait(readable: Bool, writable: Bool, until deadline: Instant) throws(NetError) {
    while true {
      let left = deadline.since(SystemClock.now())
      let count = gate_poll(raw, Int16((readable ? POLLIN : 0) | (writable ? POLLOUT : 0)), left)
      let code = errno
      if count > 0 { return }
      if count == 0 {
        if SystemClock.now() >= deadline { throw .timedOut }
        continue
      }
      guard code == EINTR else {
        trapIfOurs(code)
        throw .system(.poll, errno: code)
      }
    }
  }

  package borrowing func setOption(_ level: Int32, _ name: Int32, _ value: Int32) throws(NetError) {
    var value = value
    guard unsafe setsockopt(raw, level, name, &value, socklen_t(MemoryLayout<Int32>.size)) == 0 else {
      throw .system(.setOption, errno: errno)
    }
  }
}

/// Traps on the codes that only a bug of ours can bring about.
func trapIfOurs(_ code: Int32) {
  precondition(code != EBADF && code != EFAULT)
}
