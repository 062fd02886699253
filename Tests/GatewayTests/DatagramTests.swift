import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS
import GateTrack
import Gateway
import Testing

extension EndToEnd {
  /// What devices do and meet over DTLS, on real sockets.
  @Suite(.serialized) struct Datagrams {
    static let stream: UInt32 = 0xC0FF_EE02

    static func ride(_ sequences: ClosedRange<UInt64>) -> [Fix] {
      var fixes = CourierRide.fixes(count: sequences.count, seed: 3, startMs: 1_718_000_000_000)
      for i in fixes.indices { fixes[i].sequence = sequences.lowerBound + UInt64(i) }
      return fixes
    }

    static func message(_ sequences: ClosedRange<UInt64>) -> [UInt8] { DatagramDevice.message(nil, ride(sequences)) }

    static func hello(_ device: DatagramDevice, next: UInt64) -> Hello {
      Hello(token: device.token, stream: stream, nextSequence: next)
    }

    /// Shakes hands and is welcomed.
    static func open(
      _ bundle: String, next: UInt64, usesCID: Bool = true, overIPv6: Bool = false
    ) throws -> DatagramDevice {
      let device = try DatagramDevice(bundle: bundle, usesCID: usesCID, overIPv6: overIPv6)
      try device.send(DatagramDevice.message(hello(device, next: next)))
      #expect(try device.next()?.welcome?.frameBytesMax == 1_200)
      return device
    }

    @Test(arguments: [false, true], [false, true]) func helloAndBatchInOneDatagram(psk: Bool, overIPv6: Bool) throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker", psk: psk)
      let device = try DatagramDevice(bundle: bundle, overIPv6: overIPv6)
      try device.send(DatagramDevice.message(Self.hello(device, next: 21), Self.ride(1...20)))
      try device.ack(through: 20)
      // Each from another port, as a NAT does to a device that sleeps; no handshake, no hello.
      for sequence in 21...25 as ClosedRange<UInt64> {
        try device.move()
        try device.send(Self.message(sequence...sequence))
        try device.ack(through: sequence)
      }
      let status = try gateway.drained()
      #expect(try gateway.rows(of: "tracker").map(\.sequence) == Array(1...25))
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE transport = 2") == 25)
      #expect(status.datagrams.devices == 1 && status.datagrams.sessions == 1 && status.datagrams.handshakes == 1)
      #expect(status.datagrams.address_changes == 5 && status.datagrams.records == 6)
    }

    /// A session goes from IPv4 to IPv6 as it goes from one port to another.
    @Test func fromIPv4ToIPv6() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      try device.send(Self.message(1...3))
      try device.ack(through: 3)
      try device.move(overIPv6: true)
      try device.send(Self.message(4...5))
      try device.ack(through: 5)
      #expect(try gateway.drained().datagrams.handshakes == 1)
    }

    /// A window of datagrams under way while the port changes again and again: none of its acks is lost for good.
    @Test func aNewPortInTheMiddleOfAWindow() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      for burst in 0..<5 as Range<UInt64> {
        for sequence in burst * 10 + 1...burst * 10 + 10 { try device.send(Self.message(sequence...sequence)) }
        try device.move()
      }
      try device.send(Self.message(51...51))
      try device.ack(through: 51)
      #expect(try gateway.drained().fixes.stored == 51)
    }

    /// Fixes before hello, because it was lost or overtaken: the device is told, and the session goes on.
    @Test func fixesBeforeHello() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try DatagramDevice(bundle: gateway.addDevice("tracker"))
      try device.send(Self.message(1...3))
      let refusal = try #require(try device.refusal())
      #expect(refusal.code == .needHello && refusal.retry && !refusal.closing)
      try device.send(DatagramDevice.message(Self.hello(device, next: 4), Self.ride(1...3)))
      try device.ack(through: 3)
      #expect(try gateway.drained().fixes.stored == 3)
    }

    /// A hello sent again arrives behind newer fixes: nothing was reset.
    @Test func aHelloThatComesLate() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      let late = try device.seal(DatagramDevice.message(Self.hello(device, next: 1)))
      try device.send(Self.message(1...3))
      try device.ack(through: 3)
      try device.sendRaw(late)
      #expect(try device.next()?.welcome?.through == 3)
    }

    /// A session carries one stream, since what was sent in another may still be under way.
    @Test func aReusedStreamEndsTheSession() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker")
      let first = try Self.open(bundle, next: 1)
      try first.send(Self.message(1...5))
      try first.ack(through: 5)
      // Wiped, it counts from 1 again with the stream that it had.
      let second = try DatagramDevice(bundle: bundle)
      try second.send(DatagramDevice.message(Self.hello(second, next: 4), Self.ride(1...3)))
      let refusal = try #require(try second.refusal())
      #expect(refusal.code == .streamReused && refusal.closing && refusal.stream != nil)
      #expect(try second.next() == nil && second.isClosed)
      let third = try DatagramDevice(bundle: bundle)
      let hello = Hello(token: third.token, stream: try #require(refusal.stream), nextSequence: 4)
      try third.send(DatagramDevice.message(hello, Self.ride(1...3)))
      try third.ack(through: 3)
      // Nor may a device change its stream in the middle.
      try third.send(DatagramDevice.message(Self.hello(third, next: 9), Self.ride(7...8)))
      #expect(try third.refusal()?.code == .malformed)
      #expect(try gateway.drained().fixes.stored == 8)
    }

    @Test func aFreshHandshakeReplacesTheOldSession() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker")
      let old = try Self.open(bundle, next: 1)
      try old.send(Self.message(1...3))
      try old.ack(through: 3)
      // Whichever workers they meet.
      for next in 4...8 as ClosedRange<UInt64> {
        let fresh = try Self.open(bundle, next: next)
        try fresh.send(Self.message(next...next))
        try fresh.ack(through: next)
      }
      #expect(try old.next() == nil && old.isClosed)
      try gateway.status("replaced") { $0.datagrams.sessions == 1 && $0.datagrams.devices == 1 }
    }

    @Test func bothTransportsAtOnce() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker")
      let phone = try DeviceClient(bundle: bundle) { token in
        DeviceClient.frame(Hello(token: token, stream: Self.stream, nextSequence: 21), Self.ride(1...10))
      }
      try phone.ack(through: 10)
      let device = try Self.open(bundle, next: 21)
      try device.send(Self.message(8...15))
      try device.ack(through: 15)
      try phone.send(DeviceClient.frame(nil, Self.ride(16...20)))
      try phone.ack(through: 20)
      try device.send(Self.message(16...20))
      try device.ack(through: 20)
      let status = try gateway.drained()
      #expect(status.network.sessions == 1 && status.datagrams.devices == 1)
      #expect(status.fixes.stored == 20 && status.fixes.duplicate == 8)
      #expect(try gateway.rows(of: "tracker").map(\.sequence) == Array(1...20))
    }

    /// A device that sleeps hears of it when it talks: one sealed refusal, and the session is gone.
    @Test func aRevokedDevice() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker", psk: true)
      let device = try Self.open(bundle, next: 1)
      try device.send(Self.message(1...3))
      try device.ack(through: 3)
      try gateway.run(["device", "revoke", "--tenant", "demo", "tracker"])
      try device.send(Self.message(4...5))
      let refusal = try #require(try device.refusal())
      #expect(refusal.code == .revoked && refusal.closing && !refusal.retry)
      #expect(try device.next() == nil && device.isClosed)
      let status = try gateway.status("gone") { $0.datagrams.sessions == 0 }
      try device.send(Self.message(4...5))
      try gateway.status("not answered") { $0.datagrams.unknown == status.datagrams.unknown + 1 }
      #expect(try device.waiting == 0)
      // The key still opens a handshake, so that its owner hears why it is not let in.
      let again = try DatagramDevice(bundle: bundle)
      try again.send(DatagramDevice.message(Self.hello(again, next: 6), Self.ride(4...5)))
      #expect(try again.refusal()?.code == .revoked)
      try gateway.drained()
      #expect(try gateway.count("SELECT count(*) FROM fix") == 3)
    }

    @Test func aTokenThatEnds() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      try gateway.run(
        ["device", "rotate", "--tenant", "demo", "tracker", "--overlap", "1s", "--out", gateway.folder + "/new.bundle"])
      var refusal: Refusal?
      var sequence: UInt64 = 0
      let deadline = SystemClock.now().advanced(byNs: 20_000_000_000)
      while refusal == nil, SystemClock.now() < deadline {
        sequence += 1
        try device.send(Self.message(sequence...sequence))
        refusal = try device.next()?.refusals.first
      }
      #expect(refusal?.code == .credentialExpired && refusal?.closing == true && sequence > 1)
      _ = try Self.open(gateway.folder + "/new.bundle", next: sequence + 1)
    }

    @Test func strangers() throws {
      let gateway = try GatewayProcess(["FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "1"])
      try gateway.start()
      let bundle = try gateway.addDevice("tracker")
      let liar = try DatagramDevice(bundle: bundle)
      let wrong = Hello(token: [UInt8](repeating: 7, count: Hello.tokenBytes), stream: 1, nextSequence: 1)
      try liar.send(DatagramDevice.message(wrong, Self.ride(1...3)))
      let refusal = try #require(try liar.refusal())
      #expect(refusal.code == .unknownCredential && refusal.closing)
      #expect(try liar.next() == nil && liar.isClosed)
      // Who says nothing has no place for long.
      let mute = try DatagramDevice(bundle: bundle)
      #expect(try mute.next() == nil && mute.isClosed)
      let status = try gateway.status("gone") { $0.datagrams.sessions == 0 }
      #expect(status.network.closed["timed_out"] == 1 && status.fixes.stored == 0)
    }

    /// What cannot be taken spoils nothing behind it.
    @Test func badMessages() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      let bad: [(message: [UInt8], code: RefusalCode)] = [
        ([0xFF, 0xFF, 0xFF], .malformed),
        ([UInt8](repeating: 0, count: 1_201), .tooLarge),
        ([0x1A, 7, 0x08, 1, 0x80, 0x02, 0xC0, 0x84, 0x3D], .tooLarge),
        ([0x12, 2, 0x08, 0], .badSequence),
      ]
      for (number, (message, code)) in bad.enumerated() {
        try device.send(message)
        let refusal = try #require(try device.refusal())
        #expect(refusal.code == code && !refusal.retry && !refusal.closing, "\(refusal)")
        try device.send(Self.message(UInt64(number + 1)...UInt64(number + 1)))
        try device.ack(through: UInt64(number + 1))
      }
      #expect(try gateway.drained().fixes.stored == UInt64(bad.count))
    }

    /// Each ping takes two bytes and each pong four: a message answers one.
    @Test func aMessageFullOfPings() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      try device.send([UInt8]((0..<600).flatMap { _ in [0x2A, 0] as [UInt8] }))
      #expect(try device.next()?.pong == 0)
      try device.send(Self.message(1...1))
      try device.ack(through: 1)
    }

    /// Many datagrams in one turn get few answers, and every judgement is told.
    @Test func acksAreGathered() throws {
      let gateway = try GatewayProcess(["FIXGATE_WORKERS": "1"])
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      var fixes = Self.ride(1...100)
      for i in stride(from: 0, to: 100, by: 10) { fixes[i].latitudeE7 = 950_000_000 }
      for fix in fixes { try device.send(DatagramDevice.message(nil, [fix])) }
      let ack = try device.ack(through: 100)
      let judged = ack.judgements.flatMap { $0.range.first..<$0.range.first + $0.range.count }
      #expect(Set(judged) == Set(fixes.indices.filter { $0 % 10 == 0 }.map { UInt64($0 + 1) }))
      #expect(device.received < 100)
      let status = try gateway.drained()
      #expect(status.fixes.stored == 90 && status.fixes.held == 10)
    }

    @Test func retryAfter() throws {
      let gateway = try GatewayProcess(["FIXGATE_LIMITS_LIVE_PER_SECOND": "1", "FIXGATE_LIMITS_LIVE_BURST": "1024"])
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      for batch in 0..<17 as Range<UInt64> { try device.send(Self.message(batch * 60 + 1...batch * 60 + 60)) }
      try device.ack(through: 1_020)
      try device.send(Self.message(1_021...1_060))
      let refusal = try #require(try device.refusal())
      #expect(refusal.code == .rateLimited && refusal.retry && !refusal.closing && refusal.retryAfterMs ?? 0 > 0)
      #expect(refusal.ranges == [SequenceRange(first: 1_021, count: 40)])
    }

    @Test func holesAreAskedFor() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      try device.send(Self.message(1...5))
      try device.send(Self.message(8...9))
      try device.ack(through: 5)
      try gateway.drained()
      try gateway.run(["gaps", "--tenant", "demo", "--device", "tracker", "--ask"])
      while let downlink = try device.next(), downlink.requests != [SequenceRange(first: 6, count: 2)] {}
      try device.send(Self.message(6...7))
      try device.ack(through: 9)
    }

    /// More than any system grants: told before the start and with it, and no reason not to start.
    @Test func aReceiveBufferThatIsNotGranted() throws {
      let gateway = try GatewayProcess(["FIXGATE_DTLS_RECEIVE_BUFFER_BYTES": "\(1 << 30)"])
      let check = try gateway.run(["config", "check"]).output
      #expect(check.contains("listen.dtls 127.0.0.1:\(gateway.port): free; ") && check.contains("net.core.rmem_max"), "\(check)")
      try gateway.start()
      #expect(try gateway.terminate().errors.contains("net.core.rmem_max"))
    }

    /// A session without connection IDs is forgotten, one with them is not.
    @Test(.enabled(if: HostileWorld.isLong)) func silence() throws {
      let gateway = try GatewayProcess(["FIXGATE_DTLS_CLASSIC_TIMEOUT_S": "10"])
      try gateway.start()
      let sleeper = try Self.open(gateway.addDevice("sleeper"), next: 1)
      _ = try Self.open(gateway.addDevice("classic"), next: 1, usesCID: false)
      #expect(try gateway.status().datagrams.sessions == 2)
      try gateway.status("forgotten") { $0.datagrams.sessions == 1 && $0.datagrams.devices == 1 }
      try sleeper.send(Self.message(1...1))
      try sleeper.ack(through: 1)
    }

    /// Everything that devices do to their sessions, in any order, with losses: each fix is stored once, and each device is left
    /// with one session.
    @Test(arguments: [1, 2] as [UInt64]) func anyOrderOfThings(seed: UInt64) throws {
      let gateway = try GatewayProcess(["FIXGATE_LOG_LEVEL": "error"])
      try gateway.start()
      let bundles = try (0..<8).map { try gateway.addDevice("tracker-\($0)", psk: $0 % 2 == 0) }
      var random = SeededRandom(seed: seed)
      var devices = try bundles.map { try Self.open($0, next: 1) }
      var next = [UInt64](repeating: 1, count: devices.count)
      var kept = [[UInt8]](repeating: [], count: devices.count)
      for _ in 0..<400 {
        let i = Int.random(in: devices.indices, using: &random)
        while try devices[i].waiting > 0 { _ = try devices[i].next() }
        switch Int.random(in: 0..<12, using: &random) {
        case 0: devices[i] = try Self.open(bundles[i], next: next[i], usesCID: Bool.random(using: &random))
        case 1:
          try devices[i].sendRaw(devices[i].seal([1, 0], as: .alert))
          devices[i] = try Self.open(bundles[i], next: next[i])
        case 2: try devices[i].send(DatagramDevice.message(Self.hello(devices[i], next: next[i])))
        case 3: if !kept[i].isEmpty { try devices[i].sendRaw(kept[i]) }
        case 4: try devices[i].move()
        default:
          kept[i] = try devices[i].seal(Self.message(next[i]...next[i]))
          next[i] += 1
          if Int.random(in: 0..<4, using: &random) > 0 { try devices[i].sendRaw(kept[i]) }
        }
      }
      for i in devices.indices where next[i] > 1 {
        devices[i] = try Self.open(bundles[i], next: next[i])
        try devices[i].send(Self.message(1...next[i] - 1))
        try devices[i].ack(through: next[i] - 1)
      }
      let status = try gateway.status("one session each") { $0.datagrams.sessions == devices.count }
      #expect(status.datagrams.devices == devices.count)
      try gateway.drained()
      for i in devices.indices where next[i] > 1 {
        #expect(try gateway.rows(of: "tracker-\(i)").map(\.sequence) == Array(1..<Int64(next[i])))
      }
    }

    /// The gateway stops: what was taken is acked, and no session is closed.
    @Test func stoppingClosesNoSession() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try Self.open(gateway.addDevice("tracker"), next: 1)
      try device.send(Self.message(1...5))
      try device.ack(through: 5)
      #expect(try gateway.terminate().status == 0)
      #expect(try device.waiting == 0 && !device.isClosed)
    }
  }
}
