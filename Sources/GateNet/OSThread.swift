import CLinux
import Glibc

/// A thread of the operating system, for loops that wait in system calls. Ends when its body does.
@safe package struct OSThread: ~Copyable, @unchecked Sendable {
  private final class Body {
    let name: String
    let run: () -> Void
    init(_ name: String, _ run: @escaping () -> Void) {
      self.name = name
      self.run = run
    }
  }

  private let handle: pthread_t

  /// Starts `body`, to which everything it captures is handed over.
  /// - Parameter name: for debuggers and `top -H`; the kernel keeps 15 bytes.
  /// - Throws: `.system(.thread)`: stop the process.
  package init(_ name: String, _ body: sending @escaping () -> Void) throws(NetError) {
    let box = unsafe Unmanaged.passRetained(Body(name, body))
    var thread = pthread_t()
    let code = unsafe pthread_create(
      &thread, nil,
      { argument in
        let body = unsafe Unmanaged<Body>.fromOpaque(argument!).takeRetainedValue()
        unsafe gate_name_thread(body.name)
        body.run()
        return nil
      }, box.toOpaque())
    guard code == 0 else {
      unsafe box.release()
      throw .system(.thread, errno: code)
    }
    handle = thread
  }

  /// Waits until the body has ended.
  package consuming func join() { pthread_join(handle, nil) }
}
