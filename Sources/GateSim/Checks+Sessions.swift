import GateCore
import GateMemory
import GateStore
import GateTLS
import Gateway

/// A record as its key knows it: its number is its nonce.
package struct RecordName: Hashable, Sendable {
  /// Of one handshake.
  var key: Int
  /// Each direction has a key of its own.
  var isUp: Bool
  var sequence: UInt64
}

/// What the session file went through, and what must be in it.
struct SessionFileHistory {
  /// As an earlier start left it, and how many starts there were by then.
  fileprivate var earlier: (bytes: [UInt8], starts: Int)?
  /// Sessions that the keeper has made durable in this run.
  fileprivate var durable: Set<UInt64> = []
  /// Sessions that the next run must go on with, and their devices.
  fileprivate var expected: [UInt64: UInt32] = [:]

  /// The one of an earlier run lies there.
  fileprivate(set) var isStale = false

  /// Nobody can say what of the file is left.
  mutating func startFailed() { expected.removeAll() }
}

/// Sessions over UDP: whatever happens to the gateway's file, no number twice under one key, nobody shakes hands without need,
/// and who is revoked stays out.
extension World {
  /// - Returns: the gateway's name for the session, of a device's record; whether there is a record under the session's keys.
  mutating func checkNumbers(of datagram: [UInt8], key: Int, isUp: Bool) -> (session: UInt64?, isSealed: Bool) {
    var session: UInt64?
    var isSealed = false
    var at = 0
    while let record = try? DTLSRecord.next(in: datagram.span, from: at) {
      at = record.whole.upperBound
      if record.type == .tls12CID { session = ConnectionID(datagram.span.extracting(record.connectionID))?.word }
      guard record.epoch > 0 else { continue }
      isSealed = true
      let name = RecordName(key: key, isUp: isUp, sequence: record.sequence)
      // The same bytes once more, as of a handshake's last flight, tell nobody anything.
      let digest = datagram[record.whole].reduce(0xcbf2_9ce4_8422_2325 as UInt64) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
      if let other = recordsSealed.updateValue(digest, forKey: name), other != digest { violation = .numberUsedTwice(name) }
    }
    return (session, isSealed)
  }

  // MARK: - The file

  /// Before a start: somebody may have put back the file of an earlier run.
  mutating func restoreSessionFile() {
    guard plan.datagrams.isOn, !sessionFile.isStale else { return }
    if let (bytes, starts) = sessionFile.earlier, starts < tally.starts, chance(plan.datagrams.restored) {
      tell("a session file of \(tally.starts - starts) starts ago is put back")
      data.put(SessionFile.name, bytes)
      sessionFile.startFailed()
      sessionFile.isStale = true
      return
    }
    if random.next() % 2 == 0, let bytes = data.content(SessionFile.name) { sessionFile.earlier = (bytes, tally.starts) }
  }

  /// Does what the error says.
  mutating func heed(_ error: SessionFileError) {
    switch error {
    case .disk: return
    case .stale: tally.filesRefused += 1
    case .damaged: break
    case .version, .noCounter:
      violation = .doesNotStart("\(error)")
      return
    }
    if error != .damaged, !sessionFile.isStale { violation = .doesNotStart("\(error)") }
    data.put(SessionFile.name, nil)
    sessionFile.earlier = nil
    sessionFile.isStale = false
  }

  mutating func keeperStep() {
    keeperWake = nil
    guard let gateway, let datagrams = gateway.datagrams else { return }
    datagrams.keeperStep()
    tell("session file synced, kept: \(datagrams.keepsSessions)")
    if datagrams.keepsSessions { sessionFile.durable = Set(sessionsOfDevices(datagrams).keys) }
    afterGatewayStep()
  }

  /// At the gateway's death: which sessions are to go on.
  mutating func noteSessions(_ gateway: SimGateway, powerCut: Bool) {
    defer { sessionFile.durable.removeAll() }
    guard let datagrams = gateway.datagrams, datagrams.keepsSessions, !datagrams.hasFailedSlots else {
      sessionFile.expected.removeAll()
      return
    }
    sessionFile.expected = sessionsOfDevices(datagrams).filter { !powerCut || sessionFile.durable.contains($0.key) }
  }

  /// Sessions of which the gateway knows and a device does or will, with the device.
  private func sessionsOfDevices(_ datagrams: SimDatagrams) -> [UInt64: UInt32] {
    var sessions: [UInt64: UInt32] = [:]
    for device in devices {
      guard let client = device.client, client.dtls.isEstablished || client.isAnswered && !client.dtls.isClosed,
        let session = client.session, datagrams.isKept(session)
      else { continue }
      sessions[session] = device.device
    }
    return sessions
  }

  /// Right after a start.
  mutating func checkSessions(_ gateway: SimGateway) {
    // A write that failed may be found again: it was taken before.
    noteTaken(gateway.recoveredDevices) { _ in }
    guard let datagrams = gateway.datagrams else { return }
    if sessionFile.isStale { violation = .oldSessionFileTaken }
    tally.resumed += datagrams.counters.restored
    tally.sessionsKept += sessionFile.expected.count
    for (session, device) in sessionFile.expected.sorted(by: { $0.value < $1.value }) where !datagrams.isKept(session) {
      violation = .sessionLost(device: device)
    }
    sessionFile.expected.removeAll()
  }

  // MARK: - The revoked

  /// What came of a device before it was revoked may be under way; once that is through nothing new comes.
  mutating func checkRevoked(_ gateway: SimGateway) {
    let silenced = silenced
    var heard: UInt32?
    noteTaken(gateway.devices) { if silenced.contains($0) { heard = $0 } }
    if let heard { violation = .revokedHeard(device: heard) }
    guard silenced != revoked, gateway.ports.allSatisfy({ $0.toSequencer.isEmpty }) else { return }
    self.silenced = revoked
  }

  /// Calls `body` for each device of which something new was taken.
  private mutating func noteTaken(_ devices: DeviceTable, _ body: (UInt32) -> Void) {
    for device in 1...deviceCount where device < devices.count {
      for stream in 0..<devices.streamCount(of: Int(device)) {
        let state = devices[Int(device), stream]
        let last = state.received.above.last?.last ?? state.received.through
        guard last > highest[device]?[state.stream] ?? 0 else { continue }
        highest[device, default: [:]][state.stream] = last
        body(device)
      }
    }
  }
}
