import Glibc

/// Text for logs and the command line: what is wrong and what to do.
extension NetError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .system(let call, let code): "\(call.rawValue): \(NetError.words(code))"
    case .addressInUse: "the address is in use; stop the other process or choose another port"
    case .addressUnavailable(let code):
      "the address cannot be used here (\(NetError.words(code))); ports below 1024 need a privilege"
    case .addressSyntax: "an address is written host:port or [IPv6 address]:port"
    case .unresolvable(let code): "the host name cannot be resolved: \(unsafe String(cString: gai_strerror(code)))"
    case .tooManyDescriptors(let code):
      "no room for another connection (\(NetError.words(code))); raise the limit of open files (ulimit -n)"
    case .timedOut: "no answer in time"
    case .refused: "nobody listens there"
    case .path: "not a path for a Unix socket; choose a shorter name"
    case .alreadyServed: "another process answers at the socket: the gateway runs already"
    case .peerNotAllowed(let uid): "user \(uid) may not use the control socket"
    }
  }

  private static func words(_ code: Int32) -> String { unsafe String(cString: strerror(code)) }
}
