package import GateCore
import COpenSSL

/// Seals and opens runs of journal records under the keys in force: AES-256-GCM.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package final class RingCipher: SubjectCipher, @unchecked Sendable {
  package static let placesMax = 4_096

  private let holder: SubjectKeyHolder
  private var ring: SubjectKeyRing
  private var version: UInt64
  private var sealing: KeyedContexts
  private var opening: KeyedContexts

  /// - Parameter placesMax: keys that are kept ready for sealing, and as many for opening; 0 or a power of two.
  /// - Throws: `.library`: this libcrypto lacks the cipher; stop.
  package init(_ holder: SubjectKeyHolder, placesMax: Int = RingCipher.placesMax) throws(TLSError) {
    sealing = try KeyedContexts(sealing: true, placesMax: placesMax)
    opening = try KeyedContexts(sealing: false, placesMax: placesMax)
    self.holder = holder
    version = holder.version
    ring = holder.ring
  }

  package func refresh() {
    guard holder.version != version else { return }
    version = holder.version
    ring = holder.ring
    sealing.forget { !ring.has($0) }
    opening.forget { !ring.has($0) }
  }

  /// A key that is not in hand may have been made since: it is there before anybody can send.
  package func key(of owner: KeyOwner) -> UInt64? {
    if let key = ring.key(of: owner) { return key }
    refresh()
    return ring.key(of: owner)
  }

  package func isErased(_ owner: KeyOwner, fixTimeMs: Int64?) -> Bool { ring.isErased(owner, fixTimeMs: fixTimeMs) }

  package func seal(
    under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
  ) {
    precondition(clear.upperBound == text.lowerBound && text.upperBound + SealedRun.tagBytes <= bytes.count)
    let context = unsafe sealing.context(of: key, in: ring)
    let done = unsafe bytes.withUnsafeMutableBufferPointer { out in
      unsafe RingCipher.withBytes(of: nonce) { iv in
        let start = out.baseAddress!
        let body = unsafe start + text.lowerBound
        var count: Int32 = 0
        return unsafe context != nil && EVP_EncryptInit_ex(context, nil, nil, nil, iv) == 1
          && EVP_EncryptUpdate(context, nil, &count, start + clear.lowerBound, Int32(clear.count)) == 1
          && EVP_EncryptUpdate(context, body, &count, body, Int32(text.count)) == 1
          && EVP_EncryptFinal_ex(context, body + text.count, &count) == 1
          && gate_EVP_CTRL_GCM_get_tag(context, Int32(SealedRun.tagBytes), body + text.count) == 1
      }
    }
    // With a key of the right length and memory of our own nothing is left to fail but libcrypto itself.
    precondition(done, "libcrypto could not encrypt")
  }

  package func open(
    under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
  ) -> SealedRun.Opening {
    precondition(clear.upperBound == text.lowerBound && text.upperBound + SealedRun.tagBytes <= bytes.count)
    if !ring.has(key) { refresh() }
    guard let context = unsafe opening.context(of: key, in: ring) else { return key > ring.highest ? .damaged : .erased }
    let done = unsafe bytes.withUnsafeMutableBufferPointer { out in
      unsafe RingCipher.withBytes(of: nonce) { iv in
        let start = out.baseAddress!
        let body = unsafe start + text.lowerBound
        var count: Int32 = 0
        return unsafe gate_EVP_DecryptInit_with_tag(context, nil, iv, body + text.count, SealedRun.tagBytes) == 1
          && EVP_DecryptUpdate(context, nil, &count, start + clear.lowerBound, Int32(clear.count)) == 1
          && EVP_DecryptUpdate(context, body, &count, body, Int32(text.count)) == 1
          && EVP_DecryptFinal_ex(context, body + text.count, &count) == 1
      }
    }
    if !done { ErrorQueue.clear() }
    return done ? .opened : .damaged
  }

  private static func withBytes<R>(of nonce: SealedRun.Nonce, _ body: (UnsafePointer<UInt8>) -> R) -> R {
    var bytes = InlineArray<12, UInt8>(repeating: 0)
    var room = bytes.mutableSpan
    room.store(nonce.high, at: 0)
    room.store(nonce.low, at: 8)
    return unsafe bytes.span.withUnsafeBufferPointer { unsafe body($0.baseAddress!) }
  }
}

/// Contexts that have taken a key each, by the key's number. Taking a key costs about as much as all else about a lone fix, so
/// the next run of a subject that has sent lately needs a nonce only.
///
/// One place for all numbers that share its low bits. Who has it keeps it until another asks twice while he does not ask at
/// all; all others take turns with one context that has no place. So subjects who come in turn, more than there are places,
/// cost no more than one context would: it stays in the CPU's cache. A context is about 1 KiB; they are made as they are needed.
@safe struct KeyedContexts: ~Copyable {
  @unsafe private struct Place {
    /// 0 = no key.
    var number: UInt64 = 0
    /// Who asked last, if that was not the one who has it; else 0.
    var claimant: UInt64 = 0
    var context: OpaquePointer?

    /// - Returns: `nil` if the ring has no such key; then this place is as it was.
    mutating func take(
      _ number: UInt64, from ring: SubjectKeyRing, _ cipher: OpaquePointer, _ isSealing: Bool
    ) -> OpaquePointer? {
      unsafe ring.withKey(number) { secret in
        if unsafe context == nil { unsafe context = EVP_CIPHER_CTX_new() }
        // One that has had a key keeps its cipher.
        let isKeyed = unsafe EVP_CipherInit_ex(context, self.number == 0 ? cipher : nil, nil, secret, nil, isSealing ? 1 : 0)
        precondition(isKeyed == 1, "libcrypto could not take a key")
        unsafe self.number = number
        return unsafe context
      } ?? nil
    }

    mutating func forget(where isGone: (UInt64) -> Bool) {
      guard unsafe number != 0, unsafe isGone(number) else { return }
      unsafe EVP_CIPHER_CTX_free(context)
      unsafe self = unsafe Place()
    }
  }

  private let cipher: OpaquePointer
  private let isSealing: Bool
  private let placesMax: Int
  /// Empty before the first use.
  private var places: [Place] = unsafe []
  private var shared = unsafe Place()

  /// - Parameter placesMax: 0 or a power of two.
  /// - Throws: `.library`: this libcrypto lacks the cipher; stop.
  init(sealing: Bool, placesMax: Int) throws(TLSError) {
    precondition(placesMax & (placesMax - 1) == 0)
    ErrorQueue.clear()
    guard let cipher = unsafe EVP_CIPHER_fetch(nil, AEAD.aes256GCM.name, nil) else { throw .library(code: ErrorQueue.drain()) }
    unsafe self.cipher = unsafe cipher
    isSealing = sealing
    self.placesMax = placesMax
  }

  deinit {
    for unsafe place in unsafe places { unsafe EVP_CIPHER_CTX_free(place.context) }
    unsafe EVP_CIPHER_CTX_free(shared.context)
    unsafe EVP_CIPHER_free(cipher)
  }

  /// - Returns: a context that has the key and waits for a nonce, until the next call; `nil` if the ring has no such key.
  mutating func context(of number: UInt64, in ring: SubjectKeyRing) -> OpaquePointer? {
    guard placesMax > 0 else { return unsafe shared.take(number, from: ring, cipher, isSealing) }
    if unsafe places.isEmpty { unsafe places = unsafe Array(repeating: Place(), count: placesMax) }
    let index = Int(truncatingIfNeeded: number) & (placesMax - 1)
    if unsafe places[index].number == number {
      unsafe places[index].claimant = 0
      return unsafe places[index].context
    }
    if unsafe places[index].number == 0 || places[index].claimant == number {
      unsafe places[index].claimant = 0
      return unsafe places[index].take(number, from: ring, cipher, isSealing)
    }
    unsafe places[index].claimant = number
    return unsafe shared.take(number, from: ring, cipher, isSealing)
  }

  /// Wipes keys.
  mutating func forget(where isGone: (UInt64) -> Bool) {
    for index in unsafe places.indices { unsafe places[index].forget(where: isGone) }
    unsafe shared.forget(where: isGone)
  }
}
