import GateCore
import GateTLS
import Testing
import WireVectors

@Suite struct DTLSEndpointTests {
  @Test(arguments: DTLSSuite.allCases, [true, false]) func aSession(suite: DTLSSuite, usesCID: Bool) throws {
    var gateway = try EndpointGateway()
    var device = try EndpointDevice(suite, with: &gateway, at: peer(1), usesCID: usesCID)
    let id = ConnectionID(node: 7, shard: UInt8(truncatingIfNeeded: device.id >> 48), random: device.id)
    #expect(id.word == device.id && [3, 5].contains(id.shard))
    #expect(device.session.writeConnectionID == (usesCID ? id : ConnectionID()))
    let events = gateway.receive(try device.seal([1, 2, 3]), from: peer(1))
    #expect(events == [.data(session: device.id, slot: 0, range: 0..<3, moved: false)] && gateway.data == [[1, 2, 3]])
    let answer = try #require(try gateway.answer([4], session: device.id))
    #expect(answer.to == peer(1))
    #expect(try device.open(answer.bytes) == [4])
    #expect(gateway.endpoint.handshakeCount == 0 && gateway.endpoint.sessionCount == 1)
  }

  /// RFC 9146 section 6.
  @Test func roaming() throws {
    var gateway = try EndpointGateway()
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    let late = try device.seal([0])
    let first = try device.seal([1])
    #expect(gateway.receive(first, from: peer(2)) == [.data(session: device.id, slot: 0, range: 0..<1, moved: true)])
    #expect(try gateway.answer([9], session: device.id)?.to == peer(2))
    // Older and authentic from elsewhere: data, but no reason to move.
    #expect(gateway.receive(late, from: peer(3)) == [.data(session: device.id, slot: 0, range: 0..<1, moved: false)])
    // Replayed and forged ones from elsewhere move nothing.
    #expect(gateway.receive(first, from: peer(3)).isEmpty)
    var forged = try device.seal([2])
    forged[forged.count - 1] ^= 1
    #expect(gateway.receive(forged, from: peer(3)).isEmpty)
    #expect(try gateway.answer([9], session: device.id)?.to == peer(2))
    #expect(gateway.endpoint.counters.replayed == 1 && gateway.endpoint.counters.forged == 1)
    #expect(gateway.endpoint.counters.addressChanges == 1)
  }

  /// A new address is sent three times what came from it, until a second record comes.
  @Test func noAmplificationAfterAMove() throws {
    var gateway = try EndpointGateway()
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    let record = try device.seal([1])
    _ = gateway.receive(record, from: peer(2))
    var sent = 0
    while let answer = try gateway.answer([UInt8](repeating: 0, count: 20), session: device.id) { sent += answer.bytes.count }
    #expect(sent > 0 && sent <= 3 * record.count)
    _ = gateway.receive(try device.seal([2]), from: peer(2))
    for _ in 0..<20 { #expect(try gateway.answer([0], session: device.id) != nil ? true : false) }
  }

  @Test func classicSessionsKeepTheirAddress() throws {
    var gateway = try EndpointGateway()
    var device = try EndpointDevice(with: &gateway, at: peer(1), usesCID: false)
    let record = try device.seal([1])
    #expect(gateway.receive(record, from: peer(2)).isEmpty)
    #expect(gateway.receive(record, from: peer(1)).count == 1)
    // Another handshake from there replaces it.
    let old = device.id
    device = try EndpointDevice(with: &gateway, at: peer(1), usesCID: false)
    #expect(device.id != old && gateway.endpoint.sessionCount == 1)
    #expect(try gateway.answer([1], session: old) == nil ? true : false)
    #expect(gateway.receive(try device.seal([1]), from: peer(1)).count == 1)
  }

  /// A device that forgets everything begins again from the same address, while its old handshake or session is there.
  @Test func aDeviceStartsAnew() throws {
    var gateway = try EndpointGateway()
    let cipher = try RecordCipher()
    var half = try DTLSHandshake(client: DTLSFixture.client(.pskAES128GCM), at: gateway.now, with: cipher)
    for datagram in half.takeOutput() { gateway.receive(datagram, from: peer(1)) }
    for datagram in gateway.takeSent(to: peer(1)) { _ = try half.receive(datagram.span, at: gateway.now, with: cipher) }
    for datagram in half.takeOutput() { gateway.receive(datagram, from: peer(1)) }
    #expect(gateway.endpoint.handshakeCount == 1)
    _ = gateway.takeSent(to: peer(1))
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    #expect(gateway.endpoint.handshakeCount == 0 && gateway.endpoint.sessionCount == 1)
    let first = device.id
    device = try EndpointDevice(with: &gateway, at: peer(1))
    #expect(device.id != first && gateway.endpoint.sessionCount == 2)
    gateway.endpoint.close(first)
    #expect(gateway.endpoint.sessionCount == 1)
    #expect(gateway.receive(try device.seal([1]), from: peer(1)).count == 1)
  }

  @Test func goodbye() throws {
    var gateway = try EndpointGateway()
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    let bye = try device.session.seal(.alert, [1, 0], with: device.cipher)
    #expect(gateway.receive(bye, from: peer(1)) == [.closed(session: device.id, slot: 0)])
    let answer = try #require(gateway.takeSent(to: peer(1)).last)
    let opened = try device.session.open(answer, with: device.cipher).get()
    #expect(opened.content == .alert(level: 1, description: 0))
    #expect(gateway.endpoint.sessionCount == 0)
    // Nothing of it is known any more, and nobody is told.
    #expect(gateway.receive(try device.seal([1]), from: peer(1)).isEmpty && gateway.sent.isEmpty)
  }

  @Test func renegotiationIsRefused() throws {
    var gateway = try EndpointGateway()
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    let hello = try device.session.seal(.handshake, [1] + [UInt8](repeating: 0, count: 40), with: device.cipher)
    #expect(gateway.receive(hello, from: peer(1)).isEmpty)
    let answer = try #require(gateway.takeSent(to: peer(1)).last)
    let opened = try device.session.open(answer, with: device.cipher).get()
    #expect(opened.content == .alert(level: 1, description: 100))
  }

  /// A flood of hellos from made-up addresses: no state, and less out than in.
  @Test func spoofedHellos() throws {
    var gateway = try EndpointGateway()
    let cipher = try RecordCipher()
    var client = try DTLSHandshake(client: DTLSFixture.client(.pskAES128CCM8), at: gateway.now, with: cipher)
    let hello = client.takeOutput()[0]
    for host in 0..<500 as Range<UInt64> { gateway.receive(hello, from: peer(9, host: host)) }
    #expect(gateway.endpoint.handshakeCount == 0 && gateway.endpoint.counters.cookiesSent == 500)
    #expect(gateway.sent.reduce(0) { $0 + $1.bytes.count } < 500 * hello.count)
    // One client's cookie is worth nothing at another address.
    let reply = gateway.sent[0]
    _ = try client.receive(reply.bytes.span, at: gateway.now, with: cipher)
    let second = client.takeOutput()[0]
    gateway.receive(second, from: peer(10, host: 1))
    #expect(gateway.endpoint.handshakeCount == 0)
    gateway.receive(second, from: reply.to)
    #expect(gateway.endpoint.handshakeCount == 1)
  }

  /// Handshakes that stall are bounded; the oldest gives way, and sessions go on.
  @Test func stalledHandshakes() throws {
    var gateway = try EndpointGateway(handshakesMax: 8)
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    let cipher = try RecordCipher()
    for port in 100..<140 as Range<UInt16> {
      var client = try DTLSHandshake(client: DTLSFixture.client(.pskAES128CCM8), at: gateway.now, with: cipher)
      for datagram in client.takeOutput() { gateway.receive(datagram, from: peer(port)) }
      for datagram in gateway.takeSent(to: peer(port)) {
        _ = try client.receive(datagram.span, at: gateway.now, with: cipher)
      }
      for datagram in client.takeOutput() { gateway.receive(datagram, from: peer(port)) }
      #expect(gateway.endpoint.handshakeCount <= 8)
    }
    #expect(gateway.endpoint.counters.handshakesEvicted == 32)
    #expect(gateway.receive(try device.seal([1]), from: peer(1)).count == 1)
    // Their flights go out again, until their time is over.
    gateway.sent = []
    var steps = 0
    while gateway.endpoint.handshakeCount > 0, let due = gateway.endpoint.deadline, steps < 10_000 {
      steps += 1
      gateway.now = due
      gateway.endpoint.expire(at: due)
      gateway.drain()
    }
    #expect(gateway.endpoint.handshakeCount == 0 && gateway.sent.count == 8 * 10)
    #expect(gateway.endpoint.counters.handshakesFailed == 8)
    #expect(gateway.receive(try device.seal([2]), from: peer(1)).count == 1)
  }

  @Test func silentSessionsAreForgotten() throws {
    var gateway = try EndpointGateway()
    let classic = try EndpointDevice(with: &gateway, at: peer(1), usesCID: false).id
    var device = try EndpointDevice(with: &gateway, at: peer(2))
    gateway.now = gateway.now.advanced(byNs: 60_000_000_000)
    _ = gateway.receive(try device.seal([1]), from: peer(2))
    gateway.endpoint.forgetSilent(at: gateway.now, classicForS: 60, withConnectionIDForS: 0)
    #expect(gateway.endpoint.events.isEmpty)
    gateway.endpoint.forgetSilent(at: gateway.now, classicForS: 59, withConnectionIDForS: 0)
    #expect(gateway.endpoint.events == [.closed(session: classic, slot: 0)] && gateway.endpoint.sessionCount == 1)
    #expect(gateway.receive(try device.seal([2]), from: peer(2)).count == 1)
  }

  /// The place of a session that is gone is given to the next; those that live keep theirs.
  @Test func slotsAreReused() throws {
    var gateway = try EndpointGateway()
    let first = try EndpointDevice(with: &gateway, at: peer(1)).id
    var second = try EndpointDevice(with: &gateway, at: peer(2))
    gateway.endpoint.close(first)
    var third = try EndpointDevice(with: &gateway, at: peer(3))
    #expect(
      gateway.receive(try third.seal([1]), from: peer(3))
        == [.data(session: third.id, slot: 0, range: 0..<1, moved: false)])
    #expect(
      gateway.receive(try second.seal([1]), from: peer(2))
        == [.data(session: second.id, slot: 1, range: 0..<1, moved: false)])
  }

  /// Turned down before it costs anything: no object, no answer. The device is let in when it comes again.
  @Test func theOwnerMayTurnHandshakesDown() throws {
    var gateway = try EndpointGateway()
    gateway.admits = false
    #expect(throws: DTLSError.timedOut) { try EndpointDevice(with: &gateway, at: peer(1)).id }
    #expect(gateway.endpoint.counters.handshakesRefused == 1 && gateway.endpoint.counters.handshakesStarted == 0)
    #expect(gateway.endpoint.handshakeCount == 0)
    gateway.admits = true
    _ = try EndpointDevice(with: &gateway, at: peer(1)).id
  }

  @Test func sessionsAreBounded() throws {
    var gateway = try EndpointGateway(sessionsMax: 2)
    _ = try EndpointDevice(with: &gateway, at: peer(1)).id
    _ = try EndpointDevice(with: &gateway, at: peer(2)).id
    #expect(throws: DTLSError.self) { try EndpointDevice(with: &gateway, at: peer(3)).id }
    #expect(gateway.endpoint.sessionCount == 2 && gateway.endpoint.counters.sessionsRefused == 1)
  }

  /// Connection IDs guessed, and any bytes at all: nothing is answered, nothing changes.
  @Test(arguments: 1...10 as ClosedRange<UInt64>) func garbage(seed: UInt64) throws {
    var gateway = try EndpointGateway()
    var random = Seeded(seed: seed)
    var device = try EndpointDevice(with: &gateway, at: peer(1))
    let good = try device.seal([1, 2, 3, 4])
    for _ in 0..<2_000 {
      var bytes = good
      for _ in 0...random.below(4) { bytes[random.below(bytes.count)] = UInt8(random.below(256)) }
      if random.chance(20) { bytes.removeLast(random.below(bytes.count)) }
      if random.chance(20) { bytes += (0..<random.below(40)).map { _ in UInt8(random.below(256)) } }
      guard bytes != good, !bytes.starts(with: good) else { continue }
      #expect(gateway.receive(bytes, from: peer(UInt16(random.below(3)))).isEmpty)
    }
    #expect(gateway.sent.isEmpty && gateway.endpoint.sessionCount == 1)
    #expect(gateway.receive(good, from: peer(1)).count == 1)
  }
}
