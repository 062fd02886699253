import GateCore

/// What a world's tenant has promised its people, and what of it is asked for meanwhile. Drawn from numbers of its own, so that the
/// other worlds stay what they are.
struct PrivacyPlan {
  enum Request: UInt8 {
    /// All of one owner.
    case forgetAll
    /// What one owner did in a time.
    case forgetTime
    /// Every owner gets a fresh key.
    case renewKeys
  }

  /// What lies in the journal is sealed under the keys of subjects and devices.
  let seals: Bool
  /// Each with its moment, as a share of the time of faults in 1,024.
  let requests: [(Request, share: UInt64)]
  /// When the tenant's devices may be followed; `nil` = always.
  let calendar: SimCalendar?

  init(seed: UInt64) {
    // Alone, together, over UDP, and with the real store.
    seals = seed % 8 == 3 || seed % 32 == 7 || seed % 64 == 48
    let hasCalendar = seed % 8 == 6 || seed % 32 == 23 || seed % 16 == 11
    var random = SeededRandom(seed: ~seed &* 3)
    calendar = hasCalendar ? SimCalendar(&random) : nil
    requests = seals ? PrivacyPlan.requests(&random) : []
  }

  private static func requests(_ random: inout SeededRandom) -> [(Request, share: UInt64)] {
    (0..<Int.random(in: 0...4, using: &random)).map { _ in
      let request = [Request.forgetAll, .forgetTime, .forgetTime, .renewKeys].randomElement(using: &random) ?? .forgetAll
      return (request, UInt64.random(in: 100...1_000, using: &random))
    }
  }
}

/// Hours of duty that begin and end in a world's first minute, now by a slot's end and now by a change of the zone's offset; and the
/// same said plainly, which the calendar is held against.
struct SimCalendar {
  let policy: Policy
  /// ms since 1970-01-01 UTC.
  let open: [Range<Int64>]

  private static let dayMs: Int64 = 86_400_000
  private static let hourMs: Int64 = 3_600_000
  private static let firstHour: Int32 = 12
  private static let endHour: Int32 = 20
  /// 1970-01-01 was a Thursday, the day of a week that begins on Monday with this number.
  private static let firstWeekday: Int64 = 3

  init(_ random: inout SeededRandom) {
    let day = World.wallStartMs / SimCalendar.dayMs
    let opensLocal = day * SimCalendar.dayMs + Int64(SimCalendar.firstHour) * SimCalendar.hourMs
    let closesLocal = day * SimCalendar.dayMs + Int64(SimCalendar.endHour) * SimCalendar.hourMs
    // At whole seconds, since offsets are whole seconds. Open at last, so that the world may come to rest.
    var starts = Set((0..<Int.random(in: 1...4, using: &random)).map { _ in Int64.random(in: 1...60, using: &random) }).sorted()
      .map { World.wallStartMs + $0 * 1_000 }
    starts.insert(World.wallStartMs - SimCalendar.hourMs, at: 0)
    var open: [Range<Int64>] = []
    var offsets: [DutyCalendar.Offset] = []
    func offset(since ms: Int64, local: Int64, at: Int64) {
      offsets.append(DutyCalendar.Offset(sinceMs: ms, offsetS: Int32((local - at) / 1_000)))
    }
    for (i, start) in starts.enumerated() {
      let isOpen = (starts.count - 1 - i) % 2 == 0
      guard i + 1 < starts.count else {
        offset(since: start, local: opensLocal, at: start)
        open.append(start..<start + closesLocal - opensLocal)
        break
      }
      let end = starts[i + 1]
      if isOpen {
        offset(since: start, local: closesLocal, at: end)
        open.append(start..<end)
      } else if i == 0 || Bool.random(using: &random) {
        offset(since: start, local: opensLocal, at: end)
      }
    }
    self.open = open
    let (first, end) = (SimCalendar.firstHour * 60, SimCalendar.endHour * 60)
    let isByDate = Bool.random(using: &random)
    let weekday = Int32((day + SimCalendar.firstWeekday) % 7) * DutyCalendar.minutesOfDay
    var policy = Policy()
    policy.version = 1
    policy.duty = .calendar
    policy.calendar = DutyCalendar(
      zone: "simulated", slots: isByDate ? [] : [.init(firstMinute: weekday + first, endMinute: weekday + end)],
      days: isByDate ? [.init(day: Int32(day), firstMinute: first, endMinute: end)] : [], offsets: offsets)
    self.policy = policy
  }

  func isOpen(at ms: Int64) -> Bool { open.contains { $0.contains(ms) } }
}
