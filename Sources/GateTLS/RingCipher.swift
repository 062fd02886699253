package import GateCore
import COpenSSL

/// Seals and opens runs of journal records under the keys in force: AES-256-GCM.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package final class RingCipher: SubjectCipher, @unchecked Sendable {
  private let holder: SubjectKeyHolder
  private var ring: SubjectKeyRing
  private var version: UInt64
  private var sealing: KeyedContexts
  private var opening: KeyedContexts

  /// - Throws: `.library`: this libcrypto lacks the cipher; stop.
  package init(_ holder: SubjectKeyHolder) throws(TLSError) {
    sealing = try KeyedContexts(sealing: true)
    opening = try KeyedContexts(sealing: false)
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

/// Contexts that have taken a key each, by the key's number. Taking a key costs several times what a lone fix does, so the next
/// run of a subject that has sent lately needs a nonce only. One place for all numbers that share its low bits: the newest has
/// it. A context is about 1 KiB; they are made as they are needed.
@safe struct KeyedContexts: ~Copyable {
  @unsafe private struct Place {
    /// 0 = no key.
    var number: UInt64 = 0
    var context: OpaquePointer?
  }

  private static let placesMax = 4_096

  private let cipher: OpaquePointer
  private let isSealing: Bool
  /// Empty before the first use.
  private var places: [Place] = unsafe []

  /// - Throws: `.library`: this libcrypto lacks the cipher; stop.
  init(sealing: Bool) throws(TLSError) {
    ErrorQueue.clear()
    guard let cipher = unsafe EVP_CIPHER_fetch(nil, AEAD.aes256GCM.name, nil) else { throw .library(code: ErrorQueue.drain()) }
    unsafe self.cipher = unsafe cipher
    isSealing = sealing
  }

  deinit {
    for unsafe place in unsafe places { unsafe EVP_CIPHER_CTX_free(place.context) }
    unsafe EVP_CIPHER_free(cipher)
  }

  /// - Returns: a context that has the key and waits for a nonce; `nil` if the ring has no such key.
  mutating func context(of number: UInt64, in ring: SubjectKeyRing) -> OpaquePointer? {
    if unsafe places.isEmpty { unsafe places = unsafe Array(repeating: Place(), count: KeyedContexts.placesMax) }
    let index = Int(truncatingIfNeeded: number) & (KeyedContexts.placesMax - 1)
    if unsafe places[index].number == number { return unsafe places[index].context }
    guard ring.has(number) else { return nil }
    unsafe places[index].number = 0
    // One that is used again keeps its cipher.
    let isNew = unsafe places[index].context == nil
    if isNew { unsafe places[index].context = EVP_CIPHER_CTX_new() }
    let context = unsafe places[index].context
    let isKeyed = unsafe ring.withKey(number) { secret in
      unsafe EVP_CipherInit_ex(context, isNew ? cipher : nil, nil, secret, nil, isSealing ? 1 : 0) == 1
    }
    precondition(isKeyed == true, "libcrypto could not take a key")
    unsafe places[index].number = number
    return unsafe context
  }

  /// Wipes keys.
  mutating func forget(where isGone: (UInt64) -> Bool) {
    for index in unsafe places.indices where unsafe places[index].number != 0 && isGone(unsafe places[index].number) {
      unsafe EVP_CIPHER_CTX_free(places[index].context)
      unsafe places[index] = unsafe Place()
    }
  }
}
