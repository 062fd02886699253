import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS
import Gateway
import Testing

extension EndToEnd {
  /// What anybody may send to the UDP port: nothing is taken, little is answered, memory stays bound, and a live session beside
  /// it goes on.
  @Suite(.serialized) struct HostileDatagrams {
    private static func start(
      _ settings: [String: String] = [:], overIPv6: Bool = false
    ) throws -> (gateway: GatewayProcess, live: LiveSession) {
      let gateway = try GatewayProcess(["FIXGATE_WORKERS": "1", "FIXGATE_LOG_LEVEL": "error"].merging(settings) { $1 })
      try gateway.start()
      return (gateway, try LiveSession(gateway.addDevice("live", psk: true), overIPv6: overIPv6))
    }

    /// Each variant of a good record, sent from the device's own port and from another.
    @Test func recordsThatAreNot() throws {
      let (gateway, live) = try Self.start()
      let stranger = try Stranger(gateway)
      let taken = try live.device.seal(Datagrams.message(1...1))
      try live.device.sendRaw(taken)
      try live.device.ack(through: 1)
      live.acked = 1
      let before = try gateway.quickStatus().datagrams
      let fresh = try live.device.seal(Datagrams.message(2...2))
      var variants = [taken]
      for bit in 0..<fresh.count * 8 {
        var flipped = fresh
        flipped[bit / 8] ^= 1 << UInt8(bit % 8)
        variants.append(flipped)
      }
      for count in 1..<fresh.count { variants.append(Array(fresh[..<count])) }
      variants.append([UInt8](repeating: 25, count: 2_048))
      for (number, variant) in variants.enumerated() {
        try live.device.sendRaw(variant)
        try stranger.send(variant)
        // A receive buffer of its default size holds some hundreds; what is lost there is no test.
        if number % 50 == 49 { try gateway.quickStatus("seen") { $0.datagrams.received >= before.received + 2 * (number - 2) } }
      }
      let refused = try gateway.quickStatus("all seen") {
        $0.datagrams.received + $0.datagrams.too_long + $0.datagrams.kernel_drops >= before.received + 2 * variants.count
      }.datagrams
      #expect(refused.records == before.records && refused.address_changes == before.address_changes)
      // The first, and two flips that make its number one that was seen before; all from both.
      #expect(refused.kernel_drops == 0 && refused.replayed == 6 && refused.forged > 1_000)
      #expect(try stranger.received().isEmpty && live.device.waiting == 0)
      // The record that all of them were made of is as good as ever.
      try live.device.sendRaw(fresh)
      try live.device.ack(through: 2)
      live.acked = 2
      try live.send()
      #expect(try gateway.drained().fixes.stored == live.acked)
    }

    /// A record that somebody has kept and sends from elsewhere moves nothing: what the gateway says goes to the device.
    @Test(arguments: [false, true]) func aReplayMovesNothing(overIPv6: Bool) throws {
      let (gateway, live) = try Self.start(overIPv6: overIPv6)
      let stranger = try Stranger(gateway, overIPv6: overIPv6)
      var kept: [[UInt8]] = []
      for sequence in [1, 2, 5] as [UInt64] {
        kept.append(try live.device.seal(Datagrams.message(sequence...sequence)))
        try live.device.sendRaw(kept.last!)
      }
      try live.device.ack(through: 2)
      for record in kept { try stranger.send(record) }
      try gateway.quickStatus("replayed") { $0.datagrams.replayed == 3 }
      try gateway.drained()
      try gateway.run(["gaps", "--tenant", "demo", "--device", "live", "--ask"])
      while let downlink = try live.device.next(), downlink.requests != [SequenceRange(first: 3, count: 2)] {}
      #expect(try stranger.received().isEmpty)
      let status = try gateway.drained()
      #expect(status.fixes.received == 3 && status.datagrams.address_changes == 0)
    }

    @Test(arguments: [false, true]) func guessedConnectionIDs(overIPv6: Bool) throws {
      let (gateway, live) = try Self.start(overIPv6: overIPv6)
      let stranger = try Stranger(gateway, overIPv6: overIPv6)
      let good = try live.device.seal(Datagrams.message(1...1))
      var random = SeededRandom(seed: 4)
      let before = try gateway.quickStatus().datagrams.unknown
      for _ in 0..<500 {
        var guess = good
        for i in 13..<19 { guess[i] = UInt8.random(in: 0...255, using: &random) }
        try stranger.send(guess)
      }
      try gateway.quickStatus("unknown") { $0.datagrams.unknown == before + 500 }
      #expect(try stranger.received().isEmpty)
      try live.send()
    }

    /// Hellos without a cookie, as from spoofed addresses: no handshake, no memory, and less out than in.
    @Test(arguments: [false, true]) func aFloodOfHellos(overIPv6: Bool) throws {
      let (gateway, live) = try Self.start(GatewayProcess.ownMemory, overIPv6: overIPv6)
      let strangers = try (0..<20).map { _ in try Stranger(gateway, overIPv6: overIPv6) }
      let hello = try Stranger.clientHello(live.device.bundle)
      let count = 20_000
      try live.send()
      let before = try gateway.quickStatus()
      let memory = try gateway.residentBytes()
      var answered = 0
      for number in 0..<count {
        try strangers[number % strangers.count].send(hello)
        if number % 100 == 99 {
          try gateway.quickStatus("seen") { $0.datagrams.cookies >= before.datagrams.cookies + number + 1 }
          for stranger in strangers {
            for answer in try stranger.received() {
              answered += 1
              #expect(answer.count < hello.count)
            }
          }
        }
      }
      let status = try gateway.quickStatus()
      #expect(answered == count && status.datagrams.cookies == before.datagrams.cookies + count)
      #expect(status.datagrams.handshakes_under_way == 0 && status.datagrams.sessions == 1)
      #expect(status.network.bytes_out - before.network.bytes_out < (status.network.bytes_in - before.network.bytes_in) / 2)
      #expect(try gateway.residentBytes() < memory + (8 << 20))
      try live.send()
    }

    /// A cookie is good for the address that it was sent to.
    @Test(arguments: [false, true]) func aCookieFromElsewhere(overIPv6: Bool) throws {
      let (gateway, live) = try Self.start(overIPv6: overIPv6)
      let (one, two) = (try Stranger(gateway, overIPv6: overIPv6), try Stranger(gateway, overIPv6: overIPv6))
      let second = try one.helloWithCookie(live.device.bundle)
      try two.send(second)
      let answer = try two.next()
      // Another HelloVerifyRequest, and no handshake.
      #expect(answer.count > 13 && answer[13] == 3)
      #expect(try gateway.quickStatus().datagrams.handshakes_under_way == 0)
      try live.send()
    }

    /// Handshakes that stop at each flight. They are bound in number, give way to newer ones, and keep nobody out.
    @Test(arguments: [false, true]) func stalledHandshakes(psk: Bool) throws {
      let (gateway, live) = try Self.start(["FIXGATE_DTLS_HANDSHAKES_MAX": "8"])
      let bundle = try GateDevice.Bundle(
        parsing: String(contentsOfFile: gateway.addDevice("other", psk: psk), encoding: .utf8))
      var strangers: [Stranger] = []
      for stall in Stranger.Stall.allCases {
        for _ in 0..<12 {
          let stranger = try Stranger(gateway)
          try stranger.handshake(bundle, until: stall)
          strangers.append(stranger)
        }
        try live.send()
      }
      let status = try gateway.quickStatus("all begun") { $0.datagrams.handshakes_evicted >= 16 }
      #expect(status.datagrams.handshakes_under_way == 8 && status.datagrams.handshakes == 1)
      let other = try DatagramDevice(bundle: gateway.folder + "/other.bundle")
      try other.send(DatagramDevice.message(Datagrams.hello(other, next: 2), Datagrams.ride(1...1)))
      try other.ack(through: 1)
      try live.send()
    }

    @Test func keysThatNobodyHas() throws {
      let (gateway, live) = try Self.start()
      let path = gateway.folder + "/forged.bundle"
      var bundle = live.device.bundle
      bundle.psk?.identity = "fixgate-0123456789abcdef"
      try Data(bundle.text.utf8).write(to: URL(fileURLWithPath: path))
      #expect(throws: DTLSError.self) { _ = try DatagramDevice(bundle: path) }
      let status = try gateway.quickStatus("failed") { $0.datagrams.handshakes_failed == 1 }
      #expect(status.datagrams.handshakes_under_way == 0 && status.datagrams.sessions == 1)
      try live.send()
    }

    /// A source over its budget is not answered; its devices come again by themselves.
    @Test func handshakesOfOneSourceAreBound() throws {
      let (gateway, live) = try Self.start([
        "FIXGATE_LIMITS_TRUSTED_SOURCES": "none", "FIXGATE_LIMITS_SOURCE_HANDSHAKES_BURST": "1",
        "FIXGATE_LIMITS_SOURCE_HANDSHAKES_PER_SECOND": "1",
      ])
      for number in 1...2 { _ = try Datagrams.open(gateway.addDevice("tracker-\(number)"), next: 1) }
      let status = try gateway.quickStatus()
      #expect(status.network.closed["source_handshakes", default: 0] > 0)
      #expect(UInt64(status.datagrams.handshakes_refused) == status.network.closed["source_handshakes"])
      #expect(status.datagrams.sessions == 3)
      try live.send()
    }

    @Test func sessionsAreBound() throws {
      let (gateway, live) = try Self.start(["FIXGATE_DTLS_SESSIONS_MAX": "2"])
      _ = try Datagrams.open(gateway.addDevice("tracker"), next: 1)
      let late = try Stranger(gateway)
      try late.send(late.helloWithCookie(live.device.bundle))
      let status = try gateway.quickStatus("refused") { $0.datagrams.sessions_refused == 1 }
      #expect(try late.received().isEmpty && status.datagrams.sessions == 2)
      try live.send()
    }
  }
}

/// A device whose session must go on whatever happens beside it.
private final class LiveSession {
  let device: DatagramDevice
  var acked: UInt64 = 0

  init(_ bundle: String, overIPv6: Bool) throws {
    device = try EndToEnd.Datagrams.open(bundle, next: 1, overIPv6: overIPv6)
  }

  /// One fix there, its ack back.
  func send() throws {
    acked += 1
    try device.send(EndToEnd.Datagrams.message(acked...acked))
    try device.ack(through: acked)
  }
}

/// Somebody with a UDP socket.
private final class Stranger {
  enum Stall: CaseIterable {
    /// The hello with its cookie is the last that is heard.
    case hello
    /// Everything but the last record, Finished.
    case keyExchange
  }

  private var socket: UDPSocket
  private let gateway: SocketAddress

  init(_ gateway: GatewayProcess, overIPv6: Bool = false) throws {
    socket = try UDPSocket(on: overIPv6 ? .loopbackIPv6(port: 0) : .loopback(port: 0), sharesPort: false)
    self.gateway = overIPv6 ? .loopbackIPv6(port: gateway.port) : .loopback(port: gateway.port)
  }

  func send(_ datagram: [UInt8]) throws {
    _ = socket.queue(datagram.span, to: gateway)
    _ = try socket.flush()
  }

  /// What is there already.
  func received() throws -> [[UInt8]] {
    var datagrams: [[UInt8]] = []
    while try socket.receive({ bytes, _, _ in datagrams.append(bytes.indices.map { bytes[$0] }) }) == UDPSocket.batchMax {}
    return datagrams
  }

  func next() throws -> [UInt8] {
    try socket.descriptor.wait(readable: true, writable: false, until: inAMinute())
    return try received()[0]
  }

  private static func client(_ bundle: GateDevice.Bundle) throws -> DTLSClientContext {
    if let psk = bundle.psk { return try DTLSClientContext(identity: Array(psk.identity.utf8), key: psk.secret) }
    return try DTLSClientContext(authorityPEM: Array(bundle.certificates.utf8))
  }

  static func clientHello(_ bundle: GateDevice.Bundle) throws -> [UInt8] {
    let cipher = try RecordCipher()
    var handshake = try DTLSHandshake(
      client: client(bundle), serverName: bundle.serverName, at: SystemClock.now(), with: cipher)
    return handshake.takeOutput()[0]
  }

  func helloWithCookie(_ bundle: GateDevice.Bundle) throws -> [UInt8] {
    let cipher = try RecordCipher()
    var handshake = try DTLSHandshake(
      client: Stranger.client(bundle), serverName: bundle.serverName, at: SystemClock.now(), with: cipher)
    try send(handshake.takeOutput()[0])
    let verify = try next()
    _ = try handshake.receive(verify.span, at: SystemClock.now(), with: cipher)
    return handshake.takeOutput()[0]
  }

  func handshake(_ bundle: GateDevice.Bundle, until stall: Stall) throws {
    let cipher = try RecordCipher()
    var handshake = try DTLSHandshake(
      client: Stranger.client(bundle), serverName: bundle.serverName, at: SystemClock.now(), with: cipher)
    try send(handshake.takeOutput()[0])
    let verify = try next()
    _ = try handshake.receive(verify.span, at: SystemClock.now(), with: cipher)
    try send(handshake.takeOutput()[0])
    guard stall == .keyExchange else {
      _ = try next()
      return
    }
    var flight: [[UInt8]] = []
    while flight.isEmpty {
      let answer = try next()
      _ = try handshake.receive(answer.span, at: SystemClock.now(), with: cipher)
      flight = handshake.takeOutput()
    }
    let last = flight[flight.count - 1]
    var starts = [0]
    while let record = try? DTLSRecord.next(in: last.span, from: starts[starts.count - 1], connectionIDBytes: 8),
      record.whole.upperBound < last.count
    { starts.append(record.whole.upperBound) }
    for datagram in flight.dropLast() { try send(datagram) }
    try send(Array(last[..<starts[starts.count - 1]]))
  }
}
