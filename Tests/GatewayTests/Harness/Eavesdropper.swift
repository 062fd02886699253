import Foundation
import GateCore
import GateNet
import Synchronization

/// Somebody on the way between a device and its gateway: passes on one connection, and keeps what the device sends before
/// the gateway's first answer.
final class Eavesdropper: Sendable {
  let port: UInt16
  private let kept = Mutex<[UInt8]>([])

  init(to gateway: UInt16) throws {
    let listener = try TCPListener(on: SocketAddress(ipv4: 0x7F00_0001, port: 0), sharesPort: false)
    port = listener.boundPort
    let door = Door(listener)
    Thread.detachNewThread { [self] in try? pass(door, to: gateway) }
  }

  var firstFlight: [UInt8] { kept.withLock { $0 } }

  private final class Door: Sendable {
    let listener: TCPListener
    init(_ listener: consuming TCPListener) { self.listener = listener }
  }

  private func pass(_ door: Door, to gateway: UInt16) throws {
    try door.listener.descriptor.wait(readable: true, writable: false, until: inAMinute())
    guard let device = try door.listener.accept() else { return }
    let server = try TCPStream.connect(to: .loopback(port: gateway), until: inAMinute())
    var poller = try Poller(capacity: 2)
    try poller.add(device.descriptor, token: 0, for: .read)
    try poller.add(server.descriptor, token: 1, for: .read)
    var isFirst = true
    var isOpen = true
    while isOpen {
      for index in 0..<(try poller.wait(timeoutNs: 60_000_000_000)) {
        if poller.event(at: index).token == 0 {
          isOpen = try Eavesdropper.copy(from: device, to: server) { bytes in
            if isFirst { kept.withLock { $0 += bytes } }
          }
        } else {
          isFirst = false
          isOpen = try Eavesdropper.copy(from: server, to: device) { _ in }
        }
        if !isOpen { return }
      }
    }
  }

  /// - Returns: false once `from` has closed.
  private static func copy(
    from: borrowing TCPStream, to: borrowing TCPStream, _ look: ([UInt8]) -> Void
  ) throws -> Bool {
    var bytes = [UInt8](repeating: 0, count: 65_536)
    var count = 0
    var room = bytes.mutableSpan
    switch try from.read(into: &room, at: &count) {
    case .wouldBlock: return true
    case .closed: return false
    case .bytes: break
    }
    look(Array(bytes[..<count]))
    var sent = 0
    while sent < count {
      switch try to.write(bytes.span.extracting(sent..<count)) {
      case .bytes(let taken): sent += taken
      case .wouldBlock: try to.descriptor.wait(readable: false, writable: true, until: inAMinute())
      case .closed: return false
      }
    }
    return true
  }
}
