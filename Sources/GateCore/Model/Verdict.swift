/// What the gateway decided about one fix; the raw value is `VerdictCode` of proto/fixgate.proto and never changes.
package enum Verdict: UInt16, CaseIterable, Sendable {
  case accepted = 0

  // Corrected and stored; the value as sent is kept beside it.
  case longitudeWrapped = 1
  case courseWrapped = 2
  /// An optional value outside its range was taken as unknown.
  case valueDropped = 3
  /// Multiples of 1024 weeks were added to the time.
  case weekRollover = 4
  /// The time came from a device clock that is provably off, and was moved by the clock's error.
  case clockRepaired = 5

  // Stored with a flag.
  case nullIsland = 20
  /// From cells or wifi.
  case approximate = 21
  /// A mock location.
  case simulated = 22
  /// A position, though the receiver says that it has none: often the last one again.
  case receiverInvalid = 23
  /// Looks 1024 weeks old, and nothing proves it.
  case rolloverSuspected = 24
  /// The same coordinates to the last digit while moving.
  case frozen = 25
  /// Further from the fixes around it than anything of its class travels.
  case teleport = 26

  // Held: durable in quarantine, not in the track.
  case latitudeOutOfRange = 40
  case future = 42
  /// Before GPS time began, 1980-01-06.
  case ancient = 43
  case noTime = 44
  /// Neither a position nor an event.
  case noPosition = 45

  // What 20 to 26 flag, where the operator wants it held.
  case heldNullIsland = 50
  case heldApproximate = 51
  case heldSimulated = 52
  case heldReceiverInvalid = 53
  case heldRolloverSuspected = 54
  case heldFrozen = 55
  case heldTeleport = 56

  // Refused for the sake of privacy: durable as code and sequence, and as nothing else.
  /// Outside the hours in which the tenant may follow who carries the device.
  case offDuty = 60
  /// Consent is withdrawn, or the legal ground has ended.
  case withdrawn = 61
  /// What the subject did at that time was erased.
  case erased = 62

  package enum Outcome: Sendable { case stored, held, refused }

  package var outcome: Outcome {
    switch rawValue {
    case 0..<40: .stored
    case 40..<60: .held
    default: .refused
    }
  }

  /// Between the code of a flag and that of the same finding where it is held.
  package static let heldOffset: UInt16 = 30
}

/// What is done about a fix that is not plausible.
package enum RuleAction: String, CaseIterable, Sendable {
  /// The rule does not run.
  case off
  /// The fix is stored, and its verdict says what was found.
  case flag
  /// The fix goes to quarantine.
  case hold

  /// - Parameter finding: one of the flags, 20 to 39.
  /// - Returns: `nil` where the rule does not run.
  package func verdict(_ finding: Verdict) -> Verdict? {
    switch self {
    case .off: nil
    case .flag: finding
    case .hold: Verdict(rawValue: finding.rawValue + Verdict.heldOffset)
    }
  }
}
