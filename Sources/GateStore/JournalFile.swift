package import GateCore
import Glibc

/// What `JournalFile.open` found.
package struct JournalRecovery: Equatable, Sendable {
  /// LSN of the oldest record that can be read.
  package var firstLSN: UInt64 = 0
  /// LSN that the next record will get.
  package var endLSN: UInt64 = 0
  /// Counts the starts of the gateway on this journal; 1 the first time.
  package var start: UInt64 = 0
  /// Writes that the crash cut off; they were never acked.
  package var torn: [JournalDamage] = []
  /// Records that had been durable and cannot be read, and damaged headers. Tell the operator. The segment's file stays
  /// readable for the rest, and is kept as `<id>.corrupt` instead of being recycled when it is trimmed.
  package var corrupt: [JournalDamage] = []
  /// Records whose durability nothing proved and which were written anew.
  package var rewritten = 0
}

/// The durable internal queue: a directory of segments. Owned by one thread; readers (`JournalReader`) open it for
/// themselves.
///
/// Invariants: at most one batch is in flight; `endLSN` counts only durable records; the current segment has seen no
/// failed write; a name `<id>.segment` appears only when the file's header, and its first batch if it has one, are
/// durable. So a start or a failed write that has unproven records to carry over makes them and their new segment
/// visible in one step.
package struct JournalFile: ~Copyable, Sendable {
  /// LSN behind the last durable record; the first record of the next batch gets it.
  package private(set) var endLSN: UInt64
  /// What was there when the journal was opened.
  package private(set) var recovery = JournalRecovery()
  /// Tests make the next calls fail with it.
  package var faults = InjectedFaults()

  private let directory: Directory
  private let segmentBytes: Int
  private let sparesMax: Int
  private let start: UInt64
  private var salts: any RandomNumberGenerator & Sendable
  /// Visible segments, ascending.
  private var segments: [JournalSegment]
  /// The last of `segments`; `nil` after a failed write.
  private var current: DiskFile?
  /// Where the next batch goes in the current segment.
  private var offset = 0
  private var salt: UInt64 = 0
  private var nextID: UInt64
  private var spares: [String]
  /// Names changed since the directory was synced: no spare may be written before that, or a power cut could bring back
  /// its old name with new bytes behind it.
  private var namesAreDirty = true
  /// A spare in the making, zero-filled up to `preparedBytes`.
  private var preparing: DiskFile?
  private var preparedBytes = 0

  /// Opens or creates the journal in the directory at `path`, finds what is durable, and begins a new segment.
  ///
  /// - Parameters:
  ///   - segmentBytes: length of a segment's file, a multiple of `Limits.journalBlockBytes`, at least two of them. It
  ///     may differ from start to start.
  ///   - durableFloor: an LSN below which all records are known to have been durable: the highest cursor or checkpoint.
  ///   - sparesMax: trimmed segments kept for recycling.
  /// - Throws: any disk error, `.full` too, since a segment must be begun: what was durable stays so, and it may
  ///   be tried again. `.version` before anything is changed.
  package static func open(
    directory path: String, segmentBytes: Int = 64 << 20, durableFloor: UInt64, sparesMax: Int = 2
  ) throws(JournalError) -> JournalFile {
    try Directory.make(path)
    return try open(
      in: try Directory(path), segmentBytes: segmentBytes, durableFloor: durableFloor, sparesMax: sparesMax)
  }

  /// As above, in a directory that is there.
  /// - Parameter salts: tells a segment's batches from what its file held before; nobody outside may guess it.
  package static func open(
    in directory: consuming Directory, segmentBytes: Int = 64 << 20, durableFloor: UInt64, sparesMax: Int = 2,
    salts: any RandomNumberGenerator & Sendable = SystemRandomNumberGenerator()
  ) throws(JournalError) -> JournalFile {
    precondition(segmentBytes % Limits.journalBlockBytes == 0 && segmentBytes >= 2 * Limits.journalBlockBytes)
    let found = try JournalRecoverer(directory, durableFloor: durableFloor)
    var journal = JournalFile(directory, found, segmentBytes: segmentBytes, sparesMax: sparesMax, salts: salts)
    try journal.begin(found)
    return journal
  }

  private init(
    _ directory: consuming Directory, _ found: JournalRecoverer, segmentBytes: Int, sparesMax: Int,
    salts: any RandomNumberGenerator & Sendable
  ) {
    self.directory = directory
    self.salts = salts
    self.segmentBytes = segmentBytes
    self.sparesMax = sparesMax
    start = found.lastStart + 1
    segments = found.segments
    nextID = found.highestID + 1
    spares = found.spares
    endLSN = found.chain.unproven?.place.header.firstLSN ?? found.chain.endLSN
  }

  private mutating func begin(_ found: JournalRecoverer) throws(JournalError) {
    for name in found.leftovers { try directory.remove(name) }
    for name in spares {
      let size = try DiskFile(name, in: directory, flags: O_RDONLY).size()
      if size != segmentBytes {
        try directory.remove(name)
        spares.removeAll { $0 == name }
      }
    }
    let rewritten = found.chain.unproven?.place.header.count ?? 0
    try beginSegment(found.unproven.span, count: rewritten)
    for segment in segments.dropLast() where segment.records == 0 {
      try retire(segment)
      segments.removeAll { $0.id == segment.id }
    }
    recovery = JournalRecovery(
      firstLSN: firstLSN, endLSN: endLSN, start: start, torn: found.chain.torn, corrupt: found.chain.corrupt,
      rewritten: rewritten)
  }

  /// LSN of the oldest record that is still there.
  package var firstLSN: UInt64 { segments.first?.baseLSN ?? endLSN }

  /// Bytes of all segments and spares.
  package var bytesOnDisk: Int {
    segments.reduce(0) { $0 + $1.bytes } + spares.count * segmentBytes + preparedBytes
  }

  /// About how many bytes the records from `lsn` on take: within a segment all count the same.
  package func bytes(from lsn: UInt64) -> Int {
    var total = 0.0
    for (index, segment) in segments.enumerated() {
      let isLast = index == segments.count - 1
      let end = isLast ? endLSN : segments[index + 1].baseLSN
      guard end > lsn, end > segment.baseLSN else { continue }
      let used = isLast ? offset : segment.bytes
      total += Double(used) * Double(end - max(lsn, segment.baseLSN)) / Double(end - segment.baseLSN)
    }
    return Int(total)
  }

  /// Whether the last write succeeded.
  package var isHealthy: Bool {
    switch current {
    case .some: true
    case .none: false
    }
  }

  /// Makes one batch durable: one write, one sync, and a new segment where it does not fit into this one.
  ///
  /// - Parameters:
  ///   - records: the encoded records, one behind the other; not empty, below 2^31 bytes.
  ///   - count: their number, at least 1.
  /// - Throws: any disk error. The records are then not durable, `endLSN` is what it was, the segment is abandoned. The
  ///   next `commit`, of the same records or others, begins a new one.
  package mutating func commit(_ records: Span<UInt8>, count: Int) throws(JournalError) {
    precondition(count > 0 && !records.isEmpty && records.count <= Int32.max)
    let bytes = BatchHeader.paddedBytes(payload: records.count)
    if isHealthy, let last = segments.last, last.bytes - offset >= bytes {
      do throws(JournalError) {
        try write(records, count: count)
        try faults.take(.sync)
        try current?.sync()
      } catch {
        current = nil
        throw error
      }
      offset += bytes
      endLSN += UInt64(count)
    } else {
      try beginSegment(records, count: count)
    }
  }

  /// After a failure: finds out whether a segment can be written and synced again, by beginning one.
  package mutating func probe() throws(JournalError) {
    if !isHealthy { try beginSegment(Span(), count: 0) }
  }

  /// Begins a new segment, so that those before can be given up once nobody needs their records.
  package mutating func roll() throws(JournalError) {
    // Nothing in it yet: it is as good as a new one.
    if isHealthy, segments.last?.baseLSN == endLSN { return }
    try beginSegment(Span(), count: 0)
  }

  /// Gives up whole segments whose records all lie below `lsn`: the lowest of all cursors and the dedupe checkpoint.
  ///
  /// - Throws: any disk error; the segments that could not be given up stay, and a later call tries again.
  package mutating func trim(below lsn: UInt64) throws(JournalError) {
    while segments.count > 1, segments[1].baseLSN <= lsn {
      try retire(segments[0])
      segments.removeFirst()
    }
  }

  /// Whether the next segment's file is not as far along as the current one is full, with a quarter to spare: a commit that finds
  /// no file ready has to write a whole one, and all acks wait for it.
  package var isSpareBehind: Bool { spares.isEmpty && preparedBytes < min(segmentBytes, offset + offset / 4) }

  /// Zero-fills a spare segment, `bytes` of it a call, so that no commit has to. Call it when there is time.
  ///
  /// - Returns: whether a spare is ready.
  /// - Throws: any disk error; the work is dropped, and a later call begins anew.
  package mutating func prepareSpare(_ bytes: Int = 1 << 20) throws(JournalError) -> Bool {
    if !spares.isEmpty { return true }
    do throws(JournalError) {
      guard try prepare(upTo: min(segmentBytes, preparedBytes + bytes), of: segmentBytes) else { return false }
      let name = JournalSegment.name(nextID, ".spare")
      try directory.rename(JournalFile.temporary, to: name)
      spares.append(name)
      preparing = nil
      preparedBytes = 0
      return true
    } catch {
      dropPrepared()
      throw error
    }
  }

  // MARK: Segments

  private static let temporary = "new.tmp"

  private mutating func write(_ records: Span<UInt8>, count: Int) throws(JournalError) {
    let bytes = BatchHeader.paddedBytes(payload: records.count)
    var head = InlineArray<48, UInt8>(repeating: 0)
    var span = head.mutableSpan
    BatchHeader(
      payloadBytes: records.count, segment: nextID - 1, salt: salt, firstLSN: endLSN, durableLSN: endLSN, count: count,
      block: UInt32(offset / Limits.journalBlockBytes)
    ).write(into: &span, payload: records)
    try faults.take(.write)
    try current?.write(head.span, records, padding: bytes - BatchHeader.bytes - records.count, at: offset)
  }

  /// Begins a segment at `endLSN` with the records as its first batch, if there are any; all is durable on return.
  private mutating func beginSegment(_ records: Span<UInt8>, count: Int) throws(JournalError) {
    let needed = Limits.journalBlockBytes + (count > 0 ? BatchHeader.paddedBytes(payload: records.count) : 0)
    let bytes = max(segmentBytes, needed)
    current = nil
    let name = try takeSpare(bytes)
    let id = nextID
    do throws(JournalError) {
      current = try DiskFile(name, in: directory, flags: O_RDWR)
      salt = salts.next()
      var head = InlineArray<56, UInt8>(repeating: 0)
      var span = head.mutableSpan
      SegmentHeader(segment: id, salt: salt, baseLSN: endLSN, start: start, fileBytes: UInt64(bytes)).write(into: &span)
      try faults.take(.write)
      try current?.write(head.span, Span(), padding: Limits.journalBlockBytes - SegmentHeader.bytes, at: 0)
      offset = Limits.journalBlockBytes
      nextID = id + 1
      if count > 0 { try write(records, count: count) }
      try faults.take(.sync)
      try current?.sync()
      try faults.take(.rename)
      try directory.rename(name, to: JournalSegment.name(id, ".segment"))
    } catch {
      // The name was never visible, so the id is free again.
      nextID = id
      current = nil
      try? directory.remove(name)
      throw error
    }
    segments.append(JournalSegment(id: id, baseLSN: endLSN, bytes: bytes))
    do throws(JournalError) {
      try syncNames()
    } catch {
      // It may or may not be there after a power cut: the next segment has the same base LSN and supersedes it.
      current = nil
      throw error
    }
    if count > 0 { offset += BatchHeader.paddedBytes(payload: records.count) }
    endLSN += UInt64(count)
  }

  /// The name of a synced file of `bytes` bytes that nothing else refers to.
  private mutating func takeSpare(_ bytes: Int) throws(JournalError) -> String {
    if bytes == segmentBytes, !spares.isEmpty {
      if namesAreDirty { try syncNames() }
      return spares.removeLast()
    }
    do throws(JournalError) {
      while !(try prepare(upTo: bytes, of: bytes)) {}
    } catch {
      dropPrepared()
      throw error
    }
    preparing = nil
    preparedBytes = 0
    return JournalFile.temporary
  }

  /// Goes on with zero-filling the temporary file. Written zeros, not `fallocate`: an overwrite of allocated and written
  /// blocks changes no metadata, so the sync of a commit is one flush.
  /// - Returns: whether all `total` bytes are there and synced.
  private mutating func prepare(upTo end: Int, of total: Int) throws(JournalError) -> Bool {
    if preparedBytes == 0 {
      preparing = try DiskFile(JournalFile.temporary, in: directory, flags: O_RDWR | O_CREAT | O_TRUNC)
    }
    while preparedBytes < end {
      let bytes = min(end - preparedBytes, zeroChunk.count)
      try preparing?.write(zeroChunk.span.extracting(0..<bytes), Span(), padding: 0, at: preparedBytes)
      preparing?.beginWriting(preparedBytes..<preparedBytes + bytes)
      preparedBytes += bytes
    }
    guard preparedBytes >= total else { return false }
    try preparing?.sync()
    return true
  }

  private mutating func dropPrepared() {
    preparing = nil
    preparedBytes = 0
    try? directory.remove(JournalFile.temporary)
  }

  /// Gives up a segment whose records nobody needs.
  private mutating func retire(_ segment: JournalSegment) throws(JournalError) {
    let name = JournalSegment.name(segment.id, ".segment")
    namesAreDirty = true
    if segment.isDamaged {
      try directory.rename(name, to: JournalSegment.name(segment.id, ".corrupt"))
    } else if segment.bytes == segmentBytes && spares.count < sparesMax {
      let spare = JournalSegment.name(segment.id, ".spare")
      try directory.rename(name, to: spare)
      spares.append(spare)
    } else {
      try directory.remove(name)
    }
  }

  private mutating func syncNames() throws(JournalError) {
    try faults.take(.syncDirectory)
    try directory.sync()
    namesAreDirty = false
  }
}

private let zeroChunk = [UInt8](repeating: 0, count: 256 << 10)
