import CBench
import GateCore
package import GateNet
package import GateTLS
import Glibc

/// A secured way to the server, non-blocking: TLS over TCP now; DTLS over UDP fits behind the same calls.
package protocol Link: AnyObject {
  /// The handshake is done.
  var isOpen: Bool { get }
  /// The handshake went by a ticket.
  var isResumed: Bool { get }
  /// For the next handshake with the same server; `nil` before one came.
  var ticket: [UInt8]? { get }
  /// The socket takes nothing at present: wait for `becameWritable`.
  var isBlocked: Bool { get }
  /// Begins to be told of by `poller`, under `token`.
  func watch(_ poller: borrowing Poller, token: UInt64) throws(NetError)
  func becameWritable() throws
  /// Reads and decrypts what has come, into `buffers.plain`.
  /// - Returns: whether the connection goes on.
  func receive(_ buffers: inout LinkBuffers) throws -> Bool
  /// Encrypts, for `flush`.
  func write(_ bytes: [UInt8]) throws
  /// Sends what waits, and is told of when more can be sent.
  /// - Returns: whether anything was sent.
  func flush(_ poller: borrowing Poller, token: UInt64) throws -> Bool
  /// Says goodbye as far as the socket takes it.
  func close()
  var traffic: Traffic { get }
}

/// Scratch that all links of a fleet share.
package struct LinkBuffers {
  var cipher = [UInt8](repeating: 0, count: 65_536)
  package var plain = [UInt8](repeating: 0, count: 65_536)
  /// Bytes of `plain` that the last `receive` filled.
  package var plainCount = 0
  package init() {}
}

/// Payload bytes and packets of a connection, as its device sees them.
package struct Traffic: Sendable {
  package var bytesUp: UInt64 = 0
  package var bytesDown: UInt64 = 0
  package var packetsUp: UInt64 = 0
  package var packetsDown: UInt64 = 0

  package init() {}
  package static func += (a: inout Traffic, b: Traffic) {
    a.bytesUp += b.bytesUp
    a.bytesDown += b.bytesDown
    a.packetsUp += b.packetsUp
    a.packetsDown += b.packetsDown
  }
  package static func - (a: Traffic, b: Traffic) -> Traffic {
    var difference = a
    difference.bytesUp -= b.bytesUp
    difference.bytesDown -= b.bytesDown
    difference.packetsUp -= b.packetsUp
    difference.packetsDown -= b.packetsDown
    return difference
  }
}

/// Where a fleet connects to.
package struct LinkTarget {
  package var address: SocketAddress
  package var context: TLSClientContext
  package var serverName: String

  package init(address: SocketAddress, context: TLSClientContext, serverName: String) {
    self.address = address
    self.context = context
    self.serverName = serverName
  }
}

package final class TLSLink: Link {
  private let stream: TCPStream
  private var engine: TLSEngine
  private var isConnected = false
  package private(set) var isBlocked = true
  private var isToldWritable = true

  /// Segments as on Ethernet: 1,500 less the headers of IPv4 and TCP.
  private static let maximumSegmentSize: Int32 = 1_460
  /// IPv4 20, TCP 20, timestamps 12.
  package static let headerBytes = 52

  /// Begins to connect.
  package init(to target: LinkTarget, ticket: [UInt8]?) throws {
    let raw = bench_connect(UInt32(truncatingIfNeeded: target.address.low), target.address.port, TLSLink.maximumSegmentSize)
    guard raw >= 0 else { throw FleetError.system(errno) }
    stream = TCPStream(descriptor: FileDescriptor(taking: raw), peer: target.address)
    engine = try TLSEngine(client: target.context, serverName: target.serverName, ticket: ticket)
  }

  package var isOpen: Bool { engine.isEstablished }
  package var isResumed: Bool { engine.isResumed }
  package var ticket: [UInt8]? { engine.sessionTicket }

  package func watch(_ poller: borrowing Poller, token: UInt64) throws(NetError) {
    try poller.add(stream.descriptor, token: token, for: [.read, .write])
  }

  package func becameWritable() throws {
    if !isConnected {
      let code = bench_connect_result(stream.descriptor.raw)
      guard code == 0 else { throw FleetError.system(code) }
      isConnected = true
    }
    isBlocked = false
  }

  package func receive(_ buffers: inout LinkBuffers) throws -> Bool {
    buffers.plainCount = 0
    guard isConnected else { return true }
    var count = 0
    switch try TLSLink.read(stream, &buffers.cipher, &count) {
    case .wouldBlock: return true
    case .closed: return false
    case .bytes: break
    }
    var end = 0
    let progress = try TLSLink.decrypt(&engine, buffers.cipher, count, &buffers.plain, &end)
    buffers.plainCount = end
    return progress != .closed
  }

  package func write(_ bytes: [UInt8]) throws { try engine.write(bytes.span) }

  package func flush(_ poller: borrowing Poller, token: UInt64) throws -> Bool {
    let sent = try send()
    if isBlocked != isToldWritable {
      isToldWritable = isBlocked
      try poller.modify(stream.descriptor, token: token, for: isBlocked ? [.read, .write] : .read)
    }
    return sent
  }

  package func close() {
    engine.close()
    _ = try? send()
  }

  package var traffic: Traffic {
    var info = bench_tcp()
    var traffic = Traffic()
    guard unsafe bench_tcp_info(stream.descriptor.raw, &info) == 0 else { return traffic }
    traffic.bytesUp = info.bytes_out
    traffic.bytesDown = info.bytes_in
    traffic.packetsUp = info.segments_out
    traffic.packetsDown = info.segments_in
    return traffic
  }

  private func send() throws(NetError) -> Bool {
    var sent = false
    while engine.outputCount > 0, !isBlocked {
      _ = try engine.drain { output throws(NetError) in
        switch try stream.write(output) {
        case .bytes(let count):
          sent = true
          return count
        case .wouldBlock:
          isBlocked = true
          return 0
        // The next read tells that it is gone.
        case .closed: return output.count
        }
      }
    }
    return sent
  }

  private static func read(
    _ stream: borrowing TCPStream, _ bytes: inout [UInt8], _ count: inout Int
  ) throws(NetError) -> ReadResult {
    var room = bytes.mutableSpan
    return try stream.read(into: &room, at: &count)
  }

  private static func decrypt(
    _ engine: inout TLSEngine, _ cipher: [UInt8], _ count: Int, _ plain: inout [UInt8], _ end: inout Int
  ) throws(TLSError) -> TLSProgress {
    var room = plain.mutableSpan
    return try engine.receive(cipher.span.extracting(..<count), plaintext: &room, at: &end)
  }
}
