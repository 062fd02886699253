import Foundation
import GateCore
import GateNet
import GateProto
import GateTLS
import Gateway
import Testing

extension EndToEnd {
  /// What the open internet sends, over real sockets against the gateway as a process: each ends in a counted refusal that
  /// `status` shows, memory stays bound, and a live device beside it keeps being acked.
  @Suite(.serialized) struct HostileWorld {
    static let isLong = ProcessInfo.processInfo.environment["FIXGATE_LONG"] == "1"

    /// Everything of a source is bound here too: loopback is not trusted.
    static func gateway(_ settings: [String: String] = [:]) throws -> GatewayProcess {
      let gateway = try GatewayProcess([
        "FIXGATE_LIMITS_TRUSTED_SOURCES": "none", "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "2",
        "FIXGATE_LIMITS_SOURCE_FAILURES_BURST": "100000", "FIXGATE_LOG_LEVEL": "error",
      ].merging(settings) { $1 })
      gateway.environment["FIXGATE_LISTEN_TLS"] = "127.0.0.1:\(gateway.port),[::1]:\(gateway.port)"
      try gateway.start()
      return gateway
    }

    // MARK: - Before TLS

    static let random: [UInt8] = {
      var random = SeededRandom(seed: 9)
      return (0..<4_096).map { $0 == 0 ? 0x7E : UInt8.random(in: 0...255, using: &random) }
    }()

    static let strangers: [(name: String, bytes: [UInt8], reason: String)] = [
      ("random bytes", random, "not_tls"),
      ("HTTP", Array("GET / HTTP/1.1\r\nHost: x\r\n\r\n".utf8), "not_tls"),
      ("SSH", Array("SSH-2.0-OpenSSH_9.2\r\n".utf8), "not_tls"),
      ("a tracker without TLS", Array("##,imei:123456789012345,A;".utf8), "not_tls"),
      ("frames without TLS", [0x0A, 0x24, 0x08, 0x01, 0x12, 0x20], "not_tls"),
      ("TLS 1.0", [22, 3, 1, 0, 49, 1, 0, 0, 45, 3, 1] + [UInt8](repeating: 7, count: 43), "not_tls"),
      ("SSL 2.0", [0x80, 0x2E, 1, 0, 2, 0, 0x15, 0], "not_tls"),
      ("DTLS", [22, 0xFE, 0xFD, 0, 0, 0, 0, 0, 0, 0, 0, 0, 50], "not_tls"),
      ("an alert", [21, 3, 3, 0, 2, 2, 40], "not_tls"),
      ("a record of 64 KB", [22, 3, 1, 0xFF, 0xFF, 1], "not_tls"),
      ("a ClientHello of rubbish", [22, 3, 1, 0, 60, 1, 0, 0, 56, 3, 3] + [UInt8](repeating: 0xEE, count: 54), "handshake_failed"),
      ("half a ClientHello", [22, 3, 1, 0, 200, 1, 0, 0, 196, 3, 3, 5, 5, 5], "timed_out"),
      ("silence", [], "timed_out"),
    ]

    @Test func strangersAreClosedAndCounted() throws {
      let gateway = try HostileWorld.gateway()
      let live = try LiveDevice(gateway.enrol(1)[0], gateway.clientContext(), port: gateway.port, ipv6: true)
      var expected: [String: UInt64] = [:]
      for stranger in HostileWorld.strangers {
        let client = try RawClient(port: gateway.port)
        try client.send(stranger.bytes)
        try client.waitForEnd()
        expected[stranger.reason, default: 0] += 1
        let reason = stranger.reason
        let count = expected[reason]!
        try gateway.quickStatus("\(stranger.name): \(reason)") { $0.network.closed[reason, default: 0] >= count }
        try live.send()
      }
      let status = try gateway.quickStatus()
      #expect(status.network.closed == expected)
      #expect(live.acked == UInt64(HostileWorld.strangers.count))
    }

    // MARK: - Behind TLS, before and after hello

    enum Opening { case none, own, stolen, wrong, empty }

    static func varint(_ value: UInt64) -> [UInt8] {
      var out: [UInt8] = []
      WireWriter.varint(value, into: &out)
      return out
    }

    static func framed(_ payload: [UInt8]) -> [UInt8] { varint(UInt64(payload.count)) + payload }

    /// A batch that does hold as many numbers as it says.
    static let deltas: [UInt8] =
      [0x08, 1, 0x12] + framed([UInt8](repeating: 2, count: 16_000)) + [0x80, 0x02] + varint(16_000)

    /// Message in message in message, in a field that nobody knows.
    static func nested(_ depth: Int) -> [UInt8] {
      var body: [UInt8] = []
      for _ in 0..<depth { body = [15 << 3 | 2] + varint(UInt64(body.count)) + body }
      return body
    }

    static let impostors: [(name: String, opening: Opening, bytes: [UInt8], code: RefusalCode)] = [
      ("no hello", .none, framed(Uplink.fix(1)), .needHello),
      ("a wrong token", .wrong, [], .unknownCredential),
      ("no token", .empty, [], .unknownCredential),
      ("a revoked device's token", .stolen, [], .revoked),
      ("protocol 0", .none, framed([0x0A, 12, 8, 0, 0x1D, 1, 0, 0, 0, 0x20, 1, 0x28, 0, 0x30, 0]), .malformed),
      ("a frame of 4 GiB", .own, [0x80, 0x80, 0x80, 0x80, 0x10], .malformed),
      ("a frame of 16,385 bytes", .own, varint(16_385), .tooLarge),
      ("a padded length", .own, [0x80, 0x80, 0x80, 0x00], .malformed),
      ("a batch of a million", .own, framed(Uplink.batch(first: 1, count: 1_000_000)), .tooLarge),
      ("16,000 deltas", .own, framed([0x1A] + framed(deltas)), .tooLarge),
      ("truncated protobuf", .own, framed(Array(Uplink.fix(1).dropLast())), .malformed),
      ("an unclosed group", .own, framed([UInt8](repeating: 15 << 3 | 3, count: 16_000)), .malformed),
      ("a length beyond the frame", .own, framed([0x12, 0xFF, 0xFF, 0x03, 1]), .malformed),
      ("field number 0", .own, framed([0x02, 0]), .malformed),
      ("sequence 0", .own, framed(Uplink.fix(0)), .badSequence),
      ("sequence above 2^62", .own, framed(Uplink.fix(1 << 62 + 1)), .badSequence),
      ("a broken ping", .own, framed([0x2A, 2, 8, 0x80]), .malformed),
    ]

    @Test func impostorsAreRefusedByCode() throws {
      let gateway = try HostileWorld.gateway()
      let context = try gateway.clientContext()
      let devices = try gateway.enrol(3)
      try gateway.run(["device", "revoke", "--tenant", "demo", devices[2].name])
      let live = try LiveDevice(devices[0], context, port: gateway.port, ipv6: true)
      var expected: [String: UInt64] = [:]
      for (index, impostor) in HostileWorld.impostors.enumerated() {
        let device = try HostileDevice(context, port: gateway.port)
        switch impostor.opening {
        case .none: break
        case .own: try device.frame(Uplink.hello(devices[1].token, stream: UInt32(index + 1)))
        case .stolen: try device.frame(Uplink.hello(devices[2].token, stream: 1))
        case .wrong: try device.frame(Uplink.hello([UInt8](repeating: 5, count: 32), stream: 1))
        case .empty: try device.frame(Uplink.hello([], stream: 1))
        }
        try device.write(impostor.bytes)
        try device.wait { $0.isClosed }
        #expect(device.refusals.last == impostor.code, "\(impostor.name): \(device.refusals)")
        #expect(device.downlinks.last?.refusals.last?.closing == true, "\(impostor.name)")
        expected["\(impostor.code)", default: 0] += 1
        try live.send()
      }
      let status = try gateway.quickStatus()
      #expect(status.refusals == expected)
      // Nothing of all this was taken.
      #expect(status.fixes.received == live.acked)
    }

    /// The device comes from the credential: whatever is said later, another's data cannot be written.
    @Test func anotherTenantsDeviceIsOutOfReach() throws {
      let gateway = try HostileWorld.gateway()
      let context = try gateway.clientContext()
      let own = try gateway.enrol(1)[0]
      let other = try gateway.enrol(1, tenant: "rival", prefix: "rival")[0]
      let device = try HostileDevice(context, port: gateway.port)
      try device.frame(Uplink.hello(own.token, stream: 5) + Uplink.fix(1))
      #expect(try device.wait { $0.through == 1 })
      // A second hello with another device's token, on the same connection.
      try device.frame(Uplink.hello(other.token, stream: 6) + Uplink.fix(1))
      try device.wait { $0.isClosed }
      #expect(device.refusals == [.malformed])
      try gateway.drained()
      #expect(try gateway.rows(of: own.name).count == 1)
      #expect(try gateway.rows(of: other.name).isEmpty)
    }

    /// Deep nesting is stepped over, not descended into: unknown fields are legal however deep.
    @Test func deepNestingCostsNothing() throws {
      let gateway = try HostileWorld.gateway()
      let live = try LiveDevice(gateway.enrol(1)[0], gateway.clientContext(), port: gateway.port)
      try live.device.frame(HostileWorld.nested(4_000))
      try live.send()
      #expect(live.device.refusals.isEmpty)
    }

    // MARK: - Floods

    /// Key updates without a byte of data: closed after two records' worth. With an empty frame each: rate-limited.
    @Test func keyUpdatesAreBound() throws {
      let gateway = try HostileWorld.gateway(["FIXGATE_LIMITS_FRAMES_PER_SECOND": "1", "FIXGATE_LIMITS_FRAMES_BURST": "200"])
      let context = try gateway.clientContext()
      let devices = try gateway.enrol(2)
      let flood = try HostileDevice(context, port: gateway.port)
      try flood.frame(Uplink.hello(devices[0].token, stream: 1))
      for _ in 0..<4_000 where !flood.isClosed {
        guard (try? flood.engine.updateKeys()) != nil else { break }
        flood.pump()
      }
      try flood.wait { $0.isClosed }
      try gateway.quickStatus("barren") { $0.network.closed["barren"] == 1 }
      let chatter = try HostileDevice(context, port: gateway.port)
      try chatter.frame(Uplink.hello(devices[1].token, stream: 1))
      for _ in 0..<400 where !chatter.isClosed {
        guard (try? chatter.engine.updateKeys()) != nil else { break }
        try chatter.frame([])
      }
      #expect(try chatter.wait { $0.refusals.contains(.rateLimited) })
      #expect(try gateway.quickStatus().refusals["rateLimited", default: 0] > 0)
    }

    /// A frame whose rest does not come in time, and answers that nobody reads.
    @Test func slowWritersAndSlowReadersAreClosed() throws {
      let gateway = try HostileWorld.gateway(["FIXGATE_LIMITS_FRAME_TIMEOUT_S": "1", "FIXGATE_LIMITS_WRITE_TIMEOUT_S": "1"])
      let context = try gateway.clientContext()
      let devices = try gateway.enrol(3)
      let live = try LiveDevice(devices[0], context, port: gateway.port)
      let writer = try HostileDevice(context, port: gateway.port)
      try writer.frame(Uplink.hello(devices[1].token, stream: 1))
      try writer.write(Array(HostileWorld.framed(Uplink.fix(1)).dropLast()))
      try writer.wait { $0.isClosed }
      try gateway.quickStatus("slow_writer") { $0.network.closed["slow_writer"] == 1 }
      try live.send()
      // Pings that fill every buffer on the way back, and not one byte read.
      let reader = try HostileDevice(context, port: gateway.port)
      try reader.frame(Uplink.hello(devices[2].token, stream: 1))
      try reader.wait { $0.downlinks.first?.welcome != nil }
      let pings = (0..<4_000).flatMap { _ in [UInt8](arrayLiteral: 6, 0x2A, 4, 8, 0xFF, 0xFF, 0x7F) }
      var isShut = false
      while !isShut {
        if (try? reader.engine.write(Array(pings.prefix(16_380)).span)) == nil { reader.drain() }
        if !reader.drain() {
          // The gateway reads no more. It closes within the second that it waits.
          isShut = (try? reader.stream.descriptor.wait(
            readable: false, writable: true, until: SystemClock.now().advanced(byNs: 300_000_000))) == nil
        }
        if reader.isClosed { isShut = true }
        let status = try gateway.quickStatus()
        if status.network.closed["slow_reader", default: 0] > 0 { break }
        if status.refusals["rateLimited", default: 0] > 0, isShut { break }
      }
      try gateway.quickStatus("slow_reader") { $0.network.closed["slow_reader", default: 0] == 1 }
      try live.send()
    }
  }
}
