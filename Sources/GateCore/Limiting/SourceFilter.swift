/// Where a connection comes from, as far as a filter can tell hosts apart: an IPv4 address, or the /64 of an IPv6 one, since a
/// host has all of a /64 to choose from.
package struct Source: Hashable, Sendable, BitwiseCopyable {
  /// IPv6: the upper 64 bits of the address. IPv4: the address, below 2^32.
  package let prefix: UInt64
  package let isIPv6: Bool

  package init(ipv4: UInt32) { (prefix, isIPv6) = (UInt64(ipv4), false) }
  package init(ipv6High: UInt64) { (prefix, isIPv6) = (ipv6High, true) }
}

/// Bounds what one source may cost before anyone has proven who they are: connections, full handshakes, failures.
///
/// A fixed table of slots found by a keyed hash, so memory is the same whoever comes. A source that meets another in its
/// slot takes it over and the other is forgiven: the filter errs towards letting in, and what it lets in is bounded by the
/// limits on connections and handshakes behind it. Everything decays by itself (GCRA). Devices behind one NAT share a source,
/// so the bounds are for fleets, not for hosts.
package struct SourceFilter: Sendable {
  package struct Settings: Equatable, Sendable {
    /// Connections of one source that may be open at a time.
    package var openMax: UInt32
    package var connections: GCRA
    /// Handshakes with a certificate: those by a ticket are not charged.
    package var handshakes: GCRA
    /// Not TLS, a bad hello, an unknown or revoked credential, silence until the deadline.
    package var failures: GCRA

    package init(openMax: UInt32, connections: GCRA, handshakes: GCRA, failures: GCRA) {
      self.openMax = openMax
      self.connections = connections
      self.handshakes = handshakes
      self.failures = failures
    }
  }

  /// Why a source is not let in; each is a reason of `network.closed` in status.
  package enum Refusal: String, Equatable, Sendable, CaseIterable {
    case open = "source_connections"
    case connections = "source_rate"
    case handshakes = "source_handshakes"
    case failures = "source_failures"
  }

  private struct Slot {
    /// Hash of the source that has the slot; 0 = free.
    var tag: UInt64 = 0
    var connections: UInt64 = 0
    var handshakes: UInt64 = 0
    var failures: UInt64 = 0
    var open: UInt32 = 0
  }

  package let settings: Settings
  private let seed: UInt64
  private var slots: [Slot]

  /// - Parameter seed: random and secret, so that nobody can choose addresses that meet in one slot.
  package init(settings: Settings, seed: UInt64, slots: Int = Limits.sourceSlots) {
    precondition(slots > 0 && slots & (slots - 1) == 0)
    self.settings = settings
    self.seed = seed
    self.slots = [Slot](repeating: Slot(), count: slots)
  }

  /// A connection was accepted. `nil` lets it in; tell `ended` when it ends. Otherwise close it: nothing was charged.
  package mutating func admit(_ source: Source, at now: Instant) -> Refusal? {
    let index = claim(source)
    guard case .granted = settings.failures.charge(slots[index].failures, units: 1, at: now) else { return .failures }
    guard slots[index].open < settings.openMax else { return .open }
    guard case .granted(let word) = settings.connections.charge(slots[index].connections, units: 1, at: now) else {
      return .connections
    }
    slots[index].connections = word
    slots[index].open += 1
    return nil
  }

  /// A connection that was let in has ended.
  package mutating func ended(_ source: Source) {
    guard let index = find(source), slots[index].open > 0 else { return }
    slots[index].open -= 1
  }

  /// A full handshake is to begin.
  package mutating func handshake(_ source: Source, at now: Instant) -> Refusal? {
    let index = claim(source)
    guard case .granted(let word) = settings.handshakes.charge(slots[index].handshakes, units: 1, at: now) else {
      return .handshakes
    }
    slots[index].handshakes = word
    return nil
  }

  /// A connection came to nothing, by the peer's doing.
  package mutating func failed(_ source: Source, at now: Instant) {
    let index = claim(source)
    guard case .granted(let word) = settings.failures.charge(slots[index].failures, units: 1, at: now) else { return }
    slots[index].failures = word
  }

  /// Whether `admit` would refuse it for its failures.
  package func hasFailedTooOften(_ source: Source, at now: Instant) -> Bool {
    guard let index = find(source) else { return false }
    if case .limited = settings.failures.charge(slots[index].failures, units: 1, at: now) { return true }
    return false
  }

  /// Whether so many of the source's connections came to nothing of late that others should go first.
  package func isSuspect(_ source: Source, at now: Instant) -> Bool {
    guard let index = find(source) else { return false }
    return slots[index].failures > now.ns &+ SourceFilter.suspectFailures &* settings.failures.intervalNs
  }

  private static let suspectFailures: UInt64 = 8

  /// The source's slot, taken over if another has it.
  private mutating func claim(_ source: Source) -> Int {
    let tag = tag(source)
    let index = Int(tag >> 1) & (slots.count - 1)
    if slots[index].tag != tag {
      slots[index] = Slot()
      slots[index].tag = tag
    }
    return index
  }

  private func find(_ source: Source) -> Int? {
    let tag = tag(source)
    let index = Int(tag >> 1) & (slots.count - 1)
    return slots[index].tag == tag ? index : nil
  }

  /// Never 0. Two rounds of a 64-bit finaliser around the secret: enough where a collision only forgives.
  private func tag(_ source: Source) -> UInt64 {
    var hash = source.prefix ^ seed ^ (source.isIPv6 ? 0x9E37_79B9_7F4A_7C15 : 0)
    for _ in 0..<2 {
      hash = (hash ^ hash >> 33) &* 0xFF51_AFD7_ED55_8CCD
      hash = (hash ^ hash >> 33) &* 0xC4CE_B9FE_1A85_EC53
      hash = (hash ^ hash >> 33) &+ seed
    }
    return hash | 1
  }
}
