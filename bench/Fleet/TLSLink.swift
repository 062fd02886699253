import CBench
package import GateCore
package import GateNet
package import GateTLS
import Glibc

/// TLS 1.3 over TCP.
package final class TLSLink: Link {
  private let stream: TCPStream
  private var engine: TLSEngine
  private var isConnected = false
  /// A line of plain text comes before the handshake.
  private var awaitsGreeting: Bool
  package private(set) var isBlocked = true
  private var isToldWritable = true

  /// Segments as on Ethernet: 1,500 less the headers of IPv4 and TCP.
  private static let maximumSegmentSize: Int32 = 1_460
  /// IPv4 20, TCP 20, timestamps 12.
  private static let headerBytes: UInt64 = 52

  /// Begins to connect.
  /// - Parameters:
  ///   - address: IPv4.
  ///   - earlyData: no more than the ticket allows.
  ///   - isGreetedFirst: the server says a line in plain text before TLS, as NATS does.
  package init(
    to address: SocketAddress, context: TLSClientContext, serverName: String, ticket: [UInt8]?,
    earlyData: [UInt8] = [], isGreetedFirst: Bool = false
  ) throws {
    awaitsGreeting = isGreetedFirst
    roundTripsToBegin = isGreetedFirst ? 2 : 1
    let raw = bench_connect(UInt32(truncatingIfNeeded: address.low), address.port, TLSLink.maximumSegmentSize)
    guard raw >= 0 else { throw FleetError.system(errno) }
    stream = TCPStream(descriptor: FileDescriptor(taking: raw), peer: address)
    engine = try TLSEngine(client: context, serverName: serverName, ticket: ticket, earlyData: earlyData)
  }

  package var carriesDatagrams: Bool { false }
  package let roundTripsToBegin: Int

  package var isOpen: Bool { engine.isEstablished }
  package var isResumed: Bool { engine.isResumed }
  package var tookEarlyData: Bool { engine.earlyData == .accepted }
  package var ticket: [UInt8]? { engine.sessionTicket }

  package func watch(_ poller: borrowing Poller, token: UInt64) throws {
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

  package func receive(_ buffers: inout LinkBuffers, at now: Instant) throws -> Bool {
    guard isConnected else { return true }
    var count = 0
    switch try TLSLink.read(stream, &buffers.cipher, &count) {
    case .wouldBlock: return true
    case .closed: return false
    case .bytes: break
    }
    if awaitsGreeting {
      awaitsGreeting = buffers.cipher[count - 1] != UInt8(ascii: "\n")
      return true
    }
    var end = 0
    let progress = try TLSLink.decrypt(&engine, buffers.cipher, count, &buffers.plain, &end)
    if end > 0 { buffers.messages.append(0..<end) }
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

  package var wakeAt: Instant? { nil }
  package func expire(at now: Instant) {}
  package func move(_ poller: borrowing Poller, token: UInt64) -> Bool { false }

  package func close() {
    engine.close()
    _ = try? send()
  }

  package var traffic: Traffic {
    var info = bench_tcp()
    var traffic = Traffic()
    guard unsafe bench_tcp_info(stream.descriptor.raw, &info) == 0 else { return traffic }
    traffic.bytesUp = info.bytes_out + info.segments_out * TLSLink.headerBytes
    traffic.bytesDown = info.bytes_in + info.segments_in * TLSLink.headerBytes
    traffic.packetsUp = info.segments_out
    traffic.packetsDown = info.segments_in
    return traffic
  }

  private func send() throws(NetError) -> Bool {
    var sent = false
    while engine.outputCount > 0, !isBlocked, !awaitsGreeting {
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
