/// The system call that failed.
package enum NetCall: String, Equatable, Sendable {
  case socket, bind, listen, accept, connect, read, write, poll, setOption, getOption, epoll, eventDescriptor
  case signalDescriptor, limit, mode, unlink, open, thread
}

package enum NetError: Error, Equatable, Sendable {
  /// Any failure without a case of its own. For a connection: close it. At start: stop the process.
  case system(NetCall, errno: Int32)
  /// Another process holds the address: stop, and name the port.
  case addressInUse
  /// The address may not be used here: a privileged port, or one that is not this machine's. Stop.
  case addressUnavailable(errno: Int32)
  /// Neither `host:port` nor `[address]:port`.
  case addressSyntax
  /// The name could not be resolved; `code` is getaddrinfo's EAI_*. A client tries again later.
  case unresolvable(code: Int32)
  /// No descriptor or memory for another connection: pause the listener until one is closed.
  case tooManyDescriptors(errno: Int32)
  /// The deadline passed.
  case timedOut
  /// The other side refused the connection, or nobody listens. A client tries again later.
  case refused
  /// No path for a Unix socket: empty, with a zero byte, or with a name above 82 bytes.
  case path
  /// Another process answers at the Unix socket: the gateway runs already.
  case alreadyServed
  /// A process of another user knocked at the Unix socket. It was shut out; go on accepting.
  case peerNotAllowed(uid: UInt32)
}
