import GateCore
import GateStore
import GateTLS
import Gateway

/// What is erased stays so wherever one looks, and what is stored was done on duty.
extension World {
  /// Journal and checkpoint tell nothing that lies in the open, and with all keys that are left nothing of what is erased.
  mutating func checkFiles(_ gateway: SimGateway) {
    guard let subjects else { return }
    do {
      let cipher = try RingCipher(subjects.holder)
      if case .checkpoint(let found) = try CheckpointFile.read(in: Directory(data), with: cipher) {
        if found.wasReadable { violation = .readable("the checkpoint is not sealed") }
        for device in 1...deviceCount where isErasedPlace(found.devices, device, isDone: true) {
          violation = .readable("where device \(device) was last, in the checkpoint")
        }
      }
      var reader = try JournalReader.open(in: Directory(journal), from: gateway.journalFirstLSN)
      var buffer: [UInt8] = []
      while let batch = try reader.next(upTo: gateway.durableLSN, into: &buffer) {
        if readsInTheOpen(buffer, batch.records) { violation = .readable("record \(batch.firstLSN) or behind it is not sealed") }
        let (bytes, records) = JournalBatch.opened(buffer, batch.records, with: cipher)
        var at = records.lowerBound
        while at < records.upperBound {
          let (record, end) = try Record.read(bytes.span, at: at)
          at = end
          if isErased(record) { violation = .readable("sequence \(record.fix.sequence) of device \(record.device), in the journal") }
        }
      }
    } catch {
      violation = .corruption(["\(error)"])
    }
  }

  private func readsInTheOpen(_ bytes: [UInt8], _ records: Range<Int>) -> Bool {
    var at = records.lowerBound
    while at < records.upperBound {
      let kind = bytes[at + 4]
      if kind == RecordKind.fix.rawValue || kind == RecordKind.held.rawValue { return true }
      at += Int(bytes.span.load32(at: at))
    }
    return false
  }

  /// Whether an erasure that is done covers what the record tells.
  private func isErased(_ record: Record) -> Bool {
    subjects?.erasures.contains { $0.isDone && $0.target.tells(record) } ?? false
  }

  /// At rest.
  mutating func checkPrivacy(_ gateway: SimGateway) {
    checkFiles(gateway)
    for row in table.rows {
      if isErased(row.record) { violation = .erasedAndTaken(device: row.key.device, sequence: row.key.sequence) }
      switch row.record.kind {
      case .refused: checkRefused(row)
      case .fix, .held:
        guard let calendar = plan.privacy.calendar else { continue }
        if !row.record.fix.present.contains(.time) || !calendar.isOpen(at: row.record.fix.fixTimeMs) {
          violation = .offDuty(device: row.key.device, sequence: row.key.sequence)
        }
      case .gap: break
      }
    }
    for device in 1...deviceCount where isErasedPlace(gateway.devices, device, isDone: false) {
      violation = .readable("where device \(device) was last")
    }
  }

  /// Whether the device's latest position is of what is erased.
  private func isErasedPlace(_ devices: DeviceTable, _ device: UInt32, isDone: Bool) -> Bool {
    guard let subjects, let position = devices.latestPosition(of: Int(device)) else { return false }
    let owner = owner(of: device)
    return subjects.erasures.contains {
      (!isDone || $0.isDone) && $0.target.owner == owner && $0.target.times.contains(position.fixTimeMs)
    }
  }

  /// It says no more than that it was there, and there was a reason.
  private mutating func checkRefused(_ row: SimTable.Row) {
    let (key, record) = (row.key, row.record)
    if !record.fix.present.isEmpty || record.fix.latitudeE7 != 0 || record.fix.longitudeE7 != 0 {
      violation = .readable("sequence \(key.sequence) of device \(key.device), which was refused")
    }
    let wanted = acked[key].flatMap { sharedDevices.contains(key.device) ? nil : recorded($0) }
    switch Verdict(rawValue: record.code) {
    case .erased:
      let isTheirs = subjects?.erasures.contains { erasure in
        guard erasure.isSealedOff, erasure.target.owner == owner(of: key.device) else { return false }
        guard let wanted, clocksAreTrue, !erasure.target.isWhole else { return true }
        return erasure.target.times.contains(wanted.fixTimeMs)
      }
      if isTheirs != true { violation = .refusedWithoutReason(device: key.device, sequence: key.sequence) }
      tally.refusedErased += 1
    case .offDuty:
      guard let calendar = plan.privacy.calendar, let wanted else { break }
      if wanted.present.contains(.time), clocksAreTrue, calendar.isOpen(at: wanted.fixTimeMs) {
        violation = .refusedWithoutReason(device: key.device, sequence: key.sequence)
      }
      tally.refusedOffDuty += 1
    default: violation = .refusedWithoutReason(device: key.device, sequence: key.sequence)
    }
  }

  /// As its owner recorded it.
  private func recorded(_ name: SimDevice.FixName) -> Fix { devices[name.owner].fixes[Int(name.place) - 1] }

  /// Whether the device's rows and its latest position may differ: the gateway has forgotten places of its owner, whole or in part.
  func hasForgotten(_ device: UInt32) -> Bool {
    subjects?.erasures.contains { $0.target.owner == owner(of: device) } ?? false
  }
}
