import GateCore
import GateTLS
import Testing

/// A session file in memory, and what of it is durable.
private struct Disk {
  var slots: [UInt32: [UInt8]] = [:]
  var durable: [UInt32: [UInt8]] = [:]
  var base = WriteReservation.standard.base(after: 0, nowS: 1_000)
  var ticket: UInt64 = 0
  var fails = false
  var writes = 0

  static let key = [UInt8](repeating: 3, count: SessionSeal.keyBytes)
  static let slotsMax: UInt32 = 8

  mutating func write(_ slot: UInt32, _ bytes: Span<UInt8>) -> UInt64? {
    if fails { return nil }
    var whole = slots[slot] ?? [UInt8](repeating: 0, count: SessionSlot.bytes)
    for i in bytes.indices { whole[i] = bytes[i] }
    slots[slot] = whole
    writes += 1
    ticket += 1
    return ticket
  }

  /// As `SessionFile.sync`.
  mutating func sync() -> UInt64 {
    durable = slots
    return ticket
  }

  /// A new run over what is there.
  mutating func start(key: [UInt8] = key, now: Instant) throws -> EndpointGateway {
    durable = slots
    base = WriteReservation.standard.base(after: base, nowS: 1_000)
    let taken = slots.filter { SessionSlot.read($0.value.span) != .free }
    let free = (0..<Disk.slotsMax).filter { taken[$0] == nil }
    var gateway = try EndpointGateway(
      shelf: SessionShelf(seal: SessionSeal(registryKey: key), base: base, free: free.reversed()), epochS: 1_000_000)
    gateway.now = now
    for (number, bytes) in taken.sorted(by: { $0.key < $1.key }) {
      if let session = gateway.endpoint.restore(bytes.span, number: number) {
        gateway.restored.append(session)
      }
    }
    return gateway
  }
}

private let moment = Instant(ns: 100_000_000_000)

extension EndpointGateway {
  fileprivate mutating func store(_ disk: inout Disk, _ facts: [UInt64: SessionFacts] = [:]) {
    var copy = disk
    endpoint.store(facts: { session, _ in facts[session] ?? SessionFacts() }) { copy.write($0, $1) }
    disk = copy
  }
}

private let facts: SessionFacts = {
  var facts = SessionFacts()
  facts.device = 7
  facts.tenant = 1
  facts.stream = 99
  facts.protocolVersion = 1
  facts.credential = CredentialReference(kind: .key, selector: 5)
  return facts
}()

@Suite struct EndpointStoreTests {
  @Test(arguments: DTLSSuite.allCases, [true, false]) func aSessionGoesOn(suite: DTLSSuite, usesCID: Bool) throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    #expect(gateway.restored.count == 0)
    var device = try EndpointDevice(suite, with: &gateway, at: peer(1), usesCID: usesCID)
    let early = try device.seal([1])
    #expect(gateway.receive(early, from: peer(1)).count == 1)
    let first = try #require(try gateway.answer([2], session: device.id))
    #expect(try device.open(first.bytes) == [2])
    gateway.endpoint.factsChanged(of: device.id)
    gateway.store(&disk, [device.id: facts])
    // Nothing is said at the end: it is as good as killed.
    var second = try disk.start(now: Instant(ns: 5))
    let restored = second.restored
    #expect(restored.count == 1 && restored.first?.session == device.id && restored.first?.facts == facts)
    #expect(second.endpoint.counters.restored == 1 && second.endpoint.sessionCount == 1)
    // What was seen when the slot was written is seen for ever.
    #expect(second.receive(early, from: peer(1)).isEmpty && second.endpoint.counters.replayed == 1)
    let address = peer(usesCID ? 2 : 1)
    let events = second.receive(try device.seal([3]), from: address)
    #expect(events == [.data(session: device.id, slot: 0, range: 0..<1, moved: usesCID)] && second.data == [[3]])
    let answer = try #require(try second.answer([4], session: device.id))
    #expect(answer.to == address)
    #expect(try device.open(answer.bytes) == [4])
    // And once more, without a slot being written in between.
    var third = try disk.start(now: Instant(ns: 5))
    #expect(third.restored.count == 1)
    #expect(third.receive(try device.seal([5]), from: address).count == 1)
    let last = try #require(try third.answer([6], session: device.id))
    #expect(try device.open(last.bytes) == [6])
  }

  /// Before its device has sent there is nowhere to send to.
  @Test func noAddressIsKept() throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    let device = try EndpointDevice(with: &gateway, at: peer(1)).id
    gateway.store(&disk)
    var second = try disk.start(now: moment)
    #expect(second.restored.first?.session == device)
    #expect(try second.answer([1], session: device) == nil ? true : false)
    second.endpoint.close(device)
    #expect(second.endpoint.sessionCount == 0 && !second.endpoint.hasOutput)
  }

  @Test func slotsThatDoNotOpen() throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    _ = try EndpointDevice(with: &gateway, at: peer(1)).id
    gateway.store(&disk)
    let good = try #require(disk.slots[0])
    // Another key, another slot, a bit flipped anywhere.
    var other = try disk.start(key: [UInt8](repeating: 4, count: 32), now: moment)
    #expect(other.endpoint.sessionCount == 0)
    var moved = disk
    moved.slots = [1: good]
    #expect(try moved.start(now: moment).restored.isEmpty ? true : false)
    for bit in stride(from: 0, to: 8 * (SessionSlot.sealedAt + 68), by: 7) {
      var damaged = disk
      damaged.slots[0]![bit / 8] ^= 1 << UInt8(bit % 8)
      #expect(try damaged.start(now: moment).restored.isEmpty ? true : false)
    }
    // The slot is free again: overwritten, then used.
    other.store(&disk)
    #expect(disk.slots[0] == [UInt8](repeating: 0, count: SessionSlot.bytes))
    var device = try EndpointDevice(with: &other, at: peer(1))
    other.store(&disk)
    var third = try disk.start(key: [UInt8](repeating: 4, count: 32), now: moment)
    #expect(third.restored.count == 1)
    #expect(third.receive(try device.seal([1]), from: peer(9)).count == 1)
  }

  @Test func sessionsThatEndedStayAway() throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    gateway.store(&disk)
    gateway.receive(try device.session.seal(.alert, [1, 0], with: device.cipher), from: peer(1))
    gateway.store(&disk)
    #expect(try disk.start(now: moment).restored.isEmpty ? true : false)
    #expect(disk.slots.values.allSatisfy { $0.allSatisfy { $0 == 0 } })
  }

  /// More sessions than slots: the rest live in memory.
  @Test func moreThanTheFileHolds() throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    for port in 0..<UInt16(Disk.slotsMax + 2) { _ = try EndpointDevice(with: &gateway, at: peer(port)).id }
    gateway.store(&disk)
    #expect(gateway.endpoint.sessionCount == Int(Disk.slotsMax) + 2 && disk.slots.count == Int(Disk.slotsMax))
    #expect(try disk.start(now: moment).restored.count == Int(Disk.slotsMax) ? true : false)
  }

  /// A block that is not durable is not used.
  @Test func numbersWaitForTheDisk() throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    let device = try EndpointDevice(with: &gateway, at: peer(1)).id
    gateway.store(&disk)
    _ = disk.sync()
    var sealed: UInt64 = 1
    while try gateway.answer([1], session: device) != nil { sealed += 1 }
    #expect(sealed == WriteReservation.standard.block)
    // It asked for more long ago. Written is not enough.
    #expect(gateway.endpoint.hasUnstored == true)
    gateway.store(&disk)
    #expect(gateway.endpoint.isUnsettled == true)
    gateway.endpoint.settle(through: disk.ticket - 1)
    #expect(try gateway.answer([1], session: device) == nil ? true : false)
    gateway.endpoint.settle(through: disk.sync())
    #expect(try gateway.answer([1], session: device) != nil ? true : false)
    #expect(!gateway.endpoint.isUnsettled && gateway.endpoint.counters.slotsFailed == 0)
  }

  @Test func aDiskThatFails() throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    disk.fails = true
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    gateway.store(&disk)
    #expect(gateway.endpoint.counters.slotsFailed == 1 && disk.slots.isEmpty)
    #expect(gateway.receive(try device.seal([1]), from: peer(1)).count == 1)
    #expect(try gateway.answer([1], session: device.id) != nil ? true : false)
    // The next change writes all of it.
    disk.fails = false
    gateway.endpoint.factsChanged(of: device.id)
    gateway.store(&disk, [device.id: facts])
    #expect(try disk.start(now: moment).restored.first?.facts == facts ? true : false)
  }

  /// A slot is written again when its session was heard an hour after, not with every record.
  @Test func lastHeardIsCoarse() throws {
    var disk = Disk()
    var gateway = try disk.start(now: moment)
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    gateway.store(&disk)
    let writes = disk.writes
    for _ in 0..<59 {
      gateway.now = gateway.now.advanced(byNs: 60_000_000_000)
      _ = gateway.receive(try device.seal([1]), from: peer(1))
      gateway.store(&disk)
    }
    #expect(disk.writes == writes)
    gateway.now = gateway.now.advanced(byNs: 60_000_000_000)
    _ = gateway.receive(try device.seal([1]), from: peer(1))
    gateway.store(&disk)
    #expect(disk.writes == writes + 1)
    // The time goes on through a restart, whatever the monotonic clock does. This run's began at 1,000,000 s.
    var second = try disk.start(now: Instant(ns: 3_800_000_000_000))
    second.endpoint.forgetSilent(at: second.now, classicForS: 0, withConnectionIDForS: 100)
    #expect(second.endpoint.sessionCount == 1)
    second.endpoint.forgetSilent(at: second.now, classicForS: 0, withConnectionIDForS: 99)
    #expect(second.endpoint.events == [.closed(session: device.id, slot: 0)] && second.endpoint.sessionCount == 0)
  }
}
