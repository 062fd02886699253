/// The lines of the audit log, chained: what a line says and all lines before it are under its hash.
///
/// Line: `{"number":N,...,"hash":"H"}` and a line end. H, in hexadecimal, is SHA-256 of the hash of line N-1 (32 bytes, zeros
/// before the first) and of the line's bytes before `,"hash"`.
package struct AuditChain: Equatable, Sendable {
  /// 32 bytes.
  package typealias Digest = @Sendable (Span<UInt8>) -> [UInt8]

  package static let hashBytes = 32
  package static let lineBytesMax = 4_096
  private static let start = Array("{\"number\":".utf8)
  private static let seam = Array(",\"hash\":\"".utf8)
  private static let end = Array("\"}".utf8)

  /// Of the last line; 0 = there is none.
  package private(set) var number: UInt64
  package private(set) var hash: [UInt8]

  package init() {
    number = 0
    hash = [UInt8](repeating: 0, count: AuditChain.hashBytes)
  }

  package init(number: UInt64, hash: [UInt8]) {
    precondition(hash.count == AuditChain.hashBytes)
    self.number = number
    self.hash = hash
  }

  package var hashText: String { Hex.text(hash) }

  /// Adds an entry.
  /// - Returns: its line, line end included.
  package mutating func append(_ entry: AuditEntry, timeMs: Int64, digest: Digest) -> [UInt8] {
    append(entry.members(timeMs: timeMs), digest: digest)
  }

  /// Adds the first line of a file, which carries the hash before it: so a file can be checked without those before.
  package mutating func open(timeMs: Int64, digest: Digest) -> [UInt8] {
    let members = AuditEntry(.opened, by: .gateway).members(timeMs: timeMs)
    return append(members + ",\"previous\":\"\(hashText)\"", digest: digest)
  }

  private mutating func append(_ members: String, digest: Digest) -> [UInt8] {
    let body = AuditChain.start + Array("\(number + 1),\(members)".utf8)
    number += 1
    hash = digest((hash + body).span)
    return body + AuditChain.seam + Array(hashText.utf8) + AuditChain.end + [0x0A]
  }

  /// What is wrong with a line.
  package enum Fault: Error, Equatable, Sendable {
    /// It is no line of an audit log.
    case unreadable
    /// The line or the one before it says something else than was written.
    case changed
    /// Another line stands here: some are missing, or have been moved.
    case misplaced(number: UInt64, expected: UInt64)
  }

  /// Takes the next line, without its end. After a fault the chain goes on from what the line itself says.
  /// - Throws: `Fault`; after `.unreadable` the chain stays.
  package mutating func check(_ line: Span<UInt8>, digest: Digest) throws(Fault) {
    guard let parts = AuditChain.parts(line) else { throw .unreadable }
    let body = line.extracting(first: parts.bodyCount).copied
    let expected = number + 1
    let isRight = digest((hash + body).span) == parts.hash
    number = parts.number
    hash = parts.hash
    if parts.number != expected { throw .misplaced(number: parts.number, expected: expected) }
    if !isRight { throw .changed }
  }

  /// Where a file's first line goes on from, by its own word.
  package static func start(ofFile first: Span<UInt8>) -> AuditChain? {
    let mark = Array(",\"previous\":\"".utf8)
    guard let parts = parts(first), parts.number > 0 else { return nil }
    let at = parts.bodyCount - 1 - 2 * hashBytes
    guard at >= mark.count, first.extracting(at - mark.count..<at).copied == mark,
      let previous = Hex.bytes(first.extracting(at..<at + 2 * hashBytes))
    else { return nil }
    return AuditChain(number: parts.number - 1, hash: previous)
  }

  private static func parts(_ line: Span<UInt8>) -> (number: UInt64, bodyCount: Int, hash: [UInt8])? {
    let tail = seam.count + 2 * hashBytes + end.count
    guard line.count <= lineBytesMax, line.count > start.count + tail else { return nil }
    let bodyCount = line.count - tail
    let hashAt = bodyCount + seam.count
    guard line.extracting(first: start.count).copied == start,
      line.extracting(bodyCount..<hashAt).copied == seam, line.extracting(last: end.count).copied == end,
      let hash = Hex.bytes(line.extracting(hashAt..<hashAt + 2 * hashBytes))
    else { return nil }
    var number: UInt64 = 0
    var at = start.count
    while at < bodyCount, (0x30...0x39).contains(line[at]), number < 1 << 59 {
      number = number * 10 + UInt64(line[at] - 0x30)
      at += 1
    }
    guard at > start.count, at < bodyCount, line[at] == UInt8(ascii: ",") else { return nil }
    return (number, bodyCount, hash)
  }
}

/// What is known of the log apart from its lines, so that a cut at its end shows. Written after each line.
///
/// Text: one line each of `fixgate-audit 1`, `first N`, `file N`, `bytes N`, `last N`, `hash H`.
package struct AuditHead: Equatable, Sendable {
  /// Of the oldest file that is kept.
  package var first: UInt64 = 1
  /// First number of the file that is being written,
  package var file: UInt64 = 1
  /// and its length.
  package var bytes = 0
  /// The last line.
  package var chain = AuditChain()

  package init() {}

  package var encoded: [UInt8] {
    Array(
      """
      fixgate-audit 1
      first \(first)
      file \(file)
      bytes \(bytes)
      last \(chain.number)
      hash \(chain.hashText)

      """.utf8)
  }

  /// `nil` for what is no such text.
  package init?(_ encoded: [UInt8]) {
    let lines = String(decoding: encoded, as: UTF8.self).split(separator: "\n").map { $0.split(separator: " ") }
    guard lines.count == 6, lines.allSatisfy({ $0.count == 2 }), lines[0] == ["fixgate-audit", "1"],
      lines.dropFirst().map({ $0[0] }) == ["first", "file", "bytes", "last", "hash"], let first = UInt64(lines[1][1]),
      let file = UInt64(lines[2][1]), let bytes = Int(lines[3][1]), let last = UInt64(lines[4][1]), first <= file,
      bytes >= 0, let hash = Hex.bytes(Array(lines[5][1].utf8).span), hash.count == AuditChain.hashBytes
    else { return nil }
    self.first = first
    self.file = file
    self.bytes = bytes
    chain = AuditChain(number: last, hash: hash)
  }
}
