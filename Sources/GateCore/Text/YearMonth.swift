/// A month of the Gregorian calendar, UTC.
package struct YearMonth: Equatable, Sendable {
  /// Year x 100 + month: 202611.
  package let number: Int64

  package init(number: Int64) { self.number = number }

  /// - Parameter ms: since 1970-01-01 UTC.
  package init(ms: Int64) {
    let dayMs: Int64 = 86_400_000
    let days = (ms >= 0 ? ms : ms - dayMs + 1) / dayMs
    // Days since 0000-03-01, in eras of 400 years: a leap day then ends its year.
    let shifted = days + 719_468
    let era = (shifted >= 0 ? shifted : shifted - 146_096) / 146_097
    let dayOfEra = shifted - era * 146_097
    let yearOfEra = (dayOfEra - dayOfEra / 1_460 + dayOfEra / 36_524 - dayOfEra / 146_096) / 365
    let dayOfYear = dayOfEra - (365 * yearOfEra + yearOfEra / 4 - yearOfEra / 100)
    let shiftedMonth = (5 * dayOfYear + 2) / 153
    let month = shiftedMonth < 10 ? shiftedMonth + 3 : shiftedMonth - 9
    number = (yearOfEra + era * 400 + (month <= 2 ? 1 : 0)) * 100 + month
  }

  /// `2026-11`; `nil` for what is none.
  package init?(_ text: String) {
    let parts = text.split(separator: "-", omittingEmptySubsequences: false)
    guard parts.count == 2, parts[0].utf8.count == 4, parts[1].utf8.count == 2, let year = Int64(parts[0]),
      let month = Int64(parts[1]), (1...12).contains(month), year >= 0
    else { return nil }
    number = year * 100 + month
  }

  package var text: String {
    let (year, month) = ("\(number / 100)", "\(number % 100)")
    return String(repeating: "0", count: max(0, 4 - year.count)) + year + "-" + (month.count < 2 ? "0" : "") + month
  }
}
