/// One message of a stream as `StoredBatchWriter` writes it, or another of our format's writers.
package struct StoredBatch: Equatable, Sendable {
  package private(set) var gateway = ""
  package private(set) var tenant = ""
  package private(set) var devices: [String] = []
  package private(set) var subjects: [String] = []
  /// Where the records' bodies lie in the message.
  package private(set) var records: [Range<Int>] = []
  package private(set) var firstLSN: UInt64?
  package private(set) var lastLSN: UInt64?
  package private(set) var asides: [StoredAside] = []
  /// All of the gateway's journal below is in the stream before this message.
  package private(set) var nextLSN: UInt64?

  /// Reads a whole message, but for what is in its records.
  /// - Throws: this is no `StoredBatch`.
  package init(decoding bytes: Span<UInt8>) throws(DecodeError) {
    var at = 0
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3 | 2: gateway = try StoredBatch.text(bytes, &at)
      case 2 << 3 | 2: tenant = try StoredBatch.text(bytes, &at)
      case 3 << 3 | 2: devices.append(try StoredBatch.text(bytes, &at))
      case 4 << 3 | 2: subjects.append(try StoredBatch.text(bytes, &at))
      case 5 << 3 | 2: records.append(try WireReader.range(bytes, &at))
      case 6 << 3: firstLSN = try WireReader.varint(bytes, &at)
      case 7 << 3: lastLSN = try WireReader.varint(bytes, &at)
      case 8 << 3 | 2: asides.append(try StoredBatch.aside(bytes, try WireReader.range(bytes, &at)))
      case 9 << 3: nextLSN = try WireReader.varint(bytes, &at)
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
  }

  /// A record with its names. Its regions are positions in the message; tenant, device and subject are the reader's to number.
  package struct Named {
    package var record: Record
    package var device: String
    /// `nil`: nobody known.
    package var subject: String?
  }

  /// Reads one record.
  /// - Parameters:
  ///   - index: of `records`.
  ///   - bytes: the message that this was decoded from.
  package func record(_ index: Int, of bytes: Span<UInt8>) throws(DecodeError) -> Named {
    let range = records[index]
    let bytes = bytes.extracting(first: range.upperBound)
    var record = Record()
    var device: UInt64 = 0
    var subject: UInt64?
    var gapCount: UInt64 = 0
    var at = range.lowerBound
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3:
        guard let kind = RecordKind(rawValue: try StoredBatch.number(bytes, &at)) else { throw .badIndex(offset: tagAt) }
        record.kind = kind
      case 2 << 3 | 2: try FixDecoder.fix(bytes, try WireReader.range(bytes, &at), into: &record.fix)
      case 3 << 3: device = try WireReader.varint(bytes, &at)
      case 4 << 3: subject = try WireReader.varint(bytes, &at)
      case 5 << 3 | 5: record.stream = try WireReader.fixed32(bytes, &at)
      case 6 << 3: record.receiveTimeMs = Int64(bitPattern: try WireReader.varint(bytes, &at))
      case 7 << 3: record.code = try StoredBatch.number(bytes, &at)
      case 8 << 3: record.lane = try StoredBatch.number(bytes, &at)
      case 9 << 3: record.transport = try StoredBatch.number(bytes, &at)
      case 10 << 3: record.policyVersion = try StoredBatch.number(bytes, &at)
      case 11 << 3: record.gridM = try StoredBatch.number(bytes, &at)
      case 12 << 3 | 2:
        guard record.originalCount < Limits.originalsPerFixMax else { throw .badCount(offset: tagAt) }
        record.originals[record.originalCount] = try StoredBatch.original(bytes, try WireReader.range(bytes, &at))
        record.originalCount += 1
      case 13 << 3: gapCount = try WireReader.varint(bytes, &at)
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
    if record.kind == .gap { record.fix.fixTimeMs = Int64(clamping: gapCount) }
    guard device < UInt64(devices.count), subject ?? 0 < UInt64(max(subjects.count, 1)) else {
      throw .badIndex(offset: range.lowerBound)
    }
    return Named(
      record: record, device: devices[Int(device)],
      subject: subject.flatMap { $0 < UInt64(subjects.count) ? subjects[Int($0)] : nil })
  }

  private static func original(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) -> Original {
    let bytes = bytes.extracting(first: range.upperBound)
    var original = Original(field: 0, value: 0)
    var at = range.lowerBound
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3: original.field = try number(bytes, &at)
      case 2 << 3: original.value = Int64(bitPattern: WireReader.zigzag64(try WireReader.varint(bytes, &at)))
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
    return original
  }

  private static func aside(_ bytes: Span<UInt8>, _ range: Range<Int>) throws(DecodeError) -> StoredAside {
    let bytes = bytes.extracting(first: range.upperBound)
    var aside = StoredAside(lsn: 0, count: 0, reason: "", record: nil)
    var at = range.lowerBound
    while at < bytes.count {
      let tagAt = at
      let tag = try WireReader.tag(bytes, &at)
      switch tag {
      case 1 << 3: aside.lsn = try WireReader.varint(bytes, &at)
      case 2 << 3: aside.count = try WireReader.varint(bytes, &at)
      case 3 << 3 | 2: aside.reason = try text(bytes, &at)
      case 4 << 3 | 2: aside.record = Array(copying: bytes.extracting(try WireReader.range(bytes, &at)))
      default: try WireReader.skip(tag, bytes, &at, tagAt: tagAt)
      }
    }
    return aside
  }

  /// A varint that must fit.
  private static func number<T: FixedWidthInteger>(_ bytes: Span<UInt8>, _ at: inout Int) throws(DecodeError) -> T {
    let start = at
    guard let value = T(exactly: try WireReader.varint(bytes, &at)) else { throw .badIndex(offset: start) }
    return value
  }

  private static func text(_ bytes: Span<UInt8>, _ at: inout Int) throws(DecodeError) -> String {
    let range = try WireReader.range(bytes, &at)
    guard let text = String(validating: Array(copying: bytes.extracting(range)), as: UTF8.self) else {
      throw .badText(offset: range.lowerBound)
    }
    return text
  }
}

extension [UInt8] {
  fileprivate init(copying bytes: Span<UInt8>) {
    self = []
    reserveCapacity(bytes.count)
    for i in bytes.indices { append(bytes[i]) }
  }
}
