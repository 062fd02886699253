import CLinux
import Glibc

package enum ProcessSignal: Equatable, Sendable {
  /// SIGTERM or SIGINT: drain and exit.
  case terminate
  /// SIGHUP: read certificates and configuration anew.
  case reload
}

/// Turns signals into something a `Poller` can watch. SIGPIPE and SIGXFSZ are ignored from here on.
///
/// Make it on the main thread before any other thread starts: threads inherit that the signals are blocked. Processes
/// started later inherit it too, unless their signal mask is set.
package struct Signals: ~Copyable, Sendable {
  package let descriptor: FileDescriptor

  /// - Throws: `.system(.signalDescriptor)`: stop the process.
  package init() throws(NetError) {
    var set = sigset_t()
    unsafe sigemptyset(&set)
    for number in [SIGTERM, SIGINT, SIGHUP] { unsafe sigaddset(&set, number) }
    let code = unsafe pthread_sigmask(SIG_BLOCK, &set, nil)
    guard code == 0 else { throw .system(.signalDescriptor, errno: code) }
    Signals.ignoreWriteSignals()
    let raw = unsafe signalfd(-1, &set, Int32(SFD_CLOEXEC | SFD_NONBLOCK))
    guard raw >= 0 else { throw .system(.signalDescriptor, errno: errno) }
    descriptor = FileDescriptor(taking: raw)
  }

  /// For command-line clients too: a broken connection, or a file at its allowed size (`ulimit -f`), is a value, never the
  /// end of the process.
  package static func ignoreWriteSignals() {
    for number in [SIGPIPE, SIGXFSZ] { _ = signal(number, SIG_IGN) }
  }

  /// The next signal that came in; `nil` when there is none.
  package borrowing func next() throws(NetError) -> ProcessSignal? {
    while true {
      var info = signalfd_siginfo()
      let count = unsafe read(descriptor.raw, &info, MemoryLayout<signalfd_siginfo>.size)
      if count == MemoryLayout<signalfd_siginfo>.size {
        return Int32(info.ssi_signo) == SIGHUP ? .reload : .terminate
      }
      let code = errno
      switch code {
      case EINTR: continue
      case EAGAIN: return nil
      default:
        trapIfOurs(code)
        throw .system(.read, errno: code)
      }
    }
  }
}
