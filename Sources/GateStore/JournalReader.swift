package import GateCore
import Glibc

/// One batch as a sink gets it.
package struct JournalBatch: Equatable, Sendable {
  /// LSN of the first record in `records`, the skipped ones included.
  package var firstLSN: UInt64
  /// Number of records in `records`.
  package var count: Int
  /// Records at the front that lie before the position that was asked for.
  package var skip: Int
  /// The encoded records: positions in the caller's buffer.
  package var records: Range<Int>
  /// Durable records before this batch that cannot be read; empty unless the journal is damaged.
  package var lost: Range<UInt64>

  package var endLSN: UInt64 { firstLSN + UInt64(count) }

  /// The batch's records as they were before they were sealed: their bytes, and where in them.
  /// - Parameter cipher: `nil` = sealed runs stay as they are, and are no records.
  package static func opened(
    _ buffer: [UInt8], _ records: Range<Int>, with cipher: (any SubjectCipher)?
  ) -> (bytes: [UInt8], records: Range<Int>) {
    guard let cipher, SealedRun.isIn(buffer.span.extracting(records)) else { return (buffer, records) }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(records.count)
    SealedRun.open(buffer.span.extracting(records), with: cipher, into: &bytes)
    return (bytes, 0..<bytes.count)
  }
}

/// Reads a journal behind its writer, from another thread or process, with descriptors of its own. Make it after
/// `JournalFile.open` has returned.
package struct JournalReader: ~Copyable, Sendable {
  /// LSN of the next record to be read.
  package private(set) var position: UInt64

  private let directory: Directory
  private var file: DiskFile?
  private var segment: UInt64 = 0
  private var salt: UInt64 = 0
  private var fileBytes = 0
  /// Where the next batch may start in the current segment.
  private var offset = 0
  /// The segment behind this one and its base LSN, where this one ends; known once it is there.
  private var following: (id: UInt64, baseLSN: UInt64)?
  /// Segments that were visible behind the one that was located, ascending. A start that gives up empty segments leaves
  /// holes between ids; once the writer runs, it leaves none.
  private var visible: [UInt64] = []

  /// - Throws: `.unreachable` if `lsn` lies below the journal's first record.
  package static func open(directory path: String, from lsn: UInt64) throws(JournalError) -> JournalReader {
    try open(in: try Directory(path), from: lsn)
  }

  /// As above, in a directory that is open.
  package static func open(in directory: consuming Directory, from lsn: UInt64) throws(JournalError) -> JournalReader {
    var reader = JournalReader(directory, lsn)
    try reader.locate()
    return reader
  }

  private init(_ directory: consuming Directory, _ lsn: UInt64) {
    self.directory = directory
    position = lsn
  }

  /// Reads the next batch into `buffer`, which grows to the largest batch seen, and moves behind it.
  ///
  /// - Parameter durable: the writer's durable position, as published; nothing at or above it is read.
  /// - Returns: `nil` if there is nothing below `durable` yet.
  /// - Throws: `.unreachable` if records below `durable` are gone up to the end; disk errors. The position stays.
  package mutating func next(upTo durable: UInt64, into buffer: inout [UInt8]) throws(JournalError) -> JournalBatch? {
    let from = position
    var relocated = false
    while position < durable {
      try lookAhead()
      if let following, position >= following.baseLSN {
        if !(try enter(following.id)) { try locate() }
        continue
      }
      if let header = try readBatch(into: &buffer), header.firstLSN < durable {
        let skip = position > header.firstLSN ? Int(position - header.firstLSN) : 0
        let batch = JournalBatch(
          firstLSN: header.firstLSN, count: header.count, skip: skip,
          records: BatchHeader.bytes..<BatchHeader.bytes + header.payloadBytes,
          lost: from..<max(from, header.firstLSN))
        offset += header.paddedBytes
        position = header.endLSN
        return batch
      }
      // Nothing here although it is durable: the segment was trimmed under us, or the records are lost.
      if !relocated {
        relocated = true
        try locate()
      } else if let following {
        position = max(position, following.baseLSN)
      } else {
        position = from
        throw .unreachable(lsn: from)
      }
    }
    return nil
  }

  /// Finds out whether this segment has a successor, and so where it ends.
  ///
  /// Bytes of a failed write may look like a batch. They are told apart by the next segment, whose base LSN they do not
  /// lie below; and that segment is visible before anything behind the failed write is published as durable. If there is
  /// no next one while this one still has its name, this one is the newest: names go in ascending order, and without
  /// holes but for those that were there when the names were read.
  private mutating func lookAhead() throws(JournalError) {
    if following != nil { return }
    let next = visible.first { $0 > segment } ?? segment + 1
    if directory.contains(JournalSegment.name(next, ".segment")) {
      if let base = try baseLSN(of: next) {
        following = (next, base)
        return
      }
    } else if directory.contains(JournalSegment.name(segment, ".segment")) {
      return
    }
    try locate()
  }

  /// Opens the last segment that begins at or below the position.
  private mutating func locate() throws(JournalError) {
    while true {
      var ids: [UInt64] = []
      for name in try directory.names() {
        if let id = JournalSegment.id(of: name, ".segment") { ids.append(id) }
      }
      ids.sort()
      visible = ids
      var behind: (id: UInt64, baseLSN: UInt64)?
      var found: UInt64?
      for id in ids.reversed() {
        guard let base = try baseLSN(of: id) else { continue }
        if base <= position {
          found = id
          break
        }
        behind = (id, base)
      }
      guard let found else { throw .unreachable(lsn: position) }
      if try enter(found) {
        following = behind
        return
      }
      // Trimmed since the names were read; a later one has taken its place.
    }
  }

  /// The base LSN of a segment; `nil` if it has gone or nothing in it can be read.
  private func baseLSN(of id: UInt64) throws(JournalError) -> UInt64? {
    guard let file = try openIfThere(id) else { return nil }
    var bytes = [UInt8](repeating: 0, count: Limits.journalBlockBytes)
    let read = try file.read(into: &bytes, 0..<bytes.count, at: 0)
    if case .valid(let header) = SegmentHeader.read(bytes.span.extracting(0..<read), named: id) { return header.baseLSN }
    let size = try file.size()
    bytes = [UInt8](repeating: 0, count: size)
    let whole = try file.read(into: &bytes, 0..<size, at: 0)
    return SegmentScanner.scan(bytes.span.extracting(0..<whole), named: id).baseLSN
  }

  private func openIfThere(_ id: UInt64) throws(JournalError) -> DiskFile? {
    do throws(JournalError) {
      return try DiskFile(JournalSegment.name(id, ".segment"), in: directory, flags: O_RDONLY)
    } catch {
      if case .missing = error { return nil }
      throw error
    }
  }

  /// - Returns: `false` if the segment has been trimmed.
  private mutating func enter(_ id: UInt64) throws(JournalError) -> Bool {
    guard let opened = try openIfThere(id) else { return false }
    fileBytes = try opened.size()
    var bytes = [UInt8](repeating: 0, count: Limits.journalBlockBytes)
    let read = try opened.read(into: &bytes, 0..<bytes.count, at: 0)
    if case .valid(let header) = SegmentHeader.read(bytes.span.extracting(0..<read), named: id) {
      salt = header.salt
    } else {
      // Damaged: any intact batch has the salt too.
      bytes = [UInt8](repeating: 0, count: fileBytes)
      let whole = try opened.read(into: &bytes, 0..<fileBytes, at: 0)
      salt = SegmentScanner.scan(bytes.span.extracting(0..<whole), named: id).batches.first?.header.salt ?? 0
    }
    file = consume opened
    segment = id
    offset = Limits.journalBlockBytes
    following = nil
    return true
  }

  /// Reads the first intact batch at or behind `offset` that ends behind the position, below the next segment's base.
  private mutating func readBatch(into buffer: inout [UInt8]) throws(JournalError) -> BatchHeader? {
    while fileBytes - offset >= Limits.journalBlockBytes {
      if buffer.count < Limits.journalBlockBytes {
        buffer = [UInt8](repeating: 0, count: Limits.journalBlockBytes)
      }
      let block = try file?.read(into: &buffer, 0..<Limits.journalBlockBytes, at: offset) ?? 0
      guard let header = BatchHeader.read(buffer.span.extracting(0..<block), at: 0), header.segment == segment,
        header.salt == salt, Int(header.block) == offset / Limits.journalBlockBytes,
        header.payloadBytes <= fileBytes - offset - BatchHeader.bytes
      else {
        offset += Limits.journalBlockBytes
        continue
      }
      let bytes = BatchHeader.bytes + header.payloadBytes
      if header.endLSN <= position {
        offset += header.paddedBytes
        continue
      }
      if buffer.count < bytes { buffer += [UInt8](repeating: 0, count: bytes - buffer.count) }
      if bytes > block {
        _ = try file?.read(into: &buffer, block..<bytes, at: offset + block)
      }
      if header.isIntact(in: buffer.span, at: 0) {
        if let following, header.firstLSN >= following.baseLSN { return nil }
        return header
      }
      offset += Limits.journalBlockBytes
    }
    return nil
  }
}
