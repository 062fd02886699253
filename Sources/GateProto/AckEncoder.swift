import GateCore

/// The ack that follows every frame of fixes: only `through` and `above`, written by hand because libprotobuf-c
/// allocates. The bytes are those that libprotobuf-c would write.
package enum AckEncoder {
  /// Most bytes that one call appends: tags, lengths, a mark and the ranges at ten bytes a number.
  package static let bytesMax = 2 + 3 + 1 + 10 + 1 + 3 + Limits.rangesPerAckMax * 2 * 10

  /// Appends a `Downlink` payload (no length prefix) that holds only this ack. Allocates nothing when `out` has room
  /// for `bytesMax` bytes.
  /// - Parameter above: ranges above `through`, ascending, apart from `through` and from each other by at least one
  ///   sequence. Those after the first `Limits.rangesPerAckMax` are left for a later ack.
  package static func append(through: UInt64, above: Span<SequenceRange>, into out: inout [UInt8]) {
    let ranges = min(above.count, Limits.rangesPerAckMax)
    var aboveBytes = 0
    var end = through
    for i in 0..<ranges {
      let range = above[i]
      precondition(range.isValid && range.first > end && range.first - end >= 2)
      aboveBytes += varintBytes(range.first - end - 1) + varintBytes(range.count)
      end = range.first + range.count - 1
    }
    var ackBytes = 1 + varintBytes(through)
    if ranges > 0 { ackBytes += 1 + varintBytes(UInt64(aboveBytes)) + aboveBytes }

    out.append(2 << 3 | 2)
    WireWriter.varint(UInt64(ackBytes), into: &out)
    out.append(1 << 3 | 0)
    WireWriter.varint(through, into: &out)
    guard ranges > 0 else { return }
    out.append(2 << 3 | 2)
    WireWriter.varint(UInt64(aboveBytes), into: &out)
    end = through
    for i in 0..<ranges {
      let range = above[i]
      WireWriter.varint(range.first - end - 1, into: &out)
      WireWriter.varint(range.count, into: &out)
      end = range.first + range.count - 1
    }
  }
}
