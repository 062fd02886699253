import GateCore
import GateProto

/// Why bytes are not the state of an upload. Sending all anew is always safe: the gateway knows what it has, as long as
/// the stream stays the same.
package enum StateError: Error, Equatable, Sendable {
  /// Not written by fixgate. Do not overwrite the file.
  case notState
  /// Written by a newer version, which has to read it.
  case newer(version: UInt8)
  /// Cut off or changed. Delete the file and send all anew.
  case damaged
}

/// The bytes in which an `UploadLog` outlives the process. The caller writes them to a new file, syncs and renames it.
///
/// Layout, little endian:
/// ```
///  0 7 bytes "FGSTATE"   7 u8 version 1
///  8 u32 stream         12 u32 zero      16 u64 recorded
/// 24 u32 number of acked ranges, u32 of ranges given up, u32 of segments, u32 zero
/// 40 acked: u64 first, u64 last          given up: u64 first, u64 last, u64 code
///    segments: u64 first sequence, u64 first place, u64 count
///    u64 FNV-1a of all before
/// ```
package enum StateFile {
  private static let magic = Array("FGSTATE".utf8)
  private static let version: UInt8 = 1
  private static let headerBytes = 40

  package static func encode(_ log: UploadLog) -> [UInt8] {
    var out = magic + [version]
    append(UInt64(log.stream), to: &out)
    append(log.recorded, to: &out)
    append(UInt64(log.acked.ranges.count) | UInt64(log.givenUp.count) << 32, to: &out)
    append(UInt64(log.mapping.count), to: &out)
    for range in log.acked.ranges {
      append(range.lowerBound, to: &out)
      append(range.upperBound, to: &out)
    }
    for each in log.givenUp {
      append(each.places.lowerBound, to: &out)
      append(each.places.upperBound, to: &out)
      append(UInt64(each.code.rawValue), to: &out)
    }
    for segment in log.mapping {
      append(segment.firstSequence, to: &out)
      append(segment.firstPlace, to: &out)
      append(segment.count, to: &out)
    }
    append(checksum(out.span, 0..<out.count), to: &out)
    return out
  }

  package static func decode(_ bytes: Span<UInt8>) throws(StateError) -> UploadLog {
    guard bytes.count >= magic.count else { throw bytes.isEmpty ? .damaged : .notState }
    for i in magic.indices where bytes[i] != magic[i] { throw .notState }
    guard bytes.count >= headerBytes + 8, bytes.count % 8 == 0 else { throw .damaged }
    guard bytes[7] == version else { throw .newer(version: bytes[7]) }
    guard checksum(bytes, 0..<bytes.count - 8) == bytes.load64(at: bytes.count - 8) else { throw .damaged }
    let recorded = bytes.load64(at: 16)
    let acks = Int(bytes.load32(at: 24))
    let gaveUp = Int(bytes.load32(at: 28))
    let segments = Int(bytes.load32(at: 32))
    guard recorded <= Limits.sequenceMax, segments >= 1,
      bytes.count - headerBytes - 8 == acks * 16 + gaveUp * 24 + segments * 24
    else { throw .damaged }

    var at = headerBytes
    var acked = RangeSet64()
    for _ in 0..<acks {
      acked.insert(try range(bytes, &at, within: recorded))
    }
    var givenUp: [UploadLog.GivenUp] = []
    for _ in 0..<gaveUp {
      let places = try range(bytes, &at, within: recorded)
      guard let code = UInt32(exactly: bytes.load64(at: at)) else { throw .damaged }
      givenUp.append(UploadLog.GivenUp(places: places, code: RefusalCode(wire: code)))
      at += 8
    }
    var mapping: [UploadLog.Segment] = []
    var sequence: UInt64 = 0
    var place: UInt64 = 0
    for _ in 0..<segments {
      let segment = UploadLog.Segment(
        firstSequence: bytes.load64(at: at), firstPlace: bytes.load64(at: at + 8), count: bytes.load64(at: at + 16))
      at += 24
      guard segment.firstSequence > sequence, segment.firstPlace > place, segment.count >= 1,
        max(segment.firstSequence, segment.firstPlace) <= Limits.sequenceMax,
        segment.count - 1 <= Limits.sequenceMax - max(segment.firstSequence, segment.firstPlace)
      else { throw .damaged }
      sequence = segment.firstSequence + (segment.count - 1)
      place = segment.firstPlace + (segment.count - 1)
      mapping.append(segment)
    }
    guard place >= recorded else { throw .damaged }
    return UploadLog(
      stream: bytes.load32(at: 8), recorded: recorded, acked: acked, givenUp: givenUp, mapping: mapping)
  }

  private static func range(
    _ bytes: Span<UInt8>, _ at: inout Int, within recorded: UInt64
  ) throws(StateError) -> ClosedRange<UInt64> {
    let first = bytes.load64(at: at)
    let last = bytes.load64(at: at + 8)
    at += 16
    guard first >= 1, first <= last, last <= recorded else { throw .damaged }
    return first...last
  }

  private static func append(_ value: UInt64, to out: inout [UInt8]) {
    for shift in stride(from: UInt64(0), to: 64, by: 8) { out.append(UInt8(truncatingIfNeeded: value &>> shift)) }
  }

  /// FNV-1a, 64 bits: enough against a torn write, which is all that it is there for.
  private static func checksum(_ bytes: Span<UInt8>, _ range: Range<Int>) -> UInt64 {
    var hash: UInt64 = 0xcbf2_9ce4_8422_2325
    for i in range { hash = (hash ^ UInt64(bytes[i])) &* 0x100_0000_01b3 }
    return hash
  }
}
