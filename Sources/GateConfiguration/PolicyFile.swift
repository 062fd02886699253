import Foundation
package import GateCore
package import Gateway
import Yams

/// Reads and writes a tenant's privacy policy as YAML: strict, as the configuration is.
package enum PolicyFile {
  /// - Parameters:
  ///   - path: for messages.
  ///   - nowMs: the zone's changes are looked up from 2000 to twenty years from now.
  package static func parse(_ text: String, path: String, nowMs: Int64) throws(ConfigurationError) -> Policy {
    var file = PolicyReader(path: path)
    switch try ConfigurationFile.compose(text, path: path) {
    case nil: break
    case .mapping(let mapping):
      for (name, node) in mapping { try file.take(name.string ?? "", node, line: name.mark?.line ?? 1) }
    case .scalar(let scalar) where scalar.string.isEmpty: break
    case .some(let root): throw .notYAML(path: path, line: root.mark?.line ?? 1, problem: "expected lines 'key: value'")
    }
    return try file.policy(nowMs: nowMs)
  }

  /// What `parse` reads, with what each key means.
  package static func text(_ policy: Policy) -> String {
    func list(_ items: [String]) -> String { items.isEmpty ? "[]" : "[" + items.joined(separator: ", ") + "]" }
    func days(_ days: Int?) -> String { days.map { "\($0)" } ?? "keep" }
    let taken = policy.taken
    let ids = taken.attributes.ids.map { id in PolicyFile.names.first { $0.id == id }?.name ?? "\(id)" }
    let calendar = policy.calendar
    return """
      # When positions are taken: always, shift (between 'fixgate duty open' and 'close'), or calendar.
      duty: \(policy.duty)
      # For calendar: the time zone, hours of the week, and dates that have hours of their own, or none.
      zone: \(calendar.zone)
      week: \(list(calendar.slots.map { "\"" + PolicyFile.text($0) + "\"" }))
      days: \(list(calendar.days.map { "\"" + PolicyFile.text($0) + "\"" }))
      # For shift: whether a device's own events open and close shifts too.
      shifts_by_device: \(policy.deviceShifts)
      # Whether an SOS event is taken, with its position, off duty as well.
      sos_off_duty: \(policy.sosOffDuty)
      # What is taken of a fix beside sequence, time and position: all, or a list of field names ('work' = task and stop).
      fields: \(PolicyFile.text(taken))
      # Attributes, by number or as cells, wifi, beacons: all but these, or only these.
      \(taken.attributes.onlyListed ? "attributes_only" : "attributes_off"): \(list(ids))
      # Positions are moved to the middle of a cell of so many metres; 0 = as they are.
      position_grid_m: \(policy.gridM)
      # Days after which each kind goes; keep = never.
      retention_positions_days: \(days(policy.retention.positionsDays))
      retention_events_days: \(days(policy.retention.eventsDays))
      retention_quarantine_days: \(days(policy.retention.quarantineDays))
      retention_journal_days: \(days(policy.retention.journalDays))

      """
  }

  /// Attributes that have a name here.
  static let names: [(name: String, id: UInt32)] = [("cells", 20), ("wifi", 21), ("beacons", 22)]
  static let weekdays = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
  static let monotonic = "monotonic_ms"
  static let work = "work"
  static let fieldNames = Column.allCases.map(\.wireName) + [monotonic, work]

  private static func text(_ taken: TakenFields) -> String {
    if taken.columns == TakenFields.allColumns, taken.work { return "all" }
    var names = Column.allCases.filter { taken.columns.contains(FixFields($0)) }.map(\.wireName)
    if taken.columns.contains(.monotonic) { names.append(monotonic) }
    if taken.work { names.append(work) }
    return "[" + names.joined(separator: ", ") + "]"
  }

  private static func text(_ slot: DutyCalendar.Slot) -> String {
    let day = slot.firstMinute / DutyCalendar.minutesOfDay
    let start = day * DutyCalendar.minutesOfDay
    return "\(weekdays[Int(day) % 7]) \(clock(slot.firstMinute - start))-\(clock(slot.endMinute - start))"
  }

  private static func text(_ day: DutyCalendar.Day) -> String {
    let date = Date(timeIntervalSince1970: Double(day.day) * 86_400).ISO8601Format().prefix(10)
    return "\(date) " + (day.firstMinute == day.endMinute ? "off" : "\(clock(day.firstMinute))-\(clock(day.endMinute))")
  }

  private static func clock(_ minute: Int32) -> String {
    let (hours, minutes) = (minute / 60, minute % 60)
    return (hours < 10 ? "0" : "") + "\(hours):" + (minutes < 10 ? "0" : "") + "\(minutes)"
  }
}

/// Gathers a policy from its keys.
private struct PolicyReader {
  let path: String
  private var made = Policy()
  private var zone = "UTC"
  private var slots: [DutyCalendar.Slot] = []
  private var days: [DutyCalendar.Day] = []
  private var seen: [String: Int] = [:]

  private static let keys = [
    "duty", "zone", "week", "days", "shifts_by_device", "sos_off_duty", "fields", "attributes_off", "attributes_only",
    "position_grid_m", "retention_positions_days", "retention_events_days", "retention_quarantine_days",
    "retention_journal_days",
  ]

  init(path: String) { self.path = path }

  mutating func take(_ key: String, _ node: Node, line: Int) throws(ConfigurationError) {
    seen[key] = line
    let values = ConfigurationFile.scalars(node)
    func bad(_ expects: String) -> ConfigurationError {
      .badValue(key: key, value: node.scalar?.string ?? "a list or section", place: "\(path):\(line)", expects: expects)
    }
    func one() -> String? { node.scalar?.string }
    func flag() throws(ConfigurationError) -> Bool {
      switch one() {
      case "true": return true
      case "false": return false
      default: throw bad("true or false")
      }
    }
    func retention() throws(ConfigurationError) -> Int? {
      if one() == "keep" { return nil }
      guard let days = one().flatMap({ Int($0) }), (0...36_525).contains(days) else { throw bad("keep, or a number of days") }
      return days
    }
    switch key {
    case "duty":
      guard let duty = Policy.Duty.allCases.first(where: { "\($0)" == one() }) else {
        throw bad("always, shift or calendar")
      }
      made.duty = duty
    case "zone":
      guard let name = one(), TimeZone(identifier: name) != nil else { throw bad("a time zone such as Asia/Almaty") }
      zone = name
    case "week":
      guard let values else { throw bad("a list such as ['mon-fri 09:00-18:00']") }
      for value in values { try takeWeek(value, line) }
    case "days":
      guard let values else { throw bad("a list such as ['2026-12-16 off', '2026-12-19 10:00-14:00']") }
      for value in values { try takeDay(value, line) }
    case "shifts_by_device": made.deviceShifts = try flag()
    case "sos_off_duty": made.sosOffDuty = try flag()
    case "fields":
      guard let values else { throw bad("all, or a list of field names") }
      if values != ["all"] { try takeFields(values, line) }
    case "attributes_off":
      guard let values else { throw bad("a list of numbers") }
      made.taken.attributes = AttributeRule(allBut: try attributes(values, line))
    case "attributes_only":
      guard let values else { throw bad("a list of numbers") }
      made.taken.attributes = AttributeRule(only: try attributes(values, line))
    case "position_grid_m":
      guard let metres = one().flatMap({ UInt16($0) }) else { throw bad("a number of metres from 0 to 65535") }
      made.gridM = metres
    case "retention_positions_days": made.retention.positionsDays = try retention()
    case "retention_events_days": made.retention.eventsDays = try retention()
    case "retention_quarantine_days": made.retention.quarantineDays = try retention()
    case "retention_journal_days": made.retention.journalDays = try retention()
    default:
      let nearest = nearestNames(to: key, among: PolicyReader.keys)
      throw problem(
        line,
        "there is no policy key '\(key)'; "
          + (nearest.isEmpty ? "'fixgate policy show' prints all of them" : "did you mean \(nearest.joined(separator: " or "))?"))
    }
  }

  func policy(nowMs: Int64) throws(ConfigurationError) -> Policy {
    var policy = made
    if let line = seen["attributes_only"], seen["attributes_off"] != nil {
      throw problem(line, "give either attributes_only or attributes_off")
    }
    guard policy.duty == .calendar else {
      if let line = seen["week"] ?? seen["days"], !slots.isEmpty || !days.isEmpty {
        throw problem(line, "hours are for 'duty: calendar' only; leave them out or change duty")
      }
      return policy
    }
    let line = seen["week"] ?? seen["duty"] ?? 1
    if slots.isEmpty, days.isEmpty {
      throw problem(line, "'duty: calendar' needs hours, such as week: ['mon-fri 09:00-18:00']")
    }
    if seen["zone"] == nil { throw problem(line, "'duty: calendar' needs a zone, such as zone: Asia/Almaty") }
    policy.calendar = DutyCalendar(
      zone: zone, slots: slots, days: days, offsets: ZoneOffsets.changes(of: zone, nowMs: nowMs))
    for (a, b) in zip(policy.calendar.slots, policy.calendar.slots.dropFirst()) where b.firstMinute < a.endMinute {
      throw problem(line, "two slots of a week overlap; join them")
    }
    for (a, b) in zip(policy.calendar.days, policy.calendar.days.dropFirst())
    where a.day == b.day && (b.firstMinute < a.endMinute || a.firstMinute == a.endMinute || b.firstMinute == b.endMinute) {
      throw problem(seen["days"] ?? line, "a date has hours that overlap, or is off as well; give each date once")
    }
    return policy
  }

  private func problem(_ line: Int, _ text: String) -> ConfigurationError {
    .badPolicy(path: path, line: line, problem: text)
  }

  /// `mon-fri 09:00-13:00 14:00-18:00`.
  private mutating func takeWeek(_ text: String, _ line: Int) throws(ConfigurationError) {
    let words = text.lowercased().split(separator: " ")
    guard words.count >= 2 else {
      throw problem(line, "'\(text)' is no slot of a week like 'mon-fri 09:00-18:00'")
    }
    var weekdays: [Int] = []
    for part in words[0].split(separator: ",") {
      let ends = part.split(separator: "-").map { PolicyFile.weekdays.firstIndex(of: String($0)) }
      guard let first = ends.first ?? nil, let last = ends.last ?? nil, ends.count <= 2, first <= last else {
        throw problem(line, "'\(part)' is no weekday: use mon, tue, wed, thu, fri, sat, sun, or mon-fri")
      }
      weekdays += first...last
    }
    for word in words.dropFirst() {
      let (first, end) = try hours(word, line)
      for weekday in weekdays {
        let start = Int32(weekday) * DutyCalendar.minutesOfDay
        slots.append(DutyCalendar.Slot(firstMinute: start + first, endMinute: start + end))
      }
    }
  }

  /// `2026-12-16 off` or `2026-12-19 10:00-14:00`.
  private mutating func takeDay(_ text: String, _ line: Int) throws(ConfigurationError) {
    let words = text.lowercased().split(separator: " ")
    guard words.count >= 2, words[0].count == 10,
      let date = try? Date("\(words[0])T00:00:00Z", strategy: .iso8601)
    else { throw problem(line, "'\(text)' is no date like '2026-12-16 off' or '2026-12-19 10:00-14:00'") }
    let day = Int32(clamping: Int64((date.timeIntervalSince1970 / 86_400).rounded(.down)))
    if words.dropFirst() == ["off"] {
      days.append(DutyCalendar.Day(day: day, firstMinute: 0, endMinute: 0))
      return
    }
    for word in words.dropFirst() {
      let (first, end) = try hours(word, line)
      days.append(DutyCalendar.Day(day: day, firstMinute: first, endMinute: end))
    }
  }

  /// `09:00-18:00`, in minutes.
  private func hours(_ text: Substring, _ line: Int) throws(ConfigurationError) -> (Int32, Int32) {
    let ends = text.split(separator: "-").map { clock -> Int32? in
      let parts = clock.split(separator: ":").map { $0.count == 2 ? Int32($0) : nil }
      guard parts.count == 2, let hour = parts[0], let minute = parts[1], (0...59).contains(minute), (0...24).contains(hour)
      else { return nil }
      return hour * 60 + minute
    }
    guard ends.count == 2, let first = ends[0], let end = ends[1], end <= DutyCalendar.minutesOfDay else {
      throw problem(line, "'\(text)' are no hours like 09:00-18:00")
    }
    if first >= end {
      throw problem(line, "'\(text)' ends before it begins; a night is two slots: 22:00-24:00, and 00:00-06:00 of the next day")
    }
    return (first, end)
  }

  private mutating func takeFields(_ names: [String], _ line: Int) throws(ConfigurationError) {
    made.taken.columns = []
    made.taken.work = false
    for name in names {
      if name == PolicyFile.work {
        made.taken.work = true
      } else if name == PolicyFile.monotonic {
        made.taken.columns.insert(.monotonic)
      } else if let column = Column.allCases.first(where: { $0.wireName == name }) {
        made.taken.columns.insert(FixFields(column))
      } else {
        let nearest = nearestNames(to: name, among: PolicyFile.fieldNames)
        throw problem(
          line,
          "there is no field '\(name)'; "
            + (nearest.isEmpty ? "they are named as in proto/fixgate.proto" : "did you mean \(nearest.joined(separator: " or "))?"))
      }
    }
  }

  private func attributes(_ names: [String], _ line: Int) throws(ConfigurationError) -> [UInt32] {
    var ids: [UInt32] = []
    for name in names {
      guard let id = UInt32(name) ?? PolicyFile.names.first(where: { $0.name == name })?.id else {
        throw problem(line, "'\(name)' is no attribute: give numbers of proto/README, or cells, wifi, beacons")
      }
      ids.append(id)
    }
    return ids
  }
}

/// A zone's offsets from UTC, as the system knows them.
package enum ZoneOffsets {
  /// 2000-01-01, in s since 1970-01-01 UTC.
  private static let firstS: Int64 = 946_684_800
  private static let aheadS: Int64 = 20 * 31_557_600

  /// The offset in 2000, then each change until twenty years from now. Rules change within less: set the policy anew then.
  package static func changes(of name: String, nowMs: Int64) -> [DutyCalendar.Offset] {
    guard let zone = TimeZone(identifier: name) else { return [] }
    func offset(_ atS: Int64) -> Int32 {
      Int32(clamping: zone.secondsFromGMT(for: Date(timeIntervalSince1970: Double(atS))))
    }
    var changes = [DutyCalendar.Offset(sinceMs: firstS * 1_000, offsetS: offset(firstS))]
    var atS = firstS
    while atS < nowMs / 1_000 + aheadS {
      let nextS = atS + 86_400
      let known = changes[changes.count - 1].offsetS
      if offset(nextS) != known {
        var (low, high) = (atS, nextS)
        while high - low > 1 {
          let middle = (low + high) / 2
          if offset(middle) == known { low = middle } else { high = middle }
        }
        changes.append(DutyCalendar.Offset(sinceMs: high * 1_000, offsetS: offset(high)))
      }
      atS = nextS
    }
    return changes
  }
}
