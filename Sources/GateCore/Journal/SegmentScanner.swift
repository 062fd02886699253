/// A batch whose checksum holds, and where it starts in its segment, in bytes.
package struct BatchPlace: Equatable, Sendable {
  package var offset: Int
  package var header: BatchHeader

  package init(offset: Int, header: BatchHeader) {
    self.offset = offset
    self.header = header
  }
}

/// What one segment's bytes say by themselves. Which of its batches count is for `JournalChain` to decide.
package struct SegmentScan: Sendable {
  package var segment: UInt64
  /// `nil` if damaged.
  package var header: SegmentHeader?
  /// Ascending in offset and LSN.
  package var batches: [BatchPlace] = []
  /// Where bytes of this segment lie that are not part of a batch: what is left of batches that were torn or damaged.
  package var debris: [Range<Int>] = []

  /// LSN of the segment's first record; without a header, that of the first batch that can be read.
  package var baseLSN: UInt64? { header?.baseLSN ?? batches.first?.header.firstLSN }
}

package enum SegmentScanner {
  /// Finds every intact batch of the segment that is named `segment`, behind damage too.
  ///
  /// - Parameter bytes: the whole file, or what there is of it.
  package static func scan(_ bytes: Span<UInt8>, named segment: UInt64) -> SegmentScan {
    var scan = SegmentScan(segment: segment)
    if case .valid(let header) = SegmentHeader.read(bytes, named: segment) { scan.header = header }
    var salt = scan.header?.salt
    var expected = scan.header?.baseLSN ?? 0
    var debris: Range<Int>?
    var at = Limits.journalBlockBytes
    while bytes.count - at >= BatchHeader.bytes {
      let ours = isOurs(bytes, at: at, segment: segment, salt: salt)
      if ours, let header = BatchHeader.read(bytes, at: at), header.segment == segment, salt ?? header.salt == header.salt,
        Int(header.block) == at / Limits.journalBlockBytes, header.firstLSN >= expected, header.isIntact(in: bytes, at: at)
      {
        if let range = debris { scan.debris.append(range.lowerBound..<at) }
        debris = nil
        salt = header.salt
        expected = header.endLSN
        scan.batches.append(BatchPlace(offset: at, header: header))
        at += header.paddedBytes
      } else {
        if ours || debris != nil {
          debris = (debris?.lowerBound ?? at)..<min(at + Limits.journalBlockBytes, bytes.count)
        }
        at += Limits.journalBlockBytes
      }
    }
    if let range = debris { scan.debris.append(range) }
    return scan
  }

  /// Whether a block begins like a batch of this segment. Either mark will do, so that damage to one is still noticed.
  private static func isOurs(_ bytes: Span<UInt8>, at offset: Int, segment: UInt64, salt: UInt64?) -> Bool {
    bytes.load64(at: offset + 8) == segment || (salt != nil && bytes.load64(at: offset + 16) == salt)
  }
}
