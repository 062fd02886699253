import GateCore

/// What must hold of recovery whatever a disk does to a segment. Shared by the fuzz target and the ordinary tests.
package enum JournalProperties {
  private static let original = FuzzSegment()

  /// Damages a segment as the input says and recovers from it. Traps on a batch that was not written, and on a loss that
  /// is not reported.
  ///
  /// The input is a list of edits of 4 bytes: u16 where (in units of 4 bytes), u8 what, u8 value. So a fuzzer starts from
  /// a segment whose checksums hold, which random bytes never have. Bit 1 of `what` says whether the value is put there
  /// or flips bits; bit 0 repairs the checksum of the block that was hit, and so reaches what lies behind it.
  package static func check(_ input: Span<UInt8>) {
    var edited = original.bytes
    var isRepaired = false
    var at = 0
    while input.count - at >= 4 {
      let place = Int(input.load16(at: at)) * 4 % edited.count
      let what = input[at + 2]
      edited[place] = what & 2 == 0 ? input[at + 3] : edited[place] ^ input[at + 3]
      if what & 1 == 1 {
        isRepaired = true
        FuzzSegment.repair(&edited, at: place / Limits.journalBlockBytes * Limits.journalBlockBytes)
      }
      at += 4
    }
    let scan = SegmentScanner.scan(edited.span, named: FuzzSegment.id)
    var end: UInt64 = 0
    for batch in scan.batches {
      precondition(batch.header.firstLSN >= end && batch.header.count > 0)
      precondition(batch.header.payloadBytes <= edited.count - batch.offset - BatchHeader.bytes)
      end = batch.header.endLSN
    }
    var chain = JournalChain(durableFloor: 0)
    let next = original.next
    let records = chain.append(scan, limit: original.endLSN)
    _ = chain.append(SegmentScanner.scan(next.span, named: FuzzSegment.id + 1), limit: nil)
    chain.finish()
    precondition(chain.endLSN == original.endLSN + 1)
    if isRepaired { return }
    for batch in scan.batches { precondition(original.places.contains(batch)) }
    // Without the header nothing says where a segment begins whose first batches are gone, too: the caller compares
    // `firstLSN` with its cursor.
    let lost = chain.corrupt.reduce(0) { $0 + $1.lsns.count }
    precondition(records + lost == Int(original.endLSN - min(chain.firstLSN, original.endLSN)))
    precondition(scan.header == nil || chain.firstLSN == FuzzSegment.baseLSN)
  }
}

/// A segment of eight blocks with five batches, and the one behind it.
struct FuzzSegment {
  static let id: UInt64 = 7
  static let baseLSN: UInt64 = 1_000

  var bytes = [UInt8](repeating: 0, count: 8 * Limits.journalBlockBytes)
  var next = [UInt8](repeating: 0, count: 2 * Limits.journalBlockBytes)
  var places: [BatchPlace] = []
  var endLSN = FuzzSegment.baseLSN

  init() {
    FuzzSegment.begin(&bytes, id: FuzzSegment.id, baseLSN: endLSN)
    var block = 1
    for (i, length) in [96, 200, 4_048, 4_400, 136].enumerated() {
      let place = FuzzSegment.put(&bytes, id: FuzzSegment.id, block: block, payload: length, count: i + 1, lsn: endLSN)
      places.append(place)
      endLSN = place.header.endLSN
      block += place.header.paddedBytes / Limits.journalBlockBytes
    }
    FuzzSegment.begin(&next, id: FuzzSegment.id + 1, baseLSN: endLSN)
    _ = FuzzSegment.put(&next, id: FuzzSegment.id + 1, block: 1, payload: 8, count: 1, lsn: endLSN)
  }

  private static func begin(_ bytes: inout [UInt8], id: UInt64, baseLSN: UInt64) {
    let header = SegmentHeader(segment: id, salt: id * 77, baseLSN: baseLSN, start: 1, fileBytes: UInt64(bytes.count))
    var span = bytes.mutableSpan
    header.write(into: &span)
  }

  private static func put(_ bytes: inout [UInt8], id: UInt64, block: Int, payload: Int, count: Int, lsn: UInt64)
    -> BatchPlace
  {
    let header = BatchHeader(
      payloadBytes: payload, segment: id, salt: id * 77, firstLSN: lsn, durableLSN: lsn, count: count,
      block: UInt32(block))
    let content = (0..<payload).map { UInt8(truncatingIfNeeded: $0 &* 31 &+ count) }
    var head = [UInt8](repeating: 0, count: BatchHeader.bytes)
    var span = head.mutableSpan
    header.write(into: &span, payload: content.span)
    let offset = block * Limits.journalBlockBytes
    bytes.replaceSubrange(offset..<offset + head.count + payload, with: head + content)
    return BatchPlace(offset: offset, header: header)
  }

  /// Makes the checksum of what lies at `offset` hold again, if its length lets it.
  static func repair(_ bytes: inout [UInt8], at offset: Int) {
    let isHeader = offset == 0
    let end = isHeader ? SegmentHeader.bytes : offset + BatchHeader.bytes + Int(bytes.span.load32(at: offset + 4))
    guard end <= bytes.count else { return }
    let crc = CRC32C.of(bytes.span, in: (isHeader ? 16 : offset + 4)..<end)
    var span = bytes.mutableSpan
    span.store(crc, at: isHeader ? 12 : offset)
  }
}
