import Foundation
import GateCore
import GateDevice
import GateNet
import GateProto
import GateTLS
import Gateway
import Testing

extension EndToEnd {
  /// Certificates over DTLS, and what a reload does to sessions over UDP.
  @Suite(.serialized) struct DatagramCredentials {
    private static func authority(_ gateway: GatewayProcess) throws -> DevelopmentCA {
      func read(_ name: String) throws -> [UInt8] {
        Array(try Data(contentsOf: URL(fileURLWithPath: gateway.folder + "/gateway/" + name)))
      }
      return DevelopmentCA(certificatePEM: try read("ca.crt"), keyPEM: try read("ca.key"))
    }

    private static func write(_ bytes: [UInt8], _ name: String, _ gateway: GatewayProcess) throws {
      try Data(bytes).write(to: URL(fileURLWithPath: gateway.folder + "/gateway/" + name))
    }

    /// A device that proves itself by a certificate of the gateway's own authority.
    private static func open(_ gateway: GatewayProcess, _ id: String, next: UInt64 = 1) throws -> DatagramDevice {
      let identity = try authority(gateway).deviceIdentity(
        tenant: "demo", device: id, nowS: SystemClock.wallMs() / 1_000)
      let device = try DatagramDevice(bundle: gateway.folder + "/" + id + ".bundle", identity: identity)
      try hello(device, next: next)
      return device
    }

    /// Without a token.
    private static func hello(_ device: DatagramDevice, next: UInt64) throws {
      try device.send(DatagramDevice.message(Hello(token: [], stream: Datagrams.stream, nextSequence: next)))
      #expect(try device.next()?.welcome != nil)
    }

    @Test func aCertificateOpensASession() throws {
      let gateway = try GatewayProcess(["FIXGATE_TLS_CLIENT_AUTHORITY": "demo=ca.crt"])
      _ = try gateway.addDevice("tracker")
      try gateway.start()
      let device = try Self.open(gateway, "tracker")
      try device.send(Datagrams.message(1...3))
      try device.ack(through: 3)
      // Said again, the handshake long forgotten.
      try Self.hello(device, next: 4)
      try gateway.run(["device", "revoke", "--tenant", "demo", "tracker"])
      try device.send(Datagrams.message(4...4))
      #expect(try device.refusal()?.code == .revoked)
      #expect(try device.next() == nil && device.isClosed)
      #expect(try gateway.drained().fixes.stored == 3)
    }

    @Test func aReload() throws {
      let gateway = try GatewayProcess(["FIXGATE_TLS_CLIENT_AUTHORITY": "demo=ca.crt"])
      _ = try gateway.addDevice("certified")
      let known = try gateway.addDevice("keyed", psk: true)
      try gateway.start()
      let certified = try Self.open(gateway, "certified")
      let keyed = try Datagrams.open(known, next: 1)
      // Certificate and authorities are others from now on.
      let fresh = try DevelopmentCA.make(nowS: SystemClock.wallMs() / 1_000)
      let identity = try fresh.serverIdentity(nowS: SystemClock.wallMs() / 1_000)
      try Self.write(fresh.certificatePEM, "ca.crt", gateway)
      try Self.write(fresh.keyPEM, "ca.key", gateway)
      try Self.write(identity.certificatePEM, "server.crt", gateway)
      try Self.write(identity.keyPEM, "server.key", gateway)
      gateway.server?.signal(SIGHUP)
      // Who was let in by the authority of before has to come again; a key is as good as it was.
      #expect(try certified.next() == nil && certified.isClosed)
      try keyed.send(Datagrams.message(1...2))
      try keyed.ack(through: 2)
      // New handshakes show the new certificate, which the old authority does not vouch for.
      #expect(throws: DTLSError.self) { try Self.open(gateway, "certified") }
      _ = try gateway.addDevice("newcomer")
      let newcomer = try Self.open(gateway, "newcomer")
      try newcomer.send(Datagrams.message(1...1))
      try newcomer.ack(through: 1)
    }
  }
}
