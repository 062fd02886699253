public import GateCore

/// The limiters of all devices, tenants and the gateway itself: one word each, shared by the workers, changed by compare and
/// swap. Three words a device: one a lane.
@usableFromInline package final class LimiterTable: Sendable {
  @usableFromInline package struct Settings: Sendable {
    /// By lane: live, backlog, panic.
    @usableFromInline package var lanes: InlineArray<3, GCRA>
    /// Ceilings over all lanes but panic; `nil` = none.
    @usableFromInline package var tenant: GCRA?
    @usableFromInline package var gateway: GCRA?

    package init(lanes: InlineArray<3, GCRA>, tenant: GCRA? = nil, gateway: GCRA? = nil) {
      self.lanes = lanes
      self.tenant = tenant
      self.gateway = gateway
    }
  }

  @usableFromInline package enum Decision: Equatable, Sendable {
    case granted
    /// `nil`: the charge is larger than a burst and never will be granted.
    case limited(retryAfterNs: UInt64?)
  }

  @usableFromInline let settings: Settings
  @usableFromInline let devices: AtomicWords
  private let tenants: AtomicWords
  private let gateway = AtomicWords(count: 1)

  @inlinable static var panicLane: Int { 2 }

  /// - Parameters:
  ///   - devices, tenants: highest index of each.
  package init(settings: Settings, devices: Int, tenants: Int) {
    self.settings = settings
    self.devices = AtomicWords(count: (devices + 1) * 3)
    self.tenants = AtomicWords(count: tenants + 1)
  }

  /// Whether there are words for this device and tenant.
  package func covers(device: UInt32, tenant: UInt32) -> Bool {
    (Int(device) + 1) * 3 <= devices.count && Int(tenant) < tenants.count
  }

  /// Charges fixes to the device's lane, its tenant and the gateway; all of it or nothing.
  @inlinable @inline(__always)
  package func charge(device: UInt32, tenant: UInt32, lane: Int, units: Int, at now: Instant) -> Decision {
    let index = Int(device) * 3 + lane
    if case .limited(let retry) = charge(settings.lanes[lane], devices, index, units, now) {
      return .limited(retryAfterNs: retry)
    }
    guard lane != LimiterTable.panicLane, settings.tenant != nil || settings.gateway != nil else { return .granted }
    return chargeCeilings(device: device, tenant: tenant, lane: lane, units: units, at: now)
  }

  /// Behind the device's own word, which gets its charge back where a ceiling does not grant it.
  @inline(never) @usableFromInline
  func chargeCeilings(device: UInt32, tenant: UInt32, lane: Int, units: Int, at now: Instant) -> Decision {
    let index = Int(device) * 3 + lane
    if let ceiling = settings.tenant, case .limited(let retry) = charge(ceiling, tenants, Int(tenant), units, now) {
      refund(settings.lanes[lane], devices, index, units)
      return .limited(retryAfterNs: retry)
    }
    if let ceiling = settings.gateway, case .limited(let retry) = charge(ceiling, gateway, 0, units, now) {
      refund(settings.lanes[lane], devices, index, units)
      if let ceiling = settings.tenant { refund(ceiling, tenants, Int(tenant), units) }
      return .limited(retryAfterNs: retry)
    }
    return .granted
  }

  /// Whether `charge` would be granted, without charging.
  package func weigh(device: UInt32, tenant: UInt32, lane: Int, units: Int, at now: Instant) -> Decision {
    var decision = weigh(settings.lanes[lane], devices, Int(device) * 3 + lane, units, now)
    guard lane != LimiterTable.panicLane else { return decision }
    if decision == .granted, let ceiling = settings.tenant { decision = weigh(ceiling, tenants, Int(tenant), units, now) }
    if decision == .granted, let ceiling = settings.gateway { decision = weigh(ceiling, gateway, 0, units, now) }
    return decision
  }

  /// Gives back what duplicates were charged: a resend costs bytes, not fixes.
  package func refund(device: UInt32, lane: Int, units: Int) {
    refund(settings.lanes[lane], devices, Int(device) * 3 + lane, units)
  }

  private func weigh(_ limiter: GCRA, _ words: AtomicWords, _ index: Int, _ units: Int, _ now: Instant) -> Decision {
    switch limiter.charge(words.load(index), units: UInt64(units), at: now) {
    case .granted: .granted
    case .limited(let retry): .limited(retryAfterNs: retry)
    }
  }

  @inlinable @inline(__always)
  func charge(_ limiter: GCRA, _ words: AtomicWords, _ index: Int, _ units: Int, _ now: Instant) -> Decision {
    var word = words.load(index)
    while true {
      switch limiter.charge(word, units: UInt64(units), at: now) {
      case .limited(let retry): return .limited(retryAfterNs: retry)
      case .granted(let next):
        guard let other = words.exchange(index, expected: word, new: next) else { return .granted }
        word = other
      }
    }
  }

  private func refund(_ limiter: GCRA, _ words: AtomicWords, _ index: Int, _ units: Int) {
    var word = words.load(index)
    while let other = words.exchange(index, expected: word, new: limiter.refund(word, units: UInt64(units))) {
      word = other
    }
  }
}
