package import GateCore
import COpenSSL
import Synchronization

/// The keys of subjects as they are at one moment, opened. Never changes; its keys are wiped when the last user lets go.
@safe package final class SubjectKeyRing: Sendable {
  package static let keyBytes = 32

  /// One key of one owner.
  package struct Entry: Sendable {
    package var number: UInt64
    package var owner: KeyOwner
    /// The owner's newer records are sealed under another.
    package var isRetired: Bool
    /// `keyBytes` long.
    package var key: [UInt8]

    package init(number: UInt64, owner: KeyOwner, isRetired: Bool, key: [UInt8]) {
      precondition(key.count == SubjectKeyRing.keyBytes)
      self.number = number
      self.owner = owner
      self.isRetired = isRetired
      self.key = key
    }
  }

  /// Keys with a higher number were never made here.
  package let highest: UInt64
  /// One behind the other.
  private let keys: [UInt8]
  /// Number to position among them.
  private let places: [UInt64: Int]
  private let current: [KeyOwner: UInt64]
  /// Fix times, ms since 1970-01-01 UTC, both ends included; all there are = the owner as a whole.
  private let erased: [KeyOwner: [ClosedRange<Int64>]]

  package init(_ entries: [Entry], erased: [KeyOwner: [ClosedRange<Int64>]] = [:], highest: UInt64) {
    var keys: [UInt8] = []
    keys.reserveCapacity(entries.count * SubjectKeyRing.keyBytes)
    var places: [UInt64: Int] = [:]
    var current: [KeyOwner: UInt64] = [:]
    for entry in entries {
      places[entry.number] = keys.count
      keys += entry.key
      if !entry.isRetired { current[entry.owner] = entry.number }
    }
    self.keys = keys
    self.places = places
    self.current = current
    self.erased = erased
    self.highest = highest
  }

  deinit {
    unsafe keys.withUnsafeBytes { unsafe OPENSSL_cleanse(UnsafeMutableRawPointer(mutating: $0.baseAddress), $0.count) }
  }

  package func key(of owner: KeyOwner) -> UInt64? { current[owner] }

  package func isErased(_ owner: KeyOwner, fixTimeMs: Int64?) -> Bool {
    guard !erased.isEmpty, let ranges = erased[owner] else { return false }
    return ranges.contains { range in fixTimeMs.map(range.contains) ?? (range == .min ... .max) }
  }

  /// The key itself, for one who makes the ring that follows this one; `nil` = not in this ring.
  package func copy(_ number: UInt64) -> [UInt8]? {
    places[number].map { Array(keys[$0..<$0 + SubjectKeyRing.keyBytes]) }
  }

  /// Calls `body` with the key's bytes.
  /// - Returns: `nil` if the key is not here.
  fileprivate func withKey<R>(_ number: UInt64, _ body: (UnsafePointer<UInt8>) -> R) -> R? {
    guard let place = places[number] else { return nil }
    return unsafe keys.withUnsafeBufferPointer { unsafe body($0.baseAddress! + place) }
  }
}

/// The ring in force, swapped as a whole.
package final class SubjectKeyHolder: Sendable {
  private let current: Mutex<SubjectKeyRing>
  private let swaps = Atomic<UInt64>(0)

  package init(_ ring: SubjectKeyRing) { current = Mutex(ring) }

  /// Changes with every swap; cheap to look at.
  package var version: UInt64 { swaps.load(ordering: .acquiring) }
  package var ring: SubjectKeyRing { current.withLock { $0 } }

  package func swap(_ ring: SubjectKeyRing) {
    current.withLock { $0 = ring }
    swaps.wrappingAdd(1, ordering: .releasing)
  }
}

/// Seals and opens runs of journal records under the keys in force: AES-256-GCM.
///
/// Sendable: there is one owner, which may hand it to another thread.
@safe package final class RingCipher: SubjectCipher, @unchecked Sendable {
  private let holder: SubjectKeyHolder
  private var ring: SubjectKeyRing
  private var version: UInt64
  private let contexts: CipherPair

  /// - Throws: `.library`: this libcrypto lacks the cipher; stop.
  package init(_ holder: SubjectKeyHolder) throws(TLSError) {
    do throws(DTLSError) { contexts = try CipherPair(.aes256GCM) } catch {
      if case .library(let code) = error { throw .library(code: code) }
      throw .library(code: 0)
    }
    self.holder = holder
    version = holder.version
    ring = holder.ring
  }

  package func refresh() {
    guard holder.version != version else { return }
    version = holder.version
    ring = holder.ring
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
    let context = unsafe contexts.sealing.raw
    let done = unsafe bytes.withUnsafeMutableBufferPointer { out in
      unsafe ring.withKey(key) { secret in
        unsafe RingCipher.withBytes(of: nonce) { iv in
          let start = out.baseAddress!
          let body = unsafe start + text.lowerBound
          var count: Int32 = 0
          return unsafe EVP_EncryptInit_ex(context, nil, nil, secret, iv) == 1
            && EVP_EncryptUpdate(context, nil, &count, start + clear.lowerBound, Int32(clear.count)) == 1
            && EVP_EncryptUpdate(context, body, &count, body, Int32(text.count)) == 1
            && EVP_EncryptFinal_ex(context, body + text.count, &count) == 1
            && gate_EVP_CTRL_GCM_get_tag(context, Int32(SealedRun.tagBytes), body + text.count) == 1
        }
      }
    }
    // With a key of the right length and memory of our own nothing is left to fail but libcrypto itself.
    precondition(done == true, "libcrypto could not encrypt")
  }

  package func open(
    under key: UInt64, nonce: SealedRun.Nonce, clear: Range<Int>, text: Range<Int>, in bytes: inout MutableSpan<UInt8>
  ) -> SealedRun.Opening {
    precondition(clear.upperBound == text.lowerBound && text.upperBound + SealedRun.tagBytes <= bytes.count)
    if ring.copyIsMissing(key) { refresh() }
    let context = unsafe contexts.opening.raw
    let done = unsafe bytes.withUnsafeMutableBufferPointer { out in
      unsafe ring.withKey(key) { secret in
        unsafe RingCipher.withBytes(of: nonce) { iv in
          let start = out.baseAddress!
          let body = unsafe start + text.lowerBound
          var count: Int32 = 0
          return unsafe EVP_DecryptInit_ex(context, nil, nil, secret, iv) == 1
            && gate_EVP_CTRL_GCM_set_tag(context, Int32(SealedRun.tagBytes), body + text.count) == 1
            && EVP_DecryptUpdate(context, nil, &count, start + clear.lowerBound, Int32(clear.count)) == 1
            && EVP_DecryptUpdate(context, body, &count, body, Int32(text.count)) == 1
            && EVP_DecryptFinal_ex(context, body + text.count, &count) == 1
        }
      }
    }
    guard let done else { return key > ring.highest ? .damaged : .erased }
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

extension SubjectKeyRing {
  fileprivate func copyIsMissing(_ number: UInt64) -> Bool { places[number] == nil }
}
