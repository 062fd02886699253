import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateStore
import GateTLS
import GateTrack
import Gateway
import PowerCutDisk
import Testing

extension EndToEnd {
  /// Sessions over DTLS that outlive the process.
  @Suite(.serialized) struct StoredSessionTests {
    private static let stream: UInt32 = 0xC0FF_EE03

    private func ride(_ sequences: ClosedRange<UInt64>) -> [Fix] {
      var fixes = CourierRide.fixes(count: sequences.count, seed: 3, startMs: 1_718_000_000_000)
      for i in fixes.indices { fixes[i].sequence = sequences.lowerBound + UInt64(i) }
      return fixes
    }

    private func greet(_ device: DatagramDevice, stream: UInt32 = stream, next: UInt64 = 2, work: Work? = nil) throws {
      var hello = Hello(token: device.token, stream: stream, nextSequence: next)
      hello.work = work
      try device.send(DatagramDevice.message(hello, ride(1...1)))
      try device.ack(through: 1)
    }

    /// From another port: whoever wakes after the restart has another address.
    private func send(_ device: DatagramDevice, _ sequence: UInt64) throws {
      try device.move()
      try device.send(DatagramDevice.message(nil, ride(sequence...sequence)))
    }

    private func sessions(_ gateway: borrowing GatewayProcess) -> String { gateway.data + "/" + SessionFile.name }

    /// The gateway is killed, comes back with another number of workers, and stops orderly: nobody shakes hands again.
    @Test(arguments: [false, true]) func noHandshakeAfterTheFirst(psk: Bool) throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      var devices: [DatagramDevice] = []
      for i in 0..<6 {
        devices.append(try DatagramDevice(bundle: gateway.addDevice("tracker-\(i)", psk: psk)))
        try greet(devices[i])
      }
      for (run, workers) in [2, 1, 3, 2].enumerated() {
        if run == 2 { #expect(try gateway.terminate().status == 0) } else { gateway.kill9() }
        try gateway.start(["FIXGATE_WORKERS": "\(workers)"])
        try gateway.status("restored") { $0.datagrams.restored == 6 }
        for device in devices {
          try send(device, UInt64(run) + 2)
          try device.ack(through: UInt64(run) + 2)
        }
        let status = try gateway.drained()
        #expect(status.datagrams.handshakes == 0 && status.datagrams.sessions == 6 && status.datagrams.devices == 6)
      }
      for i in 0..<6 { #expect(try gateway.rows(of: "tracker-\(i)").map(\.sequence) == [1, 2, 3, 4, 5]) }
    }

    /// The power goes again and again, and the disk keeps what was synced, or that and some of the rest. The session goes on
    /// each time, and its device finds no record number used twice: it would drop the ack.
    @Test(arguments: [nil, 1, 2] as [UInt64?]) func powerCuts(leaks: UInt64?) throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try DatagramDevice(bundle: gateway.addDevice("tracker", psk: true))
      try greet(device)
      _ = try gateway.terminate()
      let disk = PowerCutDisk(root: gateway.data)
      for round in 0..<4 as Range<UInt64> {
        try gateway.start(disk.environment(library: PowerCutDisk.builtLibrary))
        for sequence in 2 + round * 3..<5 + round * 3 {
          try send(device, sequence)
          try device.ack(through: sequence)
        }
        gateway.kill9()
        try disk.cut(seed: leaks.map { $0 &* 100 &+ round })
      }
      try gateway.start()
      try send(device, 14)
      try device.ack(through: 14)
      #expect(try gateway.drained().datagrams.handshakes == 0)
      #expect(try gateway.rows(of: "tracker").map(\.sequence) == Array(1...14))
    }

    /// A device that has shaken hands but said no hello, by its key alone; and one whose hello brought work, which has no room.
    @Test func whoMustSayHelloAgain() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let shy = try DatagramDevice(bundle: gateway.addDevice("shy", psk: true))
      let busy = try DatagramDevice(bundle: gateway.addDevice("busy", psk: true))
      try greet(busy, work: Work(task: "parcel 7"))
      gateway.kill9()
      try gateway.start()
      for (device, sequence) in [(shy, 1), (busy, 2)] as [(DatagramDevice, UInt64)] {
        try send(device, sequence)
        #expect(try device.refusal()?.code == .needHello)
        let hello = Hello(token: device.token, stream: Self.stream, nextSequence: sequence + 1)
        try device.send(DatagramDevice.message(hello, ride(sequence...sequence)))
        try device.ack(through: sequence)
      }
      #expect(try gateway.status().datagrams.handshakes == 0)
    }

    /// A hello that was sent before newer fixes, and comes after them and a restart, looks like a count that was reset. Its device is
    /// not told to number anew what is stored already, but to say hello in a new session.
    @Test func aHelloThatComesAfterTheRestart() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("busy", psk: true)
      let device = try DatagramDevice(bundle: bundle)
      let work = Work(task: "parcel 7")
      try greet(device, work: work)
      var hello = Hello(token: device.token, stream: Self.stream, nextSequence: 2)
      hello.work = work
      let late = try device.seal(DatagramDevice.message(hello, ride(1...1)))
      try device.send(DatagramDevice.message(nil, ride(2...4)))
      try device.ack(through: 4)
      gateway.kill9()
      try gateway.start()
      try device.sendRaw(late)
      let refusal = try #require(try device.refusal())
      #expect(refusal.code == .needHello && refusal.retry && refusal.closing)
      let again = try DatagramDevice(bundle: bundle)
      hello = Hello(token: again.token, stream: Self.stream, nextSequence: 6)
      try again.send(DatagramDevice.message(hello, ride(4...5)))
      try again.ack(through: 5)
      _ = try gateway.drained()
      #expect(try gateway.rows(of: "busy").map(\.sequence) == [1, 2, 3, 4, 5])
    }

    /// Revoked while the gateway was down: one refusal, sealed, and the slot is dead.
    @Test func revokedMeanwhile() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try DatagramDevice(bundle: gateway.addDevice("thief", psk: true))
      try greet(device)
      gateway.kill9()
      try gateway.run(["device", "revoke", "--tenant", "demo", "thief"])
      try gateway.start()
      try gateway.status("restored") { $0.datagrams.restored == 1 }
      try send(device, 2)
      #expect(try device.refusal()?.code == .revoked)
      #expect(try gateway.status("closed") { $0.datagrams.sessions == 0 }.datagrams.restored == 1)
      gateway.kill9()
      try gateway.start()
      #expect(try gateway.status().datagrams.restored == 0)
    }

    /// What was sealed before the crash may come again after it. A hello is known for ever; fixes are duplicates.
    @Test func replayedAfterTheCrash() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let device = try DatagramDevice(bundle: gateway.addDevice("tracker", psk: true))
      let hello = try device.seal(
        DatagramDevice.message(Hello(token: device.token, stream: Self.stream, nextSequence: 2), ride(1...1)))
      try device.sendRaw(hello)
      try device.ack(through: 1)
      let fix = try device.seal(DatagramDevice.message(nil, ride(2...2)))
      try device.sendRaw(fix)
      try device.ack(through: 2)
      gateway.kill9()
      try gateway.start()
      for datagram in [hello, fix, fix] { try device.sendRaw(datagram) }
      try send(device, 3)
      try device.ack(through: 3)
      let status = try gateway.drained()
      #expect(status.datagrams.replayed >= 2 && status.datagrams.handshakes == 0)
      #expect(try gateway.rows(of: "tracker").map(\.sequence) == [1, 2, 3])
      // A clean stop leaves nothing to replay.
      _ = try gateway.terminate()
      try gateway.start()
      let counts = try gateway.status("restored") { $0.datagrams.restored == 1 }.datagrams
      #expect(counts.replayed == 0)
      for datagram in [hello, fix] { try device.sendRaw(datagram) }
      try gateway.status("replayed") { $0.datagrams.replayed == 2 }
    }

    @Test func anEarlierCopyIsRefused() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      _ = try gateway.terminate()
      let copy = try Data(contentsOf: URL(filePath: sessions(gateway)))
      try gateway.start()
      _ = try gateway.terminate()
      try copy.write(to: URL(filePath: sessions(gateway)))
      let refused = try gateway.spawn()
      let outcome = try #require(refused.wait(seconds: 60))
      #expect(outcome.status != 0 && outcome.errors.contains("earlier copy") && outcome.errors.contains("Remove it"))
      let check = try gateway.run(["config", "check"], expecting: 78)
      #expect(check.output.contains("earlier copy"))
      try FileManager.default.removeItem(atPath: sessions(gateway))
      try gateway.run(["config", "check"])
      try gateway.start()
    }

    /// Another key for the registry opens neither the keys of subjects nor a session: without the first the gateway does not
    /// start; once they are given up, devices find silence and shake hands.
    @Test func withoutTheKey() throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker")
      try greet(try DatagramDevice(bundle: bundle))
      _ = try gateway.terminate()
      try Data(repeating: 7, count: 32).write(to: URL(filePath: gateway.folder + "/gateway/registry.key"))
      let refused = try #require(try gateway.spawn().wait(seconds: 60))
      #expect(refused.status != 0 && refused.errors.contains("does not open the keys of subjects"))
      try FileManager.default.removeItem(atPath: gateway.data + "/subjects.db")
      try gateway.start()
      #expect(try gateway.status().datagrams.restored == 0)
      let device = try DatagramDevice(bundle: bundle)
      try greet(device, stream: 77)
      gateway.kill9()
      try gateway.start()
      try send(device, 2)
      try device.ack(through: 2)
    }
  }
}
