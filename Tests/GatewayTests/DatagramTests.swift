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
  /// Devices over DTLS, on real sockets.
  @Suite(.serialized) struct Datagrams {
    private static let stream: UInt32 = 0xC0FF_EE02

    private func ride(_ sequences: ClosedRange<UInt64>) -> [Fix] {
      var fixes = CourierRide.fixes(count: sequences.count, seed: 3, startMs: 1_718_000_000_000)
      for i in fixes.indices { fixes[i].sequence = sequences.lowerBound + UInt64(i) }
      return fixes
    }

    private func hello(_ device: DatagramDevice, next: UInt64) -> Hello {
      Hello(token: device.token, stream: Datagrams.stream, nextSequence: next)
    }

    @Test(arguments: [false, true], [false, true]) func helloAndBatchInOneDatagram(psk: Bool, overIPv6: Bool) throws {
      let gateway = try GatewayProcess()
      try gateway.start()
      let bundle = try gateway.addDevice("tracker", psk: psk)
      let device = try DatagramDevice(bundle: bundle, overIPv6: overIPv6)
      try device.send(DatagramDevice.message(hello(device, next: 21), ride(1...20)))
      try device.ack(through: 20)
      // Each from another port, as a NAT does to a device that sleeps; no handshake, no hello.
      for sequence in 21...25 as ClosedRange<UInt64> {
        try device.move()
        try device.send(DatagramDevice.message(nil, ride(sequence...sequence)))
        try device.ack(through: sequence)
      }
      try gateway.drained()
      #expect(try gateway.rows(of: "tracker").map(\.sequence) == Array(1...25))
      #expect(try gateway.count("SELECT count(*) FROM fix WHERE transport = 2") == 25)
    }
  }
}
