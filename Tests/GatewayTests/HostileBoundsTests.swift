import GateCore
import GateNet
import GateTLS
import Gateway
import Testing

/// Bounds that a gateway of the usual size is far from: made small, they are reached by a few.
extension EndToEnd.HostileWorld {
  /// A ClientHello that says it has 16 KB, and all of them but the last.
  private static let longHello: [UInt8] =
    [22, 3, 1, 0x40, 0x00, 1, 0, 0x3F, 0xFC, 3, 3] + [UInt8](repeating: 7, count: 16_384 - 7)

  /// Half-sent ClientHellos up to the high-water mark: nobody new is let in, then those that hold the most go.
  @Test func memoryHasMarks() throws {
    let max = 4 << 20
    let gateway = try Self.gateway([
      "FIXGATE_WORKERS": "1", "FIXGATE_LIMITS_BUFFERED_BYTES_MAX": "\(max)", "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "60",
    ])
    let context = try gateway.clientContext()
    let devices = try gateway.enrol(2)
    let live = try LiveDevice(devices[0], context, port: gateway.port)
    try live.send()
    var crowd: [RawClient] = []
    var most = 0
    var closed: [String: UInt64] = [:]
    while closed["memory_pressure", default: 0] == 0 {
      try #require(crowd.count < 5_000, "\(closed)")
      for _ in 0..<16 {
        crowd.append(try RawClient(port: gateway.port))
        try crowd[crowd.count - 1].send(Self.longHello)
      }
      try live.send()
      let network = try gateway.quickStatus().network
      most = Swift.max(most, network.buffered_bytes)
      closed = network.closed
    }
    #expect(most >= max / 2 && most <= max)
    try gateway.quickStatus("swept") { $0.network.closed["memory", default: 0] > 0 }
    try gateway.quickStatus("relieved") { $0.network.buffered_bytes < max / 4 * 3 }
    // There is room again for who is new.
    try LiveDevice(devices[1], context, port: gateway.port).send()
    try live.send()
  }

  /// What would pass the bound itself is closed at once.
  @Test func memoryHasAnEnd() throws {
    let max = 1 << 20
    let gateway = try Self.gateway([
      "FIXGATE_WORKERS": "1", "FIXGATE_LIMITS_BUFFERED_BYTES_MAX": "\(max)", "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "60",
    ])
    let live = try LiveDevice(gateway.enrol(1)[0], gateway.clientContext(), port: gateway.port)
    try live.send()
    // All are let in before the first speaks.
    let crowd = try (0..<2 * max / Self.longHello.count).map { _ in try RawClient(port: gateway.port) }
    try gateway.quickStatus("all let in") { $0.network.connections == crowd.count + 1 }
    for client in crowd { try client.send(Self.longHello) }
    let status = try gateway.quickStatus("over the bound") { $0.network.closed["memory", default: 0] >= crowd.count / 2 }
    #expect(status.network.buffered_bytes <= max)
    try live.send()
  }

  /// More ClientHellos than may wait. Those that do wait are served in the end, however long that takes us: the handshake
  /// timeout does not run meanwhile.
  @Test func theQueueOfHandshakesHasAnEnd() throws {
    let waiting = 8
    let gateway = try Self.gateway([
      "FIXGATE_WORKERS": "1", "FIXGATE_LIMITS_HANDSHAKES_WAITING": "\(waiting)", "FIXGATE_LIMITS_HANDSHAKES_PER_SECOND": "3",
      "FIXGATE_LIMITS_HANDSHAKES_BURST": "1", "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "1",
    ])
    let context = try gateway.clientContext()
    let enrolled = try gateway.enrol(24)
    var devices = try enrolled.map { _ in try HostileDevice(context, port: gateway.port) }
    try gateway.quickStatus("too many") { $0.network.closed["handshake_queue_full", default: 0] >= 24 - waiting - 4 }
    var served = 0
    while !devices.isEmpty {
      let device = devices.removeFirst()
      // One that was refused is closed; all others get their turn and are welcomed.
      guard try device.wait(until: { $0.engine.isEstablished }) else { continue }
      try device.frame(Uplink.hello(enrolled[0].token, stream: UInt32(served + 1), next: 1) + Uplink.fix(1))
      #expect(try device.wait { $0.through == 1 })
      served += 1
    }
    let status = try gateway.quickStatus()
    #expect(served >= waiting)
    #expect(status.network.closed["handshake_queue_full", default: 0] == UInt64(24 - served))
    #expect(status.network.closed["timed_out"] == nil && status.network.closed["handshake_wait"] == nil)
  }

  /// A source that failed often waits behind all others, and not for ever; a device from elsewhere waits as long as it takes.
  @Test func aSuspectSourceWaitsBehindAllOthers() throws {
    let gateway = try Self.gateway([
      "FIXGATE_WORKERS": "1", "FIXGATE_LIMITS_HANDSHAKES_PER_SECOND": "3", "FIXGATE_LIMITS_HANDSHAKES_BURST": "1",
      "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "2", "FIXGATE_LIMITS_SOURCE_FAILURES_PER_SECOND": "1",
      "FIXGATE_LIMITS_SOURCE_FAILURES_BURST": "1000",
    ])
    let context = try gateway.clientContext()
    let enrolled = try gateway.enrol(16)
    for _ in 0..<40 {
      let client = try RawClient(port: gateway.port)
      try client.send(Array("GET / HTTP/1.0\r\n\r\n".utf8))
      try client.waitForEnd()
    }
    var greeted = 0
    /// They stand in the queue before anyone else comes.
    func connect(_ count: Int, ipv6: Bool) throws -> [HostileDevice] {
      let devices = try (0..<count).map { _ in try HostileDevice(context, port: gateway.port, ipv6: ipv6) }
      greeted += count
      try gateway.quickStatus("queued") { status in
        let network = status.network
        return Int(network.handshakes) + network.handshakes_waiting + network.handshakes_under_way == greeted
      }
      return devices
    }
    var honest = try connect(4, ipv6: true)
    let suspects = try connect(3, ipv6: false)
    honest += try connect(12, ipv6: true)
    for (number, device) in honest.enumerated() {
      try device.handshake()
      try device.frame(Uplink.hello(enrolled[number].token, stream: 1) + Uplink.fix(1))
      #expect(try device.wait { $0.through == 1 }, "\(number)")
    }
    for suspect in suspects { try suspect.wait { $0.isClosed } }
    let status = try gateway.quickStatus()
    #expect(status.network.closed == ["not_tls": 40, "handshake_wait": 3])
  }
}
