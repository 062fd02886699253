import GateCore
package import GateNet
import Synchronization

/// A TCP listener that a worker's thread takes over.
package final class Listener: Sendable {
  package let tcp: TCPListener
  package init(_ tcp: consuming TCPListener) { self.tcp = tcp }
}

/// A UDP socket that a worker's thread takes over.
package final class DatagramListener: Sendable {
  private let socket: Mutex<UDPSocket?>

  package init(_ socket: consuming UDPSocket) { self.socket = Mutex(consume socket) }

  /// Once.
  func take() -> UDPSocket {
    guard let taken = socket.withLock({ $0.take() }) else { preconditionFailure("a socket has one owner") }
    return taken
  }
}

/// What every worker listens on: a socket of its own on every address.
package struct Listening: Sendable {
  /// By worker.
  package private(set) var tls: [[Listener]] = []
  package private(set) var dtls: [[DatagramListener]] = []
  /// Bound, with real ports.
  package private(set) var tlsAddresses: [String] = []
  package private(set) var dtlsAddresses: [String] = []
  /// The smallest `UDPSocket.receiveBufferBytes`; `.max` without any.
  package private(set) var receiveBufferBytes = Int.max

  /// An address names its socket by a byte.
  private static let addressesMax = 255

  /// - Throws: `GatewayError.noAddress`, `.addressInUse`, `.tooManyAddresses`, `NetError`: do not start.
  package init(_ configuration: Configuration, workers: Int) throws {
    (tls, tlsAddresses) = try Listening.bind("listen.tls", configuration.listen.tls, workers: workers) {
      address throws(NetError) in _ = try TCPListener(on: address, sharesPort: false).boundPort
    } open: { address, _ throws(NetError) in
      let listener = try TCPListener(on: address)
      let port = listener.boundPort
      return (Listener(listener), port)
    }
    let wanted = configuration.dtls.receiveBufferBytes
    var granted = Int.max
    (dtls, dtlsAddresses) = try Listening.bind("listen.dtls", configuration.listen.dtls, workers: workers) {
      address throws(NetError) in _ = try UDPSocket(on: address, sharesPort: false).boundPort
    } open: { address, worker throws(NetError) in
      let socket = try UDPSocket(on: address, receiveBufferBytes: wanted)
      let port = socket.boundPort
      granted = min(granted, socket.receiveBufferBytes)
      if worker == workers - 1 { try socket.routeByShard(sockets: workers) }
      return (DatagramListener(socket), port)
    }
    receiveBufferBytes = granted
  }

  /// - Parameters:
  ///   - probe: tries an address alone. Workers share its port, other gateways of the same user must not: they would get some
  ///     of the devices.
  ///   - open: for one worker, in order; tells the port.
  private static func bind<Socket>(
    _ key: String, _ texts: [String], workers: Int, probe: (SocketAddress) throws(NetError) -> Void,
    open: (_ address: SocketAddress, _ worker: Int) throws(NetError) -> (Socket, UInt16)
  ) throws -> ([[Socket]], [String]) {
    var sockets = [[Socket]](repeating: [], count: workers)
    var addresses: [String] = []
    for text in texts {
      for resolved in try HostPort(text).resolve() {
        guard addresses.count < addressesMax else { throw GatewayError.tooManyAddresses(key, max: addressesMax) }
        var address = resolved
        do throws(NetError) {
          if address.port != 0 { try probe(address) }
          for worker in 0..<workers {
            let (socket, port) = try open(address, worker)
            address = address.withPort(port)
            sockets[worker].append(socket)
          }
        } catch {
          switch error {
          // A machine without IPv6 need not be told not to use it.
          case .addressUnavailable where address.isIPv6 && address.description.hasPrefix("[::]"): continue
          case .addressUnavailable: throw GatewayError.noAddress(key, text)
          case .addressInUse: throw GatewayError.addressInUse(key, address.description)
          default: throw error
          }
        }
        addresses.append(address.description)
      }
    }
    guard texts.isEmpty || !addresses.isEmpty else { throw GatewayError.noAddress(key, texts.joined(separator: ", ")) }
    return (sockets, addresses)
  }
}
