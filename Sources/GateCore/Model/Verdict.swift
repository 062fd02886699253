/// What the gateway decided about one fix; the raw value is `VerdictCode` of proto/fixgate.proto and never changes.
package enum Verdict: UInt16, CaseIterable, Sendable {
  case accepted = 0

  // Corrected and stored; the value as sent is kept beside it.
  case longitudeWrapped = 1
  case courseWrapped = 2
  /// An optional value outside its range was taken as unknown.
  case valueDropped = 3

  // Stored with a flag.
  case nullIsland = 20

  // Held: durable in quarantine, not in the track.
  case latitudeOutOfRange = 40
  case future = 42
  /// Before GPS time began, 1980-01-06.
  case ancient = 43
  case noTime = 44
  /// Neither a position nor an event.
  case noPosition = 45

  package enum Outcome: Sendable { case stored, held, refused }

  package var outcome: Outcome {
    switch rawValue {
    case 0..<40: .stored
    case 40..<60: .held
    default: .refused
    }
  }
}
