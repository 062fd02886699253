/// What a journal record is about.
package enum RecordKind: UInt8, Sendable, BitwiseCopyable {
  /// A fix for the track.
  case fix = 1
  /// A fix for quarantine: durable and acked, but not part of the track.
  case held = 2
  /// A fix that was refused for good: identity and code only.
  case refused = 3
  /// Sequences that the device has given up: `sequence` is the first, `fixTimeMs` their number, `code` the reason.
  case gap = 4
}

/// A value as the device sent it, kept beside the one that normalising put in its place.
package struct Original: Equatable, Sendable, BitwiseCopyable {
  /// Field number in `Fix`; see proto/fixgate.proto.
  package var field: UInt32
  package var value: Int64
  package init(field: UInt32, value: Int64) {
    self.field = field
    self.value = value
  }
}

/// One entry of the journal: a normalised fix and all that is known about it. A value without references.
///
/// Layout, little endian, length a multiple of 8:
/// ```
///  0 u32 length of the record      32 i64 receiveTimeMs      60 u16 attributes bytes
///  4 u8  kind                      40 i64 fixTimeMs          62 u16 work bytes
///  5 u8  number of originals       48 i32 latitudeE7         64 u32 policyVersion
///  6 u16 code                      52 i32 longitudeE7        68 u8  lane, 69 u8 transport, 70 u16 gridM
///  8 u32 tenant  12 u32 device     56 u32 present            72 ... monotonicMs u64 if present
/// 16 u32 subject 20 u32 stream                               then i32 a present column, ascending
/// 24 u64 sequence                                            then originals (u32 field, i64 value), attributes, work
/// ```
package struct Record: Sendable, BitwiseCopyable {
  package static let headerBytes = 72
  /// Of single fields, for those who look at many records.
  package static let subjectOffset = 16
  package static let receiveTimeOffset = 32
  package static let presentOffset = 56
  package static let attributesLengthOffset = 60
  package static let workLengthOffset = 62
  package static let policyOffset = 64

  package var kind = RecordKind.fix
  /// Raw value of `Verdict`, or the reason of a gap.
  package var code: UInt16 = 0
  /// Dense registry indexes; subject 0 = none.
  package var tenant: UInt32 = 0
  package var device: UInt32 = 0
  package var subject: UInt32 = 0
  package var stream: UInt32 = 0
  package var policyVersion: UInt32 = 0
  package var lane: UInt8 = 0
  /// 1 = TLS, 2 = DTLS.
  package var transport: UInt8 = 0
  /// Width of the cell whose middle the position is, in m; 0 = the position as it came.
  package var gridM: UInt16 = 0
  /// Gateway clock, ms since 1970-01-01 UTC.
  package var receiveTimeMs: Int64 = 0
  /// The normalised fix. Its `attributes` and `work` regions lie in the bytes this record is read from or built from.
  package var fix = Fix()
  package var originals = InlineArray<16, Original>(repeating: Original(field: 0, value: 0))
  package var originalCount = 0

  package init() {}
}

package enum RecordError: Error, Equatable, Sendable {
  /// The bytes at `offset` are not a record. The batch's checksum held, so this is a bug or a newer version's journal.
  case malformed(offset: Int)
}

extension Record {
  /// Length of the encoded record in bytes.
  package var encodedBytes: Int {
    let columns = (fix.present.intersection(.columns).rawValue).nonzeroBitCount
    let bytes = Record.headerBytes + (fix.present.contains(.monotonic) ? 8 : 0) + columns * 4
      + originalCount * 12 + Int(fix.attributes.length) + Int(fix.work.length)
    return (bytes + 7) & ~7
  }

  /// Writes the record at `start` of `out`, taking attributes and work from their regions in `frame`.
  ///
  /// The regions must hold only whole `Attribute` (31) and `Work` (30) fields; the caller has bounded them by `Limits`.
  /// - Returns: the offset behind the record.
  package func write(into out: inout MutableSpan<UInt8>, at start: Int, from frame: Span<UInt8>) -> Int {
    let length = encodedBytes
    precondition(length <= Limits.recordBytesMax && length <= out.count - start)
    out.store(UInt32(length), at: start)
    out[start + 4] = kind.rawValue
    out[start + 5] = UInt8(originalCount)
    out.store(code, at: start + 6)
    out.store(tenant, at: start + 8)
    out.store(device, at: start + 12)
    out.store(subject, at: start + 16)
    out.store(stream, at: start + 20)
    out.store(fix.sequence, at: start + 24)
    out.store(UInt64(bitPattern: receiveTimeMs), at: start + 32)
    out.store(UInt64(bitPattern: fix.fixTimeMs), at: start + 40)
    out.store(UInt32(bitPattern: fix.latitudeE7), at: start + 48)
    out.store(UInt32(bitPattern: fix.longitudeE7), at: start + 52)
    out.store(fix.present.rawValue, at: start + 56)
    out.store(UInt16(fix.attributes.length), at: start + 60)
    out.store(UInt16(fix.work.length), at: start + 62)
    out.store(policyVersion, at: start + 64)
    out[start + 68] = lane
    out[start + 69] = transport
    out.store(gridM, at: start + 70)
    var at = start + Record.headerBytes
    if fix.present.contains(.monotonic) {
      out.store(fix.monotonicMs, at: at)
      at += 8
    }
    var bits = fix.present.intersection(.columns).rawValue
    while bits != 0 {
      out.store(UInt32(bitPattern: fix.values[bits.trailingZeroBitCount]), at: at)
      at += 4
      bits &= bits &- 1
    }
    for i in 0..<originalCount {
      out.store(originals[i].field, at: at)
      out.store(UInt64(bitPattern: originals[i].value), at: at + 4)
      at += 12
    }
    for i in fix.attributes.range {
      out[at] = frame[i]
      at += 1
    }
    for i in fix.work.range {
      out[at] = frame[i]
      at += 1
    }
    while at < start + length {
      out[at] = 0
      at += 1
    }
    return at
  }

  /// Reads the record at `start`. Its regions are positions in `bytes`.
  /// - Returns: the record and the offset behind it.
  package static func read(_ bytes: Span<UInt8>, at start: Int) throws(RecordError) -> (record: Record, end: Int) {
    guard start >= 0, bytes.count - start >= headerBytes else { throw .malformed(offset: start) }
    let length = Int(bytes.load32(at: start))
    guard length >= headerBytes, length & 7 == 0, length <= bytes.count - start, length <= Limits.recordBytesMax,
      let kind = RecordKind(rawValue: bytes[start + 4])
    else { throw .malformed(offset: start) }
    var record = Record()
    record.kind = kind
    record.originalCount = Int(bytes[start + 5])
    record.code = bytes.load16(at: start + 6)
    record.tenant = bytes.load32(at: start + 8)
    record.device = bytes.load32(at: start + 12)
    record.subject = bytes.load32(at: start + 16)
    record.stream = bytes.load32(at: start + 20)
    record.fix.sequence = bytes.load64(at: start + 24)
    record.receiveTimeMs = Int64(bitPattern: bytes.load64(at: start + 32))
    record.fix.fixTimeMs = Int64(bitPattern: bytes.load64(at: start + 40))
    record.fix.latitudeE7 = Int32(bitPattern: bytes.load32(at: start + 48))
    record.fix.longitudeE7 = Int32(bitPattern: bytes.load32(at: start + 52))
    record.fix.present = FixFields(rawValue: bytes.load32(at: start + 56))
    let attributes = UInt32(bytes.load16(at: start + 60))
    let work = UInt32(bytes.load16(at: start + 62))
    record.policyVersion = bytes.load32(at: start + 64)
    record.lane = bytes[start + 68]
    record.transport = bytes[start + 69]
    record.gridM = bytes.load16(at: start + 70)
    record.fix.attributes.length = attributes
    record.fix.work.length = work
    guard record.originalCount <= Limits.originalsPerFixMax, record.encodedBytes == length else {
      throw .malformed(offset: start)
    }
    var at = start + headerBytes
    if record.fix.present.contains(.monotonic) {
      record.fix.monotonicMs = bytes.load64(at: at)
      at += 8
    }
    var bits = record.fix.present.intersection(.columns).rawValue
    while bits != 0 {
      record.fix.values[bits.trailingZeroBitCount] = Int32(bitPattern: bytes.load32(at: at))
      at += 4
      bits &= bits &- 1
    }
    for i in 0..<record.originalCount {
      record.originals[i] = Original(
        field: bytes.load32(at: at), value: Int64(bitPattern: bytes.load64(at: at + 4)))
      at += 12
    }
    record.fix.attributes.offset = UInt32(at)
    record.fix.work.offset = UInt32(at) + attributes
    return (record, start + length)
  }
}
