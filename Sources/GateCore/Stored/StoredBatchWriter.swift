/// Writes journal records as one message of a stream: `StoredBatch` of proto/stored.proto. All of them are of one tenant.
package struct StoredBatchWriter {
  /// Longest that one more record makes the message, its names included.
  package static let growthBytesMax = 4_096

  package private(set) var count = 0
  package private(set) var firstLSN: UInt64 = 0
  package private(set) var lastLSN: UInt64 = 0

  private let gateway: String
  private let tenant: String
  private var names: [UInt8] = []
  private var records: [UInt8] = []
  /// Numbers within the message, by the registry's index.
  private var devices: [UInt32: UInt64] = [:]
  private var subjects: [UInt32: UInt64] = [:]

  package init(gateway: String, tenant: String) {
    self.gateway = gateway
    self.tenant = tenant
  }

  /// About what `finish` returns.
  package var byteCount: Int { names.count + records.count }

  /// Whether attributes and work of the record are what `FixDecoder` lets through. Others cannot be appended.
  package static func canWrite(_ record: Record, from bytes: Span<UInt8>) -> Bool {
    for region in [record.fix.attributes, record.fix.work] {
      let bytes = bytes.extracting(first: region.range.upperBound)
      var at = region.range.lowerBound
      do throws(DecodeError) {
        while at < bytes.count {
          let tagAt = at
          let tag = try WireReader.tag(bytes, &at)
          switch tag {
          case 30 << 3 | 2: try RegionChecker.work(bytes, try WireReader.range(bytes, &at))
          case 31 << 3 | 2: try RegionChecker.attribute(bytes, try WireReader.range(bytes, &at))
          default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
          }
        }
      } catch { return false }
    }
    return true
  }

  /// - Parameters:
  ///   - device: its name.
  ///   - subject: empty for nobody.
  ///   - bytes: what the record was read from.
  package mutating func append(_ record: Record, lsn: UInt64, device: String, subject: String, from bytes: Span<UInt8>) {
    if count == 0 { firstLSN = lsn }
    lastLSN = lsn
    count += 1
    let start = records.count
    if record.kind != .fix { WireWriter.field(1, UInt64(record.kind.rawValue), into: &records) }
    var fix = record.fix
    if record.kind == .gap || record.kind == .refused {
      fix = Fix()
      fix.sequence = record.fix.sequence
    }
    FixEncoder.row(fix, from: bytes, into: &records)
    field(3, StoredBatchWriter.number(of: record.device, device, 3, &devices, &names))
    if !subject.isEmpty {
      // Written also when it is 0, which absent would not mean.
      WireWriter.field(4, StoredBatchWriter.number(of: record.subject, subject, 4, &subjects, &names), into: &records)
    }
    WireWriter.fixed32(5, record.stream, into: &records)
    field(6, UInt64(bitPattern: record.receiveTimeMs))
    field(7, UInt64(record.code))
    field(8, UInt64(record.lane))
    field(9, UInt64(record.transport))
    field(10, UInt64(record.policyVersion))
    field(11, UInt64(record.gridM))
    for i in 0..<record.originalCount {
      let original = records.count
      WireWriter.field(1, UInt64(record.originals[i].field), into: &records)
      WireWriter.field(2, WireWriter.zigzag64(UInt64(bitPattern: record.originals[i].value)), into: &records)
      WireWriter.enclose(12, from: original, in: &records)
    }
    if record.kind == .gap { field(13, UInt64(bitPattern: record.fix.fixTimeMs)) }
    WireWriter.enclose(5, from: start, in: &records)
  }

  /// The message.
  package func finish() -> [UInt8] {
    var out: [UInt8] = []
    out.reserveCapacity(byteCount + 160)
    StoredBatchWriter.text(1, gateway, into: &out)
    StoredBatchWriter.text(2, tenant, into: &out)
    out += names
    out += records
    WireWriter.field(6, firstLSN, into: &out)
    WireWriter.field(7, lastLSN, into: &out)
    return out
  }

  /// A message about records that cannot be read, or that are lost.
  package static func asides(gateway: String, _ asides: [StoredAside]) -> [UInt8] {
    var out: [UInt8] = []
    text(1, gateway, into: &out)
    for aside in asides {
      let start = out.count
      WireWriter.field(1, aside.lsn, into: &out)
      WireWriter.field(2, aside.count, into: &out)
      text(3, aside.reason, into: &out)
      if let record = aside.record {
        WireWriter.header(4, bytes: record.count, into: &out)
        out += record
      }
      WireWriter.enclose(8, from: start, in: &out)
    }
    return out
  }

  /// A message that says how far a gateway has published.
  package static func cursor(gateway: String, nextLSN: UInt64) -> [UInt8] {
    var out: [UInt8] = []
    text(1, gateway, into: &out)
    WireWriter.field(9, nextLSN, into: &out)
    return out
  }

  /// A field whose absence means 0.
  private mutating func field(_ number: UInt32, _ value: UInt64) {
    if value != 0 { WireWriter.field(number, value, into: &records) }
  }

  private static func number(
    of index: UInt32, _ name: String, _ field: UInt32, _ numbers: inout [UInt32: UInt64], _ names: inout [UInt8]
  ) -> UInt64 {
    if let known = numbers[index] { return known }
    let number = UInt64(numbers.count)
    numbers[index] = number
    text(field, name, into: &names)
    return number
  }

  private static func text(_ number: UInt32, _ text: String, into out: inout [UInt8]) {
    WireWriter.header(number, bytes: text.utf8.count, into: &out)
    out.append(contentsOf: text.utf8)
  }
}

/// Records of a journal that cannot be read, or that are lost.
package struct StoredAside: Equatable, Sendable {
  /// Of the first of them.
  package var lsn: UInt64
  package var count: UInt64
  package var reason: String
  /// `nil`: lost.
  package var record: [UInt8]?

  package init(lsn: UInt64, count: UInt64, reason: String, record: [UInt8]?) {
    self.lsn = lsn
    self.count = count
    self.reason = reason
    self.record = record
  }
}
