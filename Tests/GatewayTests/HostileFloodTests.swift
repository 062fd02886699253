import Foundation
import GateCore
import GateNet
import GateProto
import GateTLS
import Gateway
import Testing

/// Many at once: silence, trickles, handshakes, and a whole fleet that comes back after a restart. Scaled down in the
/// ordinary run; FIXGATE_LONG=1 makes them 10,000 connections and 2,000 devices.
extension EndToEnd.HostileWorld {
  static let crowd = isLong ? 10_000 : 500
  static let fleet = isLong ? 2_000 : 150
  /// For the allocator and the run itself.
  static let slackBytes = 16 << 20

  /// - Parameter handshakeS: from accept to hello.
  private func crowdGateway(handshakeS: Int) throws -> GatewayProcess {
    try Self.gateway(
      [
        "FIXGATE_LIMITS_CONNECTIONS_MAX": "\(Self.crowd * 2 + 100)", "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "\(handshakeS)",
        "FIXGATE_LIMITS_SOURCE_CONNECTIONS_MAX": "1000000", "FIXGATE_LIMITS_SOURCE_CONNECTIONS_BURST": "1000000",
      ].merging(GatewayProcess.ownMemory) { $1 })
  }

  @Test func thoseThatNeverSpeakAreClosed() throws {
    let gateway = try crowdGateway(handshakeS: Self.isLong ? 20 : 2)
    let live = try LiveDevice(gateway.enrol(1)[0], gateway.clientContext(), port: gateway.port)
    try live.send()
    let before = try gateway.residentBytes()
    var crowd: [RawClient] = []
    for number in 0..<Self.crowd {
      crowd.append(try RawClient(port: gateway.port))
      if number % 50 == 0 { try live.send() }
    }
    let most = try gateway.residentBytes()
    for client in crowd { try client.waitForEnd() }
    try gateway.quickStatus("all timed out") { $0.network.closed["timed_out"] == UInt64(Self.crowd) }
    try live.send()
    #expect(most - before < Self.crowd * Limits.strangerBytesMax + Self.slackBytes)
    print("\(Self.crowd) silent connections: \((most - before) >> 10) KB more, live acked \(live.acked)")
  }

  /// A ClientHello byte by byte: one byte each in turn, until the gateway has had enough of all.
  @Test func thoseThatTrickleAreClosed() throws {
    let gateway = try crowdGateway(handshakeS: Self.isLong ? 20 : 2)
    let context = try gateway.clientContext()
    let live = try LiveDevice(gateway.enrol(1)[0], context, port: gateway.port)
    try live.send()
    var hello: [UInt8] = []
    var engine = try TLSEngine(client: context, serverName: "localhost")
    engine.drainOutput(into: &hello)
    let before = try gateway.residentBytes()
    var crowd: [RawClient] = []
    for _ in 0..<Self.crowd { crowd.append(try RawClient(port: gateway.port)) }
    var most = 0
    var at = 0
    while !crowd.isEmpty {
      for client in crowd where at < hello.count - 1 { try client.send([hello[at]]) }
      at += 1
      most = max(most, try gateway.residentBytes())
      try live.send()
      // The round lasts a tenth of a second, or until the first is closed.
      try? crowd[0].stream.descriptor.wait(
        readable: true, writable: false, until: SystemClock.now().advanced(byNs: 100_000_000))
      crowd.removeAll { $0.isClosed }
    }
    try gateway.quickStatus("all timed out") { $0.network.closed["timed_out"] == UInt64(Self.crowd) }
    #expect(at > 3)
    #expect(most - before < Self.crowd * Limits.strangerBytesMax + Self.slackBytes)
    print("\(Self.crowd) trickling connections: \((most - before) >> 10) KB more, \(at) bytes each, live acked \(live.acked)")
  }

  /// ClientHellos without end from one source, never followed by a Finished: the source runs out of handshakes, what is
  /// half-open stays bound, and a device from elsewhere gets in all the same.
  @Test func aHandshakeFloodIsBound() throws {
    let gateway = try Self.gateway([
      "FIXGATE_LIMITS_SOURCE_HANDSHAKES_PER_SECOND": "1", "FIXGATE_LIMITS_SOURCE_HANDSHAKES_BURST": "200",
      "FIXGATE_LIMITS_HANDSHAKES_HALF_OPEN": "64", "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "10",
      "FIXGATE_LIMITS_CONNECTIONS_MAX": "2000",
    ])
    let context = try gateway.clientContext()
    let devices = try gateway.enrol(2)
    let live = try LiveDevice(devices[0], context, port: gateway.port)
    try live.send()
    var hello: [UInt8] = []
    var engine = try TLSEngine(client: context, serverName: "localhost")
    engine.drainOutput(into: &hello)
    var crowd: [RawClient] = []
    var mostUnderWay = 0
    for number in 0..<600 {
      let client = try RawClient(port: gateway.port)
      try client.send(hello)
      crowd.append(client)
      if number % 20 == 0 {
        try live.send()
        mostUnderWay = max(mostUnderWay, try gateway.quickStatus().network.handshakes_under_way)
      }
    }
    // From another source, while the flood fills all of the places: those that stand still give way.
    let late = try LiveDevice(devices[1], context, port: gateway.port, ipv6: true)
    try late.send()
    let status = try gateway.quickStatus()
    #expect(status.network.closed["source_handshakes", default: 0] > 300)
    #expect(mostUnderWay <= 64)
    #expect(status.network.closed["handshake_slow", default: 0] > 0)
    try live.send()
  }

  @Test func aSourceThatFailsTooOftenIsNotLetIn() throws {
    let gateway = try Self.gateway([
      "FIXGATE_LIMITS_SOURCE_FAILURES_PER_SECOND": "1", "FIXGATE_LIMITS_SOURCE_FAILURES_BURST": "20",
    ])
    let context = try gateway.clientContext()
    let devices = try gateway.enrol(2)
    let live = try LiveDevice(devices[0], context, port: gateway.port)
    var refused = false
    for _ in 0..<200 where !refused {
      let client = try RawClient(port: gateway.port)
      try client.send(Array("GET / HTTP/1.0\r\n\r\n".utf8))
      try client.waitForEnd()
      refused = try gateway.quickStatus().network.closed["source_failures", default: 0] > 0
    }
    #expect(refused)
    // Who is in stays in, and another source is not touched.
    try live.send()
    try LiveDevice(devices[1], context, port: gateway.port, ipv6: true).send()
  }

  /// A device that comes back over and over, without a word of farewell: its old connections end, on whatever worker.
  @Test func aDeviceKeepsItsNewestConnection() throws {
    let gateway = try Self.gateway(["FIXGATE_WORKERS": "3"])
    let context = try gateway.clientContext()
    let enrolled = try gateway.enrol(1)[0]
    var abandoned: [HostileDevice] = []
    for number in 1...12 as ClosedRange<UInt64> {
      let device = try HostileDevice(context, port: gateway.port)
      try device.frame(Uplink.hello(enrolled.token, stream: 9, next: number) + Uplink.fix(number))
      #expect(try device.wait { $0.through == number })
      abandoned.append(device)
    }
    let status = try gateway.quickStatus("one is left") { $0.network.connections == 1 }
    #expect(status.network.closed["displaced"] == 11)
    let newest = abandoned.removeLast()
    for device in abandoned {
      try device.wait { $0.isClosed }
      #expect(device.refusals == [.busy])
    }
    try newest.frame(Uplink.fix(13))
    #expect(try newest.wait { $0.through == 13 })
    // Handshake and silence displace nobody; nor does a wrong token.
    let stranger = try HostileDevice(context, port: gateway.port)
    try stranger.frame(Uplink.hello([UInt8](repeating: 1, count: 32), stream: 9))
    try stranger.wait { $0.isClosed }
    try newest.frame(Uplink.fix(14))
    #expect(try newest.wait { $0.through == 14 })
  }

  /// emqx #14145: the gateway restarts, and all devices come back in the same moment, each with a backlog.
  @Test func aFleetComesBackAtOnce() throws {
    let gateway = try Self.gateway([
      "FIXGATE_LIMITS_CONNECTIONS_MAX": "\(Self.fleet * 2 + 100)", "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "60",
    ])
    let context = try gateway.clientContext()
    let enrolled = try gateway.enrol(Self.fleet + 1)
    var tickets: [[UInt8]] = []
    let handshakesBegan = SystemClock.now()
    for number in 0..<Self.fleet {
      let device = try HostileDevice(context, port: gateway.port)
      try device.frame(Uplink.hello(enrolled[number].token, stream: 3))
      try device.wait { $0.downlinks.first?.welcome != nil }
      let ticket = device.engine.sessionTicket
      tickets.append(try #require(ticket))
    }
    let handshakesNs = SystemClock.now().since(handshakesBegan)
    gateway.kill9()
    try gateway.start()

    // A quarter of the fleet has lost its tickets.
    let began = SystemClock.now()
    let live = try LiveDevice(enrolled[Self.fleet], context, port: gateway.port)
    try live.send()
    var devices: [HostileDevice] = []
    for number in 0..<Self.fleet {
      devices.append(
        try HostileDevice(context, port: gateway.port, ticket: number % 4 == 0 ? nil : tickets[number]))
    }
    var isSaid = [Bool](repeating: false, count: Self.fleet)
    var left = Self.fleet
    var round = 0
    while left > 0 {
      left = 0
      for (number, device) in devices.enumerated() {
        device.pump()
        if !isSaid[number], device.engine.isEstablished {
          isSaid[number] = true
          try device.frame(Uplink.hello(enrolled[number].token, stream: 3))
          for batch in 0..<4 as Range<UInt64> {
            try device.frame(Uplink.batch(first: batch * 60 + 1, count: 60) + Uplink.lane(.backlog))
          }
          try device.frame(Uplink.fix(241))
        }
        if device.isClosed {
          let network = try gateway.quickStatus().network
          throw GatewayProcess.Failure(description: "\(number) was cut off: \(device.refusals) \(network)")
        }
        if device.through < 241 { left += 1 }
        if number % 250 == 0 { try live.send() }
      }
      round += 1
    }
    let tookNs = SystemClock.now().since(began)
    let status = try gateway.drained()
    #expect(status.fixes.stored == UInt64(Self.fleet) * 241 + live.acked)
    #expect(status.network.resumptions == UInt64(Self.fleet - (Self.fleet + 3) / 4))
    #expect(status.network.closed == [:])
    print(
      "\(Self.fleet) devices with 241 fixes each came back in \(tookNs / 1_000_000) ms; their full handshakes, one after "
        + "the other: \(handshakesNs / 1_000_000) ms; live acked \(live.acked)")
  }
}
