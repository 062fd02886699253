import GateCore
import GateTLS

/// What both surfaces start from: a gateway's context, slots of sessions that live, and the datagrams of good devices.
struct DTLSWorkbench {
  static let shared = DTLSWorkbench()
  static let now = Instant(ns: 100_000_000_000)
  static let base = 4 * WriteReservation.standard.block
  static let slotCount = 6

  let context: DTLSServerContext
  let slots: [[UInt8]]
  /// A hello without a cookie, one with a cookie for address 0, and records of session 0.
  let templates: [[UInt8]]
  /// How many of `templates` are hellos.
  let hellos = 2

  private static let key = [UInt8](repeating: 4, count: 16)
  private static let identity = Array("fuzz".utf8)

  private init() {
    do {
      context = try DTLSServerContext { name, room in
        guard name.count == DTLSWorkbench.identity.count else { return nil }
        for i in DTLSWorkbench.key.indices { room[i] = DTLSWorkbench.key[i] }
        return DTLSWorkbench.key.count
      }
      slots = try (0..<DTLSWorkbench.slotCount).map { try DTLSWorkbench.slot($0) }
      let cipher = try RecordCipher()
      var device = try DTLSHandshake(
        client: DTLSClientContext(identity: DTLSWorkbench.identity, key: DTLSWorkbench.key), at: DTLSWorkbench.now,
        with: cipher)
      var templates = [device.takeOutput()[0]]
      var endpoint = try DTLSWorkbench.endpoint(context)
      var plain = [UInt8](repeating: 0, count: 8_192)
      DTLSWorkbench.receive(templates[0], from: 0, at: DTLSWorkbench.now, &endpoint, &plain)
      var answer: [UInt8] = []
      _ = endpoint.drain { datagram, _ in
        answer = datagram.indices.map { datagram[$0] }
        return true
      }
      _ = try device.receive(answer.span, at: DTLSWorkbench.now, with: cipher)
      templates.append(device.takeOutput()[0])
      var session = try DTLSWorkbench.session(0, .client)
      for type in [.applicationData, .applicationData, .handshake] as [DTLSContentType] {
        templates.append(try DTLSWorkbench.seal(type, [UInt8](repeating: 20, count: 14), &session, cipher))
      }
      self.templates = templates
    } catch { preconditionFailure("\(error)") }
  }

  static func receive(
    _ datagram: [UInt8], from address: UInt8, at now: Instant, _ endpoint: inout DTLSEndpoint, _ plain: inout [UInt8]
  ) {
    var room = plain.mutableSpan
    endpoint.receive(datagram.span, from: self.address(address), at: now, plaintext: &room)
  }

  static func address(_ number: UInt8) -> PeerAddress {
    PeerAddress(high: 0, low: UInt64(number), port: 9, scope: 0, isIPv6: false)
  }

  static func suite(_ index: Int) -> DTLSSuite { [.pskAES128CCM8, .pskAES128GCM, .pskChaCha20Poly1305][index % 3] }
  static func id(_ index: Int) -> UInt64 { 3 << 48 | 0x1111_2222_3330 + UInt64(index) }

  /// Either end of a session. The last one is classic.
  static func session(_ index: Int, _ role: DTLSRole) throws(DTLSError) -> DTLSSession {
    let suite = suite(index)
    let block = (0..<suite.keyBlockBytes).map { UInt8(truncatingIfNeeded: $0 + 7 * index) }
    let id = index == slotCount - 1 ? ConnectionID() : ConnectionID(gateway: id(index))
    return try DTLSSession(
      suite: suite, role: role, keyBlock: block.span, readConnectionID: role == .server ? id : ConnectionID(),
      writeConnectionID: role == .client ? id : ConnectionID())
  }

  static func seal(
    _ type: DTLSContentType, _ plaintext: [UInt8], _ session: inout DTLSSession, _ cipher: borrowing RecordCipher
  ) throws(DTLSError) -> [UInt8] {
    var record = [UInt8](repeating: 0, count: session.recordBytes(plaintextBytes: plaintext.count))
    var at = 0
    var room = record.mutableSpan
    try session.seal(type, plaintext.span, into: &room, at: &at, with: cipher)
    return record
  }

  /// With all of `slots` taken over, unless others are given.
  static func endpoint(_ context: DTLSServerContext, _ slots: [[UInt8]] = []) throws -> DTLSEndpoint {
    let shelf = SessionShelf(seal: try seal(), base: base + WriteReservation.standard.block, free: [100, 101])
    var endpoint = try DTLSEndpoint(
      context: context, cookieKey: [UInt8](repeating: 1, count: CookieGate.keyBytes), node: 0, shards: [3],
      sessionsMax: slotCount + 2, handshakesMax: 2, shelf: shelf)
    for (number, slot) in slots.enumerated() { _ = endpoint.restore(slot.span, number: UInt32(number)) }
    return endpoint
  }

  private static func seal() throws(TLSError) -> SessionSeal {
    try SessionSeal(registryKey: [UInt8](repeating: 2, count: SessionSeal.keyBytes))
  }

  private static func slot(_ index: Int) throws -> [UInt8] {
    var bytes = [UInt8](repeating: 0, count: SessionSlot.bytes)
    var facts = SessionFacts()
    (facts.device, facts.tenant, facts.stream) = (UInt32(index), 1, 9)
    let slot = SessionSlot(
      connectionID: id(index), facts: facts, writeBase: base, writeReserved: WriteReservation.standard.ahead(of: 0), readNext: 0,
      heardS: 5, address: index == slotCount - 1 ? address(200) : nil)
    try write(slot, session(index, .server), index, into: &bytes)
    return bytes
  }

  private static func write(
    _ slot: SessionSlot, _ session: borrowing DTLSSession, _ index: Int, into bytes: inout [UInt8]
  ) throws(TLSError) {
    var seal = try seal()
    var room = bytes.mutableSpan
    slot.write(into: &room)
    try seal.close(session, connectionID: slot.connectionID, slot: UInt32(index), into: &room)
  }
}
