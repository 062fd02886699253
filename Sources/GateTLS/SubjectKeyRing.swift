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
  /// One behind the other, by number.
  private let keys: [UInt8]
  /// Of the keys; ascending.
  private let numbers: [UInt64]
  private let current: KeysInForce
  /// Fix times, ms since 1970-01-01 UTC, both ends included; all there are = the owner as a whole.
  private let erased: [KeyOwner: [ClosedRange<Int64>]]

  package convenience init(_ entries: [Entry], erased: [KeyOwner: [ClosedRange<Int64>]] = [:], highest: UInt64) {
    var builder = Builder()
    builder.reserve(entries.count)
    for entry in entries.sorted(by: { $0.number < $1.number }) {
      builder.add(entry.number, of: entry.owner, isRetired: entry.isRetired) { room, at in
        for i in entry.key.indices { room[at + i] = entry.key[i] }
      }
    }
    self.init(builder, erased: erased, highest: highest)
  }

  package init(_ builder: consuming Builder, erased: [KeyOwner: [ClosedRange<Int64>]], highest: UInt64) {
    keys = builder.keys
    numbers = builder.numbers
    current = builder.current
    self.erased = erased
    self.highest = highest
  }

  /// Gathers the keys of a ring where they will lie.
  package struct Builder {
    fileprivate var keys: [UInt8] = []
    fileprivate var numbers: [UInt64] = []
    fileprivate var current = KeysInForce()

    package init() {}

    /// Makes room for so many keys more; without it copies would stay in memory that nobody wipes.
    package mutating func reserve(_ count: Int) {
      var grown: [UInt8] = []
      grown.reserveCapacity(keys.count + count * SubjectKeyRing.keyBytes)
      grown += keys
      wipe(&keys)
      keys = grown
      numbers.reserveCapacity(numbers.count + count)
    }

    /// Adds one key, numbers ascending: of two that are not retired the later one is in force.
    /// - Parameter fill: writes the key, `keyBytes` long, to the room from `at` on.
    package mutating func add<E: Error>(
      _ number: UInt64, of owner: KeyOwner, isRetired: Bool,
      fill: (_ room: inout MutableSpan<UInt8>, _ at: Int) throws(E) -> Void
    ) throws(E) {
      precondition(number > numbers.last ?? 0)
      let place = keys.count
      keys.append(contentsOf: repeatElement(0, count: SubjectKeyRing.keyBytes))
      var room = keys.mutableSpan
      try fill(&room, place)
      numbers.append(number)
      if !isRetired { current.set(number, of: owner) }
    }

    package func hasKey(of owner: KeyOwner) -> Bool { current.number(of: owner) != nil }
  }

  deinit {
    unsafe keys.withUnsafeBytes { unsafe OPENSSL_cleanse(UnsafeMutableRawPointer(mutating: $0.baseAddress), $0.count) }
  }

  package func key(of owner: KeyOwner) -> UInt64? { current.number(of: owner) }

  package func isErased(_ owner: KeyOwner, fixTimeMs: Int64?) -> Bool {
    guard !erased.isEmpty, let ranges = erased[owner] else { return false }
    return ranges.contains { range in fixTimeMs.map(range.contains) ?? (range == .min ... .max) }
  }

  /// Copies a key to `room` from `at` on, for one who makes the ring that follows this one.
  /// - Returns: false if it is not in this ring.
  package func copy(_ number: UInt64, to room: inout MutableSpan<UInt8>, at: Int) -> Bool {
    guard let start = start(of: number) else { return false }
    for i in 0..<SubjectKeyRing.keyBytes { room[at + i] = keys[start + i] }
    return true
  }

  func has(_ number: UInt64) -> Bool { start(of: number) != nil }

  /// Calls `body` with the key's bytes.
  /// - Returns: `nil` if the key is not here.
  func withKey<R>(_ number: UInt64, _ body: (UnsafePointer<UInt8>) -> R) -> R? {
    guard let start = start(of: number) else { return nil }
    return unsafe keys.withUnsafeBufferPointer { unsafe body($0.baseAddress! + start) }
  }

  /// Where the key begins in `keys`. Few numbers are missing, so it is first looked for where it would be if none was: it
  /// cannot be behind that.
  private func start(of number: UInt64) -> Int? {
    guard let first = numbers.first, number >= first else { return nil }
    var (low, high) = (0, min(Int(clamping: number - first), numbers.count - 1))
    if numbers[high] == number { return high * SubjectKeyRing.keyBytes }
    while low < high {
      let middle = (low + high) / 2
      if numbers[middle] < number { low = middle + 1 } else { high = middle }
    }
    return numbers[low] == number ? low * SubjectKeyRing.keyBytes : nil
  }
}

/// The number of every owner's key in force, by the dense indexes of the registry. 0 = none.
private struct KeysInForce {
  private var ofSubjects: [UInt64] = []
  private var ofDevices: [UInt64] = []

  func number(of owner: KeyOwner) -> UInt64? {
    let index = Int(owner.index)
    let number = owner.isDevice ? KeysInForce.number(at: index, in: ofDevices) : KeysInForce.number(at: index, in: ofSubjects)
    return number == 0 ? nil : number
  }

  private static func number(at index: Int, in numbers: [UInt64]) -> UInt64 { index < numbers.count ? numbers[index] : 0 }

  mutating func set(_ number: UInt64, of owner: KeyOwner) {
    let index = Int(owner.index)
    if owner.isDevice {
      KeysInForce.set(number, at: index, in: &ofDevices)
    } else {
      KeysInForce.set(number, at: index, in: &ofSubjects)
    }
  }

  private static func set(_ number: UInt64, at index: Int, in numbers: inout [UInt64]) {
    while numbers.count <= index { numbers.append(0) }
    numbers[index] = number
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
