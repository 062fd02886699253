package import GateCore
package import GateStore
import GateNet
package import GateTLS

/// What a start finds in the data directory, made into the state to go on from.
package struct Recovery: ~Copyable {
  private var journal: JournalFile?
  package var devices: DeviceTable
  /// Fixes in the journal that the sink has not stored.
  package var recovered: UInt64
  package var checkpointLSN: UInt64
  /// Anybody can read the places in the checkpoint on disk.
  package var isCheckpointReadable: Bool
  package var report: JournalRecovery

  /// Hands the journal over, once.
  package mutating func takeJournal() -> JournalFile {
    guard let journal = journal.take() else { preconditionFailure("the journal was handed over before") }
    return journal
  }

  package var journalFirstLSN: UInt64

  /// Opens the journal and replays what lies above the dedupe checkpoint.
  ///
  /// - Parameter sinkCursor: next record that the sink wants.
  /// - Parameter cipher: opens what was sealed.
  /// - Throws: `GatewayError.dedupeLost` if marks that were acked are in neither checkpoint nor journal.
  package static func run(
    directory path: String, journalPath: String, segmentBytes: Int, sinkCursor: UInt64,
    cipher: (any SubjectCipher)? = nil, log: Log
  ) throws -> Recovery {
    try Directory.make(journalPath)
    return try run(
      data: try Directory(path), journal: { () throws(JournalError) in try Directory(journalPath) },
      segmentBytes: segmentBytes, sinkCursor: sinkCursor, salts: SystemRandomNumberGenerator(), cipher: cipher, log: log)
  }

  /// As above, in directories that are there.
  /// - Parameter journal: opens the journal's directory, once for its writer and once for a reader.
  package static func run(
    data: borrowing Directory, journal openJournal: () throws(JournalError) -> Directory, segmentBytes: Int,
    sinkCursor: UInt64, salts: any RandomNumberGenerator & Sendable, cipher: (any SubjectCipher)? = nil, log: Log
  ) throws -> Recovery {
    var checkpoint = Checkpoint(lsn: 0, devices: DeviceTable())
    // A run before this one may have renamed the checkpoint and not lived to sync its name: the journal is trimmed by it.
    try data.sync()
    switch try CheckpointFile.read(in: data, with: cipher) {
    case .none: break
    case .checkpoint(let found): checkpoint = found
    case .damaged: log(.warning, "\(CheckpointFile.name) is damaged; the dedupe marks are read from the journal instead")
    case .newer(let version): throw GatewayError.newerCheckpoint(version: version)
    }
    let journal = try JournalFile.open(
      in: try openJournal(), segmentBytes: segmentBytes, durableFloor: max(checkpoint.lsn, sinkCursor), salts: salts)
    let report = journal.recovery
    guard journal.firstLSN <= checkpoint.lsn || journal.firstLSN == 0 else {
      throw GatewayError.dedupeLost(checkpointLSN: checkpoint.lsn, journalLSN: journal.firstLSN)
    }
    for damage in report.torn {
      log(.notice, "journal: an unfinished write was cut off in segment \(damage.segment) at byte \(damage.offset); it was never acked")
    }
    for damage in report.corrupt {
      log(
        .error,
        "journal: records \(damage.lsns) are damaged in segment \(damage.segment) at byte \(damage.offset): they had been acked and may be lost; the file is kept as .corrupt")
    }
    var devices = checkpoint.devices
    var recovered: UInt64 = 0
    let from = max(min(checkpoint.lsn, sinkCursor), journal.firstLSN)
    if from < journal.endLSN {
      var reader = try JournalReader.open(in: try openJournal(), from: from)
      var buffer: [UInt8] = []
      while let batch = try reader.next(upTo: journal.endLSN, into: &buffer) {
        let (records, range) = JournalBatch.opened(buffer, batch.records, with: cipher)
        var at = range.lowerBound
        for index in 0..<batch.count {
          let (record, end) = try Record.read(records.span, at: at)
          at = end
          let lsn = batch.firstLSN + UInt64(index)
          if index < batch.skip { continue }
          if lsn >= checkpoint.lsn { devices.replay(record) }
          if lsn >= sinkCursor, record.kind != .gap { recovered += 1 }
        }
      }
    }
    let firstLSN = journal.firstLSN
    return Recovery(
      journal: journal, devices: devices, recovered: recovered, checkpointLSN: checkpoint.lsn,
      isCheckpointReadable: checkpoint.wasReadable, report: report, journalFirstLSN: firstLSN)
  }
}

/// Why a gateway does not start.
package enum GatewayError: Error, Equatable, Sendable {
  case newerCheckpoint(version: UInt32)
  case dedupeLost(checkpointLSN: UInt64, journalLSN: UInt64)
  case badTicketKeys(path: String)
  /// The keys of the registry's secrets are not keys of 32 bytes.
  case badRegistryKey(path: String)
  /// An external key is to be made, and there is nothing to seal it by.
  case noRegistryKey(path: String)
  /// That file does not open the keys of subjects.
  case lostTenantKeys(path: String)
  /// The certificate in that file has ended.
  case expired(path: String, days: Int64)
  /// Devices were given indexes for which there is no room.
  case devicesBeyond(max: Int, highest: UInt32)
  /// A file that `tls.certificate` or `tls.key` names.
  case unreadable(path: String, TLSError)
  /// DTLS with neither a certificate of P-256 nor pre-shared keys.
  case noDTLSProof
  case addressInUse(_ key: String, String)
  case tooManyAddresses(_ key: String, max: Int)
  case noAddress(_ key: String, String)
  case thread(String)
}

extension GatewayError: CustomStringConvertible {
  package var description: String {
    switch self {
    case .newerCheckpoint(let version):
      "\(CheckpointFile.name) has version \(version), newer than this fixgate; install the version that wrote it"
    case .dedupeLost(let checkpointLSN, let journalLSN):
      "the marks that tell new fixes from duplicates are lost: the checkpoint covers records below \(checkpointLSN), "
        + "the journal begins at \(journalLSN). Restore the data directory as a whole"
    case .badTicketKeys(let path): "\(path) must hold 80 random bytes, or up to 8 keys of 80; make it anew: head -c 80 /dev/urandom"
    case .badRegistryKey(let path):
      "\(path) must hold 32 bytes, or several keys of 32; bring the one back with which the registry's keys were sealed"
    case .noRegistryKey(let path):
      "cannot read \(path): make it with 'head -c 32 /dev/urandom', chmod 600, and reload the gateway"
    case .lostTenantKeys(let path):
      "\(path) does not open the keys of subjects: bring the file back with which they were sealed. If it is lost, what the "
        + "journal holds is lost with it: remove subjects.db, and the gateway starts with new keys"
    case .expired(let path, let days):
      "the certificate in \(path) expired \(days) days ago: devices that look at dates refuse it; put a new one there and reload"
    case .devicesBeyond(let max, let highest):
      "\(Int(highest) - max) devices lie beyond data.devices_max (\(max)) and are refused as unknown: raise it to at least "
        + "\(highest) and restart the gateway"
    case .unreadable(let path, let error): "\(path): \(error)"
    case .noDTLSProof:
      "listen.dtls: no device could prove itself over UDP; use an ECDSA certificate on P-256, or set tls.registry_key for pre-shared keys, or empty listen.dtls"
    case .addressInUse(let key, let address): "\(key): \(address): \(NetError.addressInUse)"
    case .tooManyAddresses(let key, let max): "\(key): more than \(max) addresses; name fewer, or one for all: 0.0.0.0"
    case .noAddress(let key, let text): "\(key): '\(text)' is no address of this machine"
    case .thread(let what): "a thread ended: \(what)"
    }
  }
}
