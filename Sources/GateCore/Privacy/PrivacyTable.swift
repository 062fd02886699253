/// Who carried which device when, what each tenant has promised, and who was on duty: the part of a `RegistrySnapshot` that
/// decides about single fixes. A fix is judged by its own time, however late it comes:
/// - it belongs to whoever carried its device then;
/// - the policy that was in force then says whether it had to be on duty; the first one holds for all time before it, so that a
///   tenant that has a policy never stores by none;
/// - of its content it keeps what that policy and the newest one both take, as coarsely as the coarser of the two says;
/// - whoever has withdrawn is refused at once, whatever the time of the fix.
package struct PrivacyTable: Sendable {
  /// One entry for whoever has been assigned, by time and without overlap.
  private struct Assignment: BitwiseCopyable {
    var sinceMs: Int64
    /// Not included.
    var untilMs: Int64
    var subject: UInt32
  }

  /// Time on duty, both ends included; by time, and without overlap but for an end that is the next one's beginning.
  private struct Duty: BitwiseCopyable {
    var sinceMs: Int64
    var untilMs: Int64
  }

  private struct Rule {
    var policy: Policy
    var minimiser: Minimiser
  }

  private let assignments: Grouped<Assignment>
  private let dutiesOfSubjects: Grouped<Duty>
  private let dutiesOfDevices: Grouped<Duty>
  private let rules: Grouped<Rule>
  private let withdrawnSubjects: [Bool]
  private let withdrawnDevices: [Bool]

  private static let unset = Rule(policy: Policy(), minimiser: Minimiser(TakenFields(), gridM: 0))

  /// Gathers the content; in any order.
  struct Builder {
    private var assignments: [(owner: UInt32, element: Assignment)] = []
    private var dutiesOfSubjects: [(owner: UInt32, element: Duty)] = []
    private var dutiesOfDevices: [(owner: UInt32, element: Duty)] = []
    private var policies: [(owner: UInt32, element: Policy)] = []
    private var withdrawnSubjects: [Bool] = []
    private var withdrawnDevices: [Bool] = []

    mutating func assign(device: UInt32, subject: UInt32, sinceMs: Int64, untilMs: Int64?) {
      assignments.append((device, Assignment(sinceMs: sinceMs, untilMs: untilMs ?? .max, subject: subject)))
    }

    mutating func addDuty(of owner: DutyOwner, sinceMs: Int64, untilMs: Int64?) {
      let duty = Duty(sinceMs: sinceMs, untilMs: untilMs ?? .max)
      switch owner {
      case .subject(let subject): dutiesOfSubjects.append((subject, duty))
      case .device(let device): dutiesOfDevices.append((device, duty))
      }
    }

    mutating func withdraw(_ owner: DutyOwner) {
      switch owner {
      case .subject(let subject): Builder.mark(&withdrawnSubjects, subject)
      case .device(let device): Builder.mark(&withdrawnDevices, device)
      }
    }

    mutating func addPolicy(_ policy: Policy, tenant: UInt32) { policies.append((tenant, policy)) }

    private static func mark(_ flags: inout [Bool], _ index: UInt32) {
      while flags.count <= Int(index) { flags.append(false) }
      flags[Int(index)] = true
    }

    consuming func build() -> PrivacyTable {
      var newest: [UInt32: Policy] = [:]
      var oldest: [UInt32: UInt32] = [:]
      for (tenant, policy) in policies {
        if policy.version > newest[tenant]?.version ?? 0 { newest[tenant] = policy }
        oldest[tenant] = min(policy.version, oldest[tenant] ?? .max)
      }
      let rules = policies.map { tenant, policy in
        var policy = policy
        if policy.version == oldest[tenant] { policy.sinceMs = .min }
        let last = newest[tenant] ?? policy
        let minimiser = Minimiser(policy.taken.intersection(last.taken), gridM: max(policy.gridM, last.gridM))
        return (owner: tenant, element: Rule(policy: policy, minimiser: minimiser))
      }
      return PrivacyTable(
        assignments: Grouped(assignments) { $0.sinceMs < $1.sinceMs },
        dutiesOfSubjects: Grouped(Builder.merged(dutiesOfSubjects)) { $0.sinceMs < $1.sinceMs },
        dutiesOfDevices: Grouped(Builder.merged(dutiesOfDevices)) { $0.sinceMs < $1.sinceMs },
        rules: Grouped(rules) { $0.policy.version < $1.policy.version }, withdrawnSubjects: withdrawnSubjects,
        withdrawnDevices: withdrawnDevices)
    }

    /// Duties that overlap become one: then the last that has begun decides.
    private static func merged(_ duties: [(owner: UInt32, element: Duty)]) -> [(owner: UInt32, element: Duty)] {
      var merged: [(owner: UInt32, element: Duty)] = []
      for duty in duties.sorted(by: { ($0.owner, $0.element.sinceMs) < ($1.owner, $1.element.sinceMs) }) {
        if let last = merged.last, last.owner == duty.owner, last.element.untilMs > duty.element.sinceMs {
          merged[merged.count - 1].element.untilMs = max(last.element.untilMs, duty.element.untilMs)
        } else {
          merged.append(duty)
        }
      }
      return merged
    }
  }

  private init(
    assignments: Grouped<Assignment>, dutiesOfSubjects: Grouped<Duty>, dutiesOfDevices: Grouped<Duty>,
    rules: Grouped<Rule>, withdrawnSubjects: [Bool], withdrawnDevices: [Bool]
  ) {
    self.assignments = assignments
    self.dutiesOfSubjects = dutiesOfSubjects
    self.dutiesOfDevices = dutiesOfDevices
    self.rules = rules
    self.withdrawnSubjects = withdrawnSubjects
    self.withdrawnDevices = withdrawnDevices
  }

  // MARK: Single fixes

  /// Says whose a normalised fix is, refuses it or takes less of it. Allocates nothing.
  /// - Parameters:
  ///   - record: tenant, device and kind are set.
  ///   - bytes: what its regions are positions in.
  ///   - kept: at least `Minimiser.keptBytesMax`; what they are positions in afterwards.
  /// - Returns: number of fields and attributes that were left out.
  package func apply(
    to record: inout Record, from bytes: Span<UInt8>, keeping kept: inout MutableSpan<UInt8>
  ) -> Int {
    let timeMs = record.fix.present.contains(.time) ? record.fix.fixTimeMs : nil
    record.subject = subject(ofDevice: record.device, at: timeMs)
    guard let index = rule(ofTenant: record.tenant, at: timeMs) else {
      if isWithdrawn(record.device, record.subject) {
        record.refuse(.withdrawn)
        return 0
      }
      return PrivacyTable.unset.minimiser.minimise(&record, from: bytes, keeping: &kept)
    }
    record.policyVersion = rules.elements[index].policy.version
    if let refusal = refusal(of: record, at: timeMs, index) {
      record.refuse(refusal)
      return 0
    }
    return rules.elements[index].minimiser.minimise(&record, from: bytes, keeping: &kept)
  }

  private func refusal(of record: borrowing Record, at timeMs: Int64?, _ rule: Int) -> Verdict? {
    if isWithdrawn(record.device, record.subject) { return .withdrawn }
    if rules.elements[rule].policy.duty == .always { return nil }
    if rules.elements[rule].policy.sosOffDuty, record.fix[.event] == 1 { return nil }
    guard let timeMs, isOnDuty(record.device, record.subject, at: timeMs, rule) else { return .offDuty }
    return nil
  }

  private func isOnDuty(_ device: UInt32, _ subject: UInt32, at timeMs: Int64, _ rule: Int) -> Bool {
    switch rules.elements[rule].policy.duty {
    case .always: true
    case .calendar: rules.elements[rule].policy.calendar.isOpen(at: timeMs)
    case .shift: isInShift(.device(device), at: timeMs) || subject != 0 && isInShift(.subject(subject), at: timeMs)
    }
  }

  private func isInShift(_ owner: DutyOwner, at timeMs: Int64) -> Bool {
    guard let untilMs = endOfShift(owner, begunBy: timeMs) else { return false }
    return timeMs <= untilMs
  }

  /// End of the last shift that has begun by then, `.max` = open; `nil` = none has.
  private func endOfShift(_ owner: DutyOwner, begunBy timeMs: Int64) -> Int64? {
    switch owner {
    case .subject(let subject):
      dutiesOfSubjects.last(of: subject) { $0.sinceMs <= timeMs }.map { dutiesOfSubjects.elements[$0].untilMs }
    case .device(let device):
      dutiesOfDevices.last(of: device) { $0.sinceMs <= timeMs }.map { dutiesOfDevices.elements[$0].untilMs }
    }
  }

  /// Whether as many shifts are held as may be, and all of them began later: one more of then would not be held either.
  private func isForgotten(_ owner: DutyOwner, at timeMs: Int64) -> Bool {
    guard endOfShift(owner, begunBy: timeMs) == nil else { return false }
    return switch owner {
    case .subject(let subject): dutiesOfSubjects.count(of: subject) >= Limits.dutiesMax
    case .device(let device): dutiesOfDevices.count(of: device) >= Limits.dutiesMax
    }
  }

  /// Who carried the device then, or now where the time is not known; 0 = nobody known.
  package func subject(ofDevice device: UInt32, at timeMs: Int64?) -> UInt32 {
    guard let last = assignments.last(of: device, where: { $0.sinceMs <= timeMs ?? .max }) else { return 0 }
    return timeMs ?? (.max - 1) < assignments.elements[last].untilMs ? assignments.elements[last].subject : 0
  }

  /// The tenant's policy then, or the newest where the time is not known; `nil` = there was none.
  private func rule(ofTenant tenant: UInt32, at timeMs: Int64?) -> Int? {
    rules.last(of: tenant) { $0.policy.sinceMs <= timeMs ?? .max }
  }

  private func isWithdrawn(_ device: UInt32, _ subject: UInt32) -> Bool {
    Int(device) < withdrawnDevices.count && withdrawnDevices[Int(device)]
      || Int(subject) < withdrawnSubjects.count && withdrawnSubjects[Int(subject)]
  }

  // MARK: Devices

  /// The newest policy of a tenant, or what holds without one.
  package func policy(ofTenant tenant: UInt32) -> Policy {
    rule(ofTenant: tenant, at: nil).map { rules.elements[$0].policy } ?? PrivacyTable.unset.policy
  }

  /// Whether whoever carries the device may not be followed now.
  package func mustStop(device: UInt32, tenant: UInt32, at wallMs: Int64) -> Bool {
    let subject = subject(ofDevice: device, at: wallMs)
    if isWithdrawn(device, subject) { return true }
    guard let rule = rule(ofTenant: tenant, at: wallMs) else { return false }
    return !isOnDuty(device, subject, at: wallMs, rule)
  }

  /// What the registry has to be told before a shift event of a device is taken; `nil` = nothing.
  ///
  /// - Parameter record: normalised, an event 6 (opened) or 7 (closed).
  package func change(by record: borrowing Record) -> ShiftChange? {
    guard record.fix.present.contains(.time), record.kind != .refused,
      let rule = rule(ofTenant: record.tenant, at: record.fix.fixTimeMs),
      rules.elements[rule].policy.duty == .shift, rules.elements[rule].policy.deviceShifts
    else { return nil }
    let timeMs = record.fix.fixTimeMs
    let subject = subject(ofDevice: record.device, at: timeMs)
    if isWithdrawn(record.device, subject) { return nil }
    let owner = subject == 0 ? DutyOwner.device(record.device) : .subject(subject)
    switch record.fix[.event] {
    case 6:
      if isInShift(owner, at: timeMs) || isForgotten(owner, at: timeMs) { return nil }
      return ShiftChange(owner: owner, opens: true, timeMs: timeMs)
    case 7:
      guard endOfShift(owner, begunBy: timeMs) == .max else { return nil }
      return ShiftChange(owner: owner, opens: false, timeMs: timeMs)
    default: return nil
    }
  }
}

/// Whose shift or withdrawal it is, by dense index.
package enum DutyOwner: Hashable, Sendable {
  case subject(UInt32)
  case device(UInt32)
}

/// What a device's event says about a shift.
package struct ShiftChange: Hashable, Sendable {
  package var owner: DutyOwner
  package var opens: Bool
  /// ms since 1970-01-01 UTC.
  package var timeMs: Int64

  package init(owner: DutyOwner, opens: Bool, timeMs: Int64) {
    self.owner = owner
    self.opens = opens
    self.timeMs = timeMs
  }
}

/// Elements of many owners in one flat array, those of each in order.
private struct Grouped<Element: Sendable>: Sendable {
  let elements: [Element]
  /// Those of owner i lie from `starts[i]` up to `starts[i + 1]`.
  private let starts: [Int32]

  init(_ pairs: [(owner: UInt32, element: Element)], inOrder: (Element, Element) -> Bool) {
    let sorted = pairs.sorted {
      $0.owner != $1.owner ? $0.owner < $1.owner : inOrder($0.element, $1.element)
    }
    elements = sorted.map(\.element)
    var starts: [Int32] = []
    for (i, pair) in sorted.enumerated() {
      while starts.count <= Int(pair.owner) { starts.append(Int32(i)) }
    }
    if !sorted.isEmpty { starts.append(Int32(sorted.count)) }
    self.starts = starts
  }

  func count(of owner: UInt32) -> Int {
    Int(owner) + 1 < starts.count ? Int(starts[Int(owner) + 1] - starts[Int(owner)]) : 0
  }

  /// The last of the owner's elements that meet a condition, which those before it meet too.
  func last(of owner: UInt32, where meets: (Element) -> Bool) -> Int? {
    guard Int(owner) + 1 < starts.count else { return nil }
    let first = Int(starts[Int(owner)])
    let index = elements.partitioningIndex(in: first..<Int(starts[Int(owner) + 1])) { !meets($0) } - 1
    return index < first ? nil : index
  }
}
