/// What a read token lets its holder do, all within one tenant. Raw values are stored in the registry.
package struct ReadRoles: OptionSet, Sendable, Hashable {
  package let rawValue: UInt8
  package init(rawValue: UInt8) { self.rawValue = rawValue }

  /// Latest positions.
  package static let live = ReadRoles(rawValue: 1)
  /// Tracks, gaps, and what is held.
  package static let history = ReadRoles(rawValue: 2)
  /// All that is held about one subject.
  package static let export = ReadRoles(rawValue: 4)
  /// Erasure of one subject.
  package static let erase = ReadRoles(rawValue: 8)

  package static let all: [(name: String, role: ReadRoles)] = [
    ("live", .live), ("history", .history), ("export", .export), ("erase", .erase),
  ]

  /// `nil` for a name that is none.
  package init?(name: String) {
    guard let known = ReadRoles.all.first(where: { $0.name == name }) else { return nil }
    self = known.role
  }

  package var names: [String] { ReadRoles.all.filter { contains($0.role) }.map(\.name) }
}

/// A read token: its number in the registry, and 32 random bytes. Text: `fixgate-read.NUMBER.HEX`, 64 digits.
package struct ReadToken: Sendable {
  package static let secretBytes = 32
  package static let textBytesMax = 128
  private static let prefix = "fixgate-read"

  package let number: Int64
  private let secret: [UInt8]

  package init(number: Int64, secret: [UInt8]) {
    precondition(number > 0 && secret.count == ReadToken.secretBytes)
    self.number = number
    self.secret = secret
  }

  /// `nil` for what is none.
  package init?(_ text: String) {
    guard text.utf8.count <= ReadToken.textBytesMax else { return nil }
    let parts = text.split(separator: ".", omittingEmptySubsequences: false)
    guard parts.count == 3, parts[0] == ReadToken.prefix, let number = Int64(parts[1]), number > 0 else { return nil }
    let digits = Array(parts[2].utf8)
    guard let secret = Hex.bytes(digits.span), secret.count == ReadToken.secretBytes else { return nil }
    self.init(number: number, secret: secret)
  }

  package var text: String { "\(ReadToken.prefix).\(number).\(Hex.text(secret))" }

  /// What is hashed, behind a label that keeps it apart from other secrets.
  package var bytes: [UInt8] { Array("fixgate read token".utf8) + secret }
}
