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

  package convenience init(_ entries: [Entry], erased: [KeyOwner: [ClosedRange<Int64>]] = [:], highest: UInt64) {
    var builder = Builder()
    builder.reserve(entries.count)
    for entry in entries {
      builder.add(entry.number, of: entry.owner, isRetired: entry.isRetired) { room, at in
        for i in entry.key.indices { room[at + i] = entry.key[i] }
      }
    }
    self.init(builder, erased: erased, highest: highest)
  }

  package init(_ builder: consuming Builder, erased: [KeyOwner: [ClosedRange<Int64>]], highest: UInt64) {
    keys = builder.keys
    places = builder.places
    current = builder.current
    self.erased = erased
    self.highest = highest
  }

  /// Gathers the keys of a ring where they will lie.
  package struct Builder {
    fileprivate var keys: [UInt8] = []
    fileprivate var places: [UInt64: Int] = [:]
    fileprivate var current: [KeyOwner: UInt64] = [:]

    package init() {}

    /// Makes room for so many keys more; without it copies would stay in memory that nobody wipes.
    package mutating func reserve(_ count: Int) {
      var grown: [UInt8] = []
      grown.reserveCapacity(keys.count + count * SubjectKeyRing.keyBytes)
      grown += keys
      wipe(&keys)
      keys = grown
      places.reserveCapacity(places.count + count)
      current.reserveCapacity(current.count + count)
    }

    /// Adds one key, numbers ascending: of two that are not retired the later one is in force.
    /// - Parameter fill: writes the key, `keyBytes` long, to the room from `at` on.
    package mutating func add<E: Error>(
      _ number: UInt64, of owner: KeyOwner, isRetired: Bool,
      fill: (_ room: inout MutableSpan<UInt8>, _ at: Int) throws(E) -> Void
    ) throws(E) {
      let place = keys.count
      keys.append(contentsOf: repeatElement(0, count: SubjectKeyRing.keyBytes))
      var room = keys.mutableSpan
      try fill(&room, place)
      places[number] = place
      if !isRetired { current[owner] = number }
    }

    package func hasKey(of owner: KeyOwner) -> Bool { current[owner] != nil }
  }

  deinit {
    unsafe keys.withUnsafeBytes { unsafe OPENSSL_cleanse(UnsafeMutableRawPointer(mutating: $0.baseAddress), $0.count) }
  }

  package func key(of owner: KeyOwner) -> UInt64? { current[owner] }

  package func isErased(_ owner: KeyOwner, fixTimeMs: Int64?) -> Bool {
    guard !erased.isEmpty, let ranges = erased[owner] else { return false }
    return ranges.contains { range in fixTimeMs.map(range.contains) ?? (range == .min ... .max) }
  }

  /// Copies a key to `room` from `at` on, for one who makes the ring that follows this one.
  /// - Returns: false if it is not in this ring.
  package func copy(_ number: UInt64, to room: inout MutableSpan<UInt8>, at: Int) -> Bool {
    guard let place = places[number] else { return false }
    for i in 0..<SubjectKeyRing.keyBytes { room[at + i] = keys[place + i] }
    return true
  }

  func has(_ number: UInt64) -> Bool { places[number] != nil }

  /// Calls `body` with the key's bytes.
  /// - Returns: `nil` if the key is not here.
  func withKey<R>(_ number: UInt64, _ body: (UnsafePointer<UInt8>) -> R) -> R? {
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
