package import GateCore

/// The length prefix of a frame on a stream: the payload's bytes as a varint (proto/README, "Framing").
package enum Frame {
  /// Appends prefix and payload.
  package static func append(_ payload: [UInt8], into out: inout [UInt8]) {
    WireWriter.varint(UInt64(payload.count), into: &out)
    out.append(contentsOf: payload)
  }

  /// As the transport wants it: a datagram's message has no prefix.
  package static func close(from start: Int, in out: inout [UInt8], over transport: Transport) {
    if transport == .stream { close(from: start, in: &out) }
  }

  /// Makes a frame of the payload that was appended since `out.count` was `start`, by moving it behind its prefix.
  /// Allocates nothing when `out` has room for three bytes more.
  package static func close(from start: Int, in out: inout [UInt8]) {
    let end = out.count
    WireWriter.varint(UInt64(end - start), into: &out)
    let prefix = out.count - end
    // Rotate: at most three bytes are carried across the payload.
    for k in 0..<prefix {
      let byte = out[end + k]
      var at = end + k
      while at > start + k {
        out[at] = out[at - 1]
        at -= 1
      }
      out[start + k] = byte
    }
  }
}

func varintBytes(_ value: UInt64) -> Int { (70 - (value | 1).leadingZeroBitCount) / 7 }
