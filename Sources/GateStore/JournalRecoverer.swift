internal import GateCore
import Glibc

/// One visible segment of a journal.
struct JournalSegment: Sendable {
  var id: UInt64
  var baseLSN: UInt64
  var bytes: Int
  /// Never recycled: kept aside for whoever wants to look.
  var isDamaged = false
  /// Records in it that count.
  var records = 0

  static func name(_ id: UInt64, _ suffix: String) -> String {
    let hex = String(id, radix: 16)
    return String(repeating: "0", count: 16 - hex.count) + hex + suffix
  }

  static func id(of name: String, _ suffix: String) -> UInt64? {
    guard name.hasSuffix(suffix), name.utf8.count == 16 + suffix.utf8.count else { return nil }
    return UInt64(name.prefix(16), radix: 16)
  }
}

/// Reads all segments of a journal and decides what counts (`JournalChain`). Changes nothing on disk.
struct JournalRecoverer {
  var chain: JournalChain
  var segments: [JournalSegment] = []
  var spares: [String] = []
  /// Files that were never finished.
  var leftovers: [String] = []
  var highestID: UInt64 = 0
  var lastStart: UInt64 = 0
  /// Payload of `chain.unproven`.
  var unproven: [UInt8] = []

  init(_ directory: borrowing Directory, durableFloor: UInt64) throws(JournalError) {
    chain = JournalChain(durableFloor: durableFloor)
    var ids: [UInt64] = []
    for name in try directory.names() {
      if let id = JournalSegment.id(of: name, ".segment") {
        ids.append(id)
      } else if let id = JournalSegment.id(of: name, ".spare") {
        spares.append(name)
        highestID = max(highestID, id)
      } else if let id = JournalSegment.id(of: name, ".corrupt") {
        highestID = max(highestID, id)
      } else if name.hasSuffix(".tmp") {
        leftovers.append(name)
      }
    }
    ids.sort()
    highestID = max(highestID, ids.last ?? 0)
    let limits = try limits(of: ids, in: directory)
    var bytes: [UInt8] = []
    for (i, id) in ids.enumerated() {
      let length = try JournalRecoverer.load(id, from: directory, into: &bytes)
      let scan = SegmentScanner.scan(bytes.span.extracting(0..<length), named: id)
      let corruptBefore = chain.corrupt.count
      let records = chain.append(scan, limit: limits[i])
      let isDamaged = chain.corrupt.dropFirst(corruptBefore).contains { $0.segment == id }
      for damage in chain.corrupt.dropFirst(corruptBefore) where damage.segment != id {
        if let j = segments.firstIndex(where: { $0.id == damage.segment }) { segments[j].isDamaged = true }
      }
      segments.append(
        JournalSegment(
          id: id, baseLSN: scan.baseLSN ?? chain.endLSN, bytes: length, isDamaged: isDamaged, records: records))
      lastStart = max(lastStart, scan.header?.start ?? 0)
    }
    chain.finish()
    for damage in chain.corrupt {
      if let j = segments.firstIndex(where: { $0.id == damage.segment }) { segments[j].isDamaged = true }
    }
    if let (id, place) = chain.unproven {
      _ = try JournalRecoverer.load(id, from: directory, into: &bytes)
      let start = place.offset + BatchHeader.bytes
      unproven = Array(bytes[start..<start + place.header.payloadBytes])
    }
  }

  /// For each segment, the lowest base LSN of the later ones.
  private func limits(of ids: [UInt64], in directory: borrowing Directory) throws(JournalError) -> [UInt64?] {
    var limits = [UInt64?](repeating: nil, count: ids.count)
    var lowest: UInt64?
    var bytes = [UInt8](repeating: 0, count: Limits.journalBlockBytes)
    for i in ids.indices.reversed() {
      limits[i] = lowest
      let name = JournalSegment.name(ids[i], ".segment")
      let file = try DiskFile(name, in: directory, flags: O_RDONLY)
      let read = try file.read(into: &bytes, 0..<Limits.journalBlockBytes, at: 0)
      var base: UInt64?
      switch SegmentHeader.read(bytes.span.extracting(0..<read), named: ids[i]) {
      case .valid(let header): base = header.baseLSN
      case .version(let version): throw .version(segment: ids[i], version: version)
      case .damaged:
        var whole: [UInt8] = []
        let length = try JournalRecoverer.load(ids[i], from: directory, into: &whole)
        base = SegmentScanner.scan(whole.span.extracting(0..<length), named: ids[i]).baseLSN
      }
      if let base { lowest = min(lowest ?? base, base) }
    }
    return limits
  }

  /// Reads a whole segment to the front of `bytes`, which grows as needed.
  /// - Returns: its length in bytes.
  private static func load(_ id: UInt64, from directory: borrowing Directory, into bytes: inout [UInt8])
    throws(JournalError) -> Int
  {
    let file = try DiskFile(JournalSegment.name(id, ".segment"), in: directory, flags: O_RDONLY)
    let size = try file.size()
    if bytes.count < size { bytes = [UInt8](repeating: 0, count: size) }
    return try file.read(into: &bytes, 0..<size, at: 0)
  }
}
