import GateCore
package import GateProto
import GateDevice
import GateStore
import GateTLS
import Gateway

/// A promise of design.md that a seed has broken.
package enum Violation: Equatable, Sendable {
  /// Durable data was given up, or damage was reported where there was none.
  case corruption([String])
  case doesNotStart(String)
  /// A device deleted it, and the gateway does not know it any more.
  case ackedAndForgotten(device: UInt32, sequence: UInt64)
  /// A device deleted it, and it is not in the store.
  case ackedAndNotStored(device: UInt32, sequence: UInt64)
  /// The store has something else under that key.
  case storedWrong(device: UInt32, sequence: UInt64)
  case storedTwice(device: UInt32, sequence: UInt64)
  /// The same fix under two identities, though its device never lost its counter.
  case storedUnderTwoNames(device: UInt32, sequence: UInt64)
  /// received + recovered is not what became of them.
  case unbalanced(String)
  case overLimit(String)
  case latestIsWrong(device: UInt32)
  /// Two records under one key and number: the key is as good as told.
  case numberUsedTwice(RecordName)
  /// A session over UDP that should have outlived the gateway's process did not.
  case sessionLost(device: UInt32)
  /// The gateway went on from a session file of an earlier run.
  case oldSessionFileTaken
  /// Over UDP a device heard that its stream is another's, in a session in which it had been welcomed: acks of the stream may be
  /// under way.
  case reusedInOpenSession(device: UInt32)
  /// Something of what was erased was taken afterwards, or is still stored.
  case erasedAndTaken(device: UInt32, sequence: UInt64)
  /// Something can be read that was to be secret, or forgotten.
  case readable(String)
  /// A fix from outside the hours of duty is stored.
  case offDuty(device: UInt32, sequence: UInt64)
  case refusedWithoutReason(device: UInt32, sequence: UInt64)
  /// Something of a device was taken after it had been revoked.
  case revokedHeard(device: UInt32)
  /// The real store does not hold what it was given.
  case storeDiffers(String)
  /// A quiet world did not come to rest.
  case stuck(String)
  case gatewayBrokeSpecification(String)
  /// A device gave up without reason.
  case refusedForGood(device: UInt32, RefusalCode)
}

extension World {
  /// Right after a start: whatever was acked before is known still, and nothing durable was given up.
  mutating func checkRecovery(_ gateway: SimGateway) {
    guard gateway.corrupt.isEmpty else {
      violation = .corruption(gateway.corrupt.map { "\($0)" })
      return
    }
    let devices = gateway.recoveredDevices
    for key in acked.keys.sorted() {
      if let stream = devices.index(of: key.stream, of: Int(key.device)),
        devices[Int(key.device), stream].durable.contains(key.sequence)
      {
        continue
      }
      tell("\(key) is forgotten; acked: \(acked.keys.sorted())")
      violation = .ackedAndForgotten(device: key.device, sequence: key.sequence)
      return
    }
  }

  /// After each step of the gateway.
  mutating func checkStep(_ gateway: SimGateway) {
    let snapshot = gateway.snapshot
    if !snapshot.isBalanced { violation = .unbalanced("\(snapshot)") }
    if table.lost > 0 { violation = .unbalanced("the sink was told that \(table.lost) records are lost") }
    if gateway.bufferedRows > 64 + 2 * Limits.messageBytesMax / Record.headerBytes {
      violation = .overLimit("\(gateway.bufferedRows) rows wait in the sink")
    }
    for port in gateway.ports where port.unanswered > SimWorker.unansweredMax {
      violation = .overLimit("\(port.unanswered) messages are unanswered")
    }
    checkRevoked(gateway)
    let devices = gateway.devices
    for device in 0..<devices.count {
      if devices.streamCount(of: device) > Limits.streamsPerDeviceMax { violation = .overLimit("streams") }
      for stream in 0..<devices.streamCount(of: device)
      where devices[device, stream].received.above.count > Limits.rangesPerStreamMax {
        violation = .overLimit("ranges")
      }
    }
  }

  mutating func checkFatal(_ code: RefusalCode, of index: Int, revoked: Set<UInt32>) {
    let device = devices[index].device
    if code == .revoked, revoked.contains(device) { return }
    violation = .refusedForGood(device: device, code)
  }

  /// At rest: every promise, against what the store holds.
  mutating func checkEnd() {
    guard let gateway else { return }
    checkStep(gateway)
    var rows: [SimTable.Key: Record] = [:]
    var names: [SimDevice.FixName: SimTable.Key] = [:]
    var latest: [UInt32: LatestPosition] = [:]
    for row in table.rows where row.record.kind != .gap {
      if rows.updateValue(row.record, forKey: row.key) != nil {
        violation = .storedTwice(device: row.key.device, sequence: row.key.sequence)
        return
      }
      // It has no name any more: `checkPrivacy`.
      if row.record.kind == .refused { continue }
      let name = World.name(of: row.record)
      if names.updateValue(row.key, forKey: name) != nil, !sharedDevices.contains(row.key.device) {
        violation = .storedUnderTwoNames(device: row.key.device, sequence: row.key.sequence)
        return
      }
      if let position = LatestPosition(row.record) {
        // In journal order: of two that neither is newer, the first stays.
        if let known = latest[row.key.device], !position.isNewer(than: known) { continue }
        latest[row.key.device] = position
      }
    }
    for key in acked.keys.sorted() {
      guard let record = rows[key] else {
        if erasedKeys.contains(key) { continue }
        // A twin may close what it no longer holds itself; nobody can tell the two apart.
        if sharedDevices.contains(key.device), isGivenUp(key) { continue }
        violation = .ackedAndNotStored(device: key.device, sequence: key.sequence)
        return
      }
      if record.kind != .refused, World.name(of: record) != acked[key], !sharedDevices.contains(key.device) {
        violation = .storedWrong(device: key.device, sequence: key.sequence)
        return
      }
    }
    let devices = gateway.devices
    latest = latest.filter { !hasForgotten($0.key) }
    for device in latest.keys.sorted() where devices.latestPosition(of: Int(device)) != latest[device] {
      tell("latest of \(device): \(devices.latestPosition(of: Int(device)).map { "\($0)" } ?? "none"), want \(latest[device].map { "\($0)" } ?? "none")")
      violation = .latestIsWrong(device: device)
    }
    checkStore(latest)
    checkPrivacy(gateway)
    tally.duplicates += gateway.snapshot.duplicate
    tally.refused += gateway.snapshot.refused
  }

  /// The real store against the table, which took the same records without SQLite.
  private mutating func checkStore(_ latest: [UInt32: LatestPosition]) {
    guard let store, violation == nil else { return }
    do {
      var fixes: [SimTable.Key: SimStore.Place] = [:]
      for row in table.rows where row.record.kind == .fix {
        fixes[row.key] = SimStore.Place(
          latitudeE7: Int64(row.record.fix.latitudeE7), longitudeE7: Int64(row.record.fix.longitudeE7))
      }
      let stored = try store.fixes()
      if stored != fixes { violation = .storeDiffers("\(stored.count) fixes, want \(fixes.count)") }
      let storedLatest = try store.latest()
      for (device, position) in latest {
        guard let other = storedLatest[device], !position.isNewer(than: other), !other.isNewer(than: position) else {
          violation = .latestIsWrong(device: device)
          return
        }
      }
    } catch {
      violation = .storeDiffers("\(error)")
    }
  }

  private func isGivenUp(_ key: SimTable.Key) -> Bool {
    table.rows.contains { row in
      row.record.kind == .gap && row.key.device == key.device && row.key.stream == key.stream
        && row.key.sequence <= key.sequence
        && key.sequence - row.key.sequence < UInt64(max(0, row.record.fix.fixTimeMs))
    }
  }

  /// Owner and place, as `SimDevice.record` wrote them into the coordinates.
  private static func name(of record: Record) -> SimDevice.FixName {
    SimDevice.FixName(
      owner: Int(record.fix.latitudeE7) / 1_000_000 - 1, place: UInt64(max(0, record.fix.longitudeE7)))
  }
}
