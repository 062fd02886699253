/// A record that is kept on its own outside the journal, as quarantine does: readable, or as a sealed run of one.
package enum KeptRecord {
  /// Seals a record that tells of a person.
  /// - Parameter record: encoded.
  /// - Returns: `nil` if its owner has no key.
  package static func seal(
    _ record: [UInt8], with cipher: any SubjectCipher, using random: inout some RandomNumberGenerator
  ) -> [UInt8]? {
    guard cipher.key(of: KeyOwner.of(record.span, recordAt: 0)) != nil else { return nil }
    var sealed: [UInt8] = []
    SealedRun.seal(record, record.count, nonce: SealedRun.Nonce(using: &random), with: cipher, into: &sealed)
    return sealed
  }

  /// Number of the key that a kept record lies under; `nil` = anybody can read it.
  package static func key(_ kept: Span<UInt8>) -> UInt64? {
    guard kept.count >= SealedRun.overheadBytes, kept[4] == SealedRun.kind else { return nil }
    return kept.load64(at: 8)
  }

  /// - Parameter cipher: `nil` opens nothing.
  /// - Returns: the record, encoded; stripped (`SealedRun.strip`) if nobody can open it any more. `nil` = it is none, or damaged.
  package static func open(_ kept: [UInt8], with cipher: (any SubjectCipher)?) -> [UInt8]? {
    var bytes = kept
    if key(kept.span) != nil {
      bytes.removeAll(keepingCapacity: true)
      SealedRun.open(kept, 0..<kept.count, with: cipher ?? Keyless.cipher, into: &bytes)
    }
    guard let end = try? Record.read(bytes.span, at: 0).end, end == bytes.count else { return nil }
    return bytes
  }

  /// A kept record under the key that is its owner's now.
  /// - Returns: `nil` if it lies under that already, nobody can open it, or its owner has no key.
  package static func renewed(
    _ kept: [UInt8], with cipher: any SubjectCipher, using random: inout some RandomNumberGenerator
  ) -> [UInt8]? {
    let key = key(kept.span)
    let start = key == nil ? 0 : SealedRun.headerBytes
    guard kept.count >= start + SealedRun.clearBytes,
      let current = cipher.key(of: KeyOwner.of(kept.span, recordAt: start)), key != current,
      let record = open(kept, with: cipher), SealedRun.isSecret(record, 0)
    else { return nil }
    return seal(record, with: cipher, using: &random)
  }

  /// Has no keys.
  private final class Keyless: SubjectCipher, Sendable {
    static let cipher = Keyless()

    func refresh() {}
    func key(of owner: KeyOwner) -> UInt64? { nil }
    func isErased(_ owner: KeyOwner, fixTimeMs: Int64?) -> Bool { false }
    func seal(
      under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
    ) { preconditionFailure("there is no key to seal with") }
    func open(
      under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
    ) -> SealedRun.Opening { .erased }
  }
}
