#if JetStream
import GateCore
import GateStore

/// The records of one commit as messages: for each tenant and shard in the order of the journal.
struct StreamMessages {
  struct Message: Equatable, Sendable {
    var subject: String
    /// The same content has the same one, whenever it is made, and other content has another: what the server has seen of late
    /// it does not store again.
    var id: String
    var bytes: [UInt8]
  }

  /// What a message may be longer than `messageBytes`: one record more, and its header.
  static let slackBytes = StoredBatchWriter.growthBytesMax + 1_024

  private(set) var messages: [Message] = []
  private(set) var counts = SinkCounts()

  private let settings: StreamSettings
  private let shards: Int
  private let gateway: String
  /// One for each tenant and shard, by tenant above shard.
  private var writers: [UInt64: StoredBatchWriter] = [:]
  /// By device: tenant above shard, and the name.
  private var devices: [UInt32: (place: UInt64, name: String)] = [:]

  init(
    _ pending: borrowing PendingRecords, _ registry: RegistrySnapshot, gateway: String, settings: StreamSettings, shards: Int
  ) {
    self.settings = settings
    self.shards = shards
    self.gateway = gateway
    var asides = pending.asides
    var (fix, other) = (0, 0)
    while fix < pending.fixes.count || other < pending.others.count {
      let isFix =
        other == pending.others.count || (fix < pending.fixes.count && pending.fixes[fix].lsn < pending.others[other].lsn)
      append(isFix ? pending.fixes[fix] : pending.others[other], pending, registry, &asides)
      if isFix { fix += 1 } else { other += 1 }
    }
    for place in writers.keys.sorted() { flush(place, registry) }
    append(asides, pending)
  }

  private mutating func append(
    _ entry: PendingRecords.Entry, _ pending: borrowing PendingRecords, _ registry: RegistrySnapshot,
    _ asides: inout [PendingRecords.Aside]
  ) {
    let bytes = pending.bytes
    let record = PendingRecords.record(bytes.span, entry.at)
    let reason: String
    if let device = known(entry.device, registry) {
      if StoredBatchWriter.canWrite(record, from: bytes.span) {
        let tenant = registry.tenantName(registry.tenant(ofDevice: entry.device))
        writers[device.place, default: StoredBatchWriter(gateway: gateway, tenant: tenant)].append(
          record, lsn: entry.lsn, device: device.name, subject: registry.subjectName(record.subject), from: bytes.span)
        count(record.kind)
        if writers[device.place]?.byteCount ?? 0 >= settings.messageBytes { flush(device.place, registry) }
        return
      }
      reason = "text or attributes unreadable"
    } else {
      reason = "device unknown to the registry"
    }
    asides.append(PendingRecords.Aside(lsn: entry.lsn, count: 1, reason: reason, range: pending.range(of: entry)))
  }

  private mutating func known(_ device: UInt32, _ registry: RegistrySnapshot) -> (place: UInt64, name: String)? {
    if let known = devices[device] { return known }
    guard registry.knows(device: device) else { return nil }
    let name = registry.externalID(ofDevice: device)
    let found = (
      place: UInt64(registry.tenant(ofDevice: device)) << 32 | UInt64(StreamMessages.shard(of: name, shards)), name: name
    )
    devices[device] = found
    return found
  }

  /// Any gateway puts the device into the same one.
  static func shard(of device: String, _ shards: Int) -> UInt32 {
    let name = Array(device.utf8)
    return CRC32C.of(name.span, in: 0..<name.count) % UInt32(shards)
  }

  private mutating func count(_ kind: RecordKind) {
    switch kind {
    case .fix: counts.stored += 1
    case .held: counts.held += 1
    case .refused: counts.refused += 1
    case .gap: counts.gaps += 1
    }
  }

  private mutating func flush(_ place: UInt64, _ registry: RegistrySnapshot) {
    guard let writer = writers.removeValue(forKey: place) else { return }
    let tenant = StreamSettings.token(registry.tenantName(UInt32(place >> 32)))
    append(
      writer.finish(), on: "\(settings.subject).\(tenant).\(UInt32(truncatingIfNeeded: place))", writer.firstLSN, writer.lastLSN)
  }

  private mutating func append(_ asides: [PendingRecords.Aside], _ pending: borrowing PendingRecords) {
    let bytes = pending.bytes
    for aside in asides {
      let record = aside.range.isEmpty ? nil : Array(bytes[aside.range].prefix(settings.messageBytes))
      let stored = StoredAside(lsn: aside.lsn, count: UInt64(aside.number), reason: aside.reason, record: record)
      counts.setAside += aside.number
      append(
        StoredBatchWriter.asides(gateway: gateway, [stored]), on: settings.asideSubject(gateway), aside.lsn,
        aside.lsn + UInt64(aside.number) - 1)
    }
  }

  private mutating func append(_ bytes: [UInt8], on subject: String, _ firstLSN: UInt64, _ lastLSN: UInt64) {
    let sum = CRC32C.of(bytes.span, in: 0..<bytes.count)
    messages.append(
      Message(subject: subject, id: "\(gateway)-\(firstLSN)-\(lastLSN)-\(String(sum, radix: 16))", bytes: bytes))
  }
}
#endif
