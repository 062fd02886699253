import CLinux
import Glibc

/// One connection over a Unix socket, non-blocking.
package struct UnixStream: ~Copyable, Sendable {
  package let descriptor: FileDescriptor

  init(descriptor: consuming FileDescriptor) { self.descriptor = descriptor }

  /// Connects to the socket at `path`.
  /// - Throws: `.refused` when nobody listens there, a missing file included; `.path`; `.system(.connect)`, EACCES for
  ///   another user's socket.
  package static func connect(to path: String) throws(NetError) -> UnixStream {
    let address = try UnixAddress(path)
    let descriptor = try FileDescriptor.socket(family: AF_UNIX)
    while true {
      let code = try unsafe address.withSockaddr { pointer, length in
        unsafe Glibc.connect(descriptor.raw, pointer, length) == 0 ? 0 : errno
      }
      switch code {
      case 0: return UnixStream(descriptor: descriptor)
      case EINTR: continue
      case ECONNREFUSED, ENOENT: throw .refused
      default:
        trapIfOurs(code)
        throw .system(.connect, errno: code)
      }
    }
  }

  package borrowing func read(into bytes: inout MutableSpan<UInt8>, at offset: inout Int) throws(NetError) -> ReadResult {
    try descriptor.read(into: &bytes, at: &offset)
  }

  package borrowing func write(_ bytes: Span<UInt8>) throws(NetError) -> WriteResult { try descriptor.send(bytes) }

  /// The number of the user at the other end, as the kernel has seen it when that end connected.
  package borrowing func peerUser() throws(NetError) -> UInt32 {
    var uid: uid_t = 0
    guard unsafe gate_peer_uid(descriptor.raw, &uid) == 0 else { throw .system(.getOption, errno: errno) }
    return uid
  }
}

/// Listens at a path in the file system, which is removed at the end. For this user alone (mode 0600, and the peer's user
/// number is checked), or for the socket's group too (mode 0660): then who comes must prove itself in words.
package struct UnixListener: ~Copyable, Sendable {
  package let descriptor: FileDescriptor
  private let address: UnixAddress
  private let isShared: Bool

  /// A socket that a dead process left behind is replaced. Keep two gateways apart by a lock of their own: between the
  /// look and the bind there is a gap.
  /// - Throws: `.alreadyServed`, `.path`, `.addressInUse` when something that is no socket lies there, `.system`.
  package init(at path: String, isShared: Bool = false, backlog: Int32 = 16) throws(NetError) {
    let address = try UnixAddress(path)
    if try address.isSocket() {
      do throws(NetError) {
        _ = try UnixStream.connect(to: path)
        throw .alreadyServed
      } catch .refused {
        try address.remove()
      } catch .system(.connect, errno: EAGAIN) {
        // Its queue is full, so somebody is there.
        throw .alreadyServed
      }
    }
    let descriptor = try FileDescriptor.socket(family: AF_UNIX)
    // Linux gives the file the socket's mode, so that it never lies open to others, not even before a chmod.
    guard fchmod(descriptor.raw, 0o600) == 0 else { throw .system(.mode, errno: errno) }
    let code = try unsafe address.withSockaddr { pointer, length in
      unsafe Glibc.bind(descriptor.raw, pointer, length) == 0 ? 0 : errno
    }
    guard code == 0 else { throw code == EADDRINUSE ? .addressInUse : .system(.bind, errno: code) }
    // Now, since bind leaves out what the umask says.
    if isShared { guard unsafe chmod(path, 0o660) == 0 else { throw .system(.mode, errno: errno) } }
    guard Glibc.listen(descriptor.raw, backlog) == 0 else { throw .system(.listen, errno: errno) }
    self.descriptor = descriptor
    self.address = address
    self.isShared = isShared
  }

  deinit { _ = try? address.remove() }

  /// Accepts one connection; where the socket is not shared, of this user or of root.
  /// - Returns: `nil` when none waits.
  /// - Throws: `.peerNotAllowed`: it is closed, go on. `.tooManyDescriptors`: pause the listener. `.system(.accept)`.
  package borrowing func accept() throws(NetError) -> UnixStream? {
    while true {
      var peer = sockaddr_storage()
      var length = socklen_t(MemoryLayout<sockaddr_storage>.size)
      let raw = unsafe gate_accept_nonblocking(descriptor.raw, &peer, &length)
      if raw >= 0 {
        let stream = UnixStream(descriptor: FileDescriptor(taking: raw))
        let user = try stream.peerUser()
        guard isShared || user == geteuid() || user == 0 else { throw .peerNotAllowed(uid: user) }
        return stream
      }
      let code = errno
      switch code {
      case EAGAIN: return nil
      case EINTR, ECONNABORTED, EPERM: continue
      case EMFILE, ENFILE, ENOBUFS, ENOMEM: throw .tooManyDescriptors(errno: code)
      default:
        trapIfOurs(code)
        throw .system(.accept, errno: code)
      }
    }
  }
}

/// A path that the kernel can be given for a socket, though it takes 107 bytes at most: a longer one is reached through its
/// directory's descriptor.
struct UnixAddress: Sendable {
  static let pathBytesMax = 107
  let path: String

  init(_ path: String) throws(NetError) {
    guard !path.isEmpty, path.utf8.count <= 4_095, !path.utf8.contains(0) else { throw .path }
    // "/proc/self/fd/", ten digits, "/".
    let name = path.utf8.reversed().prefix { $0 != UInt8(ascii: "/") }.count
    guard path.utf8.count <= UnixAddress.pathBytesMax || (1...UnixAddress.pathBytesMax - 25).contains(name) else {
      throw .path
    }
    self.path = path
  }

  /// - Returns: errno of `body`, 0 for success.
  /// - Throws: `.system(.open)` if the directory cannot be opened.
  func withSockaddr(_ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) throws(NetError) -> Int32 {
    guard path.utf8.count > UnixAddress.pathBytesMax else { return unsafe UnixAddress.call(path, body) }
    let slash = path.lastIndex(of: "/") ?? path.startIndex
    let raw = unsafe open(String(path[...slash]), O_DIRECTORY | O_RDONLY | O_CLOEXEC)
    guard raw >= 0 else { throw .system(.open, errno: errno) }
    let directory = FileDescriptor(taking: raw)
    return unsafe UnixAddress.call("/proc/self/fd/\(directory.raw)\(path[slash...])", body)
  }

  private static func call(_ path: String, _ body: (UnsafePointer<sockaddr>, socklen_t) -> Int32) -> Int32 {
    var address = sockaddr_un()
    address.sun_family = sa_family_t(AF_UNIX)
    unsafe withUnsafeMutableBytes(of: &address.sun_path) { room in
      for (index, byte) in path.utf8.enumerated() { unsafe room[index] = byte }
    }
    return unsafe withUnsafePointer(to: &address) { pointer in
      unsafe pointer.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        unsafe body($0, socklen_t(MemoryLayout<sockaddr_un>.size))
      }
    }
  }

  /// Whether a socket lies there. What is no socket is never removed.
  func isSocket() throws(NetError) -> Bool {
    var status = stat()
    guard unsafe lstat(path, &status) == 0 else {
      if errno == ENOENT { return false }
      throw .system(.bind, errno: errno)
    }
    return status.st_mode & S_IFMT == S_IFSOCK
  }

  func remove() throws(NetError) {
    guard unsafe unlink(path) == 0 || errno == ENOENT else { throw .system(.unlink, errno: errno) }
  }
}
