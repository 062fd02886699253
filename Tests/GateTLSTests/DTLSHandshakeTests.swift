import GateCore
import GateTLS
import Testing
import WireVectors

private let clientCID = ConnectionID(bytes: [0xC0, 0xFF, 0xEE])

@Suite struct DTLSHandshakeTests {
  @Test(arguments: DTLSSuite.allCases, [nil, ConnectionID(), clientCID] as [ConnectionID?])
  func established(suite: DTLSSuite, clientCID: ConnectionID?) throws {
    var world = try DTLSWorld(suite, clientCID: clientCID)
    try world.run()
    #expect(world.failures.isEmpty)
    try world.exchange()
    let usesCID = clientCID != nil
    #expect(world.gateway?.session.suite == suite && world.device?.session.suite == suite)
    #expect(world.gateway?.session.readConnectionID == (usesCID ? DTLSFixture.serverCID : ConnectionID()))
    #expect(world.device?.session.writeConnectionID == (usesCID ? DTLSFixture.serverCID : ConnectionID()))
    #expect(world.gateway?.session.writeConnectionID == (clientCID ?? ConnectionID()))
    #expect(world.device?.session.readConnectionID == (clientCID ?? ConnectionID()))
    if suite.isPSK {
      #expect(world.gateway?.peer == .preSharedKey(identity: DTLSFixture.identity))
    } else {
      #expect(world.gateway?.peer == .anonymous)
      guard case .certificate? = world.device?.peer else {
        Issue.record("no certificate")
        return
      }
    }
    // Two hellos and a flight up, a HelloVerifyRequest and two flights down.
    #expect(world.sentToServer.count == 3 && world.sentToClient.count == 3)
  }

  @Test func aGatewayMayDecline() throws {
    var world = try DTLSWorld(.pskAES128CCM8, clientCID: clientCID, serverCID: nil)
    try world.run()
    try world.exchange()
    #expect(world.gateway?.session.readConnectionID == ConnectionID())
    #expect(world.gateway?.session.writeConnectionID == ConnectionID())
  }

  @Test func devicesCertificate() throws {
    let device = try Fixture.authority.get().deviceIdentity(tenant: "acme", device: "device-7", nowS: realNowS)
    var world = try DTLSWorld(
      .ecdheECDSAAES128GCM, server: DTLSFixture.server(trustsDevices: true),
      client: DTLSFixture.client(.ecdheECDSAAES128GCM, identity: device))
    try world.run()
    if let error = world.failures.first { Issue.record("\(error)") }
    try world.exchange()
    var expected = try PeerCertificate.leaf(of: device.certificatePEM)
    expected.tenants = ["acme"]
    #expect(expected.device == "device-7")
    #expect(world.gateway?.peer == .certificate(expected))
  }

  @Test(arguments: 1...60 as ClosedRange<UInt64>) func badNetwork(seed: UInt64) throws {
    let suite = DTLSSuite.allCases[Int(seed) % 7]
    var world = try DTLSWorld(suite, clientCID: [nil, ConnectionID(), clientCID][Int(seed) % 3], seed: seed)
    world.lossPercent = 20
    world.duplicatePercent = 10
    world.jitterNs = 300_000_000
    // Sent before the network turned bad.
    world.passing = []
    try world.run()
    #expect(world.failures.isEmpty, "seed \(seed)")
    try world.exchange()
  }

  /// Each datagram of the handshake lost, alone and with the three behind it.
  @Test(arguments: 0..<6, [1, 4]) func eachDatagramLost(index: Int, count: Int) throws {
    var world = try DTLSWorld(.pskAES128CCM8, lost: index..<index + count)
    try world.run()
    #expect(world.failures.isEmpty)
    try world.exchange()
  }

  @Test func wrongKeyIsRefused() throws {
    let wrong = try DTLSClientContext(identity: DTLSFixture.identity, key: [1, 2, 3], suites: [.pskAES128CCM8])
    var world = try DTLSWorld(.pskAES128CCM8, client: wrong)
    try world.run()
    // The gateway cannot open the Finished: it drops it and waits, since a forger could have sent it.
    #expect(!world.isEstablished && world.failures == [.timedOut])
  }

  @Test func unknownIdentityIsRefused() throws {
    let unknown = try DTLSClientContext(identity: Array("nobody".utf8), key: DTLSFixture.key, suites: [.pskAES128CCM8])
    var world = try DTLSWorld(.pskAES128CCM8, client: unknown)
    try world.run()
    guard case .handshake? = world.failures.first else {
      Issue.record("\(world.failures)")
      return
    }
    // The alert is on its way: the device hears why.
    let alert = try #require(world.passing.last)
    world.failures = []
    try world.takeAtClient(alert.bytes)
    #expect(world.failures == [.handshake(.alert(115))])
  }

  @Test func noSuiteInCommon() throws {
    var world = try DTLSWorld(.pskAES128GCM, server: DTLSFixture.server(suites: [.pskAES128CCM8]))
    try world.run()
    guard case .handshake(.noSharedAlgorithm)? = world.failures.first else {
      Issue.record("\(world.failures)")
      return
    }
  }

  @Test func wrongServerName() throws {
    let authority = try DevelopmentCA.make(nowS: realNowS)
    let context = try DTLSClientContext(authorityPEM: authority.certificatePEM, suites: [.ecdheECDSAAES128GCM])
    var world = try DTLSWorld(.ecdheECDSAAES128GCM, client: context)
    try world.run()
    guard case .handshake(.certificateRefused)? = world.failures.first else {
      Issue.record("\(world.failures)")
      return
    }
  }

  @Test func silenceEndsIt() throws {
    var world = try DTLSWorld(.pskAES128CCM8)
    world.lossPercent = 100
    world.passing = []
    let start = world.now
    try world.run()
    #expect(world.failures == [.timedOut] && world.now.since(start) == DTLSHandshake.lifeNs)
    // 1, 3, 7, 15, 31, 47, 63, 79, 95 and 111 seconds after the first.
    #expect(world.sentToServer.count == 11)
  }

  /// Garbage, and records of a stranger, between the flights.
  @Test(arguments: 1...20 as ClosedRange<UInt64>) func garbageOfEpochOneChangesNothing(seed: UInt64) throws {
    var world = try DTLSWorld(.pskAES128CCM8, seed: seed)
    while world.device == nil || world.gateway == nil, world.failures.isEmpty {
      for _ in 0..<3 {
        let id = DTLSFixture.serverCID
        var bytes: [UInt8] = [25, 0xFE, 0xFD, 0, 1, 0, 0, 0, 0, 0, UInt8(world.random.below(4))]
        bytes += (0..<8).map { id[$0] } + [0, 40] + (0..<40).map { _ in UInt8(world.random.below(256)) }
        if world.random.chance(30) { bytes.removeLast(world.random.below(20)) }
        try world.takeAtServer(bytes)
        try world.takeAtClient(bytes)
      }
      try world.step()
      if world.isIdle { break }
    }
    #expect(world.failures.isEmpty)
    try world.exchange()
  }

  /// Mutated flights: nothing traps, memory stays bounded, and what is established is right.
  @Test(arguments: 1...60 as ClosedRange<UInt64>) func mutatedFlights(seed: UInt64) throws {
    var world = try DTLSWorld(DTLSSuite.allCases[Int(seed) % 7], clientCID: clientCID, seed: seed)
    var steps = 0
    while world.device == nil || world.gateway == nil, world.failures.isEmpty, steps < 300 {
      steps += 1
      if let at = world.passing.indices.last, world.random.chance(25) {
        for _ in 0...world.random.below(3) {
          let byte = world.random.below(world.passing[at].bytes.count)
          world.passing[at].bytes[byte] ^= 1 << UInt8(world.random.below(8))
        }
      }
      try world.step()
      if world.isIdle { break }
    }
    if world.device != nil, world.gateway != nil { try world.exchange() }
  }

  /// The Finished overtakes what it needs. With change_cipher_spec ahead of the keys, which libssl drops, it takes the flight
  /// once more.
  @Test(arguments: [[2, 0, 1], [0, 2, 1], [2, 1, 0]]) func overtaken(order: [Int]) throws {
    var world = try DTLSWorld(.pskAES128GCM)
    while world.sentToServer.count < 3 { try world.step() }
    world.passing = []
    let flight = world.sentToServer[2]
    var records: [[UInt8]] = []
    var at = 0
    while at < flight.count {
      let record = try DTLSRecord.next(in: flight.span, from: at)
      records.append(Array(flight[record.whole]))
      at = record.whole.upperBound
    }
    #expect(records.count == 3 && records[2][0] == 25)
    for index in order { try world.takeAtServer(records[index]) }
    let atOnce = world.gateway != nil
    #expect(atOnce == (order != [2, 1, 0]), "\(world.failures)")
    world.post()
    try world.run()
    try world.exchange()
  }

  /// Data that comes while the handshake is still there waits for the session; no more of it than a few records.
  @Test func earlyData() throws {
    var world = try DTLSWorld(.pskAES128CCM8)
    world.finishesServer = false
    while world.device == nil { try world.step() }
    guard var device = world.device.take() else { return }
    var sent: [[UInt8]] = []
    for i in 0..<6 as Range<UInt8> { sent.append(try device.session.seal([i], with: world.cipher)) }
    for record in sent { try world.takeAtServer(record) }
    guard var gateway = world.server.take()?.finish() else { return }
    let early = gateway.early
    #expect(early == Array(sent[..<4]))
    for (i, record) in early.enumerated() {
      #expect(try gateway.session.open(record, with: world.cipher).get().data == [UInt8(i)])
    }
  }

  @Test func aNewHelloQuietsTheOld() throws {
    var world = try DTLSWorld(.pskAES128CCM8)
    while world.server == nil { try world.step() }
    world.passing = []
    let until = world.now.advanced(byNs: 10_000_000_000)
    world.server?.beQuiet(until: until)
    #expect(world.server?.deadline == until)
    // The hello that it answers is its own; another one is not.
    let hello = world.sentToServer[1]
    var other = hello
    other[30] ^= 1
    let answers = world.server?.answers(hello.span)
    let answersOther = world.server?.answers(other.span)
    #expect(answers == true && answersOther == false)
    // A repeated hello is answered, but not at once.
    let sent = world.sentToClient.count
    try world.takeAtServer(hello)
    world.post()
    #expect(world.sentToClient.count == sent)
    world.now = world.now.advanced(byNs: DTLSHandshake.repeatNs)
    try world.takeAtServer(hello)
    world.post()
    #expect(world.sentToClient.count == sent + 1)
  }

  /// The last flight may be asked for a few times, then no more.
  @Test func lastFlightIsBounded() throws {
    var world = try DTLSWorld(.pskAES128CCM8)
    try world.run()
    guard var gateway = world.gateway.take(), var last = gateway.lastFlight else { return }
    for i in 0...DTLSLastFlight.resendsMax {
      let datagrams = try last.again(in: &gateway.session, with: world.cipher)
      #expect(datagrams.count == (i < DTLSLastFlight.resendsMax ? 1 : 0))
    }
  }
}
