import Foundation
import GateCore
import GateNet
import GateProto
import GateTLS
import GateTrack
import Gateway
import Testing

extension EndToEnd {
  /// 0-RTT: what it spares, and what it must not open.
  @Suite(.serialized) struct EarlyDataOverSockets {
    private static let stream: UInt32 = 0x0A17_0001

    private func ride(_ sequences: ClosedRange<UInt64>) -> [Fix] {
      var fixes = CourierRide.fixes(count: sequences.count, seed: 4, startMs: 1_718_000_000_000)
      for i in fixes.indices { fixes[i].sequence = sequences.lowerBound + UInt64(i) }
      return fixes
    }

    private func hello(_ token: [UInt8], next: UInt64) -> Hello {
      Hello(token: token, stream: EarlyDataOverSockets.stream, nextSequence: next)
    }

    private func fixes(_ sequences: ClosedRange<UInt64>) -> [UInt8] { DeviceClient.frame(nil, ride(sequences)) }

    /// A device that was there before, with fixes 1 to 10.
    private func ticket(_ bundle: String) throws -> [UInt8] {
      let client = try DeviceClient(bundle: bundle) { DeviceClient.frame(hello($0, next: 11), ride(1...10)) }
      try client.ack(through: 10)
      return try #require(client.ticket)
    }

    /// Round trips to the first durable ack, in flights of the device: a full handshake needs two (`helloAndBatchTravelWithFinished`),
    /// early data one.
    @Test(arguments: [true, false]) func fixesAreDurableAfterOneFlight(ownRecords: Bool) throws {
      let gateway = try GatewayProcess(["FIXGATE_TLS_OWN_RECORDS": "\(ownRecords)"])
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let client = try DeviceClient(bundle: bundle, ticket: ticket(bundle), earlyData: fixes(11...40))
      #expect(client.earlyData == .accepted)
      try client.ack(through: 40)
      #expect(client.flights == 1)
      // No hello yet, so nobody is there.
      let status = try gateway.status("stored") { $0.fixes.stored == 40 && $0.network.sessions == 0 }
      #expect(status.network.early_data == 1)
      try client.send(DeviceClient.frame(hello(client.token, next: 61), ride(41...60)))
      try client.ack(through: 60)
      // libssl gives a ticket with each welcome. Once it is let go there is no more than the first.
      let given = try #require(client.ticket)
      try client.send(DeviceClient.frame(hello(client.token, next: 61)))
      #expect(try client.next()?.welcome != nil)
      #expect((client.ticket == given) == ownRecords)
      for first in stride(from: UInt64(61), through: 100, by: 10) {
        try client.send(fixes(first...first + 9))
        try client.ack(through: first + 9)
      }
      #expect(try gateway.drained().fixes.duplicate == 0)
      #expect(try gateway.rows(of: "courier").map(\.sequence) == Array(1...100))
      // And that one is good.
      let again = try DeviceClient(bundle: bundle, ticket: given, earlyData: fixes(101...110))
      try again.ack(through: 110)
      #expect(again.flights == 1 && again.earlyData == .accepted)
    }

    @Test func aReplayedFlightStoresNothingAndHurtsNobody() throws {
      let replays: UInt64 = 20
      // All that a device may send at once is 1,024 fixes: replays must not use it up.
      let gateway = try GatewayProcess([
        "FIXGATE_LIMITS_LIVE_PER_SECOND": "1", "FIXGATE_LIMITS_LIVE_BURST": "1024",
        "FIXGATE_LIMITS_HANDSHAKE_TIMEOUT_S": "3",
      ])
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let saved = try ticket(bundle)
      let eavesdropper = try Eavesdropper(to: gateway.port)
      let client = try DeviceClient(bundle: bundle, port: eavesdropper.port, ticket: saved, earlyData: fixes(11...40))
      try client.ack(through: 40)
      try client.send(DeviceClient.frame(hello(client.token, next: 41)))
      #expect(try client.next()?.welcome != nil)
      let flight = eavesdropper.firstFlight
      #expect(!flight.isEmpty)

      let before = try gateway.status()
      var thieves: [RawClient] = []
      for _ in 0..<replays {
        thieves.append(try RawClient(port: gateway.port))
        try thieves.last?.send(flight)
      }
      let taken = try gateway.status("replayed") { $0.fixes.duplicate == replays * 30 }
      #expect(taken.network.early_data == 1 + replays)
      #expect(taken.network.sessions == 1 && taken.network.closed == before.network.closed)
      #expect(taken.fixes.stored + taken.fixes.queued == 40)
      // The device goes on, with all of its allowance.
      try client.send(fixes(41...940))
      try client.ack(through: 940)
      // Who cannot finish the handshake is shown the door.
      for thief in thieves { try thief.waitForEnd() }
      let status = try gateway.drained()
      #expect(status.fixes.stored == 940 && status.fixes.refused == 0)
      #expect(status.network.closed["timed_out"] == replays && status.network.sessions == 1)
      #expect(try gateway.count("SELECT count(*) FROM fix") == 940)
    }

    @Test func aRevokedDevicesEarlyDataIsNotTaken() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let saved = try ticket(bundle)
      let open = try DeviceClient(bundle: bundle, ticket: saved, earlyData: fixes(11...20))
      try open.ack(through: 20)
      try gateway.run(["device", "revoke", "--tenant", "demo", "courier"])
      // Before hello, it is a session all the same.
      let refusal = try #require(try open.refusal())
      #expect(refusal.code == .revoked && refusal.closing)
      #expect(try open.isClosedByGateway())
      let late = try DeviceClient(bundle: bundle, ticket: saved, earlyData: fixes(21...30))
      #expect(late.isResumed && late.earlyData == .rejected)
      try late.send(DeviceClient.frame(hello(late.token, next: 31), ride(21...30)))
      #expect(try late.refusal()?.code == .revoked)
      let status = try gateway.drained()
      #expect(status.fixes.stored == 20)
      #expect(status.network.early_data == 1 && status.network.early_data_rejected == 1)
    }

    private func frame(_ build: (inout [UInt8]) -> Void) -> [UInt8] {
      var bytes: [UInt8] = []
      build(&bytes)
      Frame.close(from: 0, in: &bytes)
      return bytes
    }

    @Test func onlyWholeFramesOfFixesAreTaken() throws {
      let gateway = try GatewayProcess(["FIXGATE_LIMITS_TRUSTED_SOURCES": "127.0.0.0/8"])
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let saved = try ticket(bundle)
      let gap = GapMessage(range: SequenceRange(first: 11, count: 2), reason: .deviceOff)
      let hostile: [(String, [UInt8], RefusalCode)] = [
        ("hello", DeviceClient.frame(hello([UInt8](repeating: 1, count: 32), next: 41), ride(11...40)), .malformed),
        ("a gap", frame { gap.append(into: &$0) }, .malformed),
        ("a ping", frame { Ping(id: 1).append(into: &$0) }, .malformed),
        ("settings applied", frame { SettingsApplied(version: 1).append(into: &$0) }, .malformed),
        ("the oldest held", frame { UplinkScalars(oldestHeld: 9).append(into: &$0) }, .malformed),
        ("junk", [3, 0xFF, 0xFF, 0xFF], .malformed),
        ("a frame too long", [0x81, 0x80, 0x01], .tooLarge),
        ("1,025 fixes", DeviceClient.frame(nil, ride(11...1_034)) + fixes(1_035...1_035), .tooLarge),
      ]
      for (index, (name, bytes, code)) in hostile.enumerated() {
        let client = try DeviceClient(bundle: bundle, ticket: saved, earlyData: bytes)
        let refusal = try #require(try client.refusal(), "\(name)")
        #expect(refusal.code == code && refusal.closing, "\(name): \(refusal)")
        #expect(try client.isClosedByGateway(), "\(name)")
        #expect(try gateway.quickStatus().refusals.values.reduce(0, +) == UInt64(index + 1), "\(name)")
      }
      // Half a frame, whose other half comes behind Finished.
      let whole = fixes(11...12)
      let client = try DeviceClient(bundle: bundle, ticket: saved, earlyData: Array(whole.dropLast(5)))
      try client.send(Array(whole.suffix(5)))
      #expect(try client.refusal()?.code == .malformed)
      #expect(try gateway.drained().fixes.stored == 10 + 1_024)
    }

    /// Somebody else's hello behind a device's early data.
    @Test func helloMustBeOfTheSameDevice() throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      let other = try gateway.addDevice("neighbour")
      try gateway.start()
      let token = try DeviceClient(bundle: other).token
      let client = try DeviceClient(bundle: bundle, ticket: ticket(bundle), earlyData: fixes(11...20))
      try client.ack(through: 20)
      try client.send(DeviceClient.frame(hello(token, next: 21)))
      #expect(try client.refusal()?.code == .malformed)
      // And without a hello, nothing goes on.
      let mute = try DeviceClient(bundle: bundle, ticket: ticket(other), earlyData: [])
      try mute.send(fixes(1...2))
      #expect(try mute.refusal()?.code == .needHello)
    }

    @Test(arguments: [true, false]) func whatIsNotTakenIsSentAgain(byKeys: Bool) throws {
      let gateway = try GatewayProcess()
      let bundle = try gateway.addDevice("courier")
      try gateway.start()
      let track = gateway.folder + "/ride.csv"
      try TrackFileText.write(to: track, fixesEach: 600, seed: 1)
      // Interrupted on the way, with a ticket; it goes on with early data.
      let first = try gateway.send(track, bundle: bundle, select: "uid=001", more: ["--speed", "100"])
      try gateway.status("begun") { $0.fixes.stored > 0 }
      first.kill9()
      let second = try gateway.send(track, bundle: bundle, select: "uid=001", more: ["--speed", "100"])
      try gateway.status("resumed") { $0.network.early_data == 1 }
      second.kill9()
      // The gateway comes back with other ticket keys, or takes no early data any more.
      gateway.kill9()
      if byKeys {
        try Data(randomBytes(TLSServerContext.ticketKeyBytes)).write(
          to: URL(fileURLWithPath: gateway.folder + "/gateway/ticket.keys"))
        try gateway.start()
      } else {
        try gateway.start(["FIXGATE_TLS_EARLY_DATA": "false"])
      }
      let last = try #require(try gateway.send(track, bundle: bundle, select: "uid=001").wait(seconds: 60))
      #expect(last.status == 0, "\(last.errors)")
      let status = try gateway.drained()
      #expect(status.network.early_data == 0 && status.network.early_data_rejected == 1, "\(status.network)")
      #expect(try gateway.rows(of: "courier").map(\.sequence) == Array(1...600))
    }
  }
}
