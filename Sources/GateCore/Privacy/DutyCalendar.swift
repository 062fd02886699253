/// Hours of duty by the wall clock of a time zone: slots of a week, and days that have hours of their own. Needs no library for
/// zones: whoever makes it looks up the zone's offsets. Bounds are in `Limits`.
package struct DutyCalendar: Equatable, Sendable {
  /// Minutes of a week from Monday 00:00, the end not included; within one day.
  package struct Slot: Equatable, Sendable, BitwiseCopyable {
    package var firstMinute: Int32
    package var endMinute: Int32
    package init(firstMinute: Int32, endMinute: Int32) {
      self.firstMinute = firstMinute
      self.endMinute = endMinute
    }
  }

  /// Hours of one date, in place of the week's. A day off has one entry of no length; a day may have several.
  package struct Day: Equatable, Sendable, BitwiseCopyable {
    /// Days since 1970-01-01.
    package var day: Int32
    /// Minutes of the day, the end not included.
    package var firstMinute: Int32
    package var endMinute: Int32
    package init(day: Int32, firstMinute: Int32, endMinute: Int32) {
      self.day = day
      self.firstMinute = firstMinute
      self.endMinute = endMinute
    }
  }

  /// The zone's offset from UTC from one moment on.
  package struct Offset: Equatable, Sendable, BitwiseCopyable {
    package var sinceMs: Int64
    package var offsetS: Int32
    package init(sinceMs: Int64, offsetS: Int32) {
      self.sinceMs = sinceMs
      self.offsetS = offsetS
    }
  }

  /// Name in the IANA database, for people.
  package let zone: String
  package let slots: [Slot]
  package let days: [Day]
  /// By time; the first holds before its own time as well.
  package let offsets: [Offset]

  package static let minutesOfDay: Int32 = 1_440

  /// Nothing is open: no slots.
  package init() { self.init(zone: "UTC", slots: [], days: [], offsets: []) }

  /// In any order; slots of one day must not overlap, nor must hours of one date.
  package init(zone: String, slots: [Slot], days: [Day], offsets: [Offset]) {
    self.zone = zone
    self.slots = slots.sorted { $0.firstMinute < $1.firstMinute }
    self.days = days.sorted { ($0.day, $0.firstMinute) < ($1.day, $1.firstMinute) }
    self.offsets = offsets.sorted { $0.sinceMs < $1.sinceMs }
  }

  /// - Parameter ms: since 1970-01-01 UTC.
  package func isOpen(at ms: Int64) -> Bool {
    // Beyond 100,000 years there is nothing to know, and sums below cannot overflow.
    guard ms.magnitude < 1 << 52 else { return false }
    let index = max(offsets.partitioningIndex { $0.sinceMs > ms } - 1, 0)
    let localMs = ms + (offsets.isEmpty ? 0 : Int64(offsets[index].offsetS) * 1_000)
    let minutes = floorDivide(localMs, 60_000)
    let day = floorDivide(minutes, Int64(DutyCalendar.minutesOfDay))
    let minute = Int32(minutes - day * Int64(DutyCalendar.minutesOfDay))
    let exceptions = days.partitioningIndex { $0.day >= day }
    if exceptions < days.count, days[exceptions].day == day {
      var i = exceptions
      while i < days.count, days[i].day == day {
        if (days[i].firstMinute..<days[i].endMinute).contains(minute) { return true }
        i += 1
      }
      return false
    }
    // 1970-01-01 was a Thursday.
    let weekday = day + 3 - 7 * floorDivide(day + 3, 7)
    let ofWeek = Int32(weekday) * DutyCalendar.minutesOfDay + minute
    let slot = slots.partitioningIndex { $0.endMinute > ofWeek }
    return slot < slots.count && slots[slot].firstMinute <= ofWeek
  }
}

/// Rounds down, below zero too. `divisor` is positive.
func floorDivide(_ value: Int64, _ divisor: Int64) -> Int64 {
  let (quotient, rest) = value.quotientAndRemainder(dividingBy: divisor)
  return rest < 0 ? quotient - 1 : quotient
}
