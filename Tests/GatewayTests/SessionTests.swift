import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTrack
import Gateway
import Testing

extension EndToEnd {
  /// What a device may do and meet in its sessions, over real sockets, and what it must not do to others.
  @Suite(.serialized) struct Sessions {
    private static let stream: UInt32 = 0xC0FF_EE01

    private func ride(_ sequences: ClosedRange<UInt64>) -> [Fix] {
      var fixes = CourierRide.fixes(count: sequences.count, seed: 3, startMs: 1_718_000_000_000)
      for i in fixes.indices { fixes[i].sequence = sequences.lowerBound + UInt64(i) }
      return fixes
    }

    private func hello(_ token: [UInt8], next: UInt64) -> Hello {
      Hello(token: token, stream: Sessions.stream, nextSequence: next)
    }

    private func open(_ bundle: String, next: UInt64) throws -> DeviceClient {
      let client = try DeviceClient(bundle: bundle) { DeviceClient.frame(hello($0, next: next)) }
      #expect(try client.next()?.welcome != nil)
      return client
    }

    @Test func helloAndBatchTravelWithFinished() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      // Enrolled while it runs: no restart.
      let bundle = try gateway.addDevice("courier")
      let client = try DeviceClient(bundle: bundle) { token in
        DeviceClient.frame(hello(token, next: 61), ride(1...60))
      }
      try client.ack(through: 60)
      // ClientHello, then Finished with hello and batch: the ack came without a third.
      #expect(client.flights == 2)
      let status = try gateway.drained()
      #expect(status.fixes.stored == 60)
      #expect(try gateway.rows(of: "courier").map(\.sequence) == Array(1...60))
    }

    @Test func strangersAreRefused() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let stranger = try DeviceClient(bundle: bundle) { _ in
        DeviceClient.frame(hello([UInt8](repeating: 7, count: Hello.tokenBytes), next: 61), ride(1...60))
      }
      let refusal = try #require(try stranger.refusal())
      #expect(refusal.code == .unknownCredential && refusal.closing)
      #expect(try stranger.isClosedByGateway())
      let hasty = try DeviceClient(bundle: bundle) { _ in DeviceClient.frame(nil, ride(1...60)) }
      let hastyRefusal = try #require(try hasty.refusal())
      #expect(hastyRefusal.code == .needHello && hastyRefusal.closing)
      #expect(try hasty.isClosedByGateway())
      try gateway.drained()
      #expect(try gateway.count("SELECT count(*) FROM fix") == 0)
      // Never created: the only device is the one that was enrolled.
      #expect(try gateway.run(["device", "list"]).output.split(separator: "\n").count == 1)
    }

    @Test func revokingEndsTheSessionAtOnce() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let client = try open(bundle, next: 1)
      try client.send(DeviceClient.frame(nil, ride(1...10)))
      try client.ack(through: 10)
      try gateway.run(["device", "revoke", "--tenant", "demo", "courier"])
      // The command has ended, so the word is out already.
      let refusal = try #require(try client.refusal())
      #expect(refusal.code == .revoked && refusal.closing)
      #expect(try client.isClosedByGateway())
      let again = try DeviceClient(bundle: bundle) { DeviceClient.frame(hello($0, next: 11), ride(11...12)) }
      #expect(try again.refusal()?.code == .revoked)
      #expect(try again.isClosedByGateway())
      try gateway.drained()
      #expect(try gateway.count("SELECT count(*) FROM fix") == 10)
    }

    @Test func aReusedStreamGetsANewNumber() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let first = try open(bundle, next: 1)
      try first.send(DeviceClient.frame(nil, ride(1...40)))
      try first.ack(through: 40)
      // The device was wiped and counts from 1 again, with the stream number it had.
      let fixes = ride(1...30)
      let client = try DeviceClient(bundle: bundle)
      var session = DeviceSession(log: UploadLog(stream: Sessions.stream, recorded: 30), token: client.token)
      session.connected(at: SystemClock.now())
      var refused: [RefusalCode] = []
      var turns = 0
      while !session.isDone, turns < 100 {
        turns += 1
        var frames: [UInt8] = []
        while session.nextFrame(into: &frames, at: SystemClock.now(), from: fixes) {}
        try client.send(frames)
        guard let downlink = try client.next() else { break }
        refused += downlink.refusals.map(\.code)
        var bytes: [UInt8] = []
        downlink.encode(into: &bytes)
        Frame.close(from: 0, in: &bytes)
        var events: [DeviceEvent] = []
        try session.receive(bytes.span, at: SystemClock.now(), into: &events)
      }
      #expect(session.log.ackedCount == 30)
      #expect(session.log.stream != Sessions.stream)
      #expect(refused.contains(.streamReused))
      try gateway.drained()
      // Nothing was taken for a duplicate.
      #expect(try gateway.count("SELECT count(*) FROM fix") == 70)
      #expect(try gateway.count("SELECT count(DISTINCT stream) FROM fix") == 2)
    }

    struct Hostile: CustomStringConvertible, Sendable {
      var description: String
      var bytes: [UInt8]
      var codes: Set<RefusalCode>
    }

    static let hostile: [Hostile] = {
      // FixBatch (field 3 of Uplink): first_sequence 1, count 1,000,000.
      let batch: [UInt8] = [9, 0x1A, 7, 0x08, 1, 0x80, 0x02, 0xC0, 0x84, 0x3D]
      return [
        Hostile(description: "not protobuf", bytes: [3, 0xFF, 0xFF, 0xFF], codes: [.malformed]),
        Hostile(
          description: "a length of 4 GiB", bytes: [0x80, 0x80, 0x80, 0x80, 0x10], codes: [.malformed, .tooLarge]),
        Hostile(description: "a length above the bound", bytes: [0x81, 0x80, 0x01], codes: [.tooLarge]),
        Hostile(description: "a batch of a million", bytes: batch, codes: [.tooLarge]),
      ]
    }()

    @Test func hostileFramesHurtNobodyElse() throws {
      let gateway = try GatewayProcess(["FIXGATE_WORKERS": "1"])
      let bundle = try gateway.addDevice("courier")
      let other = try gateway.addDevice("neighbour")
      try gateway.start()
      let neighbour = try open(other, next: 1)
      var sequence: UInt64 = 0
      for hostile in Sessions.hostile {
        let client = try open(bundle, next: 1)
        try client.send(hostile.bytes)
        let refusal = try #require(try client.refusal(), "\(hostile)")
        #expect(hostile.codes.contains(refusal.code) && refusal.closing, "\(hostile): \(refusal)")
        #expect(try client.isClosedByGateway(), "\(hostile)")
        try neighbour.send(DeviceClient.frame(nil, ride(sequence + 1...sequence + 5)))
        sequence += 5
        try neighbour.ack(through: sequence)
      }
      #expect(try gateway.drained().fixes.stored == sequence)
    }

    @Test func twoConnectionsOfOneDevice() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let one = try open(bundle, next: 1)
      try one.send(DeviceClient.frame(nil, ride(1...20)))
      try one.ack(through: 20)
      // The old connection is not known to be dead yet; the device is back on another network and resends what was in flight.
      let two = try open(bundle, next: 31)
      try two.send(DeviceClient.frame(nil, ride(11...30)))
      try two.ack(through: 30)
      let status = try gateway.drained()
      #expect(status.fixes.stored == 30 && status.fixes.duplicate == 10)
      #expect(try gateway.rows(of: "courier").map(\.sequence) == Array(1...30))
    }

    @Test func ticketsOutliveTheGateway() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let first = try open(bundle, next: 1)
      #expect(!first.isResumed)
      let ticket = try #require(first.ticket)
      gateway.kill9()
      try gateway.start()
      let second = try DeviceClient(bundle: bundle, ticket: ticket) {
        DeviceClient.frame(hello($0, next: 4), ride(1...3))
      }
      #expect(second.isResumed)
      try second.ack(through: 3)
      #expect(try gateway.drained().network.resumptions == 1)
    }

    @Test func aFixOutOfRangeIsHeldWithItsCode() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let client = try open(bundle, next: 1)
      var fixes = ride(1...4)
      fixes[1].latitudeE7 = 950_000_000
      fixes[2].fixTimeMs = SystemClock.wallMs() + 86_400_000
      try client.send(DeviceClient.frame(nil, fixes))
      let ack = try client.ack(through: 4)
      let judged = Set(ack.judgements.map { "\($0.code) \($0.range.first)+\($0.range.count)" })
      #expect(judged == ["\(Verdict.latitudeOutOfRange.rawValue) 2+1", "\(Verdict.future.rawValue) 3+1"])
      let status = try gateway.drained()
      #expect(status.fixes.stored == 2 && status.fixes.held == 2)
      for (sequence, verdict) in [(2, Verdict.latitudeOutOfRange), (3, .future)] {
        #expect(
          try gateway.count("SELECT code FROM quarantine WHERE sequence = \(sequence)") == Int64(verdict.rawValue))
      }
    }

    @Test func silenceEndsAConnection() throws {
      let gateway = try GatewayProcess(["FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "1", "FIXGATE_LIMITS_IDLE_TIMEOUT_S": "1"])
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let idle = try open(bundle, next: 1)
      let wordless = try DeviceClient(bundle: bundle)
      let deadline = SystemClock.now().advanced(byNs: 10_000_000_000)
      let mute = try TCPStream.connect(to: HostPort(host: "127.0.0.1", port: gateway.port), until: deadline)
      while try idle.next() != nil {}
      while try wordless.next() != nil {}
      // Not a byte of TLS: it is closed without one.
      try mute.descriptor.wait(readable: true, writable: false, until: deadline)
      try gateway.status("closed") { $0.network.connections == 0 }
    }
  }
}
