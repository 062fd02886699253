/// The stateful rules: what a fix says beside those before it. Runs in the sequencer, on fixes that are no duplicates, and
/// before they are durable, so that its verdict is in the journal and in the ack.
///
/// A fix is compared with the one that came before it in its lane, whichever of the two is older: order does not matter, and
/// a backlog that arrives beside live fixes is not a row of jumps. In other hands a device begins a new journey: nobody is judged
/// by where another was. Versioned as `Normaliser` is: this is version 2.
package struct Judge: Sendable {
  package static let version = 2

  private let frozen: Verdict?
  private let frozenRepeats: UInt32
  private let teleport: Verdict?
  private let limitMPerS: Double

  package init(_ rules: NormalisingRules) {
    frozen = rules.frozen.verdict(.frozen)
    frozenRepeats = UInt32(clamping: rules.frozenRepeats)
    teleport = rules.teleport.verdict(.teleport)
    limitMPerS = rules.speedClass.limitMPerS
  }

  package static func isTeleport(_ code: UInt16) -> Bool {
    code == Verdict.teleport.rawValue || code == Verdict.heldTeleport.rawValue
  }

  /// Judges a new record of the track and takes it into the device's journey. Allocates nothing.
  /// - Parameter at: where the record begins in `bytes`.
  /// - Returns: a verdict above the record's own, or `nil`.
  package func judge(_ bytes: Span<UInt8>, at: Int, in travel: inout Travel) -> Verdict? {
    guard let sighting = Sighting(bytes, at: at) else { return nil }
    let subject = bytes.load32(at: at + Record.subjectOffset)
    let finding = examine(sighting, after: travel.leg(of: sighting, carriedBy: subject))
    travel.advance(sighting, carriedBy: subject, isTeleport: finding.map { Judge.isTeleport($0.rawValue) } ?? false)
    guard let finding, finding.rawValue > bytes.load16(at: at + 6) else { return nil }
    return finding
  }

  package func examine(_ sighting: Sighting, after leg: Leg) -> Verdict? {
    if let frozen, leg.isRepeat(sighting), leg.repeats + 1 >= frozenRepeats { return frozen }
    guard let teleport, let anchor = leg.anchor, !isReachable(sighting, from: anchor) else { return nil }
    // Two in a row that fit each other are a journey that goes on elsewhere; only its first fix was a jump.
    if let outlier = leg.outlier, isReachable(sighting, from: outlier) { return nil }
    return teleport
  }

  /// Whether the class's speed leads from one to the other, each anywhere within twice its accuracy: all but a few percent of
  /// honest fixes lie in there. Times are of whole seconds with many devices, so one second is the least that passes.
  func isReachable(_ a: Sighting, from b: Sighting) -> Bool {
    let (difference, overflow) = a.fixTimeMs.subtractingReportingOverflow(b.fixTimeMs)
    if overflow { return true }
    let seconds = max(Double(difference.magnitude) / 1_000, 1)
    let reachM = limitMPerS * seconds + 0.2 * (Double(a.accuracyDm) + Double(b.accuracyDm))
    // Along parallel and meridian it is never shorter than straight: the usual fix needs no more than this.
    let latitudeE7 = abs(Int64(a.latitudeE7) - Int64(b.latitudeE7))
    let longitudeE7 = abs(Int64(a.longitudeE7) - Int64(b.longitudeE7))
    if Double(latitudeE7 + longitudeE7) * Earth.metresPerE7 <= reachM { return true }
    return Earth.chordM(a.latitudeE7, a.longitudeE7, b.latitudeE7, b.longitudeE7) <= reachM
  }
}

/// The sphere, without a library: GateCore has none.
package enum Earth {
  static let radiusM = 6_371_000.0
  static let metresPerE7 = radiusM * .pi / 180 / 1e7

  /// Straight line through the globe in metres, never longer than the way along the surface: at 1,000 km by 0.1 percent.
  /// Haversine, so that small distances lose no digits.
  package static func chordM(_ latitude1: Int32, _ longitude1: Int32, _ latitude2: Int32, _ longitude2: Int32) -> Double {
    let perE7 = Double.pi / 180 / 1e7
    var across = abs(Int64(longitude1) - Int64(longitude2))
    if across > 1_800_000_000 { across = 3_600_000_000 - across }
    let up = sine(Double(Int64(latitude1) - Int64(latitude2)) * perE7 / 2)
    let side = sine(Double(across) * perE7 / 2)
    let squared = up * up + cosine(Double(latitude1) * perE7) * cosine(Double(latitude2) * perE7) * side * side
    return 2 * radiusM * squared.squareRoot()
  }

  /// For -pi/2 to pi/2: Taylor's series up to x^13, off by less than 1e-9.
  private static func sine(_ x: Double) -> Double {
    let s = x * x
    return x
      * (1 - s / 6 * (1 - s / 20 * (1 - s / 42 * (1 - s / 72 * (1 - s / 110 * (1 - s / 156))))))
  }

  /// For -pi/2 to pi/2.
  static func cosine(_ x: Double) -> Double { sine(Double.pi / 2 - abs(x)) }
}
