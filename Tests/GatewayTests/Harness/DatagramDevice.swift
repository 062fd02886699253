import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS

/// A device over DTLS that says exactly what a test wants: messages, records, or any bytes.
final class DatagramDevice {
  struct Failure: Error, CustomStringConvertible {
    var description: String
  }

  let bundle: GateDevice.Bundle
  /// The gateway has said close_notify.
  private(set) var isClosed = false
  /// Bytes of UDP payload sent and received, handshake included.
  private(set) var sentBytes = 0
  private(set) var receivedBytes = 0
  /// Datagrams received since the handshake.
  private(set) var received = 0
  private var gateway: SocketAddress
  private let cipher: RecordCipher
  private var socket: UDPSocket
  private var session: DTLSSession

  var token: [UInt8] { bundle.token }

  /// Shakes hands: with the bundle's pre-shared key if it has one, else checks the gateway's certificate.
  /// - Parameters:
  ///   - port: the gateway's, unless it is the bundle's.
  ///   - usesCID: false = a device that knows no connection IDs.
  init(
    bundle path: String, port: UInt16? = nil, suite: DTLSSuite? = nil, usesCID: Bool = true, overIPv6: Bool = false,
    identity: TLSIdentity? = nil
  ) throws {
    bundle = try GateDevice.Bundle(parsing: String(contentsOfFile: path, encoding: .utf8))
    let port = port ?? bundle.gateways[0].port
    gateway = overIPv6 ? .loopbackIPv6(port: port) : .loopback(port: port)
    cipher = try RecordCipher()
    var socket = try DatagramDevice.socket(towards: gateway)
    var (sent, received) = (0, 0)
    let context: DTLSClientContext
    if let psk = bundle.psk {
      context = try DTLSClientContext(
        identity: Array(psk.identity.utf8), key: psk.secret, suites: suite.map { [$0] } ?? [.pskAES128CCM8])
    } else {
      context = try DTLSClientContext(
        authorityPEM: Array(bundle.certificates.utf8), identity: identity,
        suites: suite.map { [$0] } ?? [.ecdheECDSAAES128GCM])
    }
    let handshake = try DTLSHandshake(
      client: context, serverName: bundle.serverName, connectionID: usesCID ? ConnectionID() : nil,
      at: SystemClock.now(), with: cipher)
    session = try DatagramDevice.shakeHands(handshake, cipher, &socket, gateway, &sent, &received)
    self.socket = socket
    (sentBytes, receivedBytes) = (sent, received)
  }

  private static func socket(towards gateway: SocketAddress) throws(NetError) -> UDPSocket {
    try UDPSocket(on: gateway.isIPv6 ? .loopbackIPv6(port: 0) : .loopback(port: 0), sharesPort: false)
  }

  private static func shakeHands(
    _ handshake: consuming DTLSHandshake, _ cipher: borrowing RecordCipher, _ socket: inout UDPSocket,
    _ gateway: SocketAddress, _ sent: inout Int, _ received: inout Int
  ) throws -> DTLSSession {
    var handshake = handshake
    let deadline = SystemClock.now().advanced(byNs: 20_000_000_000)
    while true {
      for datagram in handshake.takeOutput() {
        _ = socket.queue(datagram.span, to: gateway)
        sent += datagram.count
      }
      _ = try socket.flush()
      if handshake.isDone { break }
      do throws(NetError) {
        let due = handshake.deadline.map { min($0, deadline) } ?? deadline
        try socket.descriptor.wait(readable: true, writable: false, until: due)
      } catch {
        guard error == .timedOut, SystemClock.now() < deadline else { throw error }
        try handshake.expire(at: SystemClock.now(), with: cipher)
      }
      var datagrams: [[UInt8]] = []
      _ = try socket.receive { bytes, _, _ in datagrams.append(bytes.indices.map { bytes[$0] }) }
      for datagram in datagrams {
        received += datagram.count
        _ = try handshake.receive(datagram.span, at: SystemClock.now(), with: cipher)
      }
    }
    return handshake.finish().takeSession()
  }

  // MARK: Sending

  /// A new source port, as behind a NAT that has forgotten the old one; what comes to the old one is lost.
  func move(overIPv6: Bool? = nil) throws {
    if let overIPv6 { gateway = overIPv6 ? .loopbackIPv6(port: gateway.port) : .loopback(port: gateway.port) }
    socket = try DatagramDevice.socket(towards: gateway)
  }

  /// The session goes on towards another gateway, as behind a load balancer that does not know it.
  func move(toPort port: UInt16) throws {
    gateway = .loopback(port: port)
    socket = try DatagramDevice.socket(towards: gateway)
  }

  func send(_ message: [UInt8]) throws { try sendRaw(seal(message)) }

  /// The next record, for a test that does with it what it wants.
  func seal(_ message: [UInt8], as type: DTLSContentType = .applicationData) throws -> [UInt8] {
    var record = [UInt8](repeating: 0, count: session.recordBytes(plaintextBytes: message.count))
    var offset = 0
    try DatagramDevice.seal(message, type, &session, into: &record, &offset, cipher)
    return record
  }

  private static func seal(
    _ message: [UInt8], _ type: DTLSContentType, _ session: inout DTLSSession, into record: inout [UInt8],
    _ offset: inout Int, _ cipher: borrowing RecordCipher
  ) throws(DTLSError) {
    var room = record.mutableSpan
    try session.seal(type, message.span, into: &room, at: &offset, with: cipher)
  }

  func sendRaw(_ datagram: [UInt8]) throws {
    sentBytes += datagram.count
    _ = socket.queue(datagram.span, to: gateway)
    _ = try socket.flush()
  }

  /// One message: hello if given, fixes as a batch, lane.
  static func message(_ hello: Hello?, _ fixes: [Fix] = [], lane: Lane? = nil) -> [UInt8] {
    var bytes: [UInt8] = []
    hello?.append(into: &bytes)
    if !fixes.isEmpty { FixEncoder.batch(fixes[...], work: [], into: &bytes) }
    UplinkScalars(lane: lane).append(into: &bytes)
    return bytes
  }

  // MARK: Receiving

  private var inbox: [Downlink] = []

  /// The next message of the gateway; `nil` if none comes in time, or once it has said close_notify.
  func next(seconds: Double = 10) throws -> Downlink? {
    let deadline = SystemClock.now().advanced(byNs: UInt64(seconds * 1e9))
    while inbox.isEmpty, !isClosed {
      do throws(NetError) {
        try socket.descriptor.wait(readable: true, writable: false, until: deadline)
      } catch .timedOut {
        return nil
      }
      var datagrams: [[UInt8]] = []
      _ = try socket.receive { bytes, _, _ in datagrams.append(bytes.indices.map { bytes[$0] }) }
      for datagram in datagrams { try take(datagram) }
    }
    return inbox.isEmpty ? nil : inbox.removeFirst()
  }

  private func take(_ datagram: [UInt8]) throws {
    receivedBytes += datagram.count
    received += 1
    var plain = [UInt8](repeating: 0, count: datagram.count)
    var end = 0
    let opened = try DatagramDevice.open(datagram, &session, into: &plain, &end, cipher)
    switch opened?.content {
    case .applicationData:
      guard end <= Limits.datagramBytesMax else { throw Failure(description: "an answer of \(end) bytes") }
      inbox.append(try Downlink.decode(plain.span, 0..<end))
    case .alert: isClosed = true
    default: break
    }
  }

  /// `nil` for what is no record of this session.
  private static func open(
    _ datagram: [UInt8], _ session: inout DTLSSession, into plain: inout [UInt8], _ end: inout Int,
    _ cipher: borrowing RecordCipher
  ) throws(DTLSError) -> DTLSOpened? {
    let record = try DTLSRecord.next(in: datagram.span, from: 0, connectionIDBytes: 0)
    guard record.epoch > 0 else { return nil }
    var room = plain.mutableSpan
    return try session.open(record, of: datagram.span, into: &room, at: &end, with: cipher)
  }

  /// Messages that are there already.
  var waiting: Int {
    get throws {
      if let downlink = try next(seconds: 0) { inbox.insert(downlink, at: 0) }
      return inbox.count
    }
  }

  /// Reads until an ack reaches so far.
  @discardableResult func ack(through: UInt64) throws -> Ack {
    var judgements: [Judgement] = []
    while let downlink = try next() {
      if let refusal = downlink.refusals.first { throw Failure(description: "refused: \(refusal)") }
      guard var ack = downlink.ack else { continue }
      judgements += ack.judgements
      if ack.through >= through {
        ack.judgements = judgements
        return ack
      }
    }
    throw Failure(description: "no ack")
  }

  /// Reads until a refusal; `nil` if none comes.
  func refusal() throws -> Refusal? {
    while let downlink = try next() {
      if let refusal = downlink.refusals.first { return refusal }
    }
    return nil
  }
}
