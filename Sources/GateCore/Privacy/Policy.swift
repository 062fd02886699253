/// What a tenant has promised its people about their positions, as one version. A change is a new version; all are kept.
package struct Policy: Equatable, Sendable {
  package enum Duty: UInt8, CaseIterable, Sendable {
    case always = 0
    /// From one that opens a shift to one that closes it: the dispatcher, or the device by an event.
    case shift = 1
    /// In the slots of a week.
    case calendar = 2
  }

  /// From 1; 0 = none, what holds for a tenant that has set none.
  package var version: UInt32 = 0
  /// In force for fixes from this time on, ms since 1970-01-01 UTC; the first version for older ones as well.
  package var sinceMs: Int64 = .min
  package var duty = Duty.always
  package var calendar = DutyCalendar()
  /// Whether a device's own events open and close shifts.
  package var deviceShifts = false
  /// Whether an SOS is taken, with its position, at any time.
  package var sosOffDuty = false
  package var taken = TakenFields()
  /// Side of the cells that positions are moved to the middle of, in m; 0 = positions as they are.
  package var gridM: UInt16 = 0
  package var retention = Retention()

  package init() {}

  /// Days after which each kind of datum goes; `nil` = kept, 0 = never stored.
  package struct Retention: Equatable, Sendable {
    package var positionsDays: Int?
    package var eventsDays: Int?
    package var quarantineDays: Int?
    package var journalDays: Int?

    package init() {}
  }
}

/// What of a fix is taken beside its sequence, time and position.
package struct TakenFields: Equatable, Sendable {
  /// Columns and `.monotonic`.
  package var columns: FixFields = TakenFields.allColumns
  package var attributes = AttributeRule()
  /// Task, stop, and the subject as the device names it.
  package var work = true

  package static let allColumns = FixFields.columns.union(.monotonic)

  package init() {}

  /// What both take.
  package func intersection(_ other: TakenFields) -> TakenFields {
    var both = TakenFields()
    both.columns = columns.intersection(other.columns)
    both.attributes = attributes.intersection(other.attributes)
    both.work = work && other.work
    return both
  }
}

/// Which attributes are taken, by their ids in proto/README.
package struct AttributeRule: Equatable, Sendable {
  /// Ascending, at most `Limits.policyAttributesMax`.
  package private(set) var ids: [UInt32]
  /// Nothing but `ids` is taken; otherwise all but `ids`.
  package let onlyListed: Bool

  /// Cells, wifi access points, Bluetooth beacons: they locate people past the receiver, and third parties too.
  package static let offByDefault: [UInt32] = [20, 21, 22]
  /// Latitude and longitude before snapping to a road: a position beside the position.
  package static let positions: [UInt32] = [25, 26]

  package init(allBut ids: [UInt32] = AttributeRule.offByDefault) {
    self.ids = Set(ids).sorted()
    onlyListed = false
  }

  package init(only ids: [UInt32]) {
    self.ids = Set(ids).sorted()
    onlyListed = true
  }

  package func takes(_ id: UInt32) -> Bool {
    let index = ids.partitioningIndex { $0 >= id }
    return (index < ids.count && ids[index] == id) == onlyListed
  }

  package func intersection(_ other: AttributeRule) -> AttributeRule {
    switch (onlyListed, other.onlyListed) {
    case (true, _): AttributeRule(only: ids.filter(other.takes))
    case (_, true): AttributeRule(only: other.ids.filter(takes))
    case (false, false): AttributeRule(allBut: ids + other.ids)
    }
  }
}

extension Array {
  /// First index whose element meets the condition, where all behind it do too; `count` if none does. Binary search.
  func partitioningIndex(_ meets: (Element) -> Bool) -> Int { partitioningIndex(in: 0..<count, meets) }

  func partitioningIndex(in range: Range<Int>, _ meets: (Element) -> Bool) -> Int {
    var (low, high) = (range.lowerBound, range.upperBound)
    while low < high {
      let middle = (low &+ high) &>> 1
      if meets(self[middle]) { high = middle } else { low = middle &+ 1 }
    }
    return low
  }
}
