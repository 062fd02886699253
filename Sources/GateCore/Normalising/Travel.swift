/// Where and when a device was, as far as judging the next fix needs it. 24 bytes.
package struct Sighting: Equatable, Sendable, BitwiseCopyable {
  package var fixTimeMs: Int64
  package var latitudeE7: Int32
  package var longitudeE7: Int32
  /// Radius of 68 % confidence; where the device does not say it, one that is usual for the source.
  package var accuracyDm: UInt32
  /// The device says that it moves.
  package var isMoving: Bool
  package var isBacklog: Bool

  package init(
    fixTimeMs: Int64, latitudeE7: Int32, longitudeE7: Int32, accuracyDm: UInt32, isMoving: Bool = false,
    isBacklog: Bool = false
  ) {
    self.fixTimeMs = fixTimeMs
    self.latitudeE7 = latitudeE7
    self.longitudeE7 = longitudeE7
    self.accuracyDm = accuracyDm
    self.isMoving = isMoving
    self.isBacklog = isBacklog
  }

  private static let accuracyUnknownDm: UInt32 = 500
  private static let accuracyOfCellsDm: UInt32 = 50_000
  private static let movingCmPerS: Int32 = 200

  /// What a journal record says, read where it lies.
  /// - Returns: `nil` where it says nothing about the journey: no position or time, one that is known to be wrong, or a fix
  ///   that is held for another reason than its journey.
  package init?(_ bytes: Span<UInt8>, at: Int) {
    let present = FixFields(rawValue: bytes.load32(at: at + 56))
    func value(_ column: Column) -> Int32? { Record.value(of: column, present, in: bytes, at: at) }
    self.init(
      kind: RecordKind(rawValue: bytes[at + 4]), code: bytes.load16(at: at + 6), present: present,
      fixTimeMs: Int64(bitPattern: bytes.load64(at: at + 40)), latitudeE7: Int32(bitPattern: bytes.load32(at: at + 48)),
      longitudeE7: Int32(bitPattern: bytes.load32(at: at + 52)), lane: bytes[at + 68],
      gridM: bytes.load16(at: at + 70), value)
  }

  package init?(_ record: Record) {
    self.init(
      kind: record.kind, code: record.code, present: record.fix.present, fixTimeMs: record.fix.fixTimeMs,
      latitudeE7: record.fix.latitudeE7, longitudeE7: record.fix.longitudeE7, lane: record.lane,
      gridM: record.gridM
    ) { record.fix[$0] }
  }

  @inline(__always)
  private init?(
    kind: RecordKind?, code: UInt16, present: FixFields, fixTimeMs: Int64, latitudeE7: Int32, longitudeE7: Int32,
    lane: UInt8, gridM: UInt16, _ value: (Column) -> Int32?
  ) {
    switch kind {
    case .fix: if code == Verdict.receiverInvalid.rawValue || code == Verdict.rolloverSuspected.rawValue { return nil }
    case .held: if code != Verdict.heldFrozen.rawValue && code != Verdict.heldTeleport.rawValue { return nil }
    default: return nil
    }
    guard present.contains([.position, .time]), latitudeE7 != 0 || longitudeE7 != 0 else { return nil }
    self.fixTimeMs = fixTimeMs
    self.latitudeE7 = latitudeE7
    self.longitudeE7 = longitudeE7
    if let accuracy = value(.horizontalAccuracyDm) {
      accuracyDm = UInt32(bitPattern: accuracy)
    } else {
      accuracyDm = value(.source) == 2 ? Sighting.accuracyOfCellsDm : Sighting.accuracyUnknownDm
    }
    let saysMoving = (value(.flagsKnown) ?? 0) & (value(.flags) ?? 0) & 1 << 4 != 0
    // Within a cell all places are one: it says nothing about the receiver when they repeat.
    isMoving = gridM == 0 && (saysMoving || (value(.speedCmPerS) ?? 0) >= Sighting.movingCmPerS)
    isBacklog = lane == 1
  }
}

extension Record {
  /// One column of an encoded record.
  fileprivate static func value(
    of column: Column, _ present: FixFields, in bytes: Span<UInt8>, at: Int
  ) -> Int32? {
    let bit = FixFields(column).rawValue
    guard present.rawValue & bit != 0 else { return nil }
    let before = (present.rawValue & FixFields.columns.rawValue & (bit &- 1)).nonzeroBitCount
    let start = at + headerBytes + (present.contains(.monotonic) ? 8 : 0) + 4 * before
    return Int32(bitPattern: bytes.load32(at: start))
  }
}

/// One lane's journey of a device. What it becomes depends on records alone and not on settings, so that a replay of the
/// journal leads to the same state.
package struct Leg: Equatable, Sendable, BitwiseCopyable {
  /// The last fix that fits the journey.
  package var anchor: Sighting?
  /// A fix behind it that does not fit: an outlier, or where the journey goes on.
  package var outlier: Sighting?
  /// Times that the last coordinates have come again, to the last digit, while moving.
  package var repeats: UInt32 = 0
  /// Whose journey it is; 0 = nobody carries the device.
  package var subject: UInt32

  package init(subject: UInt32 = 0) { self.subject = subject }

  package func isRepeat(_ sighting: Sighting) -> Bool {
    guard sighting.isMoving, let last = outlier ?? anchor else { return false }
    return last.latitudeE7 == sighting.latitudeE7 && last.longitudeE7 == sighting.longitudeE7
  }

  package mutating func advance(_ sighting: Sighting, isTeleport: Bool) {
    let isRepeat = isRepeat(sighting)
    var sighting = sighting
    sighting.isMoving = false  // of no use later, and not in the checkpoint
    if isRepeat {
      // The receiver stands still and time goes on: the place is as old as its first report.
      repeats &+= repeats == .max ? 0 : 1
    } else if isTeleport {
      repeats = 0
      outlier = sighting
    } else {
      repeats = 0
      anchor = sighting
      outlier = nil
    }
  }
}

/// A device's journey: what is sent live, and what it delivers later. The two are at different times and places, each in an
/// order of its own.
package struct Travel: Equatable, Sendable, BitwiseCopyable {
  package var live: Leg
  package var backlog: Leg

  package init(live: Leg = Leg(), backlog: Leg = Leg()) {
    self.live = live
    self.backlog = backlog
  }

  /// The journey that the sighting goes on with.
  package func leg(of sighting: Sighting, carriedBy subject: UInt32) -> Leg {
    let leg = sighting.isBacklog ? backlog : live
    return leg.subject == subject ? leg : Leg(subject: subject)
  }

  package mutating func advance(_ sighting: Sighting, carriedBy subject: UInt32, isTeleport: Bool) {
    var leg = leg(of: sighting, carriedBy: subject)
    leg.advance(sighting, isTeleport: isTeleport)
    if sighting.isBacklog { backlog = leg } else { live = leg }
  }

  /// Takes a record whose verdict is known: the journal's, at a start.
  package mutating func replay(_ record: Record) {
    guard let sighting = Sighting(record) else { return }
    advance(sighting, carriedBy: record.subject, isTeleport: Judge.isTeleport(record.code))
  }
}
