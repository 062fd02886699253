import GateCore
import GateNet
import Synchronization

/// A bad network between devices and a gateway on loopback: UDP datagrams are lost, doubled, held back so that others overtake
/// them, and come to the gateway from a new source port every few seconds, as through a NAT that forgets. What is then still
/// sent to the old port is lost. The seed decides what happens to a datagram, in the order of their arrival.
final class ImpairmentProxy: Sendable {
  struct Weather {
    /// Of a hundred datagrams, each way.
    var lost: UInt64 = 20
    var doubled: UInt64 = 10
    var heldBack: UInt64 = 25
    /// At most.
    var holdNs: UInt64 = 60_000_000
    var portLifeNs: UInt64 = 3_000_000_000
  }

  struct Counts: Equatable {
    var passed = 0
    var lost = 0
    var doubled = 0
    var heldBack = 0
    /// Source ports that the gateway has seen, or could have.
    var ports = 0
  }

  /// Where devices send to, on 127.0.0.1.
  let port: UInt16
  private let shared: Shared
  private let thread: Mutex<OSThread?>

  private final class Shared: Sendable {
    let counts = Mutex(Counts())
    let isOver = Atomic(false)
  }

  /// - Parameter gatewayPort: on 127.0.0.1.
  init(to gatewayPort: UInt16, _ weather: Weather = Weather(), seed: UInt64) throws {
    let road = try Road(to: .loopback(port: gatewayPort), weather, seed: seed)
    port = road.port
    let shared = Shared()
    self.shared = shared
    thread = Mutex(
      try OSThread("impairment") {
        while !shared.isOver.load(ordering: .relaxed) {
          guard let counts = try? road.turn() else { return }
          shared.counts.withLock { $0 = counts }
        }
      })
  }

  /// Waits for the end of a turn.
  deinit {
    shared.isOver.store(true, ordering: .relaxed)
    if let thread = thread.withLock({ $0.take() }) { thread.join() }
  }

  var counts: Counts { shared.counts.withLock { $0 } }
}

/// The network itself; one thread's.
private final class Road {
  /// One device, by its address, and the port by which the gateway sees it.
  private final class Device {
    let address: SocketAddress
    var upstream: UDPClient
    var portEnds: Instant

    init(_ address: SocketAddress, _ upstream: consuming UDPClient, until portEnds: Instant) {
      self.address = address
      self.upstream = upstream
      self.portEnds = portEnds
    }
  }

  private struct Held {
    let due: Instant
    let bytes: [UInt8]
    let device: Device
    let isUp: Bool
  }

  let port: UInt16
  private let gateway: SocketAddress
  private let weather: ImpairmentProxy.Weather
  private var random: SeededRandom
  private var front: UDPSocket
  private var poller: Poller
  private var devices: [SocketAddress: Device] = [:]
  private var held: [Held] = []
  private var counts = ImpairmentProxy.Counts()

  private static let turnNs: UInt64 = 50_000_000

  init(to gateway: SocketAddress, _ weather: ImpairmentProxy.Weather, seed: UInt64) throws {
    let front = try UDPSocket(on: .loopback(port: 0), sharesPort: false)
    let poller = try Poller()
    try poller.add(front.descriptor, token: 0, for: .read)
    port = front.boundPort
    self.front = front
    self.poller = poller
    self.gateway = gateway
    self.weather = weather
    random = SeededRandom(seed: seed)
  }

  /// Waits for a datagram, or for one that is held back, for a short time; and passes on what there is.
  func turn() throws -> ImpairmentProxy.Counts {
    let now = SystemClock.now()
    _ = try poller.wait(timeoutNs: held.map { $0.due.since(now) }.min().map { min($0, Road.turnNs) } ?? Road.turnNs)
    var arrived: [(bytes: [UInt8], from: SocketAddress)] = []
    while try front.receive({ bytes, from, _ in arrived.append((bytes.indices.map { bytes[$0] }, from)) }) > 0 {}
    for (bytes, from) in arrived { decide(bytes, try device(from), isUp: true) }
    for device in devices.values.sorted(by: { $0.address.port < $1.address.port }) {
      for bytes in try Road.receive(&device.upstream) { decide(bytes, device, isUp: false) }
    }
    let later = SystemClock.now()
    for each in held where each.due <= later { try pass(each) }
    held.removeAll { $0.due <= later }
    _ = try front.flush()
    return counts
  }

  private static func receive(_ socket: inout UDPClient) throws(NetError) -> [[UInt8]] {
    var datagrams: [[UInt8]] = []
    var room = [UInt8](repeating: 0, count: UDPClient.datagramBytesMax)
    while true {
      var span = room.mutableSpan
      guard let count = try socket.receive(into: &span) else { return datagrams }
      datagrams.append(Array(room[..<count]))
    }
  }

  private func device(_ address: SocketAddress) throws -> Device {
    let now = SystemClock.now()
    if let known = devices[address], now < known.portEnds { return known }
    let upstream = try UDPClient(to: gateway)
    try poller.add(upstream.descriptor, token: 1, for: .read)
    counts.ports += 1
    let device = Device(address, upstream, until: now.advanced(byNs: weather.portLifeNs))
    devices[address] = device
    return device
  }

  private func decide(_ bytes: [UInt8], _ device: Device, isUp: Bool) {
    let now = SystemClock.now()
    guard random.next() % 100 >= weather.lost else {
      counts.lost += 1
      return
    }
    let isDoubled = random.next() % 100 < weather.doubled
    if isDoubled { counts.doubled += 1 }
    for _ in 0..<(isDoubled ? 2 : 1) {
      let isHeld = random.next() % 100 < weather.heldBack
      if isHeld { counts.heldBack += 1 }
      let delay = isHeld ? random.next() % weather.holdNs : 0
      held.append(Held(due: now.advanced(byNs: delay), bytes: bytes, device: device, isUp: isUp))
    }
  }

  private func pass(_ each: Held) throws {
    counts.passed += 1
    if each.isUp {
      _ = try each.device.upstream.send(each.bytes.span)
    } else {
      if !front.queue(each.bytes.span, to: each.device.address) {
        _ = try front.flush()
        _ = front.queue(each.bytes.span, to: each.device.address)
      }
    }
  }
}
