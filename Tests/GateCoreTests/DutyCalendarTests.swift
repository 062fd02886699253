import GateCore
import Testing

@Suite struct DutyCalendarTests {
  private static let hour: Int64 = 3_600_000
  /// 2024-02-29T18:00:00Z, when Almaty went from UTC+6 to UTC+5.
  private static let almatyMs: Int64 = 1_709_229_600_000
  /// Monday, 2024-03-04T00:00:00Z.
  private static let mondayMs: Int64 = 1_709_510_400_000

  private static func slot(_ weekday: Int32, _ first: Int32, _ end: Int32) -> DutyCalendar.Slot {
    DutyCalendar.Slot(firstMinute: weekday * 1_440 + first * 60, endMinute: weekday * 1_440 + end * 60)
  }

  /// Monday to Friday 9 to 18, Saturday 10 to 12.
  private static let week = (0..<5).map { slot($0, 9, 18) } + [slot(5, 10, 12)]

  private static func calendar(_ days: [DutyCalendar.Day] = [], _ offsets: [DutyCalendar.Offset] = []) -> DutyCalendar {
    DutyCalendar(zone: "", slots: week, days: days, offsets: offsets)
  }

  @Test(arguments: [
    (9 * hour, true), (9 * hour - 1, false), (18 * hour - 1, true), (18 * hour, false), (0, false),
    (5 * 24 * hour + 11 * hour, true), (5 * 24 * hour + 12 * hour, false), (6 * 24 * hour + 11 * hour, false),
    (7 * 24 * hour + 9 * hour, true), (-7 * 24 * hour + 9 * hour, true), (-24 * hour + 11 * hour, false),
  ] as [(Int64, Bool)])
  func aWeekHasItsSlots(offsetMs: Int64, isOpen: Bool) {
    #expect(Self.calendar().isOpen(at: Self.mondayMs + offsetMs) == isOpen)
    // 2,000 weeks earlier, before 1970, it is the same.
    #expect(Self.calendar().isOpen(at: Self.mondayMs + offsetMs - 2_900 * 7 * 24 * Self.hour) == isOpen)
  }

  @Test func aDateHasHoursOfItsOwn() {
    let monday = Int32(Self.mondayMs / 86_400_000)
    let calendar = Self.calendar([
      .init(day: monday, firstMinute: 0, endMinute: 0), .init(day: monday + 6, firstMinute: 14 * 60, endMinute: 16 * 60),
      .init(day: monday + 6, firstMinute: 0, endMinute: 60),
    ])
    #expect(!calendar.isOpen(at: Self.mondayMs + 10 * Self.hour))
    #expect(calendar.isOpen(at: Self.mondayMs + (24 + 10) * Self.hour))
    let sunday = Self.mondayMs + 6 * 24 * Self.hour
    #expect(calendar.isOpen(at: sunday) && calendar.isOpen(at: sunday + 15 * Self.hour))
    #expect(!calendar.isOpen(at: sunday + Self.hour) && !calendar.isOpen(at: sunday + 16 * Self.hour))
  }

  /// At the same wall clock, on either side of a change of the zone's offset.
  @Test func hoursAreThoseOfTheWallClock() {
    let calendar = Self.calendar([], [
      .init(sinceMs: Self.almatyMs, offsetS: 5 * 3_600), .init(sinceMs: 946_684_800_000, offsetS: 6 * 3_600),
    ])
    let thursdayMs = Self.mondayMs - 4 * 24 * Self.hour
    #expect(!calendar.isOpen(at: thursdayMs + 3 * Self.hour - 1) && calendar.isOpen(at: thursdayMs + 3 * Self.hour))
    let fridayMs = thursdayMs + 24 * Self.hour
    #expect(!calendar.isOpen(at: fridayMs + 4 * Self.hour - 1) && calendar.isOpen(at: fridayMs + 4 * Self.hour))
    #expect(calendar.isOpen(at: fridayMs + 13 * Self.hour - 1) && !calendar.isOpen(at: fridayMs + 13 * Self.hour))
    // Before the first offset that is known, that one holds.
    #expect(calendar.isOpen(at: thursdayMs - 30 * 52 * 7 * 24 * Self.hour + 3 * Self.hour))
  }

  @Test(arguments: [Int64.min, .max, -(1 << 52), 1 << 52]) func absurdTimesAreOffDuty(ms: Int64) {
    #expect(!DutyCalendar(zone: "", slots: [.init(firstMinute: 0, endMinute: 10_080)], days: [], offsets: []).isOpen(at: ms))
  }

  @Test func aCalendarWithoutSlotsIsClosed() { #expect(!DutyCalendar().isOpen(at: Self.mondayMs)) }
}
