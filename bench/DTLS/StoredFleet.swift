import Foundation
import GateCore
import GateNet
import GateStore
package import GateTLS
import Gateway

/// Many devices as a gateway has left them on disk: sessions without their handshakes, a registry, a dedupe checkpoint.
package struct StoredFleet: ~Copyable {
  package static let registryKey = [UInt8](repeating: 7, count: SessionSeal.keyBytes)
  package static let stream: UInt32 = 1

  package let folder: String
  package let count: Int
  private let suite: DTLSSuite

  /// - Parameters:
  ///   - count: devices, each with a session, a token and a stream.
  ///   - folder: on the disk to use.
  package init(_ count: Int, _ suite: DTLSSuite, in folder: String) throws {
    self.folder = URL(filePath: folder).path + "/fixgate-bench-" + UUID().uuidString
    self.count = count
    self.suite = suite
    try FileManager.default.createDirectory(atPath: self.folder, withIntermediateDirectories: true)
    let nowS = UInt32(SystemClock.wallMs() / 1_000)
    let file = try SessionFile.open(in: Directory(self.folder), nowS: UInt64(nowS))
    var seal = try SessionSeal(registryKey: StoredFleet.registryKey)
    var bytes = [UInt8](repeating: 0, count: SessionSlot.bytes)
    for i in 0..<count {
      var facts = SessionFacts()
      (facts.device, facts.tenant, facts.stream, facts.protocolVersion) = (UInt32(i + 1), 1, StoredFleet.stream, 1)
      facts.credential = CredentialReference(kind: .token, selector: StoredFleet.selector(i))
      let slot = SessionSlot(
        connectionID: StoredFleet.id(i), facts: facts, writeBase: file.base,
        writeReserved: WriteReservation.standard.ahead(of: 0), readNext: 0, heardS: nowS, address: nil)
      let session = try self.session(i, .server)
      try StoredFleet.write(slot, session, &seal, number: UInt32(i), into: &bytes)
      _ = try file.write(bytes.span, slot: UInt32(i))
    }
    try file.sync()
  }

  deinit { try? FileManager.default.removeItem(atPath: folder) }

  private static func write(
    _ slot: SessionSlot, _ session: borrowing DTLSSession, _ seal: inout SessionSeal, number: UInt32,
    into bytes: inout [UInt8]
  ) throws(TLSError) {
    var room = bytes.mutableSpan
    slot.write(into: &room)
    try seal.close(session, connectionID: slot.connectionID, slot: number, into: &room)
  }

  private static func selector(_ index: Int) -> UInt64 { SplitMixHash.of(UInt64(index + 1)) }

  /// The highest sequence that its checkpoint has of a device.
  package func durable(_ index: Int) -> UInt64 { UInt64((index + 1) % 1_000) }

  /// Unguessable ones are spread just so.
  package static func id(_ index: Int) -> UInt64 {
    UInt64(index % 256) << 48 | SplitMixHash.of(UInt64(index)) & (1 << 48 - 1)
  }

  /// Either end of a device's session.
  package func session(_ index: Int, _ role: DTLSRole) throws(DTLSError) -> DTLSSession {
    var key = [UInt8](repeating: 0, count: suite.keyBlockBytes)
    var number = UInt64(index) << 8
    for i in key.indices {
      number += 1
      key[i] = UInt8(truncatingIfNeeded: SplitMixHash.of(number))
    }
    let id = ConnectionID(gateway: StoredFleet.id(index))
    return try DTLSSession(
      suite: suite, role: role, keyBlock: key.span, readConnectionID: role == .server ? id : ConnectionID(),
      writeConnectionID: role == .client ? id : ConnectionID())
  }

  /// An endpoint that has taken over all sessions, as one worker of a new run does.
  package func start(_ context: DTLSServerContext) throws -> DTLSEndpoint {
    let file = try SessionFile.open(in: Directory(folder), nowS: UInt64(SystemClock.wallMs()) / 1_000)
    let share = try file.deal(to: 1, slotsMax: count) { _ in 0 }.shares[0]
    let shelf = SessionShelf(
      seal: try SessionSeal(registryKey: StoredFleet.registryKey), base: file.base, free: share.free)
    var endpoint = try DTLSEndpoint(
      context: context, cookieKey: [UInt8](repeating: 1, count: CookieGate.keyBytes), node: 0, shards: [0],
      sessionsMax: count, handshakesMax: 1_024, shelf: shelf)
    try StoredFleet.restore(file, share.taken, into: &endpoint)
    return endpoint
  }

  private static func restore(
    _ file: SessionFile, _ slots: [UInt32], into endpoint: inout DTLSEndpoint
  ) throws(SessionFileError) {
    try file.forEach(slots) { number, bytes in
      guard endpoint.restore(bytes, number: number) != nil else { preconditionFailure("a slot does not open") }
    }
  }

  // MARK: What else a start reads

  package func makeRegistry() throws {
    let path = folder + "/registry.db"
    let store = try RegistryStore(path: path)
    _ = try store.createTenant("bench", nowMs: 0)
    let connection = try SQLiteConnection(path: path, access: .create)
    try connection.begin()
    let device = try SQLiteStatement(connection, "INSERT INTO device(tenant, id, created_ms) VALUES (1, ?1, 0)")
    let token = try SQLiteStatement(
      connection,
      "INSERT INTO credential(selector, kind, secret_hash, device, created_ms) VALUES (?1, 1, randomblob(32), ?2, 0)")
    var selector = [UInt8](repeating: 0, count: 8)
    for i in 1...count {
      device.bind("tracker-\(i)", at: 1)
      try device.run()
      var room = selector.mutableSpan
      room.store(StoredFleet.selector(i - 1), at: 0)
      token.bind(selector.span, at: 1)
      token.bind(Int64(i), at: 2)
      try token.run()
    }
    try connection.commit()
  }

  package func readRegistry() throws -> Int {
    try RegistryStore(path: folder + "/registry.db").loadSnapshot().deviceCount
  }

  package func makeCheckpoint() throws {
    var devices = DeviceTable()
    devices.reserve(through: count)
    for device in 1...count {
      guard let stream = devices.open(StoredFleet.stream, of: device) else { preconditionFailure("a first stream") }
      guard let ranges = SequenceRanges(through: durable(device - 1), above: []) else { preconditionFailure("no ranges") }
      devices[device, stream].received = ranges
      devices[device, stream].durable = ranges
      devices.moveLatest(
        of: device, to: LatestPosition(fixTimeMs: 1, receiveTimeMs: 1, latitudeE7: 1, longitudeE7: 1, sequence: 1))
    }
    try CheckpointFile.write(Checkpoint(lsn: 0, devices: devices).encoded(), in: Directory(folder))
  }

  package func readCheckpoint() throws -> Int {
    guard case .checkpoint(let found) = try CheckpointFile.read(in: Directory(folder)) else { return 0 }
    return found.devices.count
  }
}

/// A mix of the bits of a number, the same every time.
enum SplitMixHash {
  static func of(_ number: UInt64) -> UInt64 {
    var z = number &+ 0x9E37_79B9_7F4A_7C15
    z = (z ^ z >> 30) &* 0xBF58_476D_1CE4_E5B9
    z = (z ^ z >> 27) &* 0x94D0_49BB_1331_11EB
    return z ^ z >> 31
  }
}
