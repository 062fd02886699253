/// Records or bytes that a segment should hold and does not.
package struct JournalDamage: Equatable, Sendable {
  package var segment: UInt64
  /// Where in the segment's file, in bytes.
  package var offset: Int
  /// The records that are gone. Empty if only bytes are damaged that no record needs.
  package var lsns: Range<UInt64>

  package init(segment: UInt64, offset: Int, lsns: Range<UInt64>) {
    self.segment = segment
    self.offset = offset
    self.lsns = lsns
  }
}

/// Joins the segments of a journal in ascending order and decides what counts.
///
/// - A batch at or above the base LSN of a later segment was abandoned: its write failed, it was never acked.
/// - A record is proven durable by the base LSN of a later segment, by any batch behind its own, and by `durableFloor`.
///   A proven record that cannot be read is corruption; what cannot be read above the last proof is a torn tail.
package struct JournalChain: Sendable {
  /// LSN of the first record that counts.
  package private(set) var firstLSN: UInt64
  /// LSN behind the last record that counts.
  package private(set) var endLSN: UInt64
  /// All records below are proven durable.
  package private(set) var provenLSN: UInt64
  /// Proven records that are lost, and damaged headers.
  package private(set) var corrupt: [JournalDamage] = []
  /// Remains of unproven writes: cut off.
  package private(set) var torn: [JournalDamage] = []
  /// The one batch that may be whole and yet not durable, because the power or the process went before its sync
  /// returned. Whoever goes on writes it anew first.
  package private(set) var unproven: (segment: UInt64, place: BatchPlace)?

  private var started = false
  private var last: (segment: UInt64, offset: Int)?
  private var lastBatch: (segment: UInt64, place: BatchPlace)?
  private var tail: [JournalDamage] = []

  /// - Parameter durableFloor: an LSN up to which all records are known to have been durable: the highest cursor or
  ///   checkpoint. 0 if there is none.
  package init(durableFloor: UInt64) {
    firstLSN = durableFloor
    endLSN = durableFloor
    provenLSN = durableFloor
  }

  /// Takes the next segment.
  /// - Parameter limit: the lowest base LSN of the later segments; `nil` for the last one.
  /// - Returns: the number of its records that count.
  package mutating func append(_ scan: SegmentScan, limit: UInt64?) -> Int {
    // What the segment before left behind was cut when this one was begun; where it was not, the base LSN says so.
    tail = []
    let base = min(scan.baseLSN ?? endLSN, limit ?? .max)
    if !started, scan.baseLSN != nil {
      started = true
      firstLSN = base
      endLSN = base
    } else if started, base > endLSN {
      lose(upTo: base, segment: last?.segment ?? scan.segment, offset: last?.offset ?? 0)
    }
    if scan.header == nil {
      corrupt.append(JournalDamage(segment: scan.segment, offset: 0, lsns: endLSN..<endLSN))
    }
    provenLSN = max(provenLSN, base)
    last = (scan.segment, Limits.journalBlockBytes)
    var counted = 0
    for place in scan.batches {
      let header = place.header
      if let limit, header.endLSN > limit { break }
      guard started, header.firstLSN >= endLSN else { continue }
      if header.firstLSN > endLSN { lose(upTo: header.firstLSN, segment: scan.segment, offset: last?.offset ?? 0) }
      provenLSN = max(provenLSN, header.firstLSN)
      endLSN = header.endLSN
      counted += header.count
      last = (scan.segment, place.offset + header.paddedBytes)
      lastBatch = (scan.segment, place)
    }
    for range in scan.debris where range.lowerBound >= (last?.offset ?? 0) {
      tail.append(JournalDamage(segment: scan.segment, offset: range.lowerBound, lsns: endLSN..<endLSN))
    }
    return counted
  }

  /// Ends the chain: what is missing below the floor is lost, what remains above it is torn.
  package mutating func finish() {
    if endLSN < provenLSN {
      lose(upTo: provenLSN, segment: last?.segment ?? 0, offset: last?.offset ?? 0)
      // The debris is what was lost, and has been reported as that.
      tail = []
    }
    torn += tail
    tail = []
    if let lastBatch, lastBatch.place.header.endLSN > provenLSN { unproven = lastBatch }
  }

  private mutating func lose(upTo lsn: UInt64, segment: UInt64, offset: Int) {
    if started { corrupt.append(JournalDamage(segment: segment, offset: offset, lsns: endLSN..<lsn)) }
    endLSN = lsn
  }
}
