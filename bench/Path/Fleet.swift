package import GateCore
import GateDevice
import GateNet
import GateTLS

/// Devices in a closed loop, on one thread: each has one message on its way, and sends the next when that is acked.
package struct Fleet: ~Copyable {
  package private(set) var acked: UInt64 = 0
  package private(set) var messages: UInt64 = 0
  private var devices: [Device]
  private var poller: Poller
  private let fixes: [Fix]
  private let batch: Int
  private var scratch = Device.Scratch()

  /// Connects all devices; nothing is said yet.
  /// - Parameters:
  ///   - batch: fixes in a message.
  ///   - fixes: what is recorded, over and over.
  ///   - tokens: one a device; `nil` = all that are enrolled.
  package init(gateway: GatewayProcess, tokens: ArraySlice<[UInt8]>? = nil, batch: Int, fixes: [Fix]) throws {
    let poller = try Poller(capacity: 512)
    var devices: [Device] = []
    let context = try TLSClientContext(authorityPEM: gateway.authorityPEM)
    var options = DeviceOptions()
    options.batchFixes = batch
    for (i, token) in (tokens ?? gateway.tokens[...]).enumerated() {
      let session = DeviceSession(log: Device.log(), token: token, options: options)
      let device = try Device(to: gateway.address, context, session)
      try poller.add(device.stream.descriptor, token: UInt64(i), for: .read)
      devices.append(device)
    }
    self.batch = batch
    self.fixes = fixes
    self.devices = devices
    self.poller = poller
  }

  /// Lets all devices send until `count` fixes more are acked. The messages then on their way are left to the next call.
  package mutating func run(fixes count: UInt64) throws {
    let end = acked + count
    for device in devices { try turn(device) }
    while acked < end {
      let ready = try poller.wait(timeoutNs: Device.patienceNs)
      guard ready > 0 else { throw PathError.conversation("no answer") }
      for i in 0..<ready {
        let device = devices[Int(poller.event(at: i).token)]
        acked += try device.receive(&scratch)
        try turn(device)
      }
    }
  }

  /// Waits until everything sent is acked.
  package mutating func settle() throws {
    while devices.contains(where: { !$0.session.log.isSettled }) {
      guard try poller.wait(timeoutNs: Device.patienceNs) > 0 else { throw PathError.conversation("no answer") }
      for device in devices { acked += try device.receive(&scratch) }
    }
  }

  private mutating func turn(_ device: Device) throws {
    if device.engine.isEstablished, device.session.log.isSettled {
      device.session.record(UInt64(batch), at: SystemClock.now())
    }
    messages += try device.send(&scratch, from: fixes)
  }
}
