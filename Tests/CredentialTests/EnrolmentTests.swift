import Foundation
import GateCore
import GateProto
import GateStore
import GateTLS
import Gateway
import Testing

/// Devices that enrol themselves, over real connections.
@Suite struct EnrolmentTests {
  private func open(
    _ fixture: GatewayFixture, devices: Int = 1, tenant: String = "demo", endsMs: Int64 = Now.ms + 3_600_000
  ) throws -> (code: String, window: Int64) {
    let code = EnrolmentCode(random: UInt64.random(in: .min ... .max))
    let window = try fixture.registry().openWindow(
      tenant: tenant, code: SecretHash(Digest.sha256(code.bytes.span).span), namePrefix: "phone-", devicesMax: devices,
      endsMs: endsMs, nowMs: Now.ms)
    return (code.text, window)
  }

  /// One connection.
  private func ask(_ fixture: GatewayFixture, _ request: Enrol) throws -> Downlink? {
    var line = try Line.open(fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM))
    try line.enrol(request)
    let answer = try line.next()
    // It asks once, hears once, and ends.
    #expect(try line.next() == nil)
    return answer
  }

  private func refusal(_ fixture: GatewayFixture, _ request: Enrol) throws -> RefusalCode? {
    try ask(fixture, request)?.refusals.first?.code
  }

  private static func key(_ byte: UInt8) -> [UInt8] { [UInt8](repeating: byte, count: Enrol.keyBytes) }

  private func isWelcome(_ fixture: GatewayFixture, token: [UInt8]) throws -> RefusalCode? {
    var line = try Line.open(fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM))
    try line.hello(token: token)
    let answer = try line.next()
    return answer?.welcome == nil ? answer?.refusals.first?.code : nil
  }

  @Test func aTokenIsGoodAtOnceAndTheCodeOnce() throws {
    let fixture = try GatewayFixture()
    let code = try open(fixture).code
    let enrolled = try #require(try ask(fixture, Enrol(code: code, key: Self.key(1)))?.enrolled)
    #expect(enrolled.tenant == "demo" && enrolled.device == "phone-1")
    guard case .token(let token) = enrolled.credential else {
      Issue.record("no token")
      return
    }
    #expect(try isWelcome(fixture, token: token) == nil)
    #expect(try refusal(fixture, Enrol(code: code, key: Self.key(2))) == .credentialExpired)
    #expect(try fixture.registry().listDevices(tenant: nil).count == 1)
  }

  @Test func aLostAnswerBurnsNothing() throws {
    let fixture = try GatewayFixture()
    let code = try open(fixture).code
    let request = Enrol(code: code, key: Self.key(1), label: "pixel")
    let tokens = try (0..<3).map { _ in
      let enrolled = try #require(try ask(fixture, request)?.enrolled)
      #expect(enrolled.device == "phone-pixel")
      guard case .token(let token) = enrolled.credential else { throw ProtoError.malformed }
      return token
    }
    // The one told last is good, the others are as if they had never been.
    #expect(try isWelcome(fixture, token: tokens[0]) == .unknownCredential)
    #expect(try isWelcome(fixture, token: tokens[1]) == .unknownCredential)
    #expect(try isWelcome(fixture, token: tokens[2]) == nil)
    #expect(try fixture.registry().listDevices(tenant: nil).map(\.id) == ["phone-pixel"])
  }

  @Test func aKeyCanBeHadInsteadOfAToken() throws {
    let fixture = try GatewayFixture { _, folder, _ in
      try GatewayFixture.write([UInt8](repeating: 3, count: Seal.keyBytes), folder + "/registry.key")
    }
    let enrolled = try #require(
      try ask(fixture, Enrol(code: open(fixture).code, key: Self.key(1), kind: .psk))?.enrolled)
    guard case .psk(let identity, let secret) = enrolled.credential else {
      Issue.record("no key")
      return
    }
    let key = ExternalKey(identity: Array(identity.utf8), secret: secret)
    var line = try Line.open(fixture.port, TLSClientContext(authorityPEM: fixture.authority.certificatePEM, key: key))
    try line.hello()
    #expect(try line.next()?.welcome != nil)
  }

  @Test func withoutAKeyFileNoKeyIsGivenAndTheCodeStays() throws {
    let fixture = try GatewayFixture()
    let code = try open(fixture).code
    #expect(try refusal(fixture, Enrol(code: code, key: Self.key(1), kind: .psk)) == .storageUnavailable)
    #expect(fixture.logged.all.contains { $0.contains("registry.key: make it with") })
    #expect(try fixture.registry().listDevices(tenant: nil).isEmpty)
    #expect(try ask(fixture, Enrol(code: code, key: Self.key(1)))?.enrolled != nil)
    // Who has no good code learns nothing of it, and writes nothing into the log.
    let lines = fixture.logged.all.count
    #expect(try refusal(fixture, Enrol(code: "7K3M-9QXA-2BRD", key: Self.key(1), kind: .psk)) == .unknownCredential)
    #expect(fixture.logged.all.count == lines)
  }

  @Test func whatIsOverIsOver() throws {
    let fixture = try GatewayFixture()
    let ended = try open(fixture, endsMs: Now.ms - 1)
    #expect(try refusal(fixture, Enrol(code: ended.code, key: Self.key(1))) == .credentialExpired)
    let closed = try open(fixture)
    try fixture.registry().closeWindow(closed.window, nowMs: Now.ms)
    #expect(try refusal(fixture, Enrol(code: closed.code, key: Self.key(1))) == .credentialExpired)
    #expect(try refusal(fixture, Enrol(code: "7K3M-9QXA-2BRD", key: Self.key(1))) == .unknownCredential)
    #expect(try refusal(fixture, Enrol(code: "no code", key: Self.key(1))) == .unknownCredential)
    #expect(try fixture.registry().listDevices(tenant: nil).isEmpty)
  }

  @Test func aCodeLeadsToItsOwnTenant() throws {
    let fixture = try GatewayFixture()
    _ = try fixture.registry().createTenant("other", nowMs: Now.ms)
    let code = try open(fixture, tenant: "other").code
    #expect(try ask(fixture, Enrol(code: code, key: Self.key(1)))?.enrolled?.tenant == "other")
    #expect(try fixture.registry().listDevices(tenant: "demo").isEmpty)
  }

  @Test func whoIsRevokedStaysSo() throws {
    let fixture = try GatewayFixture()
    let request = Enrol(code: try open(fixture, devices: 2).code, key: Self.key(1))
    let enrolled = try #require(try ask(fixture, request)?.enrolled)
    _ = try fixture.registry().revokeDevice(tenant: "demo", id: enrolled.device, nowMs: Now.ms)
    _ = try fixture.tell()
    #expect(try refusal(fixture, request) == .revoked)
    guard case .token(let token) = enrolled.credential else { throw ProtoError.malformed }
    #expect(try isWelcome(fixture, token: token) == .revoked)
  }

  @Test func whoGuessesIsNotLetIn() throws {
    let fixture = try GatewayFixture { configuration, _, _ in
      configuration.limits.trustedSources = ["none"]
      configuration.limits.sourceFailures.perSecond = 1
      configuration.limits.sourceFailures.burst = 3
    }
    _ = try open(fixture)
    var heard: [RefusalCode?] = []
    for guess in 0..<10 as Range<UInt64> {
      // Over the bound the connection ends before a handshake.
      heard.append(try? refusal(fixture, Enrol(code: EnrolmentCode(random: guess).text, key: Self.key(1))))
    }
    #expect(heard.prefix(3).allSatisfy { $0 == .unknownCredential })
    #expect(heard.suffix(4).contains { $0 == nil })
    #expect(try fixture.registry().listWindows(tenant: nil).map(\.devices) == [0])
  }

  @Test func allWrongCodesTogetherAreBounded() throws {
    let fixture = try GatewayFixture { configuration, _, _ in
      configuration.limits.wrongCodes.perSecond = 1
      configuration.limits.wrongCodes.burst = 3
    }
    let code = try open(fixture).code
    var heard: [RefusalCode?] = []
    for guess in 0..<20 as Range<UInt64> {
      heard.append(try refusal(fixture, Enrol(code: EnrolmentCode(random: guess).text, key: Self.key(1))))
      if heard.last == .busy { break }
    }
    #expect(heard.count >= 4 && heard.last == .busy && heard.dropLast().allSatisfy { $0 == .unknownCredential })
    // Nobody is told anything about a code then, be it right or wrong.
    #expect(try refusal(fixture, Enrol(code: code, key: Self.key(1))) == .busy)
  }

  /// Frames that hold more than the request, or come from somebody who is somebody already.
  @Test func anythingElseIsMalformed() throws {
    let fixture = try GatewayFixture()
    let token = try fixture.enrol("bike-1")
    let context = try TLSClientContext(authorityPEM: fixture.authority.certificatePEM)
    let request = Enrol(code: try open(fixture).code, key: Self.key(1))
    var both = try Line.open(fixture.port, context)
    var frame: [UInt8] = []
    Hello(token: token, stream: 7, nextSequence: 1).append(into: &frame)
    request.append(into: &frame)
    try both.send(&frame)
    #expect(try both.refusal() == .malformed)
    var twice = try Line.open(fixture.port, context)
    frame = []
    request.append(into: &frame)
    request.append(into: &frame)
    try twice.send(&frame)
    #expect(try twice.refusal() == .malformed)
    var known = try Line.open(fixture.port, context)
    try known.hello(token: token)
    #expect(try known.next()?.welcome != nil)
    try known.enrol(request)
    #expect(try known.refusal() == .malformed)
    #expect(try refusal(fixture, Enrol(code: request.code, key: [1, 2, 3])) == .malformed)
    #expect(try refusal(fixture, Enrol(code: request.code, key: Self.key(1), label: "a b")) == .malformed)
    #expect(try fixture.registry().listDevices(tenant: nil).map(\.id) == ["bike-1"])
  }

  @Test func whereThereIsNoRoomTheOperatorHears() throws {
    let fixture = try GatewayFixture { configuration, _, _ in configuration.data.devicesMax = 1 }
    _ = try fixture.enrol("bike-1")
    let code = try open(fixture).code
    #expect(try refusal(fixture, Enrol(code: code, key: Self.key(1))) == .storageUnavailable)
    #expect(fixture.logged.all.contains { $0.contains("raise data.devices_max") })
    #expect(!fixture.logged.all.contains { $0.contains("lie beyond") })
    // Enrolled behind the gateway's back, for instance before devices_max was lowered.
    _ = try fixture.enrol("bike-2")
    #expect(
      fixture.logged.all.contains {
        $0.hasPrefix("error: 1 devices lie beyond data.devices_max (1) and are refused as unknown: raise it to at least 2")
      })
  }
}
