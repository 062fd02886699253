/// A position in the bytes of the frame that is being read. Valid only while those bytes lie where they were decoded.
package struct Region: Equatable, Sendable, BitwiseCopyable {
  package var offset: UInt32
  package var length: UInt32

  package init(offset: UInt32 = 0, length: UInt32 = 0) {
    self.offset = offset
    self.length = length
  }

  package var isEmpty: Bool { length == 0 }
  package var range: Range<Int> { Int(offset)..<Int(offset) + Int(length) }
}

/// An optional 32-bit value of a fix. The raw value is its field number in `Fix` and `FixBatch` (proto/fixgate.proto);
/// the unit is part of the name. Unsigned fields are kept as the bit pattern of an `Int32`.
package enum Column: UInt8, CaseIterable, Sendable {
  case horizontalAccuracyDm = 5
  case speedCmPerS, courseCdeg, batteryPercent
  case altitudeEllipsoidDm, altitudeMslDm, verticalAccuracyDm
  case speedAccuracyCmPerS, courseAccuracyCdeg
  case satellitesUsed, hdopTenths
  case fixMode, source, trigger, event, priority
  case flagsKnown, flags, activity, charging
  case externalPowerMv, odometerM, connectivity, signalDbm

  package static let first = 5
  package static let count = 24

  /// Position in `Fix.values`, and the column's bit in `FixFields`.
  package var index: Int { Int(rawValue) &- Column.first }
}

/// Which optional parts of a fix are known.
package struct FixFields: OptionSet, Sendable, BitwiseCopyable, Hashable {
  package let rawValue: UInt32
  package init(rawValue: UInt32) { self.rawValue = rawValue }
  package init(_ column: Column) { rawValue = 1 &<< UInt32(column.index) }

  package static let monotonic = FixFields(rawValue: 1 &<< 24)
  package static let position = FixFields(rawValue: 1 &<< 25)
  package static let time = FixFields(rawValue: 1 &<< 26)

  /// The bits that stand for a `Column`.
  package static let columns = FixFields(rawValue: (1 &<< 24) - 1)
}

/// One location fix as a device reported it, before or after normalising. 152 bytes, no references.
package struct Fix: Sendable, BitwiseCopyable {
  /// Counts the device's fixes in the order they were recorded; 1 to 2^62.
  package var sequence: UInt64 = 0
  /// GNSS time in ms since 1970-01-01 UTC. Meaningless unless `present` has `.time`.
  package var fixTimeMs: Int64 = 0
  /// Time since the device started, in ms. Meaningless unless `present` has `.monotonic`.
  package var monotonicMs: UInt64 = 0
  /// WGS 84, 1e-7 degree. Meaningless unless `present` has `.position`.
  package var latitudeE7: Int32 = 0
  package var longitudeE7: Int32 = 0
  package var present: FixFields = []
  /// One value a column, by `Column.index`; 0 where `present` lacks the column.
  package var values = InlineArray<24, Int32>(repeating: 0)
  /// The part of the frame that holds the fix's `Attribute` entries (fields numbered 31; others in it are skipped).
  package var attributes = Region()
  /// The part of the frame that holds the fix's `Work` entries (fields numbered 30; others in it are skipped).
  package var work = Region()

  package init() {}

  package subscript(column: Column) -> Int32? {
    get { present.contains(FixFields(column)) ? values[column.index] : nil }
    set {
      values[column.index] = newValue ?? 0
      if newValue == nil { present.remove(FixFields(column)) } else { present.insert(FixFields(column)) }
    }
  }
}
