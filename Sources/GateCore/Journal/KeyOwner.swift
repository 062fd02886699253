/// Whose key hides what a record says: its subject, or its device where nobody was known to carry it.
package struct KeyOwner: Hashable, Sendable, BitwiseCopyable {
  /// Dense index in the registry; bit 32 tells a device from a subject.
  package let raw: UInt64

  /// As `raw` of another gave it.
  package init(raw: UInt64) { self.raw = raw }

  package static func subject(_ index: UInt32) -> KeyOwner { KeyOwner(raw: UInt64(index)) }
  package static func device(_ index: UInt32) -> KeyOwner { KeyOwner(raw: 1 << 32 | UInt64(index)) }

  /// - Parameter subject: 0 = nobody.
  package init(subject: UInt32, device: UInt32) { self = subject != 0 ? .subject(subject) : .device(device) }

  package var isDevice: Bool { raw >> 32 != 0 }
  package var index: UInt32 { UInt32(truncatingIfNeeded: raw) }

  static func of(_ bytes: Span<UInt8>, recordAt at: Int) -> KeyOwner {
    KeyOwner(subject: bytes.load32(at: at + 16), device: bytes.load32(at: at + 12))
  }
}

/// Who knows the keys of subjects, and the cipher. Used by one thread.
package protocol SubjectCipher: AnyObject {
  /// Takes the keys that are in force from now on.
  func refresh()
  /// Number of the key that the owner's records are sealed under now; `nil` = none was made, or it was shredded for good.
  func key(of owner: KeyOwner) -> UInt64?
  /// Whether what the owner did at that time was erased, so that it is not taken again.
  /// - Parameter fixTimeMs: `nil` = unknown: erased is then what belongs to an owner who was erased as a whole.
  func isErased(_ owner: KeyOwner, fixTimeMs: Int64?) -> Bool
  /// Encrypts `text` of `bytes` where it lies, and puts the tag of 16 bytes behind it.
  /// - Parameter clear: what is authenticated with it.
  func seal(
    under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>)
  /// Decrypts `text` of `bytes` where it lies; the tag lies behind it.
  func open(
    under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
  ) -> SealedRun.Opening
}
