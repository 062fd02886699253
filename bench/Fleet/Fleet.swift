package import GateCore
import GateNet

/// Many devices on one thread and one epoll: the load generator.
///
/// A message counts from the moment it was due. In the closed loop that is when the ack before it came; in the open loop
/// the schedule says, and nothing that the server or this generator does moves it (no coordinated omission).
package struct Fleet: ~Copyable {
  package enum Pace {
    /// Each device keeps so many messages unanswered: saturation.
    case closed(inFlight: Int)
    case open(Schedule)
    /// Nothing new is recorded.
    case silent
  }

  /// What happens to connections during a run.
  package struct Weather {
    /// Devices that lose their connection and make a new one, one after the other.
    package var reconnectsPerSecond = 0.0
    /// So many at once, in the middle of the run.
    package var storm = 0
    package init() {}
  }

  /// How connections came up.
  package struct Opening {
    package var connections = 0
    package var ns: UInt64 = 0
    package var generatorCPUNs: UInt64 = 0
    /// Of one connection, from the first packet to the first ack: round trips, TCP's own included; bytes.
    package var roundTrips = 0
    package var traffic = Traffic()
  }

  package private(set) var ackedFixes = 0
  package private(set) var recordedMessages = 0
  /// Devices that went on from another address, on the same connection.
  package private(set) var moves = 0
  /// Connections that the server closed, or that failed.
  package private(set) var connectionsLost = 0
  package private(set) var recorder = Recorder(span: Instant(ns: 0)..<Instant(ns: 0), lanes: 1)
  private let devices: [Device]
  private let makeLink: Connect
  private let batch: Int
  private let resumes: Bool
  private let lanes: Int
  private var poller: Poller
  private var timer: WakeTimer
  private var buffers = LinkBuffers()
  private var out: [UInt8] = []
  private var pace = Pace.silent
  private var scheduled = 0
  private var reconnecting: [Int] = []
  /// Devices that have something to do at a time of their own.
  private var asleep: [Int] = []
  private var nextWaking = Instant(ns: 0)
  private var opened = 0
  private var opening = Opening()
  private var nextToLose = 0
  private var stormLeft = 0

  private static let timerToken = UInt64.max
  private static let patienceNs: UInt64 = 30_000_000_000
  /// Frames that go into one write.
  private static let writeBytes = 16_384
  /// Handshakes that are begun between two looks at the schedule: about a millisecond's work.
  private static let connectsAtATime = 4
  /// How often sleepers are looked after.
  private static let wakingNs: UInt64 = 20_000_000
  /// Messages that are taken up between two looks at the network.
  private static let messagesAtATime = 64
  /// Room for what is not a device: standard streams, the server's pipes, libraries.
  private static let spareDescriptors = 100

  /// - Parameters:
  ///   - batch: fixes in a message.
  ///   - resumes: new connections go by a ticket where there is one.
  /// - Throws: `.tooFewDescriptors`.
  package init(_ devices: [Device], batch: Int, resumes: Bool = true, connect: @escaping Connect) throws {
    let have = try OpenFiles.raiseLimit()
    let need = devices.count + Fleet.spareDescriptors
    guard have >= need else { throw FleetError.tooFewDescriptors(have: have, need: need) }
    let poller = try Poller(capacity: 256)
    let timer = try WakeTimer()
    try poller.add(timer.descriptor, token: Fleet.timerToken, for: .read)
    for (index, device) in devices.enumerated() { device.index = index }
    self.poller = poller
    self.timer = timer
    self.devices = devices
    makeLink = connect
    self.batch = batch
    self.resumes = resumes
    lanes = (devices.map(\.lane).max() ?? 0) + 1
  }

  /// Connects devices until `count` are there, each up to the ack of a first message.
  /// - Parameter inParallel: handshakes under way at a time.
  package mutating func open(_ count: Int, inParallel: Int = 32) throws -> Opening {
    precondition(count <= devices.count)
    let (start, cpu) = (SystemClock.now(), Cores.threadCPUNs)
    opening = Opening()
    var begun = opened
    let first = opened
    pace = .silent
    var heardAt = start
    var before = opened
    while opened < count {
      while begun < count, begun - opened < inParallel {
        record(devices[begun], due: SystemClock.now())
        try connect(devices[begun])
        begun += 1
      }
      try step(until: heardAt.advanced(byNs: Fleet.patienceNs))
      if opened > before { (before, heardAt) = (opened, SystemClock.now()) }
      try checkPatience(since: heardAt)
    }
    opening.connections = opened - first
    opening.ns = SystemClock.now().since(start)
    opening.generatorCPUNs = Cores.threadCPUNs - cpu
    return opening
  }

  /// Lets all devices send until `end`; what was due within `span` is recorded.
  package mutating func run(
    _ pace: Pace, weather: Weather = Weather(), recording span: Range<Instant>, until end: Instant
  ) throws {
    self.pace = pace
    scheduled = 0
    recorder = Recorder(span: span, lanes: lanes)
    var now = SystemClock.now()
    var losses = Beat(perSecond: weather.reconnectsPerSecond, start: now)
    var stormAt: Instant? =
      weather.storm > 0 ? span.lowerBound.advanced(byNs: span.upperBound.since(span.lowerBound) / 2) : nil
    if case .closed(let inFlight) = pace {
      for device in devices {
        while device.waiting.count < inFlight { record(device, due: now) }
        try turn(device)
      }
    }
    while now < end {
      while losses.take(at: now) { try loseNext() }
      if let moment = stormAt, moment <= now {
        stormAt = nil
        stormLeft = min(weather.storm, devices.count)
      }
      for _ in 0..<min(stormLeft, Fleet.connectsAtATime) {
        try loseNext()
        stormLeft -= 1
      }
      try sendDue()
      var next = end
      if case .open(let schedule) = pace { next = min(next, schedule[scheduled].due) }
      if let loss = losses.next { next = min(next, loss) }
      if let stormAt { next = min(next, stormAt) }
      try step(until: next)
      now = SystemClock.now()
    }
  }

  /// Waits for what is unanswered, at most `ns`; the rest is recorded as unanswered.
  /// - Returns: whether all was answered.
  package mutating func settle(within ns: UInt64) throws -> Bool {
    pace = .silent
    let end = SystemClock.now().advanced(byNs: ns)
    while devices.contains(where: { !$0.waiting.isEmpty }) {
      let now = SystemClock.now()
      guard now < end else {
        for device in devices {
          while let due = device.waiting.pop() { recorder.leftUnanswered(due: due, at: now, lane: device.lane) }
        }
        return false
      }
      try step(until: min(end, now.advanced(byNs: 20_000_000)))
    }
    return true
  }

  /// Lets `count` fixes more be acked in a closed loop. The messages then on their way are left to the next call.
  package mutating func run(fixes count: Int, inFlight: Int = 1) throws {
    let end = ackedFixes + count
    pace = .closed(inFlight: inFlight)
    for device in devices {
      while device.waiting.count < inFlight { record(device, due: SystemClock.now()) }
      try turn(device)
    }
    var (acked, heardAt) = (ackedFixes, SystemClock.now())
    while ackedFixes < end {
      try step(until: heardAt.advanced(byNs: Fleet.patienceNs))
      if ackedFixes > acked { (acked, heardAt) = (ackedFixes, SystemClock.now()) }
      try checkPatience(since: heardAt)
    }
  }

  /// Of all connections so far.
  package var traffic: Traffic {
    devices.reduce(into: Traffic()) { $0 += $1.traffic }
  }

  /// Fixes that were refused and sent again.
  package var refusedFixes: Int { devices.reduce(0) { $0 + $1.conversation.refused } }

  private func checkPatience(since heardAt: Instant) throws(FleetError) {
    guard SystemClock.now().since(heardAt) >= Fleet.patienceNs else { return }
    throw .noAnswer(
      seconds: Int(Fleet.patienceNs / 1_000_000_000), waiting: devices.count(where: { !$0.waiting.isEmpty }))
  }
}

// One turn of the loop.
extension Fleet {
  /// Waits for events until `moment` at most, and handles those there are.
  private mutating func step(until moment: Instant) throws {
    var ready: Int
    if reconnecting.isEmpty {
      timer.arm(at: asleep.isEmpty ? moment : min(moment, nextWaking))
      ready = try poller.wait(timeoutNs: nil)
    } else {
      ready = try poller.wait(timeoutNs: 0)
    }
    for i in 0..<ready {
      let event = poller.event(at: i)
      guard event.token != Fleet.timerToken else { continue }
      let device = devices[Int(event.token & 0xFFFF_FFFF)]
      guard device.token == event.token, device.link != nil else { continue }
      try handle(device, writable: event.writable)
      try sendDue()
    }
    try wakeSleepers()
    for _ in 0..<min(Fleet.connectsAtATime, reconnecting.count) { try connect(devices[reconnecting.removeLast()]) }
  }

  /// Takes up what the schedule says is due.
  private mutating func sendDue() throws {
    guard case .open(let schedule) = pace else { return }
    for _ in 0..<Fleet.messagesAtATime {
      let (index, due) = schedule[scheduled]
      let now = SystemClock.now()
      guard due <= now else { return }
      scheduled += 1
      record(devices[index], due: due)
      recorder.tookUp(due: due, at: now)
      try turn(devices[index])
    }
  }

  private mutating func record(_ device: Device, due: Instant) {
    device.conversation.record(1, at: due)
    device.waiting.push(due)
    recordedMessages += 1
  }

  private mutating func handle(_ device: Device, writable: Bool) throws {
    guard let link = device.link else { return }
    let now = SystemClock.now()
    var goesOn = true
    buffers.messages.removeAll(keepingCapacity: true)
    do {
      if writable { try link.becameWritable() }
      goesOn = try link.receive(&buffers, at: now)
    } catch is NetError {
      goesOn = false
    }
    if !buffers.messages.isEmpty || !device.wasOpen { device.hasHeard = true }
    for message in buffers.messages { try hear(device, message, at: now) }
    guard goesOn else {
      connectionsLost += 1
      guard connectionsLost <= devices.count else {
        throw FleetError.conversation("the server closes connections; its log says why")
      }
      return lose(device)
    }
    if link.isOpen, !device.wasOpen {
      device.wasOpen = true
      device.conversation.connected(at: now, overDatagrams: link.carriesDatagrams)
      if let lostAt = device.lostAt {
        recorder.reconnected(lost: lostAt, at: now, resumed: link.isResumed)
        device.lostAt = nil
      }
    }
    try turn(device)
  }

  private mutating func hear(_ device: Device, _ message: Range<Int>, at now: Instant) throws {
    let plain = buffers.plain
    let fixes = try device.conversation.hear(plain.span.extracting(message), at: now)
    guard fixes > 0 else { return }
    ackedFixes += fixes
    recorder.heard(fixes: fixes, at: now)
    device.partlyAcked += fixes
    if !device.hasAck { noteFirstAck(device) }
    while device.partlyAcked >= batch, let due = device.waiting.pop() {
      device.partlyAcked -= batch
      recorder.answered(due: due, at: now, lane: device.lane)
      if case .closed = pace {
        record(device, due: now)
        recorder.tookUp(due: now, at: now)
      }
    }
  }

  private mutating func noteFirstAck(_ device: Device) {
    device.hasAck = true
    guard device.generation == 1, let link = device.link else { return }
    opened += 1
    // Every time it spoke had to be answered.
    if opening.roundTrips == 0 {
      opening.roundTrips = device.turns + link.roundTripsToBegin
      opening.traffic = link.traffic
    }
  }

  /// Says what there is to say.
  private mutating func turn(_ device: Device) throws {
    guard let link = device.link else { return }
    do {
      if link.isOpen, !link.isBlocked { try speak(device, link) }
      if try link.flush(poller, token: device.token), device.hasHeard {
        device.hasHeard = false
        device.turns += 1
      }
      if !device.isAsleep, device.wakeAt != nil {
        device.isAsleep = true
        asleep.append(device.index)
      }
    } catch is NetError {
      return  // the next read tells that it is gone
    }
  }

  /// Messages of a stream go out together, datagrams each for itself.
  private mutating func speak(_ device: Device, _ link: any Link) throws {
    let now = SystemClock.now()
    out.removeAll(keepingCapacity: true)
    while out.count < Fleet.writeBytes, device.conversation.speak(into: &out, at: now) {
      guard link.carriesDatagrams else { continue }
      try link.write(out)
      out.removeAll(keepingCapacity: true)
    }
    if !out.isEmpty { try link.write(out) }
  }

  /// Looks after devices that may have something to do though nothing came.
  private mutating func wakeSleepers() throws {
    let now = SystemClock.now()
    guard !asleep.isEmpty, now >= nextWaking else { return }
    nextWaking = now.advanced(byNs: Fleet.wakingNs)
    for index in asleep {
      let device = devices[index]
      guard let due = device.wakeAt else {
        device.isAsleep = false
        continue
      }
      guard due <= now else { continue }
      try device.link?.expire(at: now)
      try turn(device)
    }
    asleep.removeAll { !devices[$0].isAsleep }
  }
}

// Connections.
extension Fleet {
  private mutating func connect(_ device: Device) throws {
    device.generation += 1
    device.wasOpen = false
    device.turns = 0
    device.hasHeard = true
    device.hasAck = false
    let link = try makeLink(resumes ? device.ticket : nil, SystemClock.now())
    device.ticket = nil
    try link.watch(poller, token: device.token)
    device.link = link
    try turn(device)
  }

  /// The device whose turn it is gets another address: it goes on from there, or makes another connection at once.
  private mutating func loseNext() throws {
    for _ in devices.indices {
      let device = devices[nextToLose]
      nextToLose = (nextToLose + 1) % devices.count
      guard let link = device.link, link.isOpen else { continue }
      if resumes, try link.move(poller, token: device.token) {
        moves += 1
        return
      }
      link.close()
      return lose(device)
    }
  }

  private mutating func lose(_ device: Device) {
    if let link = device.link {
      device.pastTraffic += link.traffic
      if let ticket = link.ticket { device.ticket = ticket }
    }
    device.link = nil
    device.conversation.disconnected()
    if device.lostAt == nil { device.lostAt = SystemClock.now() }
    reconnecting.append(device.index)
  }
}
