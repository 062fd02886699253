// The bytes of a journal segment, little endian.
//
// A segment is a file of fixed size. Block 0 (`Limits.journalBlockBytes`) begins with the segment header, then come
// batches, each at the start of a block and zero-padded to the end of one, so that a torn write never touches a batch
// that is durable already. Behind the last batch lie zeros, or batches of the segment that the file was before.
//
// Only one batch is in flight at a time, and a segment is never written again once a write to it has failed or the
// gateway has stopped. So every batch but the last of a segment is durable, and the base LSN of a later segment says
// how far this one counts: what lies at or above it was never acked and was written anew.

/// The first bytes of a segment.
/// ```
///  0 u64 magic "fixgateJ"   12 u32 CRC32C of 16..<56   32 u64 base LSN        48 u64 length of the file in bytes
///  8 u32 version            16 u64 segment id          40 u64 start counter   24 u64 salt
/// ```
package struct SegmentHeader: Equatable, Sendable {
  package static let magic: UInt64 = 0x4a65_7461_6778_6966
  /// 2: batches may hold sealed runs (`SealedRun`) beside records. Those of version 1 are read as well.
  package static let version: UInt32 = 2
  package static let bytes = 56

  /// Ascending, never reused; the name of the file.
  package var segment: UInt64
  /// Random, repeated in every batch, so that neither an older batch in a recycled file nor bytes that a device has
  /// sent can pass for a batch of this segment.
  package var salt: UInt64
  /// LSN of the segment's first record. All records below it are durable in earlier segments.
  package var baseLSN: UInt64
  /// Counts the starts of the gateway.
  package var start: UInt64
  package var fileBytes: UInt64

  package init(segment: UInt64, salt: UInt64, baseLSN: UInt64, start: UInt64, fileBytes: UInt64) {
    self.segment = segment
    self.salt = salt
    self.baseLSN = baseLSN
    self.start = start
    self.fileBytes = fileBytes
  }

  package func write(into out: inout MutableSpan<UInt8>) {
    out.store(SegmentHeader.magic, at: 0)
    out.store(SegmentHeader.version, at: 8)
    out.store(segment, at: 16)
    out.store(salt, at: 24)
    out.store(baseLSN, at: 32)
    out.store(start, at: 40)
    out.store(fileBytes, at: 48)
    out.store(CRC32C.of(out.span, in: 16..<SegmentHeader.bytes), at: 12)
  }

  package enum Reading: Equatable, Sendable {
    case valid(SegmentHeader)
    /// Intact, but of a version that this gateway does not know.
    case version(UInt32)
    case damaged
  }

  /// Reads the header of the segment that is named `segment`; one of another segment counts as damaged.
  package static func read(_ bytes: Span<UInt8>, named segment: UInt64) -> Reading {
    guard bytes.count >= SegmentHeader.bytes, bytes.load64(at: 0) == magic else { return .damaged }
    // A newer layout may keep its checksum elsewhere, so its version is believed without one.
    let found = bytes.load32(at: 8)
    guard found <= version else { return found < 1 << 16 ? .version(found) : .damaged }
    guard found >= 1, bytes.load64(at: 16) == segment,
      bytes.load32(at: 12) == CRC32C.of(bytes, in: 16..<SegmentHeader.bytes)
    else { return .damaged }
    return .valid(
      SegmentHeader(
        segment: segment, salt: bytes.load64(at: 24), baseLSN: bytes.load64(at: 32), start: bytes.load64(at: 40),
        fileBytes: bytes.load64(at: 48)))
  }
}

/// What stands before the records of a batch.
/// ```
///  0 u32 CRC32C of 4..<48 and the payload    16 u64 salt         40 u32 number of records
///  4 u32 payload bytes                       24 u64 first LSN    44 u32 number of the block it starts in
///  8 u64 segment id                          32 u64 durable LSN
/// ```
package struct BatchHeader: Equatable, Sendable {
  package static let bytes = 48

  package var payloadBytes: Int
  package var segment: UInt64
  package var salt: UInt64
  package var firstLSN: UInt64
  /// All records below it were durable when the batch was written.
  package var durableLSN: UInt64
  package var count: Int
  package var block: UInt32

  package init(
    payloadBytes: Int, segment: UInt64, salt: UInt64, firstLSN: UInt64, durableLSN: UInt64, count: Int, block: UInt32
  ) {
    self.payloadBytes = payloadBytes
    self.segment = segment
    self.salt = salt
    self.firstLSN = firstLSN
    self.durableLSN = durableLSN
    self.count = count
    self.block = block
  }

  package var endLSN: UInt64 { firstLSN + UInt64(count) }
  /// Bytes that the batch takes in the segment, padding included.
  package var paddedBytes: Int { BatchHeader.paddedBytes(payload: payloadBytes) }

  package static func paddedBytes(payload: Int) -> Int {
    let block = Limits.journalBlockBytes
    return (bytes + payload + block - 1) / block * block
  }

  package func write(into out: inout MutableSpan<UInt8>, payload: Span<UInt8>) {
    out.store(UInt32(payloadBytes), at: 4)
    out.store(segment, at: 8)
    out.store(salt, at: 16)
    out.store(firstLSN, at: 24)
    out.store(durableLSN, at: 32)
    out.store(UInt32(count), at: 40)
    out.store(block, at: 44)
    var crc = CRC32C()
    crc.update(out.span, in: 4..<BatchHeader.bytes)
    crc.update(payload, in: 0..<payload.count)
    out.store(crc.value, at: 0)
  }

  /// Reads the header at `offset` of `bytes` as it stands; nothing in it is proven before `isIntact`.
  /// - Returns: `nil` if it cannot be one: too few bytes, or values that no writer writes.
  package static func read(_ bytes: Span<UInt8>, at offset: Int) -> BatchHeader? {
    guard offset >= 0, bytes.count - offset >= BatchHeader.bytes else { return nil }
    let header = BatchHeader(
      payloadBytes: Int(bytes.load32(at: offset + 4)), segment: bytes.load64(at: offset + 8),
      salt: bytes.load64(at: offset + 16), firstLSN: bytes.load64(at: offset + 24),
      durableLSN: bytes.load64(at: offset + 32), count: Int(bytes.load32(at: offset + 40)),
      block: bytes.load32(at: offset + 44))
    guard header.payloadBytes > 0, header.count > 0, header.firstLSN <= UInt64.max - UInt64(header.count),
      header.durableLSN <= header.firstLSN
    else { return nil }
    return header
  }

  /// Whether the checksum at `offset` holds for header and payload.
  package func isIntact(in bytes: Span<UInt8>, at offset: Int) -> Bool {
    let rest = bytes.count - offset - BatchHeader.bytes
    guard payloadBytes <= rest else { return false }
    return bytes.load32(at: offset)
      == CRC32C.of(bytes, in: offset + 4..<offset + BatchHeader.bytes + payloadBytes)
  }
}
