import GateCore
import GateTLS
import Testing
import WireVectors

/// The device that all DTLS tests know.
enum DTLSFixture {
  static let identity = Array("device-7".utf8)
  static let key = (0..<16).map { UInt8($0 * 3 + 1) }
  static let cookieKey = [UInt8](repeating: 9, count: CookieGate.keyBytes)
  static let address: [UInt8] = [127, 0, 0, 1, 0x12, 0x34]
  static let serverCID = ConnectionID(node: 0x5a, shard: 3, random: 0x1234_5678_9abc)

  static let lookup: PreSharedKeyLookup = { name, room in
    guard name.count == identity.count, name.indices.allSatisfy({ name[$0] == identity[$0] }) else { return nil }
    for i in key.indices { room[i] = key[i] }
    return key.count
  }

  static func server(
    suites: [DTLSSuite] = DTLSSuite.allCases, trustsDevices: Bool = false
  ) throws(TLSError) -> DTLSServerContext {
    try DTLSServerContext(
      identity: Fixture.identity.get(), authorities: trustsDevices ? ClientAuthorities([(tenant: "acme", pem: Fixture.authority.get().certificatePEM)]) : nil,
      suites: suites, preSharedKey: lookup)
  }

  static func client(_ suite: DTLSSuite, identity: TLSIdentity? = nil) throws(TLSError) -> DTLSClientContext {
    suite.isPSK
      ? try DTLSClientContext(identity: self.identity, key: key, suites: [suite])
      : try DTLSClientContext(authorityPEM: Fixture.authority.get().certificatePEM, identity: identity, suites: [suite])
  }

  static func bytes(_ span: Span<UInt8>) -> [UInt8] { span.indices.map { span[$0] } }
}

/// A device and a gateway with a network between them that loses, doubles and reorders by seed. Virtual time.
struct DTLSWorld: ~Copyable {
  struct Passing {
    var due: Instant
    var toServer: Bool
    var bytes: [UInt8]
  }

  let cipher: RecordCipher
  let gate: CookieGate
  let serverContext: DTLSServerContext
  var client: DTLSHandshake?
  var server: DTLSHandshake?
  var device: DTLSEstablished?
  var gateway: DTLSEstablished?
  var lastFlight: DTLSLastFlight?
  var passing: [Passing] = []
  var now = Instant(ns: 100_000_000_000)
  var random: Seeded
  var lossPercent = 0
  var duplicatePercent = 0
  var jitterNs: UInt64 = 0
  /// Datagrams that are lost in any case, counted over both directions.
  var lost = 0..<0
  var finishesServer = true
  /// What each side was given, in order.
  var sentToServer: [[UInt8]] = []
  var sentToClient: [[UInt8]] = []
  var offered: ConnectionID?
  var failures: [DTLSError] = []

  init(
    _ suite: DTLSSuite, server: DTLSServerContext? = nil, client: DTLSClientContext? = nil,
    clientCID: ConnectionID? = ConnectionID(), serverCID: ConnectionID? = DTLSFixture.serverCID, seed: UInt64 = 1,
    lost: Range<Int> = 0..<0
  ) throws {
    let cipher = try RecordCipher()
    let gate = try CookieGate(key: DTLSFixture.cookieKey)
    let context = try client ?? DTLSFixture.client(suite)
    let handshake = try DTLSHandshake(
      client: context, serverName: "gateway.example", connectionID: clientCID, at: Instant(ns: 100_000_000_000),
      with: cipher)
    serverContext = try server ?? DTLSFixture.server()
    self.cipher = cipher
    self.gate = gate
    self.client = consume handshake
    random = Seeded(seed: seed)
    offered = serverCID
    self.lost = lost
    post()
  }

  /// Puts what waits on both sides onto the network.
  mutating func post() {
    for bytes in client?.takeOutput() ?? [] { send(bytes, toServer: true) }
    for bytes in server?.takeOutput() ?? [] { send(bytes, toServer: false) }
  }

  mutating func send(_ bytes: [UInt8], toServer: Bool) {
    #expect(bytes.count <= DTLSHandshake.datagramBytesMax)
    if toServer { sentToServer.append(bytes) } else { sentToClient.append(bytes) }
    let number = sentToServer.count + sentToClient.count - 1
    guard !lost.contains(number) else { return }
    for _ in 0..<(random.chance(duplicatePercent) ? 2 : 1) where !random.chance(lossPercent) {
      let delay = 10_000_000 + (jitterNs == 0 ? 0 : UInt64(random.below(Int(jitterNs))))
      passing.append(Passing(due: now.advanced(byNs: delay), toServer: toServer, bytes: bytes))
    }
  }

  /// Runs until both sides are established, one has failed, or nothing is left to do.
  mutating func run() throws(DTLSError) {
    while device == nil || gateway == nil, failures.isEmpty, !isIdle { try step() }
  }

  var isEstablished: Bool { device != nil && gateway != nil }

  var isIdle: Bool {
    mutating get {
      let deadlines = [client?.deadline, server?.deadline]
      return passing.isEmpty && deadlines.allSatisfy { $0 == nil }
    }
  }

  /// One event.
  mutating func step() throws(DTLSError) {
    let arrival = passing.indices.min { passing[$0].due < passing[$1].due }
    let clientDue = client?.deadline
    let serverDue = server?.deadline
    guard let next = [arrival.map { passing[$0].due }, clientDue, serverDue].compactMap({ $0 }).min() else { return }
    now = max(now, next)
    if let arrival, passing[arrival].due <= now {
      let datagram = passing.remove(at: arrival)
      if datagram.toServer { try takeAtServer(datagram.bytes) } else { try takeAtClient(datagram.bytes) }
    } else {
      do throws(DTLSError) {
        try client?.expire(at: now, with: cipher)
        try server?.expire(at: now, with: cipher)
      } catch { failures.append(error) }
    }
    post()
  }

  mutating func takeAtServer(_ bytes: [UInt8]) throws(DTLSError) {
    if gateway != nil {
      // The session's: only Finished or data is for it, all else is dropped.
      guard bytes[0] == 22 || bytes[0] == 25 || bytes[0] == 20 else { return }
      var at = 0
      while at < bytes.count {
        guard let record = try? DTLSRecord.next(in: bytes.span, from: at, connectionIDBytes: 8) else { return }
        at = record.whole.upperBound
        let alone = Array(bytes[record.whole])
        guard case .success(let opened)? = gateway?.session.open(alone, with: cipher), opened.content == .finished
        else { continue }
        var last = lastFlight
        if var session = gateway.take() {
          let again = try last?.again(in: &session.session, with: cipher) ?? []
          gateway = consume session
          for datagram in again { send(datagram, toServer: false) }
        }
        lastFlight = last
      }
      return
    }
    if server == nil {
      var reply = [UInt8](repeating: 0, count: CookieGate.replyBytes)
      var span = reply.mutableSpan
      switch gate.examine(bytes.span, from: DTLSFixture.address.span, at: now, reply: &span) {
      case .refused: return
      case .verify:
        #expect(reply.count <= bytes.count)
        send(reply, toServer: false)
      case .proven(let range):
        server = try DTLSHandshake(
          server: serverContext, hello: bytes.span.extracting(range), connectionID: offered, at: now, with: cipher)
        if let error = server?.error { failures.append(error) }
      }
      return
    }
    var progress = DTLSProgress.handshaking
    do throws(DTLSError) {
      progress = try server?.receive(bytes.span, at: now, with: cipher) ?? .handshaking
    } catch { failures.append(error) }
    guard progress == .done else { return }
    post()
    guard finishesServer else { return }
    gateway = server.take()?.finish()
    lastFlight = gateway?.lastFlight
  }

  mutating func takeAtClient(_ bytes: [UInt8]) throws(DTLSError) {
    guard client != nil else { return }
    var progress = DTLSProgress.handshaking
    do throws(DTLSError) {
      progress = try client?.receive(bytes.span, at: now, with: cipher) ?? .handshaking
    } catch { failures.append(error) }
    guard progress == .done else { return }
    post()
    device = client.take()?.finish()
  }

  /// One record each way.
  mutating func exchange() throws {
    guard var up = device.take(), var down = gateway.take() else {
      Issue.record("not established: \(failures)")
      return
    }
    let question = try up.session.seal([1, 2, 3], with: cipher)
    #expect(try down.session.open(question, with: cipher).get().data == [1, 2, 3])
    let answer = try down.session.seal([4, 5], with: cipher)
    #expect(try up.session.open(answer, with: cipher).get().data == [4, 5])
    device = consume up
    gateway = consume down
  }
}
