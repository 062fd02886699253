import BenchFleet
package import GateCore
import GateDevice
import GateNet
import GateTLS
import Gateway
import Glibc

/// One device that sends a fix, waits for its ack and rests, beside the bare sync of a block by the thread that measures: what
/// an idle gateway adds to the disk.
package struct LoneAck {
  /// In ns, one a turn.
  package var ackNs: [UInt64] = []
  package var syncNs: [UInt64] = []

  /// Between turns, so that the gateway is idle at each.
  private static let restNs: UInt64 = 10_000_000

  /// - Parameter folder: on the disk to be measured.
  package static func run(turns: Int, in folder: String, track: [Fix]) throws -> LoneAck {
    let gateway = try GatewayProcess(Enrolment(devices: 1), in: folder, workers: 1)
    let context = try TLSClientContext(authorityPEM: gateway.enrolment.authorityPEM)
    let device = try BlockingDevice(
      to: gateway.address, context, DeviceSession(log: BlockingDevice.log(), token: gateway.enrolment.tokens[0]))
    var scratch = BlockingDevice.Scratch()
    try device.run(&scratch, from: track) { $0.engine.isEstablished }
    let block = try Block(folder + "/fixgate-block-\(gateway.id)")
    var result = LoneAck()
    for _ in 0..<turns {
      rest(device)
      result.syncNs.append(block.sync())
      rest(device)
      let start = SystemClock.now()
      device.session.record(1, at: start)
      try device.run(&scratch, from: track) { $0.session.log.isSettled }
      result.ackNs.append(SystemClock.now().since(start))
    }
    try gateway.stop()
    return result
  }

  /// Nothing comes unasked: this waits for its whole time.
  private static func rest(_ device: BlockingDevice) {
    try? device.stream.descriptor.wait(
      readable: true, writable: false, until: SystemClock.now().advanced(byNs: restNs))
  }

  /// A file of one written block, which is written and synced again.
  private final class Block {
    private let descriptor: Int32
    private let path: String
    private let bytes = [UInt8](repeating: 7, count: Limits.journalBlockBytes)

    init(_ path: String) throws {
      self.path = path
      descriptor = unsafe open(path, O_RDWR | O_CREAT | O_TRUNC, 0o600)
      guard descriptor >= 0 else { throw PathError.conversation("cannot write \(path)") }
      _ = sync()
    }

    deinit {
      close(descriptor)
      unsafe unlink(path)
    }

    func sync() -> UInt64 {
      let start = SystemClock.now()
      precondition(unsafe pwrite(descriptor, bytes, bytes.count, 0) == bytes.count && fdatasync(descriptor) == 0)
      return SystemClock.now().since(start)
    }
  }
}
