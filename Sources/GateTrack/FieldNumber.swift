/// Numbers and times of a field, read from bytes without text or floating point in between.
enum FieldNumber {
  /// Reads a decimal number as a multiple of 10^-`digits`, exactly, a half rounded away from zero. It may have an
  /// exponent.
  /// - Returns: `nil` for anything but a number, and outside `range`.
  static func decimal(_ bytes: [UInt8], _ range: Range<Int>, digits: Int, in allowed: ClosedRange<Int64>) -> Int64? {
    var at = range.lowerBound
    let end = range.upperBound
    guard at < end else { return nil }
    var isNegative = false
    if bytes[at] == UInt8(ascii: "-") || bytes[at] == UInt8(ascii: "+") {
      isNegative = bytes[at] == UInt8(ascii: "-")
      at += 1
    }
    // An exponent moves the point; it is rare, and stands at the end.
    var mantissaEnd = at
    while mantissaEnd < end, bytes[mantissaEnd] | 0x20 != UInt8(ascii: "e") { mantissaEnd += 1 }
    var places = digits
    if mantissaEnd < end {
      guard let exponent = exponent(bytes, mantissaEnd + 1..<end) else { return nil }
      places += exponent
    }
    var value: Int64 = 0
    var seen = 0
    var behindPoint = false
    var taken = 0
    var roundUp = false
    var isFirstDropped = true
    while at < mantissaEnd {
      let byte = bytes[at]
      at += 1
      if byte == UInt8(ascii: "."), !behindPoint {
        behindPoint = true
        continue
      }
      let digit = byte &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      seen += 1
      if behindPoint {
        taken += 1
        if taken > places {
          // With a negative exponent the first digit dropped may stand before the point: see below.
          if isFirstDropped { roundUp = digit >= 5 }
          isFirstDropped = false
          continue
        }
      }
      let (product, overflow) = value.multipliedReportingOverflow(by: 10)
      let (sum, carry) = product.addingReportingOverflow(Int64(digit))
      guard !overflow, !carry else { return nil }
      value = sum
    }
    guard seen > 0 else { return nil }
    if places < 0 {
      // Digits behind the point are below the half then, so they decide nothing.
      roundUp = false
      for k in 0..<(-places) {
        if k == -places - 1 { roundUp = value % 10 >= 5 }
        value /= 10
      }
    } else {
      var missing = places - min(taken, places)
      while missing > 0, value != 0 {
        let (product, overflow) = value.multipliedReportingOverflow(by: 10)
        guard !overflow else { return nil }
        value = product
        missing -= 1
      }
    }
    if roundUp { value += 1 }
    if isNegative { value = -value }
    return allowed.contains(value) ? value : nil
  }

  /// Two digits at most, with a sign.
  private static func exponent(_ bytes: [UInt8], _ range: Range<Int>) -> Int? {
    var at = range.lowerBound
    guard at < range.upperBound else { return nil }
    let isNegative = bytes[at] == UInt8(ascii: "-")
    if isNegative || bytes[at] == UInt8(ascii: "+") { at += 1 }
    guard at < range.upperBound, range.upperBound - at <= 2 else { return nil }
    var value = 0
    while at < range.upperBound {
      let digit = bytes[at] &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      value = value * 10 + Int(digit)
      at += 1
    }
    return isNegative ? -value : value
  }

  /// Reads a time: `YYYY-MM-DD HH:MM[:SS[.fff]]` (also with `T`, and with `Z` or an offset; UTC without), or seconds or
  /// milliseconds since 1970-01-01 UTC, told apart by size: 10^11 and above are milliseconds. Parts of a ms are cut off.
  /// - Returns: ms since 1970-01-01 UTC.
  static func time(_ bytes: [UInt8], _ range: Range<Int>) -> Int64? {
    let start = range.lowerBound
    guard range.count >= 5, bytes[start + 4] == UInt8(ascii: "-") || bytes[start + 4] == UInt8(ascii: "/") else {
      return unixTime(bytes, range)
    }
    let separator = bytes[start + 4]
    guard range.count >= 16, bytes[start + 7] == separator,
      let year = digits(bytes, start, 4), let month = digits(bytes, start + 5, 2), let day = digits(bytes, start + 8, 2),
      bytes[start + 10] == UInt8(ascii: " ") || bytes[start + 10] | 0x20 == UInt8(ascii: "t"),
      let hour = digits(bytes, start + 11, 2), bytes[start + 13] == UInt8(ascii: ":"),
      let minute = digits(bytes, start + 14, 2),
      (1...12).contains(month), day >= 1, day <= daysIn(month, of: year), hour <= 23, minute <= 59
    else { return nil }
    var at = start + 16
    let end = range.upperBound
    var second = 0
    var ms = 0
    if at < end, bytes[at] == UInt8(ascii: ":") {
      guard end - at >= 3, let value = digits(bytes, at + 1, 2), value <= 60 else { return nil }
      second = value
      at += 3
      if at < end, bytes[at] == UInt8(ascii: ".") || bytes[at] == UInt8(ascii: ",") {
        at += 1
        var weight = 100
        let first = at
        while at < end, bytes[at] &- UInt8(ascii: "0") <= 9 {
          ms += Int(bytes[at] &- UInt8(ascii: "0")) * weight
          weight /= 10
          at += 1
        }
        guard at > first else { return nil }
      }
    }
    guard let offset = offsetMinutes(bytes, at..<end) else { return nil }
    let minutes = daysSince1970(year, month, day) * 1_440 + Int64(hour * 60 + minute - offset)
    return (minutes * 60 + Int64(second)) * 1_000 + Int64(ms)
  }

  /// `Z`, `+HH`, `+HHMM`, `+HH:MM`, or nothing, with a space before it allowed.
  private static func offsetMinutes(_ bytes: [UInt8], _ range: Range<Int>) -> Int? {
    var at = range.lowerBound
    let end = range.upperBound
    if at < end, bytes[at] == UInt8(ascii: " ") { at += 1 }
    if at == end { return 0 }
    if bytes[at] | 0x20 == UInt8(ascii: "z") { return at + 1 == end ? 0 : nil }
    guard bytes[at] == UInt8(ascii: "+") || bytes[at] == UInt8(ascii: "-") else { return nil }
    let sign = bytes[at] == UInt8(ascii: "-") ? -1 : 1
    at += 1
    guard end - at >= 2, let hours = digits(bytes, at, 2), hours <= 18 else { return nil }
    at += 2
    if at == end { return sign * hours * 60 }
    if bytes[at] == UInt8(ascii: ":") { at += 1 }
    guard end - at == 2, let minutes = digits(bytes, at, 2), minutes <= 59 else { return nil }
    return sign * (hours * 60 + minutes)
  }

  private static func unixTime(_ bytes: [UInt8], _ range: Range<Int>) -> Int64? {
    let bound: Int64 = 100_000_000_000_000_000
    guard let ms = decimal(bytes, cutToMs(bytes, range), digits: 3, in: -bound...bound) else { return nil }
    // As if it were seconds; a number of milliseconds is a thousandfold too large then.
    return abs(ms) >= 100_000_000_000_000 ? ms / 1_000 : ms
  }

  /// Without the digits behind the third place, which are cut off and not rounded.
  private static func cutToMs(_ bytes: [UInt8], _ range: Range<Int>) -> Range<Int> {
    var at = range.lowerBound
    while at < range.upperBound, bytes[at] != UInt8(ascii: ".") { at += 1 }
    for i in at..<range.upperBound where bytes[i] | 0x20 == UInt8(ascii: "e") { return range }
    for i in at..<range.upperBound where i > at && bytes[i] &- UInt8(ascii: "0") > 9 { return range }
    return range.lowerBound..<min(range.upperBound, at + 4)
  }

  private static func digits(_ bytes: [UInt8], _ start: Int, _ count: Int) -> Int? {
    var value = 0
    for i in start..<start + count {
      let digit = bytes[i] &- UInt8(ascii: "0")
      guard digit <= 9 else { return nil }
      value = value * 10 + Int(digit)
    }
    return value
  }

  private static func daysIn(_ month: Int, of year: Int) -> Int {
    switch month {
    case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
    case 4, 6, 9, 11: 30
    default: 31
    }
  }

  /// Days of the proleptic Gregorian calendar, with years that begin in March so that the leap day comes last.
  private static func daysSince1970(_ year: Int, _ month: Int, _ day: Int) -> Int64 {
    let shifted = month <= 2 ? year - 1 : year
    let era = (shifted >= 0 ? shifted : shifted - 399) / 400
    let yearOfEra = shifted - era * 400
    let dayOfYear = (153 * ((month + 9) % 12) + 2) / 5 + day - 1
    return Int64(era * 146_097 + yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear - 719_468)
  }
}
