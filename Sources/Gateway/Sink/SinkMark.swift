import GateCore
package import GateStore

/// How far a sink that cannot be asked at the start had got: a small file in the data directory, `sink.NAME.mark`.
///
/// Layout: cursor (u64, little endian), CRC32C of it.
package enum SinkMark {
  package static func file(of sink: String) -> String { "sink.\(sink).mark" }

  /// - Returns: `nil` if there is none that can be believed.
  package static func read(_ sink: String, in directory: borrowing Directory) -> UInt64? {
    guard let bytes = try? DurableFile.read(file(of: sink), in: directory, bytesMax: 12), bytes.count == 12,
      CRC32C.of(bytes.span, in: 0..<8) == bytes.span.load32(at: 8)
    else { return nil }
    return bytes.span.load64(at: 0)
  }

  package static func write(_ cursor: UInt64, of sink: String, in directory: borrowing Directory) throws(JournalError) {
    var bytes = (0..<8).map { UInt8(truncatingIfNeeded: cursor >> (8 * $0)) }
    let sum = CRC32C.of(bytes.span, in: 0..<8)
    bytes += (0..<4).map { UInt8(truncatingIfNeeded: sum >> (8 * $0)) }
    try DurableFile.replace(file(of: sink), in: directory, with: bytes.span)
  }
}

/// What tells this gateway's journal from any other's where several write one database: 16 random bytes in hex, made with the
/// data directory.
package enum GatewayIdentity {
  package static let name = "gateway.id"

  package static func take(in directory: borrowing Directory) throws(JournalError) -> String {
    if let bytes = try DurableFile.read(name, in: directory, bytesMax: 64), bytes.count == 32 {
      return String(decoding: bytes, as: UTF8.self)
    }
    var random = SystemRandomNumberGenerator()
    let digits = Array("0123456789abcdef".utf8)
    let id = (0..<32).map { _ in digits[Int(random.next(upperBound: UInt64(16)))] }
    try DurableFile.replace(name, in: directory, with: id.span)
    return String(decoding: id, as: UTF8.self)
  }
}
