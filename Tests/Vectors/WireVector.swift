import Foundation

/// One line of `wire.txt`: what a message's bytes mean.
package struct WireVector: Sendable, CustomStringConvertible {
  package enum Kind: String, Sendable { case row, batch }

  package let name: String
  package let kind: Kind
  package let bytes: [UInt8]
  /// `FixText` of each fix, joined by ` ; `, or `!case@offset` of the `DecodeError`.
  package let expected: String
  /// Whether libprotobuf-c 1.4.1 takes the message too and means the same.
  package let oracle: Oracle
  /// Why the vector is there.
  package let origin: String

  package enum Oracle: String, Sendable {
    case agrees
    /// It refuses what is legal.
    case refuses
    /// It takes what is not legal here.
    case takes
  }

  package var description: String { name }

  /// All vectors of `wire.txt` beside this file: `name | kind | oracle | hex | expected | origin`, `#` begins a comment.
  package static let all: [WireVector] = {
    let file = URL(filePath: #filePath).deletingLastPathComponent().appending(path: "wire.txt")
    guard let text = try? String(contentsOf: file, encoding: .utf8) else { preconditionFailure("wire.txt is missing") }
    return text.split(separator: "\n").filter { !$0.hasPrefix("#") }.map(WireVector.init)
  }()

  private init(line: Substring) {
    let parts = line.split(separator: "|", omittingEmptySubsequences: false).map {
      $0.trimmingCharacters(in: .whitespaces)
    }
    guard parts.count == 6, let kind = Kind(rawValue: parts[1]), let oracle = Oracle(rawValue: parts[2]),
      let bytes = hexBytes(parts[3])
    else { preconditionFailure("not a vector: \(line)") }
    name = parts[0]
    self.kind = kind
    self.oracle = oracle
    self.bytes = bytes
    expected = parts[4]
    origin = parts[5]
  }
}

/// - Parameter text: pairs of hexadecimal digits, blanks between them ignored.
package func hexBytes(_ text: String) -> [UInt8]? {
  let digits = text.compactMap { $0 == " " ? nil : $0.hexDigitValue }
  guard digits.count % 2 == 0, digits.count == text.count(where: { $0 != " " }) else { return nil }
  return stride(from: 0, to: digits.count, by: 2).map { UInt8(digits[$0] << 4 | digits[$0 + 1]) }
}
