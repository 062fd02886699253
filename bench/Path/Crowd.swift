import BenchHarness
package import GateCore
import GateDevice
import GateNet
import GateTLS
import Gateway
import Synchronization

/// A live device beside a hostile crowd: how long its acks take, against how long they take alone.
package struct Crowd {
  package enum Kind: String, CaseIterable, Sendable {
    /// They connect and never speak.
    case silent
    /// They say a ClientHello, a byte a second each.
    case trickling
    /// They say a whole ClientHello and nothing more, ever new ones.
    case flooding
  }

  package var connections: Int
  /// ClientHellos a second of those that flood.
  package var floodPerSecond: Int
  /// Fixes of the live device in each phase, one every `intervalMs`.
  package var fixes: Int
  package var intervalMs: UInt64 = 20
  package var workers: Int

  package init(connections: Int, floodPerSecond: Int, fixes: Int, workers: Int) {
    self.connections = connections
    self.floodPerSecond = floodPerSecond
    self.fixes = fixes
    self.workers = workers
  }

  package struct Phase {
    /// `nil`: alone.
    package var crowd: Kind?
    /// From sending a fix to its ack, in ns.
    package var ackNs: [UInt64]
    /// The gateway's resident memory at the end of the phase.
    package var residentBytes: Int
    /// Connections of the crowd that the gateway has closed so far, by reason.
    package var closed: [String: UInt64]
  }

  /// Alone, beside one kind, alone, beside the next, and so on: what the machine does besides hits both.
  package func run(in folder: String, track: [Fix]) throws -> [Phase] {
    try OpenFiles.raiseLimit()
    let gateway = try GatewayProcess(
      in: folder, devices: 1, workers: workers, counting: false,
      settings: ["FIXGATE_LIMITS_CONNECTIONS_MAX": "\(2 * connections + 100)"])
    let context = try TLSClientContext(authorityPEM: gateway.authorityPEM)
    let device = try Device(
      to: gateway.address, context, DeviceSession(log: Device.log(), token: gateway.tokens[0]))
    var scratch = Device.Scratch()
    try device.run(&scratch, from: track) { $0.engine.isEstablished }
    var phases: [Phase] = []
    for kind in Kind.allCases {
      phases.append(try phase(nil, gateway, device, track, &scratch))
      var engine = try TLSEngine(client: context, serverName: "localhost")
      var hello: [UInt8] = []
      engine.drainOutput(into: &hello)
      let strangers = Strangers(
        kind, to: gateway.address, connections: connections, floodPerSecond: floodPerSecond, hello: hello)
      let thread = try OSThread("crowd") { strangers.run() }
      while !strangers.isThere.load(ordering: .acquiring), !strangers.hasFailed.load(ordering: .acquiring) {
        _ = try ack(device, track, &scratch)
      }
      let result = Result { try phase(kind, gateway, device, track, &scratch) }
      strangers.stop.store(true, ordering: .releasing)
      thread.join()
      if strangers.hasFailed.load(ordering: .acquiring) { throw PathError.conversation("the crowd cannot connect") }
      phases.append(try result.get())
      // The gateway has let go of them all before anything is measured again.
      while try gateway.status().network.connections > 1 { _ = try ack(device, track, &scratch) }
    }
    try gateway.stop()
    return phases
  }

  private func phase(
    _ kind: Kind?, _ gateway: GatewayProcess, _ device: Device, _ track: [Fix], _ scratch: inout Device.Scratch
  ) throws -> Phase {
    var ackNs: [UInt64] = []
    var next = SystemClock.now()
    for _ in 0..<fixes {
      ackNs.append(try ack(device, track, &scratch))
      next = next.advanced(byNs: intervalMs * 1_000_000)
      // Nothing comes unasked: this waits until it is time for the next fix.
      try? device.stream.descriptor.wait(readable: true, writable: false, until: next)
    }
    let status = try gateway.status()
    return Phase(
      crowd: kind, ackNs: ackNs, residentBytes: ProcessThreads.residentBytes(of: gateway.id),
      closed: status.network.closed)
  }

  /// Sends one fix.
  /// - Returns: ns until its ack.
  private func ack(_ device: Device, _ track: [Fix], _ scratch: inout Device.Scratch) throws -> UInt64 {
    let start = SystemClock.now()
    device.session.record(1, at: start)
    try device.run(&scratch, from: track) { $0.session.log.isSettled }
    return SystemClock.now().since(start)
  }
}

/// The crowd, on a thread of its own.
private final class Strangers: Sendable {
  let isThere = Atomic(false)
  let hasFailed = Atomic(false)
  let stop = Atomic(false)
  private let kind: Crowd.Kind
  private let address: SocketAddress
  private let connections: Int
  private let floodPerSecond: Int
  private let hello: [UInt8]

  private final class Stranger {
    let stream: TCPStream
    var said = 0
    init(_ stream: consuming TCPStream) { self.stream = stream }
  }

  /// The crowd moves in steps of so long; a hundred of them are a second.
  private static let stepNs: UInt64 = 10_000_000
  private static let stepsASecond = 100

  init(_ kind: Crowd.Kind, to address: SocketAddress, connections: Int, floodPerSecond: Int, hello: [UInt8]) {
    self.kind = kind
    self.address = address
    self.connections = connections
    self.floodPerSecond = floodPerSecond
    self.hello = hello
  }

  func run() {
    do { try live() } catch { hasFailed.store(true, ordering: .releasing) }
  }

  private func live() throws {
    var poller = try Poller(capacity: 512)
    var strangers: [Stranger?] = []
    // Those that flood come and go; the others come back when they are closed.
    let places = kind == .flooding ? min(connections, floodPerSecond) : connections
    let aStep = kind == .flooding ? max(floodPerSecond / Strangers.stepsASecond, 1) : 50
    var step = 0
    var at = 0
    while !stop.load(ordering: .acquiring) {
      let end = SystemClock.now().advanced(byNs: Strangers.stepNs)
      for _ in 0..<aStep {
        if strangers.count < places {
          strangers.append(nil)
        } else if kind == .flooding {
          strangers[at % places] = nil
        }
        if strangers[at % places] == nil { strangers[at % places] = try connect(at % places, &poller) }
        at += 1
      }
      if kind == .trickling {
        for i in stride(from: step % Strangers.stepsASecond, to: strangers.count, by: Strangers.stepsASecond) {
          if let stranger = strangers[i], stranger.said < hello.count - 1 { say(stranger, count: 1) }
        }
      }
      if strangers.count == places { isThere.store(true, ordering: .releasing) }
      step += 1
      while SystemClock.now() < end {
        let count = try poller.wait(timeoutNs: end.since(SystemClock.now()))
        for i in 0..<count where poller.event(at: i).ended || poller.event(at: i).hungUp {
          strangers[Int(poller.event(at: i).token)] = nil
        }
      }
    }
  }

  private func connect(_ place: Int, _ poller: inout Poller) throws -> Stranger {
    let stranger = Stranger(
      try TCPStream.connect(to: address, until: SystemClock.now().advanced(byNs: Device.patienceNs)))
    try poller.add(stranger.stream.descriptor, token: UInt64(place), for: .end)
    if kind == .flooding { say(stranger, count: hello.count) }
    return stranger
  }

  /// What the socket does not take is not said.
  private func say(_ stranger: Stranger, count: Int) {
    let hello = hello
    _ = try? stranger.stream.write(hello.span.extracting(stranger.said..<stranger.said + count))
    stranger.said += count
  }
}
